"""From aggregated points to the entries of a payload, in protobuf: `MetricPayload.series` and `SketchPayload.sketches`.

Source: intake-wire, 3.3, 3.4 and 4.2. Datadog's extension sends series as JSON with type codes of an older schema; this
is what Datadog's agent sends, smaller and with one meaning only. Both messages keep their entries in field 1, so
that a payload is its entries in a row.
"""

from math import isfinite
from struct import Struct
from typing import Final, NamedTuple

from fliptop.metrics.aggregator import BUCKET_S, Aggregated
from fliptop.metrics.points import TYPE_COUNT, Distribution, HistogramOptions, Value
from fliptop.metrics.samples import Context
from fliptop.metrics.sketch import Sketch
from fliptop.protobuf import delimited, packed, packed_signed, varint

ENHANCED: Final = "aws.lambda.enhanced."
RESOURCE_TAG: Final = "dd.internal.resource:"
# The newest agents count up to here in one bin; what is more goes into another bin with the same key.
MAX_BIN_COUNT: Final = 2**32 - 1

_ENTRY = b"\x0a"
_SERIES_RESOURCE, _SERIES_METRIC, _SERIES_TAG, _SERIES_POINT = b"\x0a", b"\x12", b"\x1a", b"\x22"
_SERIES_TYPE, _SERIES_INTERVAL, _SERIES_METADATA = b"\x28", b"\x40", b"\x4a"
_RESOURCE_TYPE, _RESOURCE_NAME = b"\x0a", b"\x12"
_SKETCH_METRIC, _SKETCH_TAG, _SKETCH_DOGSKETCH, _SKETCH_METADATA = b"\x0a", b"\x22", b"\x3a", b"\x42"
_DOGSKETCH_TIME, _DOGSKETCH_COUNT, _DOGSKETCH_KEYS, _DOGSKETCH_COUNTS = b"\x08", b"\x10", b"\x3a", b"\x42"
_ORIGIN, _ORIGIN_PRODUCT, _ORIGIN_CATEGORY, _ORIGIN_SERVICE = b"\x0a", b"\x20", b"\x28", b"\x30"
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
    but not from the enhanced metrics. Make a new one when the tags change.
    """

    def __init__(self, tags: list[str], excluded: frozenset[str], histograms: HistogramOptions) -> None:
        self._enhanced = _Tags(tags)
        self._custom = _Tags([tag for tag in tags if tag.partition(":")[0] not in excluded])
        self._histograms = histograms

    def encode(self, item: Aggregated) -> Entries | None:
        """The entries for a point; None if one of its numbers went over the limits of what is finite."""
        tags = self._enhanced if item.context.name.startswith(ENHANCED) else self._custom
        if isinstance(item.point, Distribution):
            return _sketch(item, item.point.sketch(), tags)
        return _series(item, list(item.point.results(self._histograms)), tags)


class _Tags:
    """Encodes the tags of a context behind those of the function, each combination once."""

    def __init__(self, tags: list[str]) -> None:
        self._function = frozenset(tags)
        self._function_series = _tag_fields(_SERIES_TAG, tags)
        self._function_sketch = _tag_fields(_SKETCH_TAG, tags)
        self._series: dict[tuple[str, ...], tuple[bytes, bytes]] = {}
        self._sketch: dict[tuple[str, ...], bytes] = {}

    def series(self, context: Context) -> tuple[bytes, bytes]:
        """The resources of a series, and its tags."""
        if context.tags not in self._series:
            resources, others = _split_resources(self._others(context))
            self._series[context.tags] = resources, self._function_series + _tag_fields(_SERIES_TAG, others)
        return self._series[context.tags]

    def sketch(self, context: Context) -> bytes:
        """The tags of a sketch."""
        if context.tags not in self._sketch:
            self._sketch[context.tags] = self._function_sketch + _tag_fields(_SKETCH_TAG, self._others(context))
        return self._sketch[context.tags]

    def _others(self, context: Context) -> list[str]:
        return [tag for tag in context.tags if tag not in self._function]


def _tag_fields(key: bytes, tags: list[str]) -> bytes:
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


def _series(item: Aggregated, values: list[Value], tags: _Tags) -> Entries | None:
    if not all(isfinite(value.value) for value in values):
        return None
    resources, all_tags = tags.series(item.context)
    origin = _origin(_SERIES_METADATA, item.context.name)
    entries = []
    for value in values:
        name = delimited(_SERIES_METRIC, _text(item.context.name + value.suffix))
        entries.append(delimited(_ENTRY, resources + name + all_tags + _value(value, item.time) + origin))
    return Entries(b"".join(entries), len(entries), item.point.samples)


def _value(value: Value, time: int) -> bytes:
    """A series' one point, its type and, for counts, the interval."""
    point = _POINT_VALUE.pack(0x09, value.value) + _POINT_TIME + varint(time)
    interval = _SERIES_INTERVAL + varint(BUCKET_S) if value.type == TYPE_COUNT else b""
    return delimited(_SERIES_POINT, point) + _SERIES_TYPE + varint(value.type) + interval


