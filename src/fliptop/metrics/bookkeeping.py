"""The ledger as metrics: what has been accepted, delivered and dropped since it was told last.

`fliptop.items.accepted`, `fliptop.items.delivered` (tag `signal`) and `fliptop.items.dropped` (tags `signal`, `reason`)
are distributions, so that those of all environments add up. What is told with a flush does not include that flush; the
line at SHUTDOWN does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from fliptop.clock import Clock
from fliptop.metrics.samples import Sample, distribution
from fliptop.outbox.books import Books
from fliptop.outbox.ledger import Ledger

# Telling it costs as much as a few metrics of the function's own.
INTERVAL_S: Final = 60.0


class Bookkeeping:
    """Tells `add` what `ledger` says. What has been told stands in `books`, which may know more than this process."""

    def __init__(self, ledger: Ledger, books: Books, add: Callable[[Sample], None], clock: Clock) -> None:
        self._ledger = ledger
        self._books = books
        self._add = add
        self._clock = clock
        self._told_at = clock.wall()

    def tell(self, *, last: bool = False) -> None:
        """Tell what is new, if the last time is long enough ago or this is the `last` one."""
        now = self._clock.wall()
        if not last and 0 <= now - self._told_at < INTERVAL_S:
            return
        self._told_at = now
        for name, count, tags in list(self._counts()):
            told = "told:" + ".".join((name, *(tag.partition(":")[2] for tag in tags)))
            if new := count - self._books[told]:
                self._books.add(told, new)
                self._add(distribution(f"fliptop.items.{name}", new, tags))

    def _counts(self) -> Iterator[tuple[str, int, tuple[str, ...]]]:
        for signal, entry in self._ledger.summary().items():
            of_signal = f"signal:{signal}"
            yield "accepted", entry["accepted"], (of_signal,)
            yield "delivered", entry["delivered"], (of_signal,)
            for reason, count in entry["dropped"].items():
                yield "dropped", count, (of_signal, f"reason:{reason}")
