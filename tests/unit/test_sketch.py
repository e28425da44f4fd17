"""The agent sketch: keys, bins and summary, against the vectors of the reference and as properties."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fliptop.metrics.encode import MAX_BIN_COUNT, dogsketch
from fliptop.metrics.sketch import BIAS, GAMMA, LN_GAMMA, MAX_BINS, MAX_KEY, NORM_MIN, Sketch, key
from tests.protocol import protobuf_reader

numbers = st.floats(allow_nan=False, allow_infinity=False)
ordinary = st.floats(1e-9, 1e200) | st.floats(-1e200, -1e-9) | st.just(0.0)


def sketch_of(values: list[float], weight: int = 1) -> Sketch:
    sketch = Sketch()
    sketch.insert(values, weight)
    return sketch


def same(one: Sketch, other: Sketch) -> bool:
    exact = [(sketch.bins, sketch.count, sketch.min, sketch.max) for sketch in (one, other)]
    rounding = 1e-12 * one.count * max(abs(one.min), abs(one.max))
    return exact[0] == exact[1] and math.isclose(one.sum, other.sum, abs_tol=rounding)


def test_constants() -> None:
    assert LN_GAMMA == 0.015504186535965254
    assert math.isclose(NORM_MIN, 9.94185408912145e-10)
    assert 1 - math.floor(math.log(1e-9) / LN_GAMMA) == BIAS


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0), (1, 1338), (0.5, 1293), (2, 1383), (3.14, 1412), (10, 1487), (100, 1635), (1234.5, 1797), (1e6, 2229),
        (1e-9, 1), (1e-8, 150), (-1, -1338), (1e100, 16189), (1.7e308, MAX_KEY), (1e-10, 0), (-1e-10, 0),
    ],
)  # fmt: skip
def test_keys(value: float, expected: int) -> None:
    assert key(value) == expected
    assert sketch_of([value]).bins == {expected: 1}


@given(numbers)
def test_keys_mirror_and_stay_in_range(value: float) -> None:
    assert key(-value) == -key(value)
    assert -MAX_KEY <= key(value) <= MAX_KEY


@given(st.floats(1e-9, 1e200))
def test_a_bin_tells_its_values_within_one_in_128(value: float) -> None:
    assert abs(GAMMA ** (key(value) - BIAS) - value) <= value / 128


@given(st.lists(ordinary, min_size=1, max_size=60), st.floats(0, 1))
def test_quantiles_are_within_one_in_128(values: list[float], q: float) -> None:
    sketch = sketch_of(values)
    rank = round(q * (sketch.count - 1))
    bins = [place for place in sorted(sketch.bins) for _ in range(sketch.bins[place])]
    true = sorted(values)[rank]
    place = abs(bins[rank])
    found = math.copysign(GAMMA ** (place - BIAS) if place else 0.0, bins[rank])
    assert abs(found - true) <= abs(true) / 128


@given(st.lists(ordinary, min_size=1, max_size=40), st.lists(ordinary, min_size=1, max_size=40), st.randoms())
def test_a_merge_is_the_union_and_order_does_not_matter(
    one: list[float], other: list[float], chance: random.Random
) -> None:
    union = sketch_of(one + other)
    merged = sketch_of(one)
    merged.merge(sketch_of(other))
    assert same(merged, union)
    shuffled = [*one, *other]
    chance.shuffle(shuffled)
    assert same(sketch_of(shuffled), union)
    separately = Sketch()
    for value in shuffled:
        separately.insert([value])
    assert same(separately, union)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.integers(1, 50))
def test_a_weight_is_as_many_insertions(values: list[float], weight: int) -> None:
    assert same(sketch_of(values, weight), sketch_of(values * weight))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_the_average_is_the_running_mean_and_in_range(values: list[float]) -> None:
    sketch = sketch_of(values)
    mean = 0.0
    for number, value in enumerate(values, 1):
        mean += (value - mean) / number
    assert math.isclose(sketch.average, mean, rel_tol=1e-9, abs_tol=1e-6)
    assert sketch.min <= sketch.average <= sketch.max


def test_rounding_does_not_take_the_average_out_of_range() -> None:
    sketch = Sketch()
    for _ in range(3):
        sketch.insert([0.1])
    assert sketch.sum > 0.3
    assert sketch.average == 0.1


def test_too_many_bins_collapse_from_below() -> None:
    places = range(1, MAX_BINS + 101)
    values = [GAMMA ** (place - BIAS) for place in places]
    at_once = sketch_of(values)
    assert sorted(at_once.bins) == list(places)[100:]
    assert at_once.bins[101] == 101
    assert sum(at_once.bins.values()) == at_once.count == len(values)
    assert at_once.min == values[0]
    random.Random(7).shuffle(values)
    bit_by_bit = Sketch()
    for start in range(0, len(values), 50):
        bit_by_bit.insert(values[start : start + 50])
    assert bit_by_bit.bins == at_once.bins
    merged = sketch_of(values[:3000])
    merged.merge(sketch_of(values[3000:]))
    assert merged.bins == at_once.bins


def test_the_vector_of_the_reference() -> None:
    expected = (
        "0880e2cfaa0610051900000000000000c02100000000000059402900000000000034403100000000000059403a07cd1500f414c6194204"
        "01010201"
    )
    assert dogsketch(sketch_of([1, 1, 100, -2, 0]), 1_700_000_000).hex() == expected


@pytest.mark.parametrize("rest", [[], [5]])
def test_a_bin_beyond_32_bits_is_written_in_pieces(rest: list[int]) -> None:
    sketch = sketch_of([1.0], 2 * MAX_BIN_COUNT + sum(rest))
    written = protobuf_reader.read(dogsketch(sketch, 10))
    pieces = [*rest, MAX_BIN_COUNT, MAX_BIN_COUNT]
    assert [protobuf_reader.unpacked(place) for place in written[7]] == [[2 * 1338] * len(pieces)]
    assert protobuf_reader.unpacked(written[8][0]) == pieces
    assert written[2] == [sketch.count]
