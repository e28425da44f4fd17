"""Aggregation: the same results as Datadog's agent, in buckets of 10 seconds, within ceilings."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fliptop.metrics.aggregator import BUCKET_S, MOST_AHEAD_S, Aggregated, Aggregator, Limits
from fliptop.metrics.dogstatsd import DogStatsD
from fliptop.metrics.points import PENDING, Distribution, Histogram, HistogramOptions
from fliptop.metrics.samples import Context, Metric, Sample
from fliptop.metrics.sketch import key
from tests.conftest import MovedClock

ALL = HistogramOptions(("min", "max", "median", "avg", "sum", "count"), (50, 75, 95, 100))
NOW = 1_800_000_000


class Bucketing:
    """An aggregator fed with datagrams."""

    def __init__(self, clock: MovedClock, limits: Limits | None = None) -> None:
        self.aggregator = Aggregator(clock, limits or Limits())
        self.parser = DogStatsD()

    def add(self, *lines: str) -> list[str | None]:
        self.aggregator.advance()
        samples = [item for line in lines for item in self.parser.parse(line.encode())]
        return [self.aggregator.add(sample) for sample in samples if isinstance(sample, Sample)]

    def flush(self) -> dict[tuple[str, int], float]:
        """Value by name (with suffix) and time, of everything but distributions."""
        told = {}
        for item in self.aggregator.flush():
            if not isinstance(item.point, Distribution):
                for value in item.point.results(HistogramOptions()):
                    told[item.context.name + value.suffix, item.time] = value.value
        return told


@pytest.fixture
def bucketing(clock: MovedClock) -> Bucketing:
    return Bucketing(clock)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["a:1|c", "a:2:3|c", "a:-0.5|c"], {"a": 5.5}),
        (["a:1|c|@0.1", "a:3|c|@0.5"], {"a": 16}),
        (["a:1|g", "a:7:5|g|@0.1"], {"a": 5}),
        (["a:x|s", "a:y|s|@0.5", "a:x|s", "a:1:2|s"], {"a": 3}),
        (["a:4|h", "a:1:2|ms", "a:3|h"], {"a.max": 4, "a.median": 2, "a.avg": 2.5, "a.count": 4, "a.95percentile": 4}),
        (["a:10|h|@0.5", "a:1|h"], {"a.max": 10, "a.median": 10, "a.avg": 7, "a.count": 3, "a.95percentile": 10}),
        (["a:1|h|@0.3"], {"a.max": 1, "a.median": 1, "a.avg": 1, "a.count": 3, "a.95percentile": 1}),
    ],
)
def test_what_samples_come_to(bucketing: Bucketing, lines: list[str], expected: dict[str, float]) -> None:
    bucketing.add(*lines)
    assert bucketing.flush() == {(name, NOW): value for name, value in expected.items()}


def test_distributions_scale_with_the_sample_rate(bucketing: Bucketing) -> None:
    bucketing.add("a:5|d", "a:7:7|d|@0.5", "a:9|d|@0.3")
    (item,) = bucketing.aggregator.flush()
    assert isinstance(item.point, Distribution)
    sketch = item.point.sketch()
    assert sketch.bins == {key(5): 1, key(7): 4, key(9): 3}
    assert (sketch.count, sketch.sum, item.point.samples) == (8, 60.0, 4)


def test_contexts(bucketing: Bucketing) -> None:
    bucketing.add("a:1|c|#x,y", "a:2|c|#y,x,y", "a:4|c|#x", "a:8|g|#x", "b:16|c|#x", "a:32|c|T99|#x")
    found = {(item.context, item.time): item.point.samples for item in bucketing.aggregator.flush()}
    assert found == {
        (Context("a", "c", ("x",)), 99): 1,
        (Context("a", "c", ("x", "y")), NOW): 2,
        (Context("a", "c", ("x",)), NOW): 1,
        (Context("a", "g", ("x",)), NOW): 1,
        (Context("b", "c", ("x",)), NOW): 1,
    }


def test_time_closes_buckets(bucketing: Bucketing, clock: MovedClock) -> None:
    bucketing.add("a:1|c")
    clock.advance(9.9)
    bucketing.add("a:2|c")
    clock.advance(0.2)
    bucketing.add("a:4|c")
    clock.advance(3 * 3600)  # a freeze
    bucketing.add("a:8|c")
    assert bucketing.flush() == {("a", NOW): 3, ("a", NOW + 10): 4, ("a", NOW + 10810): 8}


def test_timestamps(bucketing: Bucketing, clock: MovedClock) -> None:
    clock.advance(5)
    bucketing.add(f"a:1|c|T{NOW - 33}", f"a:2|c|T{NOW - 33}", f"a:4|c|T{NOW - 34}", f"g:1|g|T{NOW + 4}")
    bucketing.add(f"g:3|g|T{NOW + 3600}", f"h:1|h|T{NOW - 33}", f"d:1|d|T{NOW - 33}", f"d:1|d|T{NOW + 3600}")
    times = {(item.context.name, item.time): item.point.samples for item in bucketing.aggregator.flush()}
    assert times == {
        ("a", NOW - 33): 2,
        ("a", NOW - 34): 1,
        ("g", NOW + 4): 1,
        ("g", NOW + 5): 1,  # the future is not believed
        ("h", NOW - 40): 1,
        ("d", NOW - 40): 1,
        ("d", NOW): 1,
    }


def test_a_flush_takes_the_open_bucket_and_what_follows_has_a_time_of_its_own(
    bucketing: Bucketing, clock: MovedClock
) -> None:
    bucketing.add("a:1|c", "d:1|d")
    clock.advance(3.5)
    assert bucketing.flush() == {("a", NOW): 1}
    assert bucketing.flush() == {}
    clock.advance(1)
    bucketing.add("a:2|c", "d:1|d")
    assert {(item.context.name, item.time) for item in bucketing.aggregator.flush()} == {("a", NOW + 3), ("d", NOW)}
    clock.advance(10)
    bucketing.add("a:4|c")
    assert bucketing.flush() == {("a", NOW + 10): 4}


def test_a_flush_of_nothing_or_of_distributions_cuts_no_bucket(bucketing: Bucketing, clock: MovedClock) -> None:
    bucketing.add("d:1|d")
    clock.advance(4)
    assert len(bucketing.aggregator.flush()) == 1
    bucketing.add("a:1|c")
    assert bucketing.flush() == {("a", NOW): 1}


def test_a_clock_that_goes_back_is_followed(bucketing: Bucketing, clock: MovedClock) -> None:
    bucketing.add("a:1|c")
    assert bucketing.flush() == {("a", NOW): 1}
    clock.advance(-100)
    bucketing.add("a:1|c")
    assert bucketing.flush() == {("a", NOW - 100): 1}


def test_contexts_are_bounded(clock: MovedClock) -> None:
    bucketing = Bucketing(clock, Limits(points=2))
    assert bucketing.add("a:1|c", "b:1|d", "c:1|c", "a:1|c", "a:1|c|T5") == [
        None, None, "contexts_full", None, "contexts_full",
    ]  # fmt: skip
    assert bucketing.aggregator.samples == 3
    bucketing.aggregator.flush()
    assert bucketing.aggregator.samples == 0
    assert bucketing.add("c:1|c", "d:1|c") == [None, None]


@pytest.mark.parametrize("kind", ["s", "h", "d"])
def test_memory_is_bounded_and_counts_go_on(clock: MovedClock, kind: str) -> None:
    bucketing = Bucketing(clock, Limits(size=200_000))
    bucketing.add("count:1|c")
    refused = 0
    for number in range(10_000):
        (reason,) = bucketing.add(f"a:{number * number}.5|{kind}")
        assert reason in {None, "buffer_full"}
        refused += reason is not None
    if kind == "d":
        assert refused == 0  # bins are few, whatever comes
    else:
        assert refused > 5000
        assert bucketing.add("count:1|c", f"b:1|{kind}") == [None, "buffer_full"]
    assert bucketing.aggregator.samples >= 10_001 - refused
    bucketing.aggregator.flush()
    assert bucketing.add(f"a:1|{kind}") == [None]


def test_long_tags_count_too(clock: MovedClock) -> None:
    bucketing = Bucketing(clock, Limits(size=100_000))
    reasons = [bucketing.add(f"a:1|c|#{'t' * 7000}{number}")[0] for number in range(100)]
    assert reasons.count(None) < 20


@given(st.lists(st.tuples(st.floats(-1e9, 1e9), st.sampled_from([1.0, 2.0, 10.0])), min_size=1, max_size=200))
def test_a_distribution_knows_its_size_and_its_values(parts: list[tuple[float, float]]) -> None:
    point = Distribution()
    grown = [point.add([value], weight) for value, weight in parts]
    assert sum(grown) >= 0
    assert point.samples == len(parts)
    sketch = point.sketch()
    assert sketch.count == sum(int(weight) for _, weight in parts)
    assert (sketch.min, sketch.max) == (min(parts)[0], max(value for value, _ in parts))
    assert sum(grown) <= 100 * len(sketch.bins) + 32 * PENDING


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(1, 5)), min_size=1, max_size=40))
def test_a_histogram_is_what_writing_all_values_down_gives(parts: list[tuple[float, int]]) -> None:
    point = Histogram()
    for value, times in parts:
        point.add([value], float(times))
    written = sorted(value for value, times in parts for _ in range(times))
    told = {value.suffix: value.value for value in point.results(ALL)}
    assert told[".min"] == written[0]
    assert told[".max"] == told[".100percentile"] == written[-1]
    assert told[".median"] == written[(len(written) - 1) // 2]
    assert told[".count"] == len(written)
    assert math.isclose(told[".sum"], math.fsum(written), abs_tol=1e-6)
    assert math.isclose(told[".avg"], math.fsum(written) / len(written), abs_tol=1e-6)
    for percent in (50, 75, 95):
        assert told[f".{percent}percentile"] == written[(percent * len(written) - 1) // 100]


samples = st.tuples(
    st.sampled_from("ab"), st.sampled_from("cghsd"), st.integers(-3, 3), st.sampled_from(["", "x"]), st.integers(0, 8)
)


@given(st.lists(samples, max_size=60))
def test_every_sample_is_in_the_bucket_of_its_time(steps: list[tuple[str, str, int, str, int]]) -> None:
    clock = MovedClock()
    bucketing = Bucketing(clock)
    expected: dict[tuple[Context, int], list[int]] = {}
    for name, kind, value, tag, wait in steps:
        clock.advance(wait)
        assert bucketing.add(f"{name}:{value}|{kind}|#{tag}") == [None]
        context = Context(name, kind, (tag,) if tag else ())
        expected.setdefault((context, int(clock.now) // BUCKET_S * BUCKET_S), []).append(value)
    flushed = bucketing.aggregator.flush()
    assert [item.time for item in flushed] == sorted(item.time for item in flushed)
    assert {(item.context, item.time): _told(item) for item in flushed} == {
        where: _model(where[0].kind, values) for where, values in expected.items()
    }


def _told(item: Aggregated) -> Any:
    if isinstance(item.point, Distribution):
        return item.point.sketch().bins
    return [value.value for value in item.point.results(HistogramOptions(("min", "max", "count"), ()))]


def _model(kind: str, values: list[int]) -> Any:
    if kind == "d":
        return {key(value): sum(1 for other in values if other == value) for value in values}
    one = {"c": sum(values), "g": values[-1], "s": len(set(values))}
    return [one[kind]] if kind in one else [min(values), max(values), len(values)]


def test_a_sample_of_several_values_is_taken_whole_or_not_at_all(clock: MovedClock) -> None:
    aggregator = Aggregator(clock, Limits(points=0))
    assert aggregator.add(Sample(Metric(Context("a", "d")), [1.0, 2.0])) == "contexts_full"
    assert aggregator.samples == 0
    assert aggregator.flush() == []


def test_no_two_flushes_say_something_about_the_same_second(bucketing: Bucketing, clock: MovedClock) -> None:
    seen: dict[int, float] = {}
    for _ in range(40):
        clock.advance(0.2)
        bucketing.add("a:1|c")
        for (_, time), value in bucketing.flush().items():
            assert time not in seen
            assert time <= clock.now + MOST_AHEAD_S + 1
            seen[time] = value
    waited = bucketing.aggregator.samples
    assert len(bucketing.aggregator.flush(last=True)) == bool(waited)
    assert sum(seen.values()) + waited == 40, "what waited has gone too"


def test_what_would_run_too_far_ahead_waits_and_distributions_never_do(bucketing: Bucketing, clock: MovedClock) -> None:
    for _ in range(30):
        bucketing.add("a:1|c")
        bucketing.flush()
    bucketing.add("a:1|c", "d:1|d")
    assert [item.context.name for item in bucketing.aggregator.flush()] == ["d"]
    waiting = bucketing.aggregator.samples
    assert waiting > 1
    clock.advance(5)
    assert sum(bucketing.flush().values()) == waiting


def test_a_clock_that_is_put_back_makes_nothing_wait(bucketing: Bucketing, clock: MovedClock) -> None:
    bucketing.add("a:1|c")
    bucketing.flush()
    clock.advance(-3600)
    bucketing.add("a:1|c")
    assert len(bucketing.flush()) == 1
