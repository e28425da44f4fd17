"""From whatever stands in a message to what its field may hold. Nothing here raises: what cannot be used is as good as
not written, and costs its own field only.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

MOST: Final = 2**63 - 1
LEAST: Final = -(2**63)
_64_BITS: Final = 2**64 - 1


def text(value: Any) -> str:
    """`value` if it is text; bytes as UTF-8, broken ones replaced; else nothing."""
    if type(value) is str:
        return value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def tag(value: Any) -> str | None:
    """The value of a tag. Numbers and booleans are written out as JSON would; None for what is no tag."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return text(value) if isinstance(value, str | bytes) else None


def identifier(value: Any) -> int:
    """An unsigned number of 64 bits. Some tracers write the upper half of them as negative ones."""
    return value & _64_BITS if type(value) is int else 0


def integer(value: Any) -> int:
    """A signed number of 64 bits; 0 for what is none."""
    if type(value) is int:
        return value if LEAST <= value <= MOST else 0
    if isinstance(value, float) and isfinite(value) and abs(value) < MOST:
        return int(value)
    return int(value) if isinstance(value, bool) else 0


def number(value: Any) -> float:
    """A finite number; 0 for what is none."""
    return float(value) if isinstance(value, int | float) and isfinite(value) else 0.0


def flag(value: Any) -> int:
    """A number of 32 bits that says whether there was an error."""
    found = integer(value)
    return found if -(2**31) <= found < 2**31 else int(found != 0)


def texts(value: Any) -> dict[str, str]:
    """A map of tags, without those that are none."""
    if not isinstance(value, dict):
        return {}
    if all(type(key) is str and type(item) is str for key, item in value.items()):
        return value
    pairs = ((tag(key), tag(item)) for key, item in value.items())
    return {key: item for key, item in pairs if key is not None and item is not None}


def numbers(value: Any) -> dict[str, float]:
    """A map of numbers, without what is not finite."""
    if not isinstance(value, dict):
        return {}
    return {text(key): float(item) for key, item in value.items() if isinstance(item, int | float) and isfinite(item)}


def blobs(value: Any) -> dict[str, bytes]:
    """A map of bytes."""
    if not isinstance(value, dict):
        return {}
    return {text(key): item for key, item in value.items() if isinstance(item, bytes)}


def maps(value: Any) -> list[Mapping[Any, Any]]:
    """A list of maps."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
