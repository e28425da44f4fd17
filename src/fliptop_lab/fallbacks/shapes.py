"""The shapes in which AWS puts log events into JSON → one shape."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

ARRAYS = ("events", "logEvents", "results")
"""Keys under which a document holds its log events."""
GROUPS = "/aws/lambda/"
# In a log group that functions share, the stream begins with the name of the function (Lambda, log stream names).
_STREAM = re.compile(r"\d{4}/\d\d/\d\d/([A-Za-z0-9_-]+)\[")


class Fields(NamedTuple):
    """One log event: its text, time in seconds since 1970 (None: not told), log group and stream ("": not told)."""

    message: str
    time: float | None = None
    group: str = ""
    stream: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """What a document says once for all its events (CloudWatch Logs subscriptions)."""

    group: str = ""
    stream: str = ""

    @classmethod
    def of(cls, document: object) -> Context:
        """Take it from a document, or from what precedes the events of one."""
        found = document if isinstance(document, Mapping) else {}
        return cls(_text(found.get("logGroup")), _text(found.get("logStream")))


def from_value(value: Any, context: Context) -> Iterator[Fields]:
    """Yield the log events that a JSON value is or holds."""
    if isinstance(value, list):  # Logs Insights, get-query-results: a row is a list of fields
        value = {cell["field"]: cell.get("value") for cell in value if isinstance(cell, dict) and "field" in cell}
    if not isinstance(value, dict):
        return
    if array := next((value[name] for name in ARRAYS if isinstance(value.get(name), list)), None):
        for each in array:
            yield from from_value(each, context)
    elif "@message" in value:
        time, group, stream = value.get("@timestamp"), value.get("@log"), value.get("@logStream")
        yield Fields(_message(value["@message"]), seconds(time), _text(group), _text(stream))
    elif isinstance(value.get("message"), str) and "timestamp" in value and "type" not in value:
        group = value.get("logGroupName") or value.get("logGroup") or context.group
        stream = value.get("logStreamName") or value.get("logStream") or context.stream
        yield Fields(value["message"].strip(), seconds(value["timestamp"]), _text(group), _text(stream))
    else:  # the message itself is JSON
        yield Fields(json.dumps(value), seconds(value.get("time")), context.group, context.stream)


def seconds(value: object) -> float | None:
    """Return a time in seconds since 1970: from milliseconds, or ISO 8601 (UTC where it names no zone)."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value / 1000
    if not isinstance(value, str):
        return None
    if value.isdecimal():
        return int(value) / 1000
    try:
        time = datetime.fromisoformat(value.replace(",", "."))
    except ValueError:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def function_of_group(group: str) -> str:
    """Return the function of a log group (`[account:]/aws/lambda/<name>`), "" for a group that functions may share."""
    _, found, name = group.partition(GROUPS)
    return name if found else ""


def function_of_stream(stream: str) -> str:
    """Return the function that the name of a log stream tells, "" where it does not."""
    found = _STREAM.match(stream)
    return found[1] if found else ""


def _message(value: object) -> str:
    return value.strip() if isinstance(value, str) else json.dumps(value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
