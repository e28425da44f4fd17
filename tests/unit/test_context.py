"""Trace context: whatever a carrier holds is read or ignored, and what was written is read again, in any style."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fliptop.invocations.context import Context, carrier_of, extract
from fliptop.invocations.options import Propagation

STYLES = ("datadog", "tracecontext", "b3", "b3multi")
ALL = Propagation(STYLES, baggage=True)
TID = "_dd.p.tid"
W3C = {"traceparent": "00-640cfd8d00000000ab54a98ceb1f0ad2-00f067aa0ba902b7-01"}
DATADOG = {"x-datadog-trace-id": str(0xAB54A98CEB1F0AD2), "x-datadog-parent-id": str(0x00F067AA0BA902B7)}


def read(carrier: object, *styles: str, first_only: bool = False, baggage: bool = False) -> Context | None:
    return extract(carrier_of(carrier), Propagation(styles or ("datadog", "tracecontext"), first_only, baggage))


# --- written and read again ---

ids = st.integers(1, 2**64 - 1)
words = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_./=", min_size=1, max_size=20)


@st.composite
def contexts(draw: st.DrawFn) -> Context:
    upper = draw(st.integers(0, 2**64 - 1))
    tags = {f"_dd.p.{name}": value for name, value in draw(st.dictionaries(st.sampled_from("abc"), words)).items()}
    if upper:
        tags[TID] = f"{upper:016x}"
    return Context(draw(ids), draw(ids), tags, draw(st.sampled_from((-1, 0, 1, 2))), draw(words))


def datadog(context: Context) -> dict[str, str]:
    return {
        "x-datadog-trace-id": str(context.trace_id),
        "x-datadog-parent-id": str(context.parent_id),
        "x-datadog-sampling-priority": str(context.priority),
        "x-datadog-origin": context.origin,
        "x-datadog-tags": ",".join(f"{key}={value}" for key, value in context.tags.items()),
    }


def tracecontext(context: Context) -> dict[str, str]:
    sampled = (context.priority or 0) > 0
    tags = ";".join(
        f"t.{key.removeprefix('_dd.p.')}:{value.replace('=', '~')}" for key, value in context.tags.items() if key != TID
    )
    trace_id = f"{context.tags.get(TID, '0' * 16)}{context.trace_id:016x}"
    return {
        "traceparent": f"00-{trace_id}-{context.parent_id:016x}-0{sampled:d}",
        "tracestate": f"other=1,dd=s:{context.priority};o:{context.origin.replace('=', '~')};{tags}",
    }


@given(contexts(), st.sampled_from((str.lower, str.upper, str.title)))
def test_what_datadog_headers_say_is_read_in_any_case(context: Context, case: object) -> None:
    carrier = {case(name): value for name, value in datadog(context).items()}  # type: ignore[operator]
    assert read(carrier, "datadog") == context


@given(contexts())
def test_what_w3c_headers_say_is_read(context: Context) -> None:
    assert read(tracecontext(context), "tracecontext") == context


@given(contexts())
def test_both_together_say_the_same(context: Context) -> None:
    assert read(datadog(context) | tracecontext(context)) == context


@given(contexts(), st.sampled_from(("b3", "b3multi")))
def test_what_b3_headers_say_is_read(context: Context, style: str) -> None:
    trace, parent = f"{context.tags.get(TID, '')}{context.trace_id:016x}", f"{context.parent_id:016x}"
    sampled = {-1: "0", 0: "0", 1: "1", 2: "d"}[context.priority or 0]
    flags = {"x-b3-flags": "1"} if sampled == "d" else {"x-b3-sampled": sampled}
    carrier = {"b3": f"{trace}-{parent}-{sampled}"} if style == "b3" else {"x-b3-traceid": trace, "x-b3-spanid": parent}
    found = read(carrier | (flags if style == "b3multi" else {}), style)
    tags = {TID: context.tags[TID]} if TID in context.tags else {}
    assert found == Context(context.trace_id, context.parent_id, tags, max(context.priority or 0, 0))


# --- whatever comes ---

json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    (*datadog(Context(1, 1, {})), *W3C, "tracestate", "b3", "x-b3-traceid", "x-b3-spanid", "ot-baggage-x")
)
values = st.from_regex(r"[0-9a-f=:;, ~_dtps.-]{0,60}", fullmatch=True) | st.text() | json


@given(json | st.dictionaries(names, values))
def test_any_carrier_gives_a_sound_context_or_none(carrier: object) -> None:
    found = read(carrier, *STYLES, baggage=True)
    if found is not None:
        assert 0 < found.trace_id < 2**64
        assert 0 <= found.parent_id < 2**64
        assert found.origin.isprintable()
        assert len(found.tags.get(TID, "0" * 16)) == 16
        assert all(len(value) <= 512 for value in found.tags.values())


@pytest.mark.parametrize(
    "carrier",
    [
        {"x-datadog-trace-id": "0"},
        {"x-datadog-trace-id": "-5"},
        {"x-datadog-trace-id": str(2**64)},
        {"x-datadog-trace-id": "٣"},
        {"x-datadog-trace-id": True},
        {"traceparent": "00-00000000000000000000000000000000-00f067aa0ba902b7-01"},
        {"traceparent": "00-640cfd8d00000000ab54a98ceb1f0ad2-0000000000000000-01"},
        {"traceparent": "ff-640cfd8d00000000ab54a98ceb1f0ad2-00f067aa0ba902b7-01"},
        {"traceparent": "00-640cfd8d00000000ab54a98ceb1f0ad2-00f067aa0ba902b7-01-more"},
        {"traceparent": "00-640CFD8D00000000AB54A98CEB1F0AD2-00f067aa0ba902b7-01"},
        {"traceparent": "00-640cfd8d00000000ab54a98ceb1f0ad2-00f067aa0ba902b7"},
        {"b3": "0"},
        {"b3": "1-0-1"},
        {"x-b3-traceid": "xyz", "x-b3-spanid": "1"},
        {},
    ],
)
def test_what_is_no_context_is_none(carrier: dict[str, object]) -> None:
    assert read(carrier, *STYLES) is None


# --- the fine print ---


def test_a_number_and_a_list_of_values_are_taken_for_what_they_say() -> None:
    found = read({"X-Datadog-Trace-Id": ["7", "8"], "x-datadog-parent-id": 9, "other": [1]})
    assert found == Context(7, 9, {})


def test_a_version_to_come_may_say_more() -> None:
    assert read({"traceparent": W3C["traceparent"].replace("00-", "cc-", 1) + "-more"}) is not None


def test_the_sampled_flag_beats_a_priority_that_contradicts_it() -> None:
    found = read(W3C | {"tracestate": "dd=s:-1;t.dm:-4"}, "tracecontext")
    assert found is not None
    assert (found.priority, found.tags.get("_dd.p.dm")) == (1, None)


@pytest.mark.parametrize(
    ("state", "last"), [({"tracestate": "dd=p:00000000000000ff"}, "00000000000000ff"), ({}, "0" * 15 + "5")]
)
def test_who_speaks_w3c_alone_comes_between(state: dict[str, str], last: str) -> None:
    carrier = W3C | state | DATADOG | {"x-datadog-parent-id": "5"}
    found = read(carrier)
    assert found is not None
    assert (found.parent_id, found.tags["_dd.parent_id"], found.tags[TID]) == (
        0x00F067AA0BA902B7,
        last,
        "640cfd8d00000000",
    )


def test_the_first_style_may_be_believed_alone() -> None:
    carrier = W3C | DATADOG | {"x-datadog-parent-id": "5"}
    assert read(carrier, "datadog", "tracecontext", first_only=True) == Context(0xAB54A98CEB1F0AD2, 5, {})


def test_two_traces_are_two() -> None:
    assert read(W3C | DATADOG | {"x-datadog-trace-id": "5"}) == Context(5, 0x00F067AA0BA902B7, {})


def test_no_style_reads_nothing() -> None:
    assert read(W3C | DATADOG, "none", "baggage") is None


def tags_of(carrier: dict[str, str], *, baggage: bool = False) -> dict[str, str]:
    found = read(carrier, baggage=baggage)
    assert found is not None
    return found.tags


def test_tags_that_are_too_long_or_malformed_are_named() -> None:
    def said(text: str) -> dict[str, str]:
        return tags_of(DATADOG | {"x-datadog-tags": text})

    assert said("_dd.p.a=" + "x" * 600) == {"_dd.propagation_error": "extract_max_size"}
    assert said("_dd.p.tid=12") == {"_dd.propagation_error": "malformed_tid"}
    assert said("_dd.p.tid=12\r\nx: y,_dd.p.dm=-4,other=1,nonsense") == {"_dd.p.dm": "-4"}


def test_baggage_becomes_tags_if_that_is_wanted() -> None:
    carrier = DATADOG | {"OT-Baggage-User": "jo"}
    assert tags_of(carrier, baggage=True) == {"user": "jo"}
    assert tags_of(carrier) == {}
