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

    async def take(self) -> T:
        """The oldest item, waiting until there is one. Say `done` when it has been read."""
        while (item := self.pop()) is None:
            await self.arrived()
        return item

    def pop(self) -> T | None:
        """The oldest item, None if there is none. Say `done` when it has been read."""
        if not self._waiting:
            return None
        item, size = self._waiting.popleft()
        self._size -= size
        return item

    async def arrived(self) -> None:
        """Wait until there is an item."""
        while not self._waiting:
            self._arrived = anyio.Event()
            await self._arrived.wait()

    def done(self) -> None:
        """The item that was taken has been read."""
        self._ledger.deliver(self._signal, 1)

    def give_up(self, reason: str) -> None:
        """Nobody reads any more."""
        self._waiting.clear()
        self._size = 0
        self._ledger.drop(self._signal, self._ledger.pending(self._signal), reason)

    @property
    def empty(self) -> bool:
        """True when everything has been taken."""
        return not self._waiting
