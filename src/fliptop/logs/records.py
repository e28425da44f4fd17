"""From a telemetry record to the text, level and request id of a log entry. Source: extension-behaviour, 6.2 to 6.4."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import orjson

from fliptop.platform.telemetry import Record

STATUS: Final = {
    "fatal": "critical",
    "critical": "critical",
    "error": "error",
    "err": "error",
    "warn": "warn",
    "warning": "warn",
    "info": "info",
    "information": "info",
    "debug": "debug",
    "trace": "trace",
}


class Line(NamedTuple):
    """What a record says as a log line. `request_id` is None when the record does not name one itself."""

    text: str
    status: str = "info"
    request_id: str | None = None
    tags: str = ""


def line(record: Record, runtime_ms: float | None = None) -> Line | None:
    """The log line for `record`, or None for records that are not logs (most `platform.*` records).

    `runtime_ms` is how long the runtime took for the same request (`platform.runtimeDone`), which REPORT repeats.
    """
    if record.type == "platform.report":
        return _report(record, runtime_ms)
    make = _LINES.get(record.type)
    return make(record) if make else None


def _init_start(record: Record) -> Line:
    version = record.text("runtimeVersion") or "?"
    arn = record.text("runtimeVersionArn") or "?"
    return Line(f"INIT_START Runtime Version: {version} Runtime Version ARN: {arn}")


def _start(record: Record) -> Line:
    request_id = record.text("requestId")
    return Line(f"START RequestId: {request_id} Version: {record.text('version') or '$LATEST'}", request_id=request_id)


def _runtime_done(record: Record) -> Line:
    request_id, status = record.text("requestId"), record.text("status")
    text = f"END RequestId: {request_id}"
    if status == "timeout":
        text += f" Task timed out after {(record.number('metrics', 'durationMs') or 0) / 1000:.2f} seconds"
    elif status in {"error", "failure"}:
        text += f' Task failed: "{record.text("errorType") or "unknown"}"'
    return Line(text, "info" if status == "success" else "error", request_id)


def _report(record: Record, runtime_ms: float | None) -> Line:
    def metric(name: str) -> float:
        return record.number("metrics", name) or 0.0

    request_id, duration_ms = record.text("requestId"), metric("durationMs")
    runtime_ms = duration_ms if runtime_ms is None else min(runtime_ms, duration_ms)
    text = (
        f"REPORT RequestId: {request_id} Duration: {duration_ms:.2f} ms "
        f"Runtime Duration: {runtime_ms:.2f} ms Post Runtime Duration: {duration_ms - runtime_ms:.2f} ms "
        f"Billed Duration: {metric('billedDurationMs'):.0f} ms Memory Size: {metric('memorySizeMB'):.0f} MB "
        f"Max Memory Used: {metric('maxMemoryUsedMB'):.0f} MB"
    )
    if record.number("metrics", "initDurationMs") is not None:
        text += f" Init Duration: {metric('initDurationMs'):.2f} ms"
    return Line(text, request_id=request_id)


def _output(record: Record) -> Line | None:
    """A line that the function or an extension wrote: text as it is, a JSON object as compact JSON."""
    said = record.record
    if isinstance(said, str):
        found = _object(said)
        return _structured(said, found) if found else Line(said)
    if isinstance(said, dict):
        return _structured(_dump(said), said)
    return None


def _structured(text: str, said: dict[str, Any]) -> Line:
    """Take level, request id and tags out of a JSON line (extension-behaviour, 6.3)."""
    level = said.get("level") if isinstance(said.get("level"), str) else said.get("status")
    status = STATUS.get(level.lower(), "info") if isinstance(level, str) else "info"
    request_id = next((said[key] for key in ("requestId", "AWSRequestId") if isinstance(said.get(key), str)), None)
    inner = said.get("message")
    if isinstance(said.get("ddtags"), str):
        rest = {key: value for key, value in said.items() if key != "ddtags"}
        return Line(_dump(rest), status, request_id, said["ddtags"])
    if isinstance(inner, dict) and isinstance(inner.get("ddtags"), str):
        rest = {key: value for key, value in inner.items() if key != "ddtags"}
        return Line(_dump(rest), status, request_id, inner["ddtags"])
    return Line(text, status, request_id)


def _object(text: str) -> dict[str, Any] | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _dump(value: dict[str, Any]) -> str:
    return orjson.dumps(value).decode()


_LINES: Final[dict[str, Callable[[Record], Line | None]]] = {
    "function": _output,
    "extension": _output,
    "platform.initStart": _init_start,
    "platform.start": _start,
    "platform.runtimeDone": _runtime_done,
}
