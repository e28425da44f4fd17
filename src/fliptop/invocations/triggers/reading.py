"""Reading events, which are JSON of any shape: what is not there, or is something else than expected, is nothing."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson

LONGEST_TEXT: Final = 4096
_MS: Final = 1_000_000
_LATEST_NS: Final = 2**63 - 1


def at(value: Any, path: str) -> Any:
    """What is at `path` (names and numbers with dots between them) inside `value`, None if nothing is."""
    for name in path.split("."):
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def text_of(value: Any) -> str:
    """A scalar as text, cut to `LONGEST_TEXT`; nothing for everything else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)[:LONGEST_TEXT] if isinstance(value, str | int | float) else ""


def text(value: Any, path: str) -> str:
    """The scalar at `path`, as text; nothing if there is none."""
    return text_of(at(value, path))


def picked(value: Any, table: Mapping[str, str]) -> dict[str, str]:
    """The tags of `table` (tag → path) that `value` has something for."""
    found = {tag: text(value, path) for tag, path in table.items()}
    return {tag: said for tag, said in found.items() if said}


def given(**tags: str) -> dict[str, str]:
    """Those of `tags` that say something, `__` in their names standing for a dot."""
    return {name.replace("__", "."): value for name, value in tags.items() if value}


def header(event: Any, name: str) -> str:
    """The header called `name` (lower case; in the event any case) of an event that is an HTTP request."""
    for headers in (at(event, "headers"), at(event, "multiValueHeaders")):
        for key, value in headers.items() if isinstance(headers, dict) else ():
            if key.lower() == name:
                return text_of(value[0] if isinstance(value, list) and value else value)
    return ""


def parsed(value: Any) -> Any:
    """What `value` says if it is JSON text, else None."""
    if not isinstance(value, str | bytes):
        return None
    try:
        return orjson.loads(value)
    except (orjson.JSONDecodeError, ValueError):
        return None


def unpacked(value: Any) -> Any:
    """What `value` says if it is JSON in Base64, else None."""
    try:
        return parsed(base64.b64decode(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def from_ms(value: Any) -> int:
    """Nanoseconds for milliseconds since the epoch, given as a number or as text; 0 if `value` is no such time."""
    return _scaled(value, _MS)


def from_seconds(value: Any) -> int:
    """Nanoseconds for seconds since the epoch, given as a number or as text; 0 if `value` is no such time."""
    return _scaled(value, 1000 * _MS)


def _scaled(value: Any, nanoseconds: int) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if isinstance(value, int):
        return _sane(value * nanoseconds)
    try:
        microseconds = round(float(value) * (nanoseconds // 1000)) if isinstance(value, float | str) else 0
    except (ValueError, OverflowError):
        return 0
    return _sane(microseconds * 1000)


def from_iso(value: Any) -> int:
    """Nanoseconds for a time as ISO 8601 writes it; 0 if `value` is no such time."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is None:
            return 0
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0
    return _sane(round(seconds * 1_000_000) * 1000)


def _sane(nanoseconds: int) -> int:
    return nanoseconds if 0 < nanoseconds <= _LATEST_NS else 0


def last_part(arn: str, separator: str = ":") -> str:
    """What follows the last `separator`."""
    return arn.rpartition(separator)[2]


def part(arn: str, number: int, separator: str = "/") -> str:
    """The part with that `number`, counting from 0; nothing if there are fewer."""
    pieces = arn.split(separator)
    return pieces[number] if number < len(pieces) else ""
