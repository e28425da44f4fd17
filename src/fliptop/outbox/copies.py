"""Copies for an additional endpoint: the same bytes, with a key, an outbox and a breaker of their own.

An item is delivered when the main endpoint has it. A copy is an item of a signal of its own (`logs_copies`), so that
the books tell of both, and whatever becomes of a copy costs the original nothing.
"""

from typing import Final, NamedTuple

from fliptop.clock import Clock
from fliptop.outbox.ledger import Ledger
from fliptop.outbox.outbox import Budget, Outbox, Send
from fliptop.outbox.payload import Payload

# Less than the main endpoint may hold back: the bodies of the two are the same memory only while both wait.
CEILING_BYTES: Final = 2 * 1024 * 1024


class Place(NamedTuple):
    """Where copies of payloads of `signals` go: in their URLs, `url` takes the place of `instead_of`."""

    signals: frozenset[str]
    instead_of: str
    url: str


class Copies:
    """What one additional endpoint gets. `send` sends with that endpoint's key."""

    def __init__(self, place: Place, ledger: Ledger, clock: Clock, send: Send) -> None:
        self._place = place
        self._ledger = ledger
        self._outbox = Outbox(ledger, clock, CEILING_BYTES, name=f"the additional endpoint {place.url}")
        self._send = send

    @property
    def items(self) -> int:
        """Items in all waiting copies."""
        return self._outbox.items

    def take(self, payload: Payload) -> None:
        """Copy `payload`, if it is of a signal that goes there."""
        place, signal = self._place, f"{payload.signal}_copies"
        if payload.signal in place.signals:
            self._ledger.accept(signal, payload.items)
            self._outbox.put(
                payload._replace(signal=signal, url=place.url + payload.url.removeprefix(place.instead_of))
            )

    async def flush(self, budget: Budget, last: bool) -> None:
        """See `Outbox.flush`."""
        await self._outbox.flush(self._send, budget, last=last)

    def wind_down(self) -> None:
        """See `Outbox.wind_down`."""
        self._outbox.wind_down()

    def drop_all(self, reason: str) -> None:
        """Give up everything that is waiting."""
        self._outbox.drop_all(reason)
