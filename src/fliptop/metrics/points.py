"""Points: what the samples of one context come to within one bucket of time.

Each point knows how many values it stands for (`samples`), so that the ledger can follow them into the payload. `add`
takes over values that stand for `weight` each, and returns the bytes by which the point grew. Source for the
arithmetic: intake-wire, 11 and 4.3; for histograms, timers and sets, which Datadog's extension drops, Datadog's agent.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from fliptop.metrics.samples import COUNT, DISTRIBUTION, GAUGE, HISTOGRAM, SET
from fliptop.metrics.sketch import Sketch

# Metric types of the intake (intake-wire, 3.2). A count goes as a count, with its sum.
TYPE_COUNT: Final = 1
TYPE_GAUGE: Final = 3
# What an entry takes in memory, about: a number in a list, an entry of a dictionary.
NUMBER_BYTES: Final = 32
ENTRY_BYTES: Final = 100
# Values of a distribution are put into its sketch by the dozen: it takes a third of the time per value.
PENDING: Final = 64


class HistogramOptions(NamedTuple):
    """What becomes of a histogram: `aggregates` out of max, min, median, avg, sum, count, and `percentiles` in percent.

    The defaults are those of Datadog's agent.
    """

    aggregates: tuple[str, ...] = ("max", "median", "avg", "count")
    percentiles: tuple[int, ...] = (95,)


class Value(NamedTuple):
    """One value for the intake: `suffix` goes behind the name of the metric."""

    suffix: str
    type: int
    value: float


class Count:
    """Counts add up, scaled by the sample rate."""

    __slots__ = ("samples", "value")

    def __init__(self) -> None:
        self.samples = 0
        self.value = 0.0

    def add(self, values: Any, weight: float) -> int:
        """Take over `values`."""
        self.samples += len(values)
        self.value += (values[0] if len(values) == 1 else sum(values)) * weight
        return 0

    def results(self, _options: HistogramOptions) -> Iterator[Value]:
        """What the intake is told."""
        yield Value("", TYPE_COUNT, self.value)


class Gauge:
    """The last value holds. Sample rates mean nothing here."""

    __slots__ = ("samples", "value")

    def __init__(self) -> None:
        self.samples = 0
        self.value = 0.0

    def add(self, values: Any, _weight: float) -> int:
        """Take over `values`."""
        self.samples += len(values)
        self.value = values[-1]
        return 0

    def results(self, _options: HistogramOptions) -> Iterator[Value]:
        """What the intake is told."""
        yield Value("", TYPE_GAUGE, self.value)


class Set:
    """How many different values there were, as a gauge. Sample rates mean nothing here."""

    __slots__ = ("samples", "values")

    def __init__(self) -> None:
        self.samples = 0
        self.values: set[bytes] = set()

    def add(self, values: Any, _weight: float) -> int:
        """Take over `values`."""
        self.samples += len(values)
        before = len(self.values)
        self.values.update(values)
        return (len(self.values) - before) * (ENTRY_BYTES + len(values[0]))

    def results(self, _options: HistogramOptions) -> Iterator[Value]:
        """What the intake is told."""
        yield Value("", TYPE_GAUGE, float(len(self.values)))


class Histogram:
    """Statistics over all values of this environment, computed here. A value at sample rate r counts 1/r times, whole
    times only.
    """

    __slots__ = ("samples", "values")

    def __init__(self) -> None:
        self.samples = 0
        self.values: dict[float, int] = {}

    def add(self, values: Any, weight: float) -> int:
        """Take over `values`."""
        self.samples += len(values)
        kept, times = self.values, int(weight)
        before = len(kept)
        for value in values:
            kept[value] = kept.get(value, 0) + times
        return (len(kept) - before) * ENTRY_BYTES

    def results(self, options: HistogramOptions) -> Iterator[Value]:
        """What the intake is told: a gauge for each statistic, but a count for the count."""
        ordered = sorted(self.values)
        count = sum(self.values.values())
        total = sum(value * times for value, times in self.values.items())
        known = {
            "max": ordered[-1],
            "min": ordered[0],
            "median": self._ranked(ordered, (count - 1) // 2),
            "avg": total / count,
            "sum": total,
            "count": float(count),
        }
        for name in options.aggregates:
            yield Value(f".{name}", TYPE_COUNT if name == "count" else TYPE_GAUGE, known[name])
        for percent in options.percentiles:
            yield Value(f".{percent}percentile", TYPE_GAUGE, self._ranked(ordered, (percent * count - 1) // 100))

    def _ranked(self, ordered: list[float], rank: int) -> float:
        """The value at `rank`, counting from 0, if each were written down as often as it counts."""
        for value in ordered:
            rank -= self.values[value]
            if rank < 0:
                return value
        return ordered[-1]


class Distribution:
    """Statistics over all environments, computed by Datadog: what travels is a sketch."""

    __slots__ = ("_pending", "_sketch", "_times", "samples")

    def __init__(self) -> None:
        self.samples = 0
        self._times = 1
        self._pending: list[float] = []
        self._sketch = Sketch()

    def add(self, values: Any, weight: float) -> int:
        """Take over `values`. A value at sample rate r counts 1/r times, whole times only."""
        self.samples += len(values)
        freed = self._insert_pending() if int(weight) != self._times else 0
        self._times = int(weight)
        self._pending += values
        grown = len(values) * NUMBER_BYTES
        if len(self._pending) >= PENDING:
            freed += self._insert_pending()
        return grown - freed

    def _insert_pending(self) -> int:
        """Returns the bytes that this freed, a negative number if the sketch grew by more."""
        pending, self._pending = self._pending, []
        before = len(self._sketch.bins)
        if pending:
            self._sketch.insert(pending, self._times)
        return len(pending) * NUMBER_BYTES - (len(self._sketch.bins) - before) * ENTRY_BYTES

    def sketch(self) -> Sketch:
        """Everything so far."""
        self._insert_pending()
        return self._sketch


Point = Count | Gauge | Set | Histogram | Distribution

POINTS: Final[dict[str, type[Point]]] = {
    COUNT: Count,
    GAUGE: Gauge,
    SET: Set,
    HISTOGRAM: Histogram,
    DISTRIBUTION: Distribution,
}