def _sketch(item: Aggregated, sketch: Sketch, tags: _Tags) -> Entries | None:
    if not isfinite(sketch.sum):
        return None
    body = (
        delimited(_SKETCH_METRIC, _text(item.context.name))
        + tags.sketch(item.context)
        + delimited(_SKETCH_DOGSKETCH, dogsketch(sketch, item.time))
        + _origin(_SKETCH_METADATA, item.context.name)
    )
    return Entries(delimited(_ENTRY, body), 1, item.point.samples)


def dogsketch(sketch: Sketch, time: int) -> bytes:
    """The message `Dogsketch`; `time` is the start of its bucket, in seconds since the epoch."""
    keys, counts = _bins(sketch)
    return b"".join(
        (
            _DOGSKETCH_TIME + varint(time),
            _DOGSKETCH_COUNT + varint(sketch.count),
            _SUMMARY.pack(0x19, sketch.min, 0x21, sketch.max, 0x29, sketch.average, 0x31, sketch.sum),
            delimited(_DOGSKETCH_KEYS, packed_signed(keys)),
            delimited(_DOGSKETCH_COUNTS, packed(counts)),
        )
    )


def _bins(sketch: Sketch) -> tuple[list[int], list[int]]:
    """Keys in ascending order, and how many values each holds. A key comes again where one number cannot tell."""
    keys = sorted(sketch.bins)
    counts = [sketch.bins[key] for key in keys]
    if max(counts) <= MAX_BIN_COUNT:
        return keys, counts
    pieces = [(key, piece) for key in keys for piece in _pieces(sketch.bins[key])]
    return [key for key, _ in pieces], [piece for _, piece in pieces]


def _pieces(count: int) -> list[int]:
    full, rest = divmod(count, MAX_BIN_COUNT)
    return ([rest] if rest else []) + [MAX_BIN_COUNT] * full


def _text(text: str) -> bytes:
    # Tags may come from the environment, where Python marks broken bytes with lone surrogates.
    return text.encode("utf-8", "replace")


def _origin(metadata_key: bytes, name: str) -> bytes:
    """The metadata of a metric, which say where it comes from: product serverless, category Lambda, and a service by
    name (intake-wire, 3.4). Nothing for Datadog's own metrics.
    """
    if not name.startswith(("datadog.", "aws.lambda.", "jvm.", "runtime.")):
        return delimited(metadata_key, _ORIGIN_CUSTOM)
    if name.startswith("datadog."):
        return b""
    return delimited(metadata_key, _ORIGIN_ENHANCED if name.startswith("aws.") else _ORIGIN_RUNTIME)


def _origin_message(service: int) -> bytes:
    return delimited(
        _ORIGIN, _ORIGIN_PRODUCT + varint(1) + _ORIGIN_CATEGORY + varint(38) + _ORIGIN_SERVICE + varint(service)
    )


_ORIGIN_CUSTOM: Final = _origin_message(472)
_ORIGIN_ENHANCED: Final = _origin_message(473)
_ORIGIN_RUNTIME: Final = _origin_message(474)
