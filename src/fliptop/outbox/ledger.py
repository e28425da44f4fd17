"""The ledger: accepted = delivered + pending + dropped, with a reason for every drop, per signal, at every moment.

An item is accepted when the extension has taken it over; from then on it is pending until the ledger is told that the
intake took it (`deliver`) or that it was given up (`drop`). Nothing else may make an item disappear.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any


class Ledger:
    """Counts of items, per signal (`logs`, …). What is pending is what was accepted and not yet settled."""

    def __init__(self) -> None:
        self._accepted: Counter[str] = Counter()
        self._delivered: Counter[str] = Counter()
        self._dropped: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def accept(self, signal: str, items: int = 1) -> None:
        """`items` of `signal` are ours now."""
        self._accepted[signal] += items

    def deliver(self, signal: str, items: int) -> None:
        """The intake took `items` that were pending. Raises `ValueError` if no so many are."""
        self._settle(signal, items)
        self._delivered[signal] += items

    def drop(self, signal: str, items: int, reason: str) -> None:
        """Give up `items` that were pending, for `reason` (a short stable word). Raises `ValueError` likewise."""
        self._settle(signal, items)
        if items:
            self._dropped[signal][reason] += items

    def _settle(self, signal: str, items: int) -> None:
        if items > self.pending(signal):
            raise ValueError(f"{items} {signal} settled, but only {self.pending(signal)} are pending")

    def accepted(self, signal: str) -> int:
        """How many items of `signal` were ever accepted."""
        return self._accepted[signal]

    def delivered(self, signal: str) -> int:
        """How many the intake took."""
        return self._delivered[signal]

    def dropped(self, signal: str) -> int:
        """How many were given up, for whatever reason."""
        return sum(self._dropped[signal].values())

    def pending(self, signal: str) -> int:
        """How many are neither delivered nor dropped."""
        return self.accepted(signal) - self.delivered(signal) - self.dropped(signal)

    def summary(self) -> dict[str, Any]:
        """Per signal `accepted`, `delivered`, `pending` and `dropped` (reason → count), for the line at SHUTDOWN."""
        return {
            signal: {
                "accepted": self.accepted(signal),
                "delivered": self.delivered(signal),
                "pending": self.pending(signal),
                "dropped": dict(self._dropped[signal]),
            }
            for signal in sorted(self._accepted)
        }
