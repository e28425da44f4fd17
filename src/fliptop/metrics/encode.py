"""From aggregated points to the entries of a payload, in protobuf: `MetricPayload.series` and `SketchPayload.sketches`.

Source: intake-wire, 3.3, 3.4 and 4.2. Datadog's extension sends series as JSON with type codes of an older schema; this
is what Datadog's agent sends, smaller and with one meaning only. Both messages keep their entries in field 1, so
that a payload is its entries in a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from struct import Struct
from typing import Final, NamedTuple

from fliptop.metrics.aggregator import BUCKET_S, Aggregated
from fliptop.metrics.points import TYPE_COUNT, Distribution, HistogramOptions, Value
from fliptop.metrics.protobuf import delimited, packed, varint, zigzag
from fliptop.metrics.samples import Context
from fliptop.metrics.sketch import Sketch

ENHANCED: Final = "aws.lambda.enhanced."
RESOURCE_TAG: Final = "dd.internal.resource:"
# Metric origin: product serverless, category Lambda, and a service by name (intake-wire, 3.4).
_ORIGIN_CUSTOM: Final = 472
_ORIGIN_ENHANCED: Final = 473
_ORIGIN_RUNTIME: Final = 474
# The newest agents count up to here in one bin; what is more goes into another bin with the same key.
MAX_BIN_COUNT: Final = 2**32 - 1

_ENTRY = b"\x0a"
_SERIES_RESOURCE, _SERIES_METRIC, _SERIES_TAG, _SERIES_POINT = b"\x0a", b"\x12", b"\x1a", b"\x22"
_SERIES_TYPE, _SERIES_INTERVAL, _SERIES_METADATA = b"\x28", b"\x40", b"\x4a"
_RESOURCE_TYPE, _RESOURCE_NAME = b"\x0a", b"\x12"
_SKETCH_METRIC, _SKETCH_TAG, _SKETCH_DOGSKETCH, _SKETCH_METADATA = b"\x0a", b"\x22", b"\x3a", b"\x42"
_DOGSKETCH_TIME, _DOGSKETCH_COUNT, _DOGSKETCH_KEYS, _DOGSKETCH_COUNTS = b"\x08", b"\x10", b"\x3a", b"\x42"
# A point's value, and a dogsketch's minimum, maximum, average and sum: one byte of key before each double.
_POINT_VALUE: Final = Struct("<Bd")
_POINT_TIME = b"\x10"
_SUMMARY: Final = Struct("<BdBdBdBd")


class Entries(NamedTuple):
    """Entries of a payload that belong together: `body` holds `number` of them and stands for `samples` values."""

    body: bytes
    number: int
    samples: int


class Encoder:
    """Encodes points with the tags of the function, `key:value` each. Of these, the keys in `excluded` are left out,
    but not from the enhanced metrics.
    """

    def __init__(self, tags: list[str], excluded: frozenset[str], histograms: HistogramOptions) -> None:
        self._enhanced = _FunctionTags(tags)
        self._custom = _FunctionTags([tag for tag in tags if tag.partition(":")[0] not in excluded])
        self._histograms = histograms

    def encode(self, item: Aggregated) -> Entries | None:
        """The entries for a point; None if one of its numbers went over the limits of what is finite."""
        tags = self._enhanced if item.context.name.startswith(ENHANCED) else self._custom
        if isinstance(item.point, Distribution):
            return _sketch(item, item.point.sketch(), tags)
        return _series(item, list(item.point.results(self._histograms)), tags)


class _FunctionTags:
    """The tags of the function, encoded once for both messages."""

    def __init__(self, tags: list[str]) -> None:
        self._known = frozenset(tags)
        self.series = _tags(_SERIES_TAG, tags)
        self.sketch = _tags(_SKETCH_TAG, tags)

    def others(self, context: Context) -> list[str]:
        """The tags that the context adds."""
        return [tag for tag in context.tags if tag not in self._known]


def _series(item: Aggregated, values: list[Value], tags: _FunctionTags) -> Entries | None:
    if not all(isfinite(value.value) for value in values):
        return None
    resources, others = _split_resources(tags.others(item.context))
    all_tags = tags.series + _tags(_SERIES_TAG, others)
    entries = [
        delimited(_ENTRY, resources + _name(_SERIES_METRIC, item, value.suffix) + all_tags + _value(item, value))
        for value in values
    ]
    return Entries(b"".join(entries), len(entries), item.point.samples)


def _sketch(item: Aggregated, sketch: Sketch, tags: _FunctionTags) -> Entries | None:
    if not isfinite(sketch.sum):
        return None
    body = b"".join(
        (
            _name(_SKETCH_METRIC, item),
            tags.sketch,
            _tags(_SKETCH_TAG, tags.others(item.context)),
            delimited(_SKETCH_DOGSKETCH, dogsketch(sketch, item.time)),
            _metadata(_SKETCH_METADATA, item.context.name),
        )
    )
    return Entries(delimited(_ENTRY, body), 1, item.point.samples)


def dogsketch(sketch: Sketch, time: int) -> bytes:
    """The message `Dogsketch`; `time` is the start of its bucket, in seconds since the epoch."""
    keys, counts = [], []
    for key, count in _bins(sketch):
        keys.append(zigzag(key))
        counts.append(count)
    return b"".join(
        (
            _DOGSKETCH_TIME + varint(time),
            _DOGSKETCH_COUNT + varint(sketch.count),
            _SUMMARY.pack(0x19, sketch.min, 0x21, sketch.max, 0x29, sketch.average, 0x31, sketch.sum),
            delimited(_DOGSKETCH_KEYS, packed(keys)),
            delimited(_DOGSKETCH_COUNTS, packed(counts)),
        )
    )


def _bins(sketch: Sketch) -> Iterator[tuple[int, int]]:
    for key in sorted(sketch.bins):
        full, rest = divmod(sketch.bins[key], MAX_BIN_COUNT)
        if rest:
            yield key, rest
        yield from [(key, MAX_BIN_COUNT)] * full


def _value(item: Aggregated, value: Value) -> bytes:
    """What follows the tags of a series: its one point, type, interval and metadata."""
    point = _POINT_VALUE.pack(0x09, value.value) + _POINT_TIME + varint(item.time)
    interval = _SERIES_INTERVAL + varint(BUCKET_S) if value.type == TYPE_COUNT else b""
    metadata = _metadata(_SERIES_METADATA, item.context.name)
    return delimited(_SERIES_POINT, point) + _SERIES_TYPE + varint(value.type) + interval + metadata


def _name(key: bytes, item: Aggregated, suffix: str = "") -> bytes:
    return delimited(key, _text(item.context.name + suffix))


def _text(text: str) -> bytes:
    # Tags may come from the environment, where Python marks broken bytes with lone surrogates.
    return text.encode("utf-8", "replace")


def _tags(key: bytes, tags: list[str]) -> bytes:
    return b"".join([delimited(key, _text(tag)) for tag in tags])


def _split_resources(tags: list[str]) -> tuple[bytes, list[str]]:
    """Tags of the form `dd.internal.resource:type:name` name a resource of the series instead."""
    resources, rest = b"", []
    for tag in tags:
        kind, _, name = tag.removeprefix(RESOURCE_TAG).partition(":")
        if tag.startswith(RESOURCE_TAG) and kind and name:
            resource = delimited(_RESOURCE_TYPE, _text(kind)) + delimited(_RESOURCE_NAME, _text(name))
            resources += delimited(_SERIES_RESOURCE, resource)
        else:
            rest.append(tag)
    return resources, rest


def _metadata(key: bytes, name: str) -> bytes:
    """Where the metric comes from; nothing for Datadog's own."""
    if name.startswith("datadog."):
        return b""
    service = _ORIGIN_CUSTOM
    if name.startswith(("jvm.", "runtime.")):
        service = _ORIGIN_RUNTIME
    elif name.startswith("aws.lambda."):
        service = _ORIGIN_ENHANCED
    return delimited(key, b"\x0a\x07\x20\x01\x28\x26\x30" + varint(service))
