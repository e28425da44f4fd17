"""Sealed payloads: encoded, compressed and numbered once. Every attempt to send one sends the same bytes.

A payload that the intake finds too large is taken apart again, into halves that are sealed anew. What that needs is
kept beside the bytes, eight bytes for each piece; the work is done only when it happens.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from fliptop.compression import CODINGS, Coding

Headers = tuple[tuple[str, str], ...]


class Payload(NamedTuple):
    """What goes to the intake in one request.

    `number` tells payloads of one signal apart; `items` is how many the ledger settles when its fate is known;
    `url` is complete; `headers` are all but the API key, which may change between attempts. `pieces` and `sealer` are
    what `halves` needs; without them, a payload is one piece.
    """

    number: int
    signal: str
    items: int
    url: str
    headers: Headers
    body: bytes
    pieces: bytes = b""
    sealer: "Sealer | None" = None

    def halves(self) -> "tuple[Payload, ...]":
        """The same items in two payloads, in order, for the same place; none if this is a single piece."""
        return self.sealer.halves(self) if self.sealer else ()


class Form(NamedTuple):
    """How pieces become a body: what stands before, between and behind them, and the headers that say so. `number`
    makes of how many they are what stands right before the first. `coding` is for what is compressed.
    """

    headers: Headers
    opening: bytes = b""
    separator: bytes = b""
    closing: bytes = b""
    number: Callable[[int], bytes] | None = None
    coding: Coding = "zstd"

    def begin(self, pieces: int) -> bytes:
        """What stands before so many pieces."""
        return self.opening + (self.number(pieces) if self.number else b"")


JSON_TYPE: Final = ("Content-Type", "application/json")
JSON_ARRAY: Final = Form((JSON_TYPE,), b"[", b",", b"]")


class Sealer:
    """Makes the payloads of `signal` for `url`. `level` is that of the form's coding, None for no compression;
    `numbers` gives each one the next number of its signal.
    """

    def __init__(self, signal: str, url: str, form: Form, level: int | None, numbers: Iterator[int]) -> None:
        self._signal = signal
        self._url = url
        self._form = form
        self._level = level
        self._numbers = numbers
        self._headers = form.headers if level is None else (*form.headers, ("Content-Encoding", form.coding))

    def seal(self, pieces: Sequence[bytes], items: Sequence[int]) -> Payload:
        """A payload of `pieces`, each of which stands for so many `items`."""
        form = self._form
        body = form.begin(len(pieces)) + form.separator.join(pieces) + form.closing
        if self._level is not None:
            body = CODINGS[form.coding].pack(body, self._level)
        table = struct.pack(f"<{2 * len(pieces)}I", *map(len, pieces), *items)
        return Payload(next(self._numbers), self._signal, sum(items), self._url, self._headers, body, table, self)

    def halves(self, payload: Payload) -> tuple[Payload, ...]:
        """See `Payload.halves`."""
        table = struct.unpack(f"<{len(payload.pieces) // 4}I", payload.pieces)
        number = len(table) // 2
        if number < 2:
            return ()
        pieces, items, middle = self._apart(payload.body, table[:number]), table[number:], number // 2
        halves = (self.seal(pieces[:middle], items[:middle]), self.seal(pieces[middle:], items[middle:]))
        return tuple(half._replace(signal=payload.signal, url=payload.url) for half in halves)

    def _apart(self, body: bytes, lengths: Sequence[int]) -> list[bytes]:
        raw = body if self._level is None else CODINGS[self._form.coding].unpack(body)
        pieces, start = [], len(self._form.begin(len(lengths)))
        for length in lengths:
            pieces.append(raw[start : start + length])
            start += length + len(self._form.separator)
        return pieces
