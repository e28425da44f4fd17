"""As much of the protobuf wire format as metrics need. A library would cost more to import than this to run.

Keys are written by the caller: field number times eight, plus the wire type.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_ONE_BYTE: Final = 0x80


def varint(number: int) -> bytes:
    """`number`, not negative, in as few bytes as it takes."""
    if number < _ONE_BYTE:
        return bytes((number,))
    return packed((number,))


def packed(numbers: Iterable[int]) -> bytes:
    """`numbers`, not negative, as varints in a row."""
    out = bytearray()
    for number in numbers:
        while number >= _ONE_BYTE:
            out.append(number & 0x7F | _ONE_BYTE)
            number >>= 7  # noqa: PLW2901 -- what is left of it
        out.append(number)
    return bytes(out)


def zigzag(number: int) -> int:
    """`number` of either sign as one that is not negative (`sint32`)."""
    return number * 2 if number >= 0 else -number * 2 - 1


def delimited(key: bytes, content: bytes) -> bytes:
    """A field of bytes, of text, of packed numbers or of a message."""
    return key + varint(len(content)) + content
