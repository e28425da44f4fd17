"""What the intake makes of `/api/v0.2/traces`, against Google's protobuf as the second opinion."""

import re
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import agent_payload

from fliptop_lab.intake import Intake, Span
from fliptop_lab.intake.refusals import Refusal
from fliptop_lab.intake.traces import decode_traces
from fliptop_lab.intake.trees import traces

PROTOBUF = {"content-type": "application/x-protobuf"}
SPAN: dict[str, Any] = {
    "service": "shop",
    "name": "aws.lambda",
    "resource": "lab",
    "traceID": 7,
    "spanID": 8,
    "start": 1_700_000_000 * 10**9,
    "duration": 5,
}


def payload(*spans: dict[str, Any], **chunk: Any) -> bytes:
    """One chunk of one tracer's payload."""
    return agent_payload.build(tracerPayloads=[{"chunks": [{"spans": list(spans), **chunk}]}])


@pytest.mark.anyio
async def test_spans_are_decoded(intake: Intake, client: httpx.AsyncClient) -> None:
    body = agent_payload.build(
        targetTPS=60.0,
        tracerPayloads=[
            {
                "languageName": "python",
                "env": "demo",
                "tags": {"_dd.tags.function": "region:here"},
                "chunks": [{"priority": -1, "origin": "lambda", "spans": [SPAN]}],
            }
        ],
    )
    answer = await client.post("/api/v0.2/traces", content=body, headers=PROTOBUF)
    assert answer.status_code == 202
    (span,) = intake.received.spans
    assert (span.service, span.name, span.resource, span.trace_id, span.span_id) == ("shop", "aws.lambda", "lab", 7, 8)
    assert (span.chunk.priority, span.chunk.origin, span.chunk.dropped) == (-1, "lambda", False)
    assert (span.chunk.tracer.language, span.chunk.tracer.env) == ("python", "demo")
    assert span.chunk.tracer.tags == {"_dd.tags.function": "region:here"}
    assert span.chunk.tracer.agent == {"targetTPS": 60.0, "tags": {}}
    assert intake.store.counts["spans"] == 1
    state = (await client.get("/lab/state")).json()
    assert state["traces"][0]["trace_id"] == f"{7:016x}"
    assert state["traces"][0]["spans"][0]["name"] == "aws.lambda"


@pytest.mark.anyio
async def test_the_same_payload_again_is_a_duplicate(intake: Intake, http1: httpx.AsyncClient) -> None:
    for _ in range(2):
        assert (await http1.post("/api/v0.2/traces", content=payload(SPAN), headers=PROTOBUF)).status_code == 202
    assert intake.store.duplicates == 1


ids = st.integers(1, 2**64 - 1)
texts = st.text(max_size=20)
tags = st.dictionaries(texts, texts, max_size=3)
scalars = st.one_of(
    st.builds(lambda value: {"string_value": value}, texts),
    st.builds(lambda value: {"type": 1, "bool_value": value}, st.booleans()),
    st.builds(lambda value: {"type": 2, "int_value": value}, st.integers(-(2**63), 2**63 - 1)),
    st.builds(lambda value: {"type": 3, "double_value": value}, st.floats(allow_nan=False)),
)
values = st.one_of(scalars, st.builds(lambda found: {"type": 4, "array_value": {"values": found}}, st.lists(scalars)))
links = st.fixed_dictionaries(
    {},
    optional={
        "traceID": ids,
        "traceID_high": ids,
        "spanID": ids,
        "attributes": tags,
        "tracestate": texts,
        "flags": st.integers(0, 2**32 - 1),
    },
)
events = st.fixed_dictionaries(
    {"time_unix_nano": ids}, optional={"name": texts, "attributes": st.dictionaries(texts, values, max_size=3)}
)
spans = st.fixed_dictionaries(
    {
        "service": st.text(min_size=1, max_size=100),
        "name": st.text(min_size=1, max_size=100),
        "resource": st.text(min_size=1, max_size=100),
        "spanID": ids,
        "start": st.integers(946_684_800 * 10**9, 2**62),
    },
    optional={
        "parentID": st.integers(0, 6),
        "duration": st.integers(0, 2**62),
        "error": st.integers(-(2**31), 2**31 - 1),
        "meta": tags,
        "metrics": st.dictionaries(texts, st.floats(allow_nan=False), max_size=3),
        "type": texts,
        "meta_struct": st.dictionaries(texts, st.binary(max_size=9), max_size=2),
        "spanLinks": st.lists(links, max_size=2),
        "spanEvents": st.lists(events, max_size=2),
    },
)


