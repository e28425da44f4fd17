"""The aggregator: samples of one context within 10 seconds become one point.

Source: extension-behaviour, 7.3. Differs from Datadog's extension in three ways: contexts of different types are kept
apart; a count or gauge that brings its own timestamp keeps it to the second, as the protocol says (intake-wire, 11,
version 1.3); and a flush ends the bucket that it found open. Of two counts with the same timestamp the intake believes
the last, so what comes after a flush must not go under the timestamp of what went before it: it goes under the next
second, which where flushes are frequent may be a few seconds ahead of the clock.
"""

from operator import itemgetter
from typing import Final, NamedTuple

from fliptop.clock import Clock
from fliptop.metrics.points import POINTS, Point
from fliptop.metrics.samples import COUNT, DISTRIBUTION, GAUGE, Context, Sample

BUCKET_S: Final = 10
# How far timestamps may run ahead. What would go further waits for a later flush: where there are many, it is near.
MOST_AHEAD_S: Final = 10
# Points between two flushes: as many as Datadog's extension has contexts.
MAX_POINTS: Final = 10_240
# What all points may take in memory, about.
CEILING_BYTES: Final = 16 * 1024 * 1024
POINT_BYTES: Final = 500
CONSTANT_SIZE: Final = frozenset({COUNT, GAUGE})
TAG_BYTES: Final = 60


class Aggregated(NamedTuple):
    """A point on its way out. `time` is the start of its bucket, in seconds since the epoch."""

    context: Context
    time: int
    point: Point


class Limits(NamedTuple):
    """How many points, and how many bytes, may wait for a flush."""

    points: int = MAX_POINTS
    size: int = CEILING_BYTES


class Aggregator:
    """Buckets of points. Call `advance` before adding what has just arrived."""

    def __init__(self, clock: Clock, limits: Limits = Limits()) -> None:  # noqa: B008 -- a tuple
        self._clock = clock
        self._most_points, self._ceiling = limits
        self._buckets: dict[int, dict[Context, Point]] = {}
        self._points = 0
        self._size = 0
        self._unused = 0  # the first second that no flush has used
        self.advance()

    @property
    def samples(self) -> int:
        """Values in all points."""
        return sum(point.samples for bucket in self._buckets.values() for point in bucket.values())

    def advance(self) -> None:
        """Look at the clock: from here on "now" is now."""
        self._now = int(self._clock.wall())
        bucket = self._now // BUCKET_S * BUCKET_S
        self._open_distributions = self._buckets.setdefault(bucket, {})
        if self._unused > self._now + MOST_AHEAD_S + 1:  # the clock was put back
            self._unused = self._now
        self._open_at = max(bucket, self._unused)
        self._open = self._buckets.setdefault(self._open_at, {})

    def add(self, sample: Sample) -> str | None:
        """Take over all values of `sample`, or none: then the reason (`contexts_full`, `buffer_full`) is returned."""
        context, weight, time = sample.metric
        if time is not None:
            bucket = self._bucket_at(context.kind, min(time, self._now))
        elif context.kind == DISTRIBUTION:
            bucket = self._open_distributions
        else:
            bucket = self._open
        point = bucket.get(context)
        if self._size >= self._ceiling and (point is None or context.kind not in CONSTANT_SIZE):
            return "buffer_full"
        if point is None:
            if self._points >= self._most_points:
                return "contexts_full"
            point = bucket[context] = self._begin(context)
        self._size += point.add(sample.values, weight)
        return None

    def _bucket_at(self, kind: str, time: int) -> dict[Context, Point]:
        start = time if kind in {COUNT, GAUGE} else time // BUCKET_S * BUCKET_S
        return self._buckets.setdefault(start, {})

    def _begin(self, context: Context) -> Point:
        self._points += 1
        self._size += _size_of(context)
        return POINTS[context.kind]()

    def flush(self, *, last: bool = False) -> list[Aggregated]:
        """Everything there is, the bucket of this moment included, oldest first. Only what would run too far ahead of
        the clock stays, unless this is the `last` flush.
        """
        self.advance()
        stays = {}
        if self._open_at > self._now + MOST_AHEAD_S and not last:
            stays = self._buckets.pop(self._open_at)
        elif any(context.kind != DISTRIBUTION for context in self._open):
            self._unused = max(self._open_at + 1, self._now)
        flushed = [
            Aggregated(context, start, point)
            for start, bucket in sorted(self._buckets.items(), key=itemgetter(0))
            for context, point in bucket.items()
        ]
        self._buckets = {self._open_at: stays} if stays else {}
        self._points, self._size = len(stays), sum(map(_size_of, stays))
        self.advance()
        return flushed


def _size_of(context: Context) -> int:
    return POINT_BYTES + len(context.name) + sum(map(len, context.tags)) + TAG_BYTES * len(context.tags)
