"""What the encoder writes, Google's protobuf library reads."""

from __future__ import annotations

from typing import Any

from hypothesis import given

from fliptop.traces import encode
from fliptop.traces.span import Span
from tests import agent_payload
from tests.unit.spans import SPANS, span


def read_back(read: Any) -> Span:
    """A span as the library has read it."""
    names = ("service", "name", "resource", "start", "duration", "error", "type")
    return Span(
        **{name: getattr(read, name) for name in names},
        trace_id=read.traceID,
        span_id=read.spanID,
        parent_id=read.parentID,
        meta=dict(read.meta),
        metrics=dict(read.metrics),
        meta_struct=dict(read.meta_struct),
        links=[_link(link) for link in read.spanLinks],
        events=[_event(event) for event in read.spanEvents],
    )


def _link(link: Any) -> dict[str, Any]:
    return {
        "trace_id": link.traceID,
        "trace_id_high": link.traceID_high,
        "span_id": link.spanID,
        "attributes": dict(link.attributes),
        "tracestate": link.tracestate,
        "flags": link.flags,
    }


def _event(event: Any) -> dict[str, Any]:
    attributes = {key: _value(value) for key, value in event.attributes.items()}
    return {"time_unix_nano": event.time_unix_nano, "name": event.name, "attributes": attributes}


def _value(value: Any) -> dict[str, Any]:
    name = ("string_value", "bool_value", "int_value", "double_value", "array_value")[value.type]
    if name == "array_value":
        return {"type": 4, name: {"values": [_value(item) for item in value.array_value.values]}}
    return {"type": value.type, name: getattr(value, name)}


@given(SPANS)
def test_a_span_is_read_as_it_was_written(written: Span) -> None:
    assert read_back(agent_payload.parse(encode.span(written), "Span")) == written


def test_texts_that_are_no_unicode_are_replaced() -> None:
    """Spans made here may hold what a JSON parser let through."""
    read = agent_payload.parse(encode.span(span(resource="\ud800x", meta={"\udcff": "a" * 200 + "\udfff"})), "Span")
    assert (read.resource, dict(read.meta)) == ("?x", {"?": "a" * 200 + "?"})


def test_long_texts_are_written_as_short_ones_are() -> None:
    written = span(meta={"k" * 500: "v" * 70_000}, metrics={"m" * 500: 1.5}, resource="r" * 300)
    assert read_back(agent_payload.parse(encode.span(written), "Span")) == written


def test_a_chunk_without_a_priority_of_its_own_says_so_with_a_negative_number() -> None:
    body = encode.chunk(encode.chunk_head(-128, "rum"), [encode.span(span()), encode.span(span(span_id=9))], b"")
    chunk = agent_payload.parse(body, "TraceChunk")
    assert (chunk.priority, chunk.origin, [span.spanID for span in chunk.spans]) == (-128, "rum", [8, 9])
