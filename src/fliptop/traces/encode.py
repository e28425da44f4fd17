"""From spans to protobuf: the messages `Span`, `TraceChunk` and `TracerPayload`. Source: intake-wire, 5.2.

What is said over and over (tags, names, services) is encoded once and kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any, Final

from fliptop.protobuf import delimited, packed, unsigned, varint
from fliptop.traces.span import Span

# Longer texts (a tag with its key) are rarely said twice, and would fill the memory.
KEPT: Final = 96
MOST_KEPT: Final = 2048

_KEY, _VALUE = b"\x0a", b"\x12"
_SERVICE, _NAME, _RESOURCE, _TYPE = b"\x0a", b"\x12", b"\x1a", b"\x62"
_TRACE_ID, _SPAN_ID, _PARENT_ID, _START, _DURATION, _ERROR = b"\x20", b"\x28", b"\x30", b"\x38", b"\x40", b"\x48"
META, _METRIC, _META_STRUCT, _LINK, _EVENT = b"\x52", b"\x5a", b"\x6a", b"\x72", b"\x7a"
_LINK_TRACE_ID, _LINK_HIGH, _LINK_SPAN_ID = b"\x08", b"\x10", b"\x18"
_LINK_ATTRIBUTE, _LINK_STATE, _LINK_FLAGS = b"\x22", b"\x2a", b"\x30"
_EVENT_NAME, _EVENT_ATTRIBUTE = b"\x12", b"\x1a"
_ANY_TYPE, _ANY_STRING, _ANY_BOOL, _ANY_INT, _ANY_ARRAY = b"\x08", b"\x12", b"\x18", b"\x20", b"\x32"
_ARRAY_VALUE: Final = b"\x0a"
_FIXED_64: Final = Struct("<BQ")
_DOUBLE: Final = Struct("<d")
_KEYED_DOUBLE: Final = Struct("<Bd")
_METRIC_VALUE, _ANY_DOUBLE, _EVENT_TIME = b"\x11", 0x29, 0x09

CHUNK_SPAN: Final = b"\x1a"
_CHUNK_PRIORITY, _CHUNK_ORIGIN = b"\x08", b"\x12"


def span(span: Span) -> bytes:
    """The message `Span`, open at its start: there may be tags before, which those of the span then override."""
    ids = (
        _TRACE_ID + _id(span.trace_id),
        _SPAN_ID + packed((span.span_id,)),
        _PARENT_ID + _id(span.parent_id) if span.parent_id else b"",
        _START + packed((unsigned(span.start),)),
        _DURATION + packed((unsigned(span.duration),)),
        _ERROR + varint(unsigned(span.error)) if span.error else b"",
    )
    parts = [
        text(_SERVICE, span.service),
        text(_NAME, span.name),
        text(_RESOURCE, span.resource),
        text(_TYPE, span.type),
        *ids,
        *[tag(key, value) for key, value in span.meta.items()],
        *[metric(key, value) for key, value in span.metrics.items()],
    ]
    if span.meta_struct or span.links or span.events:
        parts += _rare(span)
    return b"".join(parts)


def _rare(span: Span) -> list[bytes]:
    blobs = [
        delimited(_META_STRUCT, text(_KEY, key) + delimited(_VALUE, value)) for key, value in span.meta_struct.items()
    ]
    return [
        *blobs,
        *[delimited(_LINK, _link(link)) for link in span.links],
        *[delimited(_EVENT, _event(event)) for event in span.events],
    ]


def text(field: bytes, written: str) -> bytes:
    """A field of text."""
    return _kept_text(field, written) if len(written) <= KEPT else _text(field, written)


def _text(field: bytes, written: str) -> bytes:
    return delimited(field, written.encode("utf-8", "replace"))


def tag(key: str, value: str) -> bytes:
    """An entry of `Span.meta`."""
    return _kept_entry(META, key, value) if len(key) + len(value) <= KEPT else entry(META, key, value)


def entry(field: bytes, key: str, value: str) -> bytes:
    """An entry of a map from text to text."""
    return delimited(field, text(_KEY, key) + text(_VALUE, value))


def metric(key: str, value: float) -> bytes:
    """An entry of `Span.metrics`."""
    return (_kept_metric(key) if len(key) <= KEPT else _metric(key)) + _DOUBLE.pack(value)


def _metric(key: str) -> bytes:
    """All of an entry but the eight bytes of its value."""
    encoded = text(_KEY, key) + _METRIC_VALUE
    return _METRIC + varint(len(encoded) + _DOUBLE.size) + encoded


_kept_text = lru_cache(maxsize=MOST_KEPT)(_text)
_kept_entry = lru_cache(maxsize=MOST_KEPT)(entry)
_kept_metric = lru_cache(maxsize=MOST_KEPT)(_metric)


@lru_cache(maxsize=512)  # every span of a trace says its id, and those of a parent theirs
def _id(number: int) -> bytes:
    return packed((number,))


def _link(link: Mapping[str, Any]) -> bytes:
    parts = [_LINK_TRACE_ID + packed((unsigned(link.get("trace_id", 0)),))]
    if high := link.get("trace_id_high"):
        parts.append(_LINK_HIGH + packed((unsigned(high),)))
    parts.append(_LINK_SPAN_ID + packed((unsigned(link.get("span_id", 0)),)))
    parts += [entry(_LINK_ATTRIBUTE, key, value) for key, value in link.get("attributes", {}).items()]
    if state := link.get("tracestate"):
        parts.append(_text(_LINK_STATE, state))
    if flags := link.get("flags"):
        parts.append(_LINK_FLAGS + varint(flags))
    return b"".join(parts)


def _event(event: Mapping[str, Any]) -> bytes:
    attributes = [
        delimited(_EVENT_ATTRIBUTE, text(_KEY, key) + delimited(_VALUE, _any(value)))
        for key, value in event.get("attributes", {}).items()
    ]
    time = _FIXED_64.pack(_EVENT_TIME, unsigned(event.get("time_unix_nano", 0)))
    return b"".join((time, text(_EVENT_NAME, event.get("name", "")), *attributes))


def _any(value: Mapping[str, Any]) -> bytes:
    """The message `AttributeAnyValue`, or `AttributeArrayValue`, which has the same numbers."""
    match value["type"]:
        case 1:
            return _ANY_TYPE + b"\x01" + _ANY_BOOL + varint(int(value["bool_value"]))
        case 2:
            return _ANY_TYPE + b"\x02" + _ANY_INT + packed((unsigned(value["int_value"]),))
        case 3:
            return _ANY_TYPE + b"\x03" + _KEYED_DOUBLE.pack(_ANY_DOUBLE, value["double_value"])
        case 4:
            items = (delimited(_ARRAY_VALUE, _any(item)) for item in value["array_value"]["values"])
            return _ANY_TYPE + b"\x04" + delimited(_ANY_ARRAY, b"".join(items))
    return _text(_ANY_STRING, value["string_value"])


def chunk_head(priority: int, origin: str) -> bytes:
    """What stands before the spans in a `TraceChunk`."""
    return _CHUNK_PRIORITY + varint(unsigned(priority)) + (text(_CHUNK_ORIGIN, origin) if origin else b"")


def chunk(head: bytes, spans: Sequence[bytes], tags: bytes) -> bytes:
    """The message `TraceChunk`. Each of `spans` begins with `tags`: of two entries of a map the later one counts, so
    what the tracer says of a span stands.
    """
    return head + b"".join([CHUNK_SPAN + varint(len(tags) + len(body)) + tags + body for body in spans])


def texts(fields: Iterable[tuple[bytes, str]]) -> bytes:
    """Fields of text, those that are empty left out."""
    return b"".join([text(field, written) for field, written in fields if written])
