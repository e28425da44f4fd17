"""As much of reading protobuf as an intake for metrics needs; shares nothing with what the extension writes with."""

from __future__ import annotations

import struct

Field = int | float | bytes
Message = dict[int, list[Field]]


def read(data: bytes) -> Message:
    """The fields of one message by number: ints for varints, floats for doubles, bytes for everything with a length.

    Raises ``ValueError`` for what is no message.
    """
    message: Message = {}
    position = 0
    while position < len(data):
        key, position = varint(data, position)
        value, position = _field(data, position, key & 7)
        message.setdefault(key >> 3, []).append(value)
    return message


def _field(data: bytes, position: int, wire_type: int) -> tuple[Field, int]:
    if wire_type == 0:
        return varint(data, position)
    if wire_type == 1:
        end = position + 8
    elif wire_type == 2:
        size, position = varint(data, position)
        end = position + size
    else:
        raise ValueError(f"wire type {wire_type} at byte {position}")
    if end > len(data):
        raise ValueError(f"cut off at byte {len(data)}")
    content = data[position:end]
    return (struct.unpack("<d", content)[0] if wire_type == 1 else content), end


def varint(data: bytes, position: int) -> tuple[int, int]:
    """One varint from ``position``, and where the next thing begins. Raises ``ValueError``."""
    number = shift = 0
    while position < len(data) and shift < 70:
        byte = data[position]
        number |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
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
