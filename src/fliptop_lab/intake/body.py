"""What is inside a request body: content encodings and JSON, with ceilings."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import orjson

from fliptop_lab.intake.refusals import Refusal

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

STEP = 1 << 16
"""Bytes of output asked for at a time, so that a bomb never grows past the ceiling by more than this."""


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


def decompress(wire: bytes, encoding: str, ceiling: int) -> bytes:
    """Undo ``Content-Encoding`` and return at most ``ceiling`` bytes.

    Knows ``identity`` (also empty), ``gzip``, ``deflate`` (zlib or raw) and ``zstd``; frames that do not say their
    size and several frames in a row are fine. Raises ``Refusal``: 415 for another encoding, 400 for bytes that do
    not decode or stop in the middle, 413 above the ceiling.
    """
    name = encoding.strip().lower() or "identity"
    decoders = {"identity": _identity, "gzip": _gzip, "deflate": _deflate, "zstd": _zstd}
    if name not in decoders:
        raise Refusal(415, f"content encoding {encoding!r} is not one of {', '.join(decoders)}")
    try:
        return _collect(decoders[name](wire), ceiling)
    except (zlib.error, zstd.ZstdError, EOFError) as error:
        raise Refusal(400, f"the body is not valid {name}: {error}") from error


def load_json(body: bytes) -> Any:
    """Parse a JSON body; ``Refusal`` 400 when it is not JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, f"the body is not JSON: {error}") from error


def _collect(chunks: Iterator[bytes], ceiling: int) -> bytes:
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > ceiling:
            raise Refusal(413, f"the body is larger than {ceiling} bytes uncompressed")
    return bytes(body)


def _identity(wire: bytes) -> Iterator[bytes]:
    yield wire


def _gzip(wire: bytes) -> Iterator[bytes]:
    return _zlib_frames(wire, 31)


def _deflate(wire: bytes) -> Iterator[bytes]:
    # "deflate" means the zlib format; raw deflate streams are common enough that servers take them too.
    looks_like_zlib = len(wire) >= 2 and wire[0] & 15 == 8 and int.from_bytes(wire[:2], "big") % 31 == 0
    return _zlib_frames(wire, 15 if looks_like_zlib else -15)


def _zlib_frames(wire: bytes, window: int) -> Iterator[bytes]:
    def start() -> tuple[Any, Callable[[bytes], bytes]]:
        decoder = zlib.decompressobj(window)
        return decoder, lambda data: decoder.decompress(data or decoder.unconsumed_tail, STEP)

    return _frames(wire, start)


def _zstd(wire: bytes) -> Iterator[bytes]:
    def start() -> tuple[Any, Callable[[bytes], bytes]]:
        decoder = zstd.ZstdDecompressor()
        return decoder, lambda data: decoder.decompress(data, STEP)

    return _frames(wire, start)


def _frames(wire: bytes, start: Callable[[], tuple[_Decompressor, Callable[[bytes], bytes]]]) -> Iterator[bytes]:
    while wire:
        decoder, step = start()
        chunk = step(wire)
        yield chunk
        while not decoder.eof:
            chunk = step(b"")
            if not chunk and not decoder.eof:
                raise EOFError("it ends in the middle of a frame")
            yield chunk
        wire = decoder.unused_data
