"""The codec `idna`, for host names that are ASCII already; in the layer it takes the place of `encodings.idna`.

Python encodes every host name with this codec, and its own needs half a megabyte of Unicode tables for names that
no intake, proxy or platform has. For ASCII it answers as `encodings.idna` does; anything else is a `UnicodeError`.
"""

import codecs
from typing import Any


class Codec(codecs.Codec):
    """The codec without state: `str.encode("idna")` and `bytes.decode("idna")`."""

    def encode(self, input: str, errors: str = "strict") -> tuple[bytes, int]:  # noqa: A002 -- the base's name
        """Return `input` as bytes if its labels have 1 to 63 characters; the last may be empty (RFC 1034, 3.1)."""
        name = input.encode("ascii")
        *labels, last = name.split(b".")
        if not all(0 < len(label) < 64 for label in labels) and name:
            raise UnicodeError("label empty or too long")
        if len(last) >= 64:
            raise UnicodeError("label too long")
        return name, len(input)

    def decode(self, input: Any, errors: str = "strict") -> tuple[str, int]:  # noqa: A002 -- the base's name
        """Return `input` as text, unless it has a label in punycode: nothing here could translate that."""
        name = bytes(input).decode("ascii")
        if any(label.lower().startswith("xn--") for label in name.split(".")):
            raise UnicodeError("punycode cannot be decoded here")
        return name, len(input)


def getregentry() -> codecs.CodecInfo:
    """What `encodings` asks a codec's module for."""
    return codecs.CodecInfo(name="idna", encode=Codec().encode, decode=Codec().decode)
