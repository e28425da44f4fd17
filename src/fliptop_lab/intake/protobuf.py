"""As much of reading protobuf as an intake needs; shares nothing with what the extension writes with."""

from __future__ import annotations

import struct
from collections.abc import Iterator

VARINT, I64, LEN = 0, 1, 2
"""The wire types that the intake's messages use."""
Field = int | float | bytes
Message = dict[int, list[Field]]


def read(data: bytes) -> Message:
    """The fields of one message by number: ints for varints, floats for doubles, bytes for everything with a length.

    Raises ``ValueError`` for what is no message.
    """
    message: Message = {}
    for number, wire_type, raw in fields(data):
        value = struct.unpack("<d", raw)[0] if wire_type == I64 and isinstance(raw, bytes) else raw
        message.setdefault(number, []).append(value)
    return message


def fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Number, wire type and raw content of each field of one message: an int for ``VARINT``, else bytes.

    Raises ``ValueError`` for what is no message.
    """
    position = 0
    while position < len(data):
        key, position = varint(data, position)
        number, wire_type = key >> 3, key & 7
        if not number:
            raise ValueError(f"a field without a number before byte {position}")
        raw, position = _content(data, position, wire_type)
        yield number, wire_type, raw


def _content(data: bytes, position: int, wire_type: int) -> tuple[int | bytes, int]:
    if wire_type == VARINT:
        return varint(data, position)
    if wire_type == I64:
        size = 8
    elif wire_type == LEN:
        size, position = varint(data, position)
    else:
        raise ValueError(f"wire type {wire_type} at byte {position}")
    if position + size > len(data):
        raise ValueError(f"cut off at byte {len(data)}")
    return data[position : position + size], position + size


def varint(data: bytes, position: int) -> tuple[int, int]:
    """One varint from ``position``, and where the next thing begins. Raises ``ValueError``."""
    if position < len(data) and data[position] < 0x80:
        return data[position], position + 1
    number = shift = 0
    while position < len(data) and shift < 70:
        byte = data[position]
        number |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            if number >> 64:
                raise ValueError(f"a number of more than 64 bits before byte {position}")
            return number, position
    raise ValueError(f"no number at byte {position}")


def unpacked(data: bytes) -> list[int]:
    """The varints of a packed field."""
    numbers, position = [], 0
    while position < len(data):
        number, position = varint(data, position)
        numbers.append(number)
    return numbers


def unpacked_signed(data: bytes) -> list[int]:
    """The same for ``sint32``, which folds the sign into the lowest bit."""
    return [number >> 1 if number % 2 == 0 else -((number + 1) >> 1) for number in unpacked(data)]
