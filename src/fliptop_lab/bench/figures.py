"""From many values to one figure: the median, and how sure of it one may be."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

RESAMPLES: Final = 1000
CONFIDENCE: Final = 0.95
LEAST: Final = 5
"""Fewer values than this say nothing about how sure their median is."""


@dataclass(frozen=True)
class Figure:
    """A median with its interval (None with too few values) and the values in the order they were measured."""

    median: float
    low: float | None
    high: float | None
    values: tuple[float, ...]


def figure(values: Sequence[float | None]) -> Figure | None:
    """The figure of those values that are there; None when there is none."""
    found = tuple(value for value in values if value is not None)
    if not found:
        return None
    low, high = interval(found) if len(found) >= LEAST else (None, None)
    return Figure(statistics.median(found), low, high, found)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the median; the same values give the same interval."""
    chance = random.Random(len(values))
    medians = sorted(statistics.median(chance.choices(values, k=len(values))) for _ in range(RESAMPLES))
    outside = round(RESAMPLES * (1 - CONFIDENCE) / 2)
    return medians[outside], medians[-1 - outside]
