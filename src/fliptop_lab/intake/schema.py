"""Protobuf messages by their schema, read more strictly than servers do.

A server skips what it does not know, so a field under a wrong number, or of a wrong wire type, is lost without a word.
Here it is an error, and its text leads to it: ``tracerPayloads[0].chunks[2].spans[1].service: …``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from fliptop_lab.intake.protobuf import I64, LEN, VARINT, fields

Kind = Callable[[int, Any], Any]
"""(wire type, raw content) to a value; raises ``ValueError``."""


class Field(NamedTuple):
    """A field of a message: there once, a list, or the entries of a map."""

    name: str
    kind: Kind
    many: Literal["one", "list", "map"] = "one"


Schema = Mapping[int, Field]


class SchemaError(ValueError):
    """What a message must not contain. ``path`` leads to it, ``reason`` says what it is."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


def decode(data: bytes, schema: Schema) -> dict[str, Any]:
    """One message by the names of its fields; only those that are there, but all lists and maps.

    Raises ``ValueError`` for an unknown field, a wrong wire type, text that is not UTF-8, a number out of its range,
    and what should be there once and is there twice.
    """
    message: dict[str, Any] = {
        field.name: [] if field.many == "list" else {} for field in schema.values() if field.many != "one"
    }
    for number, wire_type, raw in fields(data):
        if number not in schema:
            raise ValueError(f"field {number} is unknown")
        _add(message, schema[number], wire_type, raw)
    return message


def _add(message: dict[str, Any], field: Field, wire_type: int, raw: int | bytes) -> None:
    name, kind, many = field
    path = name if many == "one" else f"{name}[{len(message[name])}]"
    try:
        value = kind(wire_type, raw)
    except SchemaError as error:
        raise SchemaError(f"{path}.{error.path}", error.reason) from error
    except ValueError as error:
        raise SchemaError(path, str(error)) from error
    if many == "list":
        message[name].append(value)
    elif many == "map":
        message[name].update([value])
    elif name in message:
        raise SchemaError(path, "there twice")
    else:
        message[name] = value


def nested(schema: Schema) -> Kind:
    """A message within a message."""
    return lambda wire_type, raw: decode(blob(wire_type, raw), schema)


def entry(key: Kind, value: Kind, default: Any) -> Kind:
    """An entry of a map, as a pair. What it leaves out is empty text, or ``default``."""
    schema = {1: Field("key", key), 2: Field("value", value)}

    # Most of a payload is tags that all spans share: reading them once makes a large one twice as fast.
    @lru_cache(4096)
    def read(wire_type: int, raw: Any) -> tuple[Any, Any]:
        found = decode(blob(wire_type, raw), schema)
        return found.get("key", "" if key is text else 0), found.get("value", default)

    return read


def _expect(wanted: int, wire_type: int) -> None:
    if wire_type != wanted:
        raise ValueError(f"wire type {wire_type} instead of {wanted}")


def blob(wire_type: int, raw: Any) -> bytes:
    """``bytes``."""
    _expect(LEN, wire_type)
    return bytes(raw)


def text(wire_type: int, raw: Any) -> str:
    """``string``."""
    return blob(wire_type, raw).decode()


def uint64(wire_type: int, raw: Any) -> int:
    """``uint64``."""
    _expect(VARINT, wire_type)
    return int(raw)


def int64(wire_type: int, raw: Any) -> int:
    """``int64``: two's complement."""
    number = uint64(wire_type, raw)
    return number - (1 << 64) if number >> 63 else number


def int32(wire_type: int, raw: Any) -> int:
    """``int32``, or an enumeration; encoded like ``int64``."""
    number = int64(wire_type, raw)
    if not -(1 << 31) <= number < 1 << 31:
        raise ValueError(f"{number} is out of range")
    return number


def uint32(wire_type: int, raw: Any) -> int:
    """``uint32``."""
    number = uint64(wire_type, raw)
    if number >> 32:
        raise ValueError(f"{number} is out of range")
    return number


def sint32(wire_type: int, raw: Any) -> int:
    """``sint32``, which folds the sign into the lowest bit."""
    number = uint32(wire_type, raw)
    return number >> 1 if number % 2 == 0 else -((number + 1) >> 1)


def boolean(wire_type: int, raw: Any) -> bool:
    """``bool``."""
    number = uint64(wire_type, raw)
    if number > 1:
        raise ValueError(f"{number} is neither true nor false")
    return bool(number)


def double(wire_type: int, raw: Any) -> float:
    """``double``."""
    _expect(I64, wire_type)
    (number,) = struct.unpack("<d", raw)
    return float(number)


def fixed64(wire_type: int, raw: Any) -> int:
    """``fixed64``."""
    _expect(I64, wire_type)
    return int.from_bytes(raw, "little")


def doubles(wire_type: int, raw: Any) -> list[float]:
    """Packed ``double``s."""
    packed = blob(wire_type, raw)
    if len(packed) % 8:
        raise ValueError(f"{len(packed)} bytes are no row of doubles")
    return list(struct.unpack(f"<{len(packed) // 8}d", packed))
