"""The Telemetry API, 2022-07-01, without I/O: what a subscription may say, and how events become batches."""

import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from fliptop_lab.lambda_.answers import Answer, refused
from fliptop_lab.lambda_.events import CATEGORIES, Event, as_logs, encode

Api = Literal["telemetry", "logs"]
SCHEMAS = ("2022-07-01", "2022-12-13", "2025-01-29")
LOGS_SCHEMAS = ("2020-08-15", "2021-03-18")
HOSTS = ("sandbox.localdomain", "sandbox")
API_PORT = 9001
# Field: smallest, largest and default value.
BUFFERING = {
    "maxItems": (1000, 10_000, 10_000),
    "maxBytes": (262_144, 1_048_576, 262_144),
    "timeoutMs": (25, 30_000, 1000),
}


@dataclass(frozen=True)
class Destination:
    """Where batches go: HTTP POST to `path`, or newline-delimited JSON over TCP."""

    protocol: Literal["HTTP", "TCP"]
    port: int
    path: str = "/"


@dataclass(frozen=True)
class Subscription:
    """A validated subscription; `json_logs` says whether JSON log lines become objects."""

    api: Api
    schema: str
    types: tuple[str, ...]
    json_logs: bool
    max_items: int
    max_bytes: int
    timeout_s: float
    destination: Destination


def subscription(body: bytes, api: Api, log_format: str) -> Subscription | Answer:
    """Reads a subscribe request: the subscription, or 400 `ValidationError` that names every violated rule."""
    try:
        asked = json.loads(body)
    except ValueError as error:
        return _invalid([str(error)])
    if not isinstance(asked, dict):
        return _invalid(["the body must be a JSON object"])
    wrong: list[str] = []
    schemas, default = (SCHEMAS, "2022-07-01") if api == "telemetry" else (LOGS_SCHEMAS, LOGS_SCHEMAS[0])
    schema = asked.get("schemaVersion", default if api == "logs" else None)
    if schema not in schemas:
        wrong.append(f"schemaVersion must be one of {', '.join(schemas)}")
    destination = _destination(asked.get("destination"), wrong)
    buffering = _buffering(asked.get("buffering", {}), wrong)
    types = _types(asked.get("types"), wrong)
    if wrong or destination is None:
        return _invalid(wrong)
    json_logs = log_format == "JSON" and schema in SCHEMAS[1:]
    timeout_s = buffering["timeoutMs"] / 1000
    sizes = buffering["maxItems"], buffering["maxBytes"]
    return Subscription(api, str(schema), types, json_logs, *sizes, timeout_s, destination)


def _invalid(wrong: list[str]) -> Answer:
    return refused(400, "ValidationError", "; ".join(wrong))


def _types(value: Any, wrong: list[str]) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        wrong.append("types should not be empty")
        return ()
    if unknown := [kind for kind in value if kind not in CATEGORIES]:
        wrong.append(f"types must be of {', '.join(CATEGORIES)}, not {unknown}")
    return tuple(dict.fromkeys(map(str, value)))


def _buffering(value: Any, wrong: list[str]) -> dict[str, int]:
    if not isinstance(value, dict):
        wrong.append("buffering must be an object")
        value = {}
    chosen = {}
    for name, (smallest, largest, default) in BUFFERING.items():
        number = value.get(name, default)
        if not isinstance(number, int) or isinstance(number, bool) or not smallest <= number <= largest:
            wrong.append(f"buffering.{name} must be an integer from {smallest} to {largest}")
            number = default
        chosen[name] = number
    return chosen


def _destination(value: Any, wrong: list[str]) -> Destination | None:
    if not isinstance(value, dict):
        wrong.append("destination is not provided")
    elif value.get("protocol") == "HTTP":
        return _http_destination(value.get("URI"), wrong)
    elif value.get("protocol") == "TCP":
        port = value.get("port")
        if isinstance(port, int) and 1025 <= port <= 65_535 and port != API_PORT:
            return Destination("TCP", port)
        wrong.append(f"destination.port must be an integer from 1025 to 65535 other than {API_PORT}")
    else:
        wrong.append("destination.protocol must be HTTP or TCP")
    return None


