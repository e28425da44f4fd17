"""Points waiting to be sealed, one queue per endpoint, taken out in payloads that the intake accepts."""

from collections import deque
from typing import Final, NamedTuple

from fliptop.metrics.aggregator import Aggregated
from fliptop.metrics.encode import Encoder, Entries
from fliptop.outbox.ledger import Ledger
from fliptop.outbox.payload import Payload, Sealer

SIGNAL: Final = "metrics"


class Limits(NamedTuple):
    """What one payload may hold: `entries`, `size` bytes before compression, `compressed` bytes after it."""

    entries: int
    size: int
    compressed: int


# As many entries as Datadog's extension sends; bytes as the intake takes them (intake-wire, 3.5).
SERIES: Final = Limits(1000, 5_242_880, 512_000)
SKETCHES: Final = Limits(1000, 4_194_304, 2_621_440)


class PointQueue:
    """First in, first out. A point that fits into no payload is dropped as `too_large`, one that has no finite value as
    `not_finite`.
    """

    def __init__(self, ledger: Ledger, limits: Limits) -> None:
        self._ledger = ledger
        self._limits = limits
        self._waiting: deque[Aggregated] = deque()

    @property
    def samples(self) -> int:
        """Values in all points."""
        return sum(item.point.samples for item in self._waiting)

    def put(self, item: Aggregated) -> None:
        """Take over a point."""
        self._waiting.append(item)

    def clear(self) -> None:
        """Forget all points; the caller books them."""
        self._waiting.clear()

    def take(self, encoder: Encoder, sealer: Sealer) -> Payload | None:
        """The next payload, whose items are values; None when nothing waits."""
        while batch := self._batch(encoder):
            payload = _seal(batch, sealer)
            while len(payload.body) > self._limits.compressed and len(batch) > 1:
                half = len(batch) // 2
                self._waiting.extendleft(item for item, _ in reversed(batch[half:]))
                batch = batch[:half]
                payload = _seal(batch, sealer)
            if len(payload.body) <= self._limits.compressed:
                return payload
            self._drop(batch[0][0], "too_large")
        return None

    def _batch(self, encoder: Encoder) -> list[tuple[Aggregated, Entries]]:
        """As much as fits before compression; nothing only if nothing waits."""
        batch: list[tuple[Aggregated, Entries]] = []
        number = size = 0
        while self._waiting:
            entries = encoder.encode(self._waiting[0])
            if entries is None or len(entries.body) > self._limits.size:
                self._drop(self._waiting.popleft(), "too_large" if entries else "not_finite")
                continue
            number, size = number + entries.number, size + len(entries.body)
            if batch and (number > self._limits.entries or size > self._limits.size):
                break
            batch.append((self._waiting.popleft(), entries))
        return batch

    def _drop(self, item: Aggregated, reason: str) -> None:
        self._ledger.drop(SIGNAL, item.point.samples, reason)


def _seal(batch: list[tuple[Aggregated, Entries]], sealer: Sealer) -> Payload:
    return sealer.seal([entries.body for _, entries in batch], [entries.samples for _, entries in batch])
