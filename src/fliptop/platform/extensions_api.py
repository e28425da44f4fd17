"""The Extensions API (2020-01-01) and the Telemetry API's subscription, as messages. No I/O.

Sources: Lambda developer guide, "Extensions API" and "Telemetry API"; what is not stated there was seen in the state
machine of AWS's Runtime Interface Emulator.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Final

from fliptop.http1 import Request, Response

REGISTER_PATH: Final = "/2020-01-01/extension/register"
NEXT_PATH: Final = "/2020-01-01/extension/event/next"
TELEMETRY_PATH: Final = "/2022-07-01/telemetry"
# Records of functions that log JSON arrive as objects from this version on; on-demand needs nothing newer.
TELEMETRY_SCHEMA: Final = "2022-12-13"
# The only one that Managed Instances accept.
MANAGED_TELEMETRY_SCHEMA: Final = "2025-01-29"
# All three are always sent: Lambda's documents disagree about the default of maxItems.
BUFFERING: Final = {"maxItems": 1000, "maxBytes": 262144, "timeoutMs": 25}
# No invocation waits for telemetry there; and what comes while one batch is still on its way to an extension that
# loads, the platform drops (AWS's emulator then never sends anything again). So it had better be one batch.
MANAGED_BUFFERING: Final = {"maxItems": 10_000, "maxBytes": 1024 * 1024, "timeoutMs": 1000}


class Refused(Exception):
    """The platform answered something other than what was needed. `status` is HTTP's, `error_type` Lambda's."""

    def __init__(self, what: str, response: Response) -> None:
        self.status = response.status
        self.error_type = _error_type(response.body)
        said = self.error_type or response.body[:200].decode("utf-8", "replace")
        super().__init__(f"{what}: HTTP {self.status} {said}".rstrip())


@dataclass(frozen=True, slots=True)
class Registration:
    """What the platform told us when we registered. `account_id` is None where it does not say (emulators)."""

    identifier: str
    function_name: str
    account_id: str | None = None


@dataclass(frozen=True, slots=True)
class Invoke:
    """INVOKE: the function runs. `deadline_ms` is epoch milliseconds: the moment its timeout strikes."""

    request_id: str
    deadline_ms: int
    function_arn: str


@dataclass(frozen=True, slots=True)
class Shutdown:
    """SHUTDOWN: the environment ends. `reason` is in lower case; `deadline_ms` is when SIGKILL comes."""

    reason: str
    deadline_ms: int


Event = Invoke | Shutdown


def register(name: str, events: tuple[str, ...] = ("INVOKE", "SHUTDOWN")) -> Request:
    """Register the extension. `name` must be the base name of the file that Lambda started."""
    headers = (
        ("Lambda-Extension-Name", name),
        ("Lambda-Extension-Accept-Feature", "accountId"),
        ("Content-Type", "application/json"),
    )
    return Request("POST", REGISTER_PATH, headers, json.dumps({"events": list(events)}).encode())


def registration(response: Response) -> Registration:
    """Read the answer to `register`. Raises `Refused` unless it is 200 with an identifier."""
    identifier = response.header("Lambda-Extension-Identifier")
    if response.status != 200 or not identifier:
        raise Refused("register", response)
    return registered(identifier, response.body)


def registered(identifier: str, answer: bytes) -> Registration:
    """The registration that goes by `identifier`, with what the body of the answer says, if it says anything."""
    body = _object(answer)
    account = body.get("accountId")
    return Registration(identifier, str(body.get("functionName", "")), str(account) if account else None)


def next_event(identifier: str) -> Request:
    """Say that the extension is done and wait for the next event. The answer may take hours."""
    return Request("GET", NEXT_PATH, (("Lambda-Extension-Identifier", identifier),))


def event(response: Response) -> Event:
    """Read an event. Raises `Refused` for anything but 200, `ValueError` for an event type that is not known.

    Missing fields get harmless values: an INVOKE without a deadline counts as one whose time is up, so that the
    extension asks for the next event at once.
    """
    if response.status != 200:
        raise Refused("event/next", response)
    body = _object(response.body)
    deadline_ms = _integer(body.get("deadlineMs"))
    kind = body.get("eventType")
    if kind == "INVOKE":
        return Invoke(str(body.get("requestId", "")), deadline_ms, str(body.get("invokedFunctionArn", "")))
    if kind == "SHUTDOWN":
        return Shutdown(str(body.get("shutdownReason", "unknown")).lower(), deadline_ms)
    raise ValueError(f"event/next: unknown eventType {kind!r}")


def subscribe(identifier: str, port: int, types: tuple[str, ...], *, managed: bool = False) -> Request:
    """Ask for telemetry of `types` at `http://sandbox.localdomain:<port>/`. The port must be listening already.

    `managed`: as Managed Instances have it.
    """
    body = {
        "schemaVersion": MANAGED_TELEMETRY_SCHEMA if managed else TELEMETRY_SCHEMA,
        "types": list(types),
        "buffering": MANAGED_BUFFERING if managed else BUFFERING,
        "destination": {"protocol": "HTTP", "URI": f"http://sandbox.localdomain:{port}/"},
    }
    headers = (("Lambda-Extension-Identifier", identifier), ("Content-Type", "application/json"))
    return Request("PUT", TELEMETRY_PATH, headers, json.dumps(body).encode())


def subscribed(response: Response) -> bool:
    """True when telemetry will come, False where the platform has none (emulators answer 202 or 404).

    Raises `Refused` for everything else.
    """
    if response.status == 200:
        return True
    if response.status in {202, 404}:
        return False
    raise Refused("telemetry", response)


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _integer(value: object) -> int:
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else 0


def _error_type(body: bytes) -> str:
    return str(_object(body).get("errorType", ""))
