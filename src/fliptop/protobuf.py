"""As much of the protobuf wire format as metrics and traces need. A library would cost more to import than this to run.

Keys are written by the caller: field number times eight, plus the wire type.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

_MORE: Final = 0x80


@lru_cache(maxsize=512)  # lengths and times: few, and written over and over
def varint(number: int) -> bytes:
    """`number`, not negative, in as few bytes as it takes."""
    return packed((number,))


def unsigned(number: int) -> int:
    """A number of 64 bits as `varint` takes it: of a negative one, its two's complement."""
    return number & 0xFFFF_FFFF_FFFF_FFFF


def packed(numbers: Iterable[int]) -> bytes:
    """`numbers`, not negative, as varints in a row."""
    out = bytearray()
    for number in numbers:
        while number >= _MORE:
            out.append(number & 0x7F | _MORE)
            number >>= 7  # noqa: PLW2901 -- what is left of it
        out.append(number)
    return bytes(out)


def packed_signed(numbers: Iterable[int]) -> bytes:
    """`numbers` of either sign in a row (`sint32`, which folds the signs in: 0, -1, 1, -2, …)."""
    return packed([number * 2 if number >= 0 else -number * 2 - 1 for number in numbers])


def delimited(key: bytes, content: bytes) -> bytes:
    """A field of bytes, of text, of packed numbers or of a message."""
    return key + varint(len(content)) + content
