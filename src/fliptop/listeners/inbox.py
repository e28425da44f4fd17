"""The inbox: bodies that a listener has accepted and nobody has read yet. Bounded, so that a listener can say no.

The platform forgets a delivery once it has been accepted. So the ledger knows of it from then on, as one item, until
the reader has made lines and records of it, which are accounted for by themselves.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import anyio

from fliptop.outbox.ledger import Ledger

SIGNAL: Final = "deliveries"
CEILING_BYTES: Final = 16 * 1024 * 1024


class Inbox:
    """First in, first out, for one reader. `put` never waits; `take` does."""

    def __init__(self, ledger: Ledger, ceiling: int = CEILING_BYTES) -> None:
        self._ledger = ledger
        self._ceiling = ceiling
        self._bodies: deque[bytes] = deque()
        self._size = 0
        self._arrived = anyio.Event()

    def put(self, body: bytes) -> bool:
        """Keep `body` for the reader; False when there is no room for it."""
        if self._size + len(body) > self._ceiling:
            return False
        self._ledger.accept(SIGNAL)
        self._bodies.append(body)
        self._size += len(body)
        self._arrived.set()
        return True

    async def take(self) -> bytes:
        """The oldest body, waiting until there is one. Say `done` when it has been read."""
        while not self._bodies:
            self._arrived = anyio.Event()
            await self._arrived.wait()
        body = self._bodies.popleft()
        self._size -= len(body)
        return body

    def done(self) -> None:
        """The body that was taken has been read."""
        self._ledger.deliver(SIGNAL, 1)

    def give_up(self, reason: str) -> None:
        """Nobody reads any more."""
        self._bodies.clear()
        self._size = 0
        self._ledger.drop(SIGNAL, self._ledger.pending(SIGNAL), reason)

    @property
    def empty(self) -> bool:
        """True when everything has been taken."""
        return not self._bodies
