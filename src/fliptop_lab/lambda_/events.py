"""What the platform emits: the transcript's records, and the Telemetry API's events in their exact shape.

Pure functions: time comes in as epoch seconds, events go out as data. Source: Telemetry API event schema.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

Category = Literal["platform", "function", "extension"]
CATEGORIES: tuple[Category, ...] = ("platform", "function", "extension")


@dataclass(frozen=True, slots=True)
class Record:
    """One line of an environment's transcript.

    `kind` is `telemetry` (an event the platform generated), `api` (a call to one of its APIs), `event` (INVOKE or
    SHUTDOWN handed to an extension), `process` (start, exit), `delivery` (a telemetry batch, retry or drop) or `phase`
    (freeze, thaw, signal, shutdown, kill). `wall` is epoch seconds, `ns` is CLOCK_MONOTONIC.
    """

    kind: str
    name: str
    wall: float
    ns: int
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """One telemetry event; `record` is what JSON will carry, for log events the line as printed."""

    time: str
    type: str
    record: Any

    @property
    def category(self) -> Category:
        """The subscription type that selects this event."""
        return "platform" if self.type.startswith("platform.") else self.type  # type: ignore[return-value]


def iso(wall: float) -> str:
    """Epoch seconds as Lambda writes them: UTC, milliseconds, `Z`."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ms(ns: int) -> float:
    """Nanoseconds as Lambda reports durations: milliseconds with three decimals."""
    return round(ns / 1e6, 3)


def encode(event: Event, *, json_logs: bool) -> bytes:
    """The event as a member of a batch; JSON log lines become objects if `json_logs` (schema ≥ 2022-12-13)."""
    record = event.record
    if json_logs and event.type in ("function", "extension"):
        record = as_object(record)
    return json.dumps({"time": event.time, "type": event.type, "record": record}, ensure_ascii=False).encode()


def as_object(line: str) -> Any:
    """A line that is a JSON object as that object, any other line unchanged."""
    if not line.lstrip().startswith("{"):
        return line
    try:
        parsed = json.loads(line)
    except ValueError:
        return line
    return parsed if isinstance(parsed, dict) else line


def as_logs(event: Event, schema: str) -> list[Event]:
    """The event in the vocabulary of the older Logs API: no init events, fewer fields, and an end of its own."""
    record = event.record
    match event.type:
        case "function" | "extension" | "platform.extension" | "platform.logsDropped":
            return [event]
        case "platform.telemetrySubscription":
            return [Event(event.time, "platform.logsSubscription", record)]
        case "platform.start":
            return [Event(event.time, event.type, {key: record[key] for key in ("requestId", "version")})]
        case "platform.runtimeDone" if schema == "2021-03-18":
            return [Event(event.time, event.type, {key: record[key] for key in ("requestId", "status")})]
        case "platform.report":
            end = Event(event.time, "platform.end", {"requestId": record["requestId"]})
            return [end, Event(event.time, event.type, {key: record[key] for key in ("requestId", "metrics")})]
    return []


def span(name: str, wall: float, ns: int) -> dict[str, Any]:
    """A member of `spans`: when it started and how many nanoseconds it took."""
    return {"name": name, "start": iso(wall), "durationMs": ms(ns)}


def tracing(header: str | None) -> dict[str, Any]:
    """The `tracing` member, or nothing when the invocation is not traced."""
    return {"tracing": {"type": "X-Amzn-Trace-Id", "value": header}} if header else {}


def outcome(status: str, error_type: str | None) -> dict[str, Any]:
    """`status`, and `errorType` where there is one to tell."""
    return {"status": status} | ({"errorType": error_type} if error_type else {})


def extension_line(record: Mapping[str, Any]) -> str:
    """CloudWatch's EXTENSION line for a `platform.extension` record."""
    events: Sequence[str] = record["events"]
    tail = f"\tError Type: {record['errorType']}" if "errorType" in record else ""
    return f"EXTENSION\tName: {record['name']}\tState: {record['state']}\tEvents: [{', '.join(events)}]{tail}"
