"""An environment's memory: every record in order, and the lines that CloudWatch would show."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from fliptop_lab.lambda_.events import Event, Record, extension_line, iso


class Transcript:
    """Collects records and log lines; passes each record to `on_event`."""

    def __init__(self, log_format: Literal["Text", "JSON"], on_event: Callable[[Record], None] | None) -> None:
        self.records: list[Record] = []
        self.log: list[str] = []
        self._log_format, self._on_event = log_format, on_event

    def note(self, kind: str, name: str, data: Mapping[str, Any], ns: int | None = None) -> Record:
        """Appends a record; `ns` when the thing happened before now."""
        record = Record(kind, name, time.time(), time.monotonic_ns() if ns is None else ns, data)
        self.records.append(record)
        if self._on_event is not None:
            self._on_event(record)
        return record

    def stamp(self, kind: str, record: Any) -> Event:
        """A telemetry event of this moment, noted and logged."""
        noted = self.note("telemetry", kind, record if isinstance(record, Mapping) else {"line": record})
        event = Event(iso(noted.wall), kind, record)
        self.log += self._lines(event)
        return event

    def say(self, line: str) -> None:
        """A line that only CloudWatch has."""
        self.log.append(line)

    def _lines(self, event: Event) -> list[str]:
        if event.type in ("function", "extension"):
            return [event.record.rstrip("\n")]
        if self._log_format == "JSON":
            return [json.dumps({"time": event.time, "type": event.type, "record": event.record})]
        return platform_lines(event)


def platform_lines(event: Event) -> list[str]:
    """What the text log format shows of a platform event."""
    writer = LINES.get(event.type)
    return writer(event.record) if writer else []


def _init_start(record: Mapping[str, Any]) -> list[str]:
    version = f"Runtime Version: {record['runtimeVersion']}"
    return [f"INIT_START {version}\tRuntime Version ARN: {record['runtimeVersionArn']}"]


def _subscription(record: Mapping[str, Any]) -> list[str]:
    types = ", ".join(kind.capitalize() for kind in record["types"])
    return [f"TELEMETRY\tName: {record['name']}\tState: {record['state']}\tTypes: [{types}]"]


def _start(record: Mapping[str, Any]) -> list[str]:
    return [f"START RequestId: {record['requestId']} Version: {record['version']}"]


def _status(record: Mapping[str, Any]) -> str:
    error_type = f"\tError Type: {record['errorType']}" if "errorType" in record else ""
    return f"Status: {record['status']}{error_type}"


def _init_report(record: Mapping[str, Any]) -> list[str]:
    if record["status"] == "success":
        return []
    duration = f"INIT_REPORT Init Duration: {record['metrics']['durationMs']:.2f} ms"
    return [f"{duration}\tPhase: {record['phase']}\t{_status(record)}"]


def _report(record: Mapping[str, Any]) -> list[str]:
    metrics = record["metrics"]
    parts = [
        f"REPORT RequestId: {record['requestId']}",
        f"Duration: {metrics['durationMs']:.2f} ms",
        f"Billed Duration: {metrics['billedDurationMs']} ms",
        f"Memory Size: {metrics['memorySizeMB']} MB",
        f"Max Memory Used: {metrics['maxMemoryUsedMB']} MB",
    ]
    if "initDurationMs" in metrics:
        parts.append(f"Init Duration: {metrics['initDurationMs']:.2f} ms")
    if record["status"] != "success":
        parts.append(_status(record))
    return [f"END RequestId: {record['requestId']}", "\t".join(parts)]


LINES: Mapping[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "platform.initStart": _init_start,
    "platform.initReport": _init_report,
    "platform.extension": lambda record: [extension_line(record)],
    "platform.telemetrySubscription": _subscription,
    "platform.start": _start,
    "platform.report": _report,
}
