"""The inbox: what a listener has accepted and nobody has read yet. Bounded, so that a listener can say no.

Whoever sent it forgets it once it has been accepted. So the ledger knows of it from then on, as one item, until the
reader has made lines, records or spans of it, which are accounted for by themselves.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Generic, TypeVar

import anyio

from fliptop.outbox.ledger import Ledger

DELIVERIES: Final = "deliveries"
CEILING_BYTES: Final = 16 * 1024 * 1024

T = TypeVar("T")


class Inbox(Generic[T]):
    """First in, first out, for one reader; each is one item of `signal`. `put` never waits; `take` does. `ceiling` is
    in bytes.
    """

    def __init__(self, ledger: Ledger, ceiling: int = CEILING_BYTES, signal: str = DELIVERIES) -> None:
        self._ledger = ledger
        self._ceiling = ceiling
        self._signal = signal
        self._waiting: deque[tuple[T, int]] = deque()
        self._size = 0
        self._arrived = anyio.Event()

    def put(self, item: T, size: int) -> bool:
        """Keep `item`, of `size` bytes, for the reader; False when there is no room for it."""
        if self._size + size > self._ceiling:
            return False
        self._ledger.accept(self._signal)
        self._waiting.append((item, size))
        self._size += size
        self._arrived.set()
        return True

    def refuse(self, reason: str) -> None:
        """An item was not taken over, and whoever sent it may not send it again: count it."""
        self._ledger.accept(self._signal)
        self._ledger.drop(self._signal, 1, reason)

    async def take(self) -> T:
        """The oldest item, waiting until there is one. Say `done` when it has been read, or `lost`."""
        while not self._waiting:
            self._arrived = anyio.Event()
            await self._arrived.wait()
        item, size = self._waiting.popleft()
        self._size -= size
        return item

    def done(self) -> None:
        """The item that was taken has been read."""
        self._ledger.deliver(self._signal, 1)

    def lost(self, reason: str) -> None:
        """The item that was taken could not be read."""
        self._ledger.drop(self._signal, 1, reason)

    def __len__(self) -> int:
        return len(self._waiting)

    def give_up(self, reason: str) -> None:
        """Nobody reads any more."""
        self._waiting.clear()
        self._size = 0
        self._ledger.drop(self._signal, self._ledger.pending(self._signal), reason)

    @property
    def empty(self) -> bool:
        """True when everything has been taken."""
        return not self._waiting
