"""Encoded entries waiting for a flush: bounded, in order, taken out in payloads that the intake accepts."""

from collections import deque
from typing import NamedTuple

from fliptop.outbox.ledger import Ledger
from fliptop.outbox.payload import Payload, Sealer


class Limits(NamedTuple):
    """`entries` and `size` (bytes before compression) of one payload, and the bytes that may wait for a flush."""

    entries: int
    size: int
    ceiling: int


class EntryBuffer:
    """First in, first out; each entry is one item of `signal`. Over the ceiling new entries are dropped, counted as
    `buffer_full`; one that fits into no payload is dropped as `too_large`.
    """

    def __init__(self, signal: str, ledger: Ledger, sealer: Sealer, limits: Limits) -> None:
        self._signal = signal
        self._ledger = ledger
        self._sealer = sealer
        self._limits = limits
        self._entries: deque[bytes] = deque()
        self._size = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """Bytes of all entries."""
        return self._size

    def add(self, encoded: bytes) -> None:
        """Take over an entry that the ledger has accepted."""
        if len(encoded) + 2 > self._limits.size:
            self._ledger.drop(self._signal, 1, "too_large")
            return
        if self._size + len(encoded) > self._limits.ceiling:
            self._ledger.drop(self._signal, 1, "buffer_full")
            return
        self._entries.append(encoded)
        self._size += len(encoded)

    def clear(self) -> None:
        """Forget all entries; the caller books them."""
        self._entries.clear()
        self._size = 0

    def take(self) -> Payload | None:
        """The next payload; None when nothing waits."""
        batch: list[bytes] = []
        size, limits = 1, self._limits
        while self._entries and len(batch) < limits.entries and size + len(self._entries[0]) < limits.size:
            encoded = self._entries.popleft()
            batch.append(encoded)
            size += len(encoded) + 1
        self._size -= sum(map(len, batch))
        return self._sealer.seal(batch, [1] * len(batch)) if batch else None