@given(st.lists(spans, min_size=1, max_size=3))
def test_google_reads_the_same(wanted: list[dict[str, Any]]) -> None:
    body = payload(*({**span, "traceID": 7} for span in wanted))
    second = agent_payload.spans(agent_payload.parse(body))
    for span, other in zip(decode_traces(body), second, strict=True):
        assert_same(span, other)


def assert_same(span: Span, other: Any) -> None:
    """Assert that the lab and Google's protobuf have read the same span."""
    assert (span.service, span.name, span.resource, span.type) == (
        other.service,
        other.name,
        other.resource,
        other.type,
    )
    assert (span.trace_id, span.span_id, span.parent_id) == (other.traceID, other.spanID, other.parentID)
    assert (span.start, span.duration, span.error) == (other.start, other.duration, other.error)
    assert (span.meta, span.metrics) == (dict(other.meta), dict(other.metrics))
    assert span.meta_struct == dict(other.meta_struct)
    assert [dict(link["attributes"]) for link in span.links] == [dict(link.attributes) for link in other.spanLinks]
    names = ("traceID", "traceID_high", "spanID", "flags")
    assert [[link.get(name, 0) for name in names] for link in span.links] == [
        [getattr(link, name) for name in names] for link in other.spanLinks
    ]
    assert [event["time_unix_nano"] for event in span.events] == [event.time_unix_nano for event in other.spanEvents]
    assert [event["attributes"] for event in span.events] == [
        {key: plain(value) for key, value in event.attributes.items()} for event in other.spanEvents
    ]


def plain(value: Any) -> Any:
    """What an attribute says, as Google's protobuf has it."""
    if value.type == 4:
        return [plain(each) for each in value.array_value.values]
    return [value.string_value, value.bool_value, value.int_value, value.double_value][value.type]


LONG = "x" * 101
UNUSABLE = {
    "the trace id is 0": {"traceID": 0},
    "the span id is 0": {"spanID": 0},
    "it is its own parent": {"traceID": 8, "parentID": 8},
    "the service is missing": {"service": ""},
    "the name is missing": {"name": LONG},
    "the resource is missing": {"resource": ""},
    "the type is too long": {"type": LONG},
    "it starts before the year 2000": {"start": 1},
    "the duration is negative": {"duration": -1},
    "it ends after time itself": {"duration": 2**63 - 1},
    "http.status_code is 'ok'": {"meta": {"http.status_code": "ok"}},
    "http.status_code is '600'": {"meta": {"http.status_code": "600"}},
    "an attribute has the type 5": {"spanEvents": [{"attributes": {"a": {"type": 5}}}]},
}


@pytest.mark.parametrize(("why", "change"), UNUSABLE.items(), ids=UNUSABLE)
def test_what_datadog_would_drop_is_refused_by_name(why: str, change: dict[str, Any]) -> None:
    with pytest.raises(Refusal, match=re.escape(why)) as refusal:
        decode_traces(payload({**SPAN, **change}))
    assert "tracerPayloads[0].chunks[0].spans[0]" in str(refusal.value)
    assert refusal.value.status == 400


def test_a_chunk_has_one_trace() -> None:
    for body in (payload(SPAN, {**SPAN, "traceID": 9}), payload()):
        with pytest.raises(Refusal, match="a chunk has the spans of one trace"):
            decode_traces(body)
    with pytest.raises(Refusal, match="no spans"):
        decode_traces(b"")


GOOD = payload(SPAN)
"""`0a` is the tag of field 1 as text; the bytes below are put where a span's fields are."""


