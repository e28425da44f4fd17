"""The sketch in which Datadog's agent keeps a distribution: counts per bucket of a logarithmic scale, so that every
quantile is known to about 0.8 %, and sketches of many environments add up.

Source: intake-wire, 4.3, and extension-behaviour, appendix B.
"""

from __future__ import annotations

from math import inf, log, log1p
from typing import Final

_EPS: Final = 1 / 128
GAMMA: Final = 1 + 2 * _EPS
LN_GAMMA: Final = log1p(2 * _EPS)
BIAS: Final = 1338
# Whatever is nearer to zero counts as zero.
NORM_MIN: Final = GAMMA ** (1 - BIAS)
MAX_KEY: Final = 32767
MAX_BINS: Final = 4096
# Values below this have keys below MAX_KEY, so that all but the strangest need no clamping.
_NO_CLAMP: Final = 1e200


def key(value: float) -> int:
    """The bin of `value`, a finite number: 0 for zero, negative for negative numbers."""
    if value < 0:
        return -key(-value)
    if value < NORM_MIN:
        return 0
    return min(max(round(log(value) / LN_GAMMA) + BIAS, 1), MAX_KEY)


class Sketch:
    """Counts per bin, and the exact number, sum, minimum and maximum of what went in.

    Over `MAX_BINS` bins the lowest are merged into the lowest that is kept. The order of insertions and merges makes no
    difference to bins, count, minimum and maximum, and none but rounding to the sum.
    """

    __slots__ = ("bins", "count", "max", "min", "sum")

    def __init__(self) -> None:
        self.bins: dict[int, int] = {}
        self.count = 0
        self.sum = 0.0
        self.min = inf
        self.max = -inf

    def insert(self, values: list[float], weight: int = 1) -> None:
        """Add each of `values` (finite, at least one) `weight` times."""
        bins = self.bins
        for value in values:
            # `key`, without the call for nearly all values
            place = round(log(value) / LN_GAMMA) + BIAS if NORM_MIN <= value < _NO_CLAMP else key(value)
            bins[place] = bins.get(place, 0) + weight
        self._summarise(len(values) * weight, sum(values) * weight, min(values), max(values))

    def merge(self, other: Sketch) -> None:
        """Add everything that went into `other`."""
        for place, count in other.bins.items():
            self.bins[place] = self.bins.get(place, 0) + count
        self._summarise(other.count, other.sum, other.min, other.max)

    def _summarise(self, count: int, total: float, least: float, most: float) -> None:
        self.count += count
        self.sum += total
        self.min = min(self.min, least)
        self.max = max(self.max, most)
        if len(self.bins) > MAX_BINS:
            self._collapse()

    def _collapse(self) -> None:
        *surplus, lowest_kept = sorted(self.bins)[: len(self.bins) - MAX_BINS + 1]
        self.bins[lowest_kept] += sum(self.bins.pop(place) for place in surplus)

    @property
    def average(self) -> float:
        """The mean. Rounding never takes it out of the range of the values."""
        return min(max(self.sum / self.count, self.min), self.max)
