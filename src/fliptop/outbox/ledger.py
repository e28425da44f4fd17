"""The ledger: accepted = delivered + pending + dropped, with a reason for every drop, per signal, at every moment.

An item is accepted when the extension has taken it over; from then on it is pending until the ledger is told that the
intake took it (`deliver`) or that it was given up (`drop`). Nothing else may make an item disappear.
"""

from __future__ import annotations

from typing import Any, Final

from fliptop.outbox.books import Books

DIED: Final = "extension_died"


class Ledger:
    """Counts of items, per signal (`logs`, …; a word). What is pending is what was accepted and not yet settled.

    `books` may hold what a process before this one counted: what was pending then died with it.
    """

    def __init__(self, books: Books | None = None) -> None:
        self._books = books or Books()
        self._settled: dict[str, int] = {}
        for signal in self._signals():
            # No more than there was, whatever a dying process has left there.
            self._settled[signal] = min(self.accepted(signal), self.delivered(signal) + self.dropped(signal))
            self.drop(signal, self.pending(signal), DIED)

    def accept(self, signal: str, items: int = 1) -> None:
        """`items` of `signal` are ours now."""
        self._books.add(f"{signal} accepted", items)

    def deliver(self, signal: str, items: int) -> None:
        """The intake took `items` that were pending. Raises `ValueError` if no so many are."""
        self._settle(signal, items)
        self._books.add(f"{signal} delivered", items)

    def drop(self, signal: str, items: int, reason: str) -> None:
        """Give up `items` that were pending, for `reason` (a short stable word). Raises `ValueError` likewise."""
        self._settle(signal, items)
        if items:
            self._books.add(f"{signal} dropped {reason}", items)

    def _settle(self, signal: str, items: int) -> None:
        if items > self.pending(signal):
            raise ValueError(f"{items} {signal} settled, but only {self.pending(signal)} are pending")
        self._settled[signal] = self._settled.get(signal, 0) + items

    def accepted(self, signal: str) -> int:
        """How many items of `signal` were ever accepted."""
        return self._books[f"{signal} accepted"]

    def delivered(self, signal: str) -> int:
        """How many the intake took."""
        return self._books[f"{signal} delivered"]

    def dropped(self, signal: str, reason: str | None = None) -> int:
        """How many were given up, for `reason` or for whatever reason."""
        if reason is not None:
            return self._books[f"{signal} dropped {reason}"]
        return sum(self._reasons(signal).values())

    def pending(self, signal: str) -> int:
        """How many are neither delivered nor dropped."""
        return self.accepted(signal) - self._settled.get(signal, 0)

    def summary(self) -> dict[str, Any]:
        """Per signal `accepted`, `delivered`, `pending` and `dropped` (reason → count), for the line at SHUTDOWN."""
        return {
            signal: {
                "accepted": self.accepted(signal),
                "delivered": self.delivered(signal),
                "pending": self.pending(signal),
                "dropped": self._reasons(signal),
            }
            for signal in self._signals()
        }

    def _signals(self) -> list[str]:
        end = " accepted"
        return sorted(name.removesuffix(end) for name in self._books.names() if name.endswith(end))

    def _reasons(self, signal: str) -> dict[str, int]:
        start = f"{signal} dropped "
        return {name.removeprefix(start): self._books[name] for name in self._books.names() if name.startswith(start)}
