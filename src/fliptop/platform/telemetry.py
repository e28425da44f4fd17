"""Telemetry API records. One unreadable record never takes its neighbours with it. No I/O.

Source: Lambda developer guide, "Telemetry API Event schema reference". Fields and types that are not known pass
through: AWS adds them without notice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

# In one delivery; what is broken more often than this is not worth the time of looking on.
MAX_REFUSED: Final = 100


@dataclass(frozen=True, slots=True)
class Record:
    """One telemetry event. `time_ms` is epoch milliseconds, None when the event carried no readable time."""

    type: str
    time_ms: int | None
    record: Any

    def text(self, *path: str) -> str | None:
        """The string at `path` inside the record's object, or None."""
        value = self.value(*path)
        return value if isinstance(value, str) else None

    def number(self, *path: str) -> float | None:
        """The number at `path` inside the record's object, or None."""
        value = self.value(*path)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    def value(self, *path: str) -> Any:
        """Whatever is at `path` inside the record's object, or None."""
        value = self.record
        for name in path:
            if not isinstance(value, dict):
                return None
            value = value.get(name)
        return value


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A piece of a batch that is not a telemetry event; `reason` says why."""

    reason: str


def parse(body: bytes) -> Iterator[Record | Unreadable]:
    """The records of one delivery, in order. What cannot be read is reported in its place; nothing is raised."""
    try:
        events = orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body.decode("utf-8", "replace")
        try:
            events = orjson.loads(text)
        except orjson.JSONDecodeError:
            yield from _salvage(text)
            return
    for event in events if isinstance(events, list) else [events]:
        yield _record(event)


def _record(event: Any) -> Record | Unreadable:
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        return Unreadable("not an object with a type")
    return Record(event["type"], _epoch_ms(event.get("time")), event.get("record"))


def _salvage(text: str) -> Iterator[Record | Unreadable]:
    """Read a broken array element by element, so that a cut or garbled end costs only what it damages."""
    decode = json.JSONDecoder().raw_decode
    position, refused = 0, 0
    while (start := text.find("{", position)) >= 0 and refused < MAX_REFUSED:
        try:
            event, position = decode(text, start)
        except (ValueError, RecursionError):
            refused += 1
            yield Unreadable("not JSON")
            position = _next_event(text, start)
        else:
            yield _record(event)
    if not refused and not text.rstrip().endswith("]"):  # cut between two records: nobody knows how many are missing
        yield Unreadable("not a JSON array")


def _next_event(text: str, start: int) -> int:
    """Where the next event can begin: events are objects whose first key is `time` in all that Lambda sends."""
    found = [at for mark in ('{"time"', '{"type"') if (at := text.find(mark, start + 1)) >= 0]
    return min(found, default=len(text))


def _epoch_ms(value: object) -> int | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
