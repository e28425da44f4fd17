"""Spans for tests: one with everything, and strategies for any."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from fliptop.traces.span import Span

U64 = st.integers(0, 2**64 - 1)
I64 = st.integers(-(2**63), 2**63 - 1)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(max_size=20)
TAGS = st.dictionaries(TEXT, TEXT, max_size=5)

SCALARS = st.one_of(
    st.builds(lambda value: {"type": 0, "string_value": value}, TEXT),
    st.builds(lambda value: {"type": 1, "bool_value": value}, st.booleans()),
    st.builds(lambda value: {"type": 2, "int_value": value}, I64),
    st.builds(lambda value: {"type": 3, "double_value": value}, FINITE),
)
ARRAYS = st.builds(lambda values: {"type": 4, "array_value": {"values": values}}, st.lists(SCALARS, max_size=3))
LINKS = st.fixed_dictionaries(
    {
        "trace_id": U64,
        "trace_id_high": U64,
        "span_id": U64,
        "attributes": TAGS,
        "tracestate": TEXT,
        "flags": st.integers(0, 2**32 - 1),
    }
)
EVENTS = st.fixed_dictionaries(
    {
        "time_unix_nano": U64,
        "name": TEXT,
        "attributes": st.dictionaries(TEXT, st.one_of(SCALARS, ARRAYS), max_size=3),
    }
)
SPANS = st.builds(
    Span,
    service=TEXT,
    name=TEXT,
    resource=TEXT,
    trace_id=U64,
    span_id=U64,
    parent_id=U64,
    start=I64,
    duration=I64,
    error=st.integers(-(2**31), 2**31 - 1),
    meta=TAGS,
    metrics=st.dictionaries(TEXT, FINITE, max_size=5),
    type=TEXT,
    meta_struct=st.dictionaries(TEXT, st.binary(max_size=20), max_size=3),
    links=st.lists(LINKS, max_size=2),
    events=st.lists(EVENTS, max_size=2),
)

START = 1_799_999_999_000_000_000


def span(**fields: Any) -> Span:
    """A span that needs no correction, with `fields`."""
    given: dict[str, Any] = {"service": "shop", "name": "web.request", "resource": "GET /", "trace_id": 7, "span_id": 8}
    return Span(**{**given, "start": START, "duration": 1_000, **fields})


def as_map(span: Span) -> dict[str, Any]:
    """What a tracer sends of `span` in versions 0.3, 0.4 and 0.7."""
    names = ("service", "name", "resource", "trace_id", "span_id", "parent_id", "start", "duration", "error")
    written = {name: getattr(span, name) for name in (*names, "meta", "metrics", "type", "meta_struct")}
    return {**written, "span_links": span.links, "span_events": span.events}