def with_span_bytes(more: bytes) -> bytes:
    """`SPAN`, then `more`, in the same payload by hand."""
    span = agent_payload.build("Span", **SPAN) + more

    def wrapped(key: int, content: bytes) -> bytes:
        assert len(content) < 128
        return bytes([key << 3 | 2, len(content)]) + content

    return wrapped(5, wrapped(6, wrapped(3, span)))


BAD_BYTES = {
    "spans[0].service: 'utf-8' codec": b"\x0a\x01\xff",
    "spans[0].service: there twice": b"\x0a\x01x",
    "spans[0].type: wire type 0 instead of 2": b"\x60\x01",
    "spans[0].error: 4294967295 is out of range": b"\x48\xff\xff\xff\xff\x0f",
    "spans[0]: field 16 is unknown": b"\x82\x01\x00",
    "spans[0]: wire type 3 at byte": b"\x63",
    "spans[0]: wire type 5 at byte": b"\x65\x00\x00\x00\x00",
    "spans[0]: cut off at byte": b"\x62\x05x",
    "spans[0].meta[0].value: 'utf-8' codec": b"\x52\x03\x12\x01\xff",
    "spans[0].metrics[0].value: wire type 2 instead of 1": b"\x5a\x03\x12\x01\x00",
    "spans[0]: a field without a number": b"\x02\x00",
    "spans[0]: a number of more than 64 bits": b"\x48\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
}


@pytest.mark.parametrize(("why", "more"), BAD_BYTES.items(), ids=BAD_BYTES)
def test_bytes_that_a_server_would_skip_are_refused_by_place(why: str, more: bytes) -> None:
    with pytest.raises(Refusal, match=re.escape("tracerPayloads[0].chunks[0]." + why)):
        decode_traces(with_span_bytes(more))


@given(st.binary(max_size=60), st.integers(0, len(GOOD)))
def test_any_bytes_are_spans_or_a_refusal(junk: bytes, at: int) -> None:
    for body in (junk, GOOD[:at] + junk, GOOD[:at] + junk + GOOD[at:]):
        try:
            assert decode_traces(body)
        except Refusal as refusal:
            assert refusal.status == 400


def tree(*edges: tuple[int, int]) -> list[tuple[int, int]]:
    """Spans given as (id, parent), as (id, depth) in the order of their tree."""
    found = [
        {**SPAN, "spanID": number, "parentID": parent, "start": SPAN["start"] + at}
        for at, (number, parent) in enumerate(edges)
    ]
    (trace,) = traces(reversed(decode_traces(payload(*found))))
    return [(row.span.span_id, row.depth) for row in trace.rows]


def test_a_trace_is_shown_as_a_tree() -> None:
    assert tree((1, 0), (2, 1), (3, 2), (4, 1)) == [(1, 0), (2, 1), (3, 2), (4, 1)]
    assert tree((3, 2), (2, 1), (1, 0)) == [(1, 0), (2, 1), (3, 2)]
    assert tree((2, 99), (3, 2)) == [(2, 0), (3, 1)], "its parent has not arrived"
    circles = tree((1, 2), (2, 1), (3, 3), (4, 0))
    assert sorted(number for number, _ in circles) == [1, 2, 3, 4], "none is lost, none comes twice"
    assert [number for number, _ in tree((1, 0), (1, 0), (2, 1))] == [1, 2, 1]


def test_a_deep_trace_is_no_trouble() -> None:
    assert tree(*((number, number - 1) for number in range(1, 3000)))[-1] == (2999, 2998)


def test_traces_are_in_order_of_time_and_have_all_bits_of_their_ids() -> None:
    late = payload({**SPAN, "meta": {"_dd.p.tid": "00000000000000aa"}})
    early = payload({**SPAN, "traceID": 9, "start": SPAN["start"] - 3})
    found = traces([*decode_traces(late), *decode_traces(early)])
    assert [trace.trace_id for trace in found] == [f"{9:016x}", f"{0xAA:016x}{7:016x}"]
    assert (found[0].start, found[0].duration) == (SPAN["start"] - 3, 5)