def _http_destination(uri: Any, wrong: list[str]) -> Destination | None:
    if not isinstance(uri, str) or not uri:
        wrong.append("URI is not provided")
        return None
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError as error:
        wrong.append(f"URI is not valid: {error}")
        return None
    if parts.scheme.lower() != "http":
        wrong.append("URI scheme must be http")
    elif parts.hostname not in HOSTS:
        wrong.append("Invalid destination: destination.URI host must be sandbox.localdomain")
    elif port is None:
        wrong.append("URI port is not provided")
    elif port in (0, API_PORT):
        wrong.append(f"URI port {port} is reserved")
    else:
        return Destination("HTTP", port, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
    return None


@dataclass(frozen=True)
class Batch:
    """Events ready to be sent: their types, the JSON members, their total size, how many would count as lost."""

    types: tuple[str, ...]
    members: tuple[bytes, ...]
    size: int
    countable: int

    def array(self) -> bytes:
        """The body of an HTTP POST."""
        return b"[" + b",".join(self.members) + b"]"

    def lines(self) -> bytes:
        """The body for TCP."""
        return b"".join(member + b"\n" for member in self.members)


class Batcher:
    """One subscriber's bounded buffer. A batch closes at maxItems, maxBytes, or timeoutMs after its first event.

    `clock` gives seconds; it decides nothing else. Beyond `limit` bytes waiting, new events are dropped and counted.
    """

    def __init__(self, wants: Subscription, limit: int, clock: Callable[[], float]) -> None:
        self._wants, self._limit, self._clock = wants, limit, clock
        self._open: list[bytes] = []
        self._types: list[str] = []
        self._size = self._countable = 0
        self._opened = 0.0
        self._closed: deque[Batch] = deque()
        self._waiting = 0
        self.closed_batches = 0
        self.dropped_records = self.dropped_bytes = 0

    def offer(self, event: Event) -> None:
        """Takes what the subscriber asked for, in the shape of the API it uses."""
        if event.category not in self._wants.types:
            return
        for shaped in [event] if self._wants.api == "telemetry" else as_logs(event, self._wants.schema):
            self.add(shaped)

    def add(self, event: Event) -> bool:
        """Takes an event; False when it was dropped for want of room. Notices of loss always fit and never count."""
        member = encode(event, json_logs=self._wants.json_logs)
        countable = event.type != "platform.logsDropped"
        if countable and self._waiting + self._size + len(member) > self._limit:
            self.lose(1, len(member))
            return False
        if not self._open:
            self._opened = self._clock()
        self._open.append(member)
        self._types.append(event.type)
        self._size += len(member)
        self._countable += countable
        if len(self._open) >= self._wants.max_items or self._size >= self._wants.max_bytes:
            self.close()
        return True

    def lose(self, records: int, size: int) -> None:
        """Counts what will not arrive."""
        self.dropped_records += records
        self.dropped_bytes += size

    def close(self) -> None:
        """Closes the batch that is open, if it holds anything."""
        if self._open:
            self._closed.append(Batch(tuple(self._types), tuple(self._open), self._size, self._countable))
            self._waiting += self._size
            self.closed_batches += 1
            self._open, self._types, self._size, self._countable = [], [], 0, 0

    @property
    def due_s(self) -> float | None:
        """Seconds until there is something to send: 0 when there is, None when there is nothing at all."""
        if self._closed:
            return 0.0
        if not self._open:
            return None
        return max(0.0, self._opened + self._wants.timeout_s - self._clock())

    def take(self) -> Batch | None:
        """The next batch to send, closing the open one when its time has come."""
        if not self._closed and self.due_s == 0.0:
            self.close()
        if not self._closed:
            return None
        batch = self._closed.popleft()
        self._waiting -= batch.size
        return batch

    def dropped(self) -> Mapping[str, Any] | None:
        """The record of `platform.logsDropped` for what was lost since the last time, if anything."""
        if not self.dropped_records:
            return None
        reason = "Some logs were dropped because the downstream consumer is slower than the logs production rate"
        record = {"droppedBytes": self.dropped_bytes, "droppedRecords": self.dropped_records, "reason": reason}
        self.dropped_bytes = self.dropped_records = 0
        return record
