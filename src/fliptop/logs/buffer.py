"""Encoded log entries waiting for a flush: bounded, in order, taken out in batches that the intake accepts."""

from __future__ import annotations

from collections import deque
from typing import Final

from fliptop.outbox.ledger import Ledger

SIGNAL: Final = "logs"
# Limits of the intake for one payload, before compression. Source: Datadog's API reference, "Send logs".
MAX_BATCH_ENTRIES: Final = 1000
MAX_BATCH_BYTES: Final = 5_000_000
# What may wait here. Within one invocation nothing is sent, so this bounds what one invocation may log.
CEILING_BYTES: Final = 16 * 1024 * 1024


class LogBuffer:
    """First in, first out. Over `ceiling` bytes new entries are dropped, counted as `buffer_full`."""

    def __init__(self, ledger: Ledger, ceiling: int = CEILING_BYTES) -> None:
        self._ledger = ledger
        self._ceiling = ceiling
        self._entries: deque[bytes] = deque()
        self._size = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """Bytes of all entries."""
        return self._size

    def add(self, encoded: bytes) -> None:
        """Take over an entry that the ledger has accepted. One that fits into no payload is dropped, as `too_large`."""
        if len(encoded) + 2 > MAX_BATCH_BYTES:
            self._ledger.drop(SIGNAL, 1, "too_large")
            return
        if self._size + len(encoded) > self._ceiling:
            self._ledger.drop(SIGNAL, 1, "buffer_full")
            return
        self._entries.append(encoded)
        self._size += len(encoded)

    def clear(self) -> None:
        """Forget all entries; the caller books them."""
        self._entries.clear()
        self._size = 0

    def take(self) -> tuple[bytes, int] | None:
        """The next batch as a JSON array, and how many entries it holds; None when nothing waits."""
        batch: list[bytes] = []
        size = 1
        while self._entries and len(batch) < MAX_BATCH_ENTRIES and size + len(self._entries[0]) < MAX_BATCH_BYTES:
            encoded = self._entries.popleft()
            batch.append(encoded)
            size += len(encoded) + 1
        self._size -= sum(map(len, batch))
        return (b"[" + b",".join(batch) + b"]", len(batch)) if batch else None
