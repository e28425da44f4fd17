"""What tracers send, in all its versions, and whatever else arrives in its place."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fliptop.traces import decode
from fliptop.traces.decode import AT_ONCE, LONGEST_CHUNK, MOST_DETOURS, MOST_PARTS, MOST_TEXTS, Reading
from fliptop.traces.span import Chunk, Span
from tests.unit.spans import SPANS, TEXT, as_map, span

PATHS = ("/v0.3/traces", "/v0.4/traces", "/v0.5/traces", "/v0.7/traces")


def read(path: str, message: object, told: int = 0) -> tuple[list[Chunk], Reading]:
    reading = Reading(path, message if isinstance(message, bytes) else msgpack.packb(message), told)
    return [chunk for chunk in reading.chunks() if chunk], reading


def read_span(raw: object) -> Span:
    """What becomes of one span in version 0.4."""
    (chunk,), reading = read("/v0.4/traces", [[raw]])
    assert reading.lost == 0
    return chunk[0]


@given(st.lists(st.lists(SPANS, min_size=1, max_size=3), max_size=3), st.sampled_from(PATHS[:2]))
def test_versions_of_maps(written: list[Chunk], path: str) -> None:
    chunks, reading = read(path, [[as_map(span) for span in chunk] for chunk in written])
    assert (chunks, reading.lost) == (written, 0)


def as_rows(written: list[Chunk]) -> list[Any]:
    """What a tracer sends in version 0.5, which has no links, events and structures."""
    strings = {"": 0}

    def place(text: str) -> int:
        return strings.setdefault(text, len(strings))

    rows: list[list[Any]] = []
    for chunk in written:
        rows.append([])
        for one in chunk:
            numbers = [one.trace_id, one.span_id, one.parent_id, one.start, one.duration, one.error]
            meta = {place(key): place(value) for key, value in one.meta.items()}
            metrics = {place(key): value for key, value in one.metrics.items()}
            texts = [place(one.service), place(one.name), place(one.resource)]
            rows[-1].append([*texts, *numbers, meta, metrics, place(one.type)])
    return [list(strings), rows]


@given(st.lists(st.lists(SPANS, min_size=1, max_size=3), max_size=3))
def test_version_of_rows(written: list[Chunk]) -> None:
    for one in (one for chunk in written for one in chunk):
        one.meta_struct, one.links, one.events = {}, [], []
        one.meta.pop("", None)
        one.metrics.pop("", None)
    chunks, reading = read("/v0.5/traces", as_rows(written))
    assert (chunks, reading.lost) == (written, 0)


def test_rows_that_are_none() -> None:
    good = as_rows([[span()]])[1][0][0]
    strings = ["", "shop", "web.request", "GET /"]
    outside = [*good[:1], 99, True, *good[3:]]
    chunks, reading = read("/v0.5/traces", [strings, [[good, good[:11], None, outside], 5, [good]]])
    assert [[one.name for one in chunk] for chunk in chunks] == [["web.request", ""], ["web.request"]]
    assert reading.lost == 3


def test_version_of_payloads_says_in_a_span_what_older_ones_say_there() -> None:
    payload = {
        "runtime_id": "run",
        "env": "prod",
        "hostname": "box",
        "app_version": "1.2",
        "tags": {"of": "payload", "both": "payload"},
        "language_name": None,
        "chunks": [
            {
                "priority": 2,
                "origin": "rum",
                "tags": {"_dd.p.dm": "-4", "both": "chunk"},
                "spans": [as_map(span(meta={"env": "own"})), as_map(span(span_id=9))],
            },
            {"spans": [as_map(span())], "dropped_trace": True, "priority": 1},
            {"spans": None},
            {"spans": 5},
            "what",
        ],
    }
    (first, second), reading = read("/v0.7/traces", payload)
    assert first[0].meta == {
        "env": "own",
        "version": "1.2",
        "_dd.hostname": "box",
        "runtime-id": "run",
        "of": "payload",
        "both": "chunk",
        "_dd.p.dm": "-4",
        "_dd.origin": "rum",
    }
    assert first[0].metrics == {"_sampling_priority_v1": 2.0}
    assert first[1].meta == {}
    assert second[0].metrics == {"_sampling_priority_v1": 0.0}
    assert reading.lost == 0


def test_nil_stands_for_the_default_and_unknown_keys_are_skipped() -> None:
    names = [field.name for field in fields(Span)]
    keys = [{"links": "span_links", "events": "span_events"}.get(name, name) for name in names]
    odd: dict[Any, Any] = {"new": [1, {"x": 2}], 5: 6}
    assert read_span(dict.fromkeys(keys) | odd) == Span()
    assert read_span({}) == Span()


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("service", 5, ""),
        ("name", b"broken \xff", "broken \ufffd"),
        ("trace_id", -1, 2**64 - 1),
        ("trace_id", "7", 0),
        ("span_id", 2**64 - 1, 2**64 - 1),
        ("parent_id", True, 0),
        ("start", 2**64 - 1, 0),
        ("start", 1.5e18, 1_500_000_000_000_000_000),
        ("duration", "1", 0),
        ("duration", math.nan, 0),
        ("error", True, 1),
        ("error", 2**40, 1),
        ("meta", {"a": "b", "c": None, "d": 5, "e": True, "f": [1], "g": b"h", 3: "i"}, None),
        ("meta", ["a"], {}),
        ("metrics", {"a": 1, "b": math.nan, "c": math.inf, "d": "5", "e": 2.5, "f": None}, {"a": 1.0, "e": 2.5}),
        ("metrics", "what", {}),
        ("meta_struct", {"a": b"\x80", "b": "text"}, {"a": b"\x80"}),
    ],
)
def test_a_field_of_a_wrong_type_costs_itself(key: str, value: object, expected: object) -> None:
    if expected is None:
        expected = {"a": "b", "d": "5", "e": "true", "g": "h", "3": "i"}
    read = read_span({**as_map(span()), key: value})
    assert getattr(read, key) == expected
    setattr(read, key, getattr(span(), key))
    assert read == span()


def test_links_and_events_of_wrong_types() -> None:
    link = {"trace_id": -1, "span_id": "x", "attributes": {"a": 1}, "flags": 2**40 + 1, "more": 0}
    attributes = {
        "array": {"type": 4, "array_value": {"values": [{"type": 2, "int_value": 3}, {"type": 4}, 7]}},
        "empty": {"type": 4},
        "unknown": {"type": 9},
        "none": None,
        "odd": {"type": [1]},
        "text": {"string_value": "x"},
        "nan": {"type": 3, "double_value": math.nan},
    }
    event = {"name": None, "attributes": attributes}
    found = read_span({"span_links": [link, None, 5], "span_events": [event, "x"]})
    assert found.links == [
        {
            "trace_id": 2**64 - 1,
            "trace_id_high": 0,
            "span_id": 0,
            "attributes": {"a": "1"},
            "tracestate": "",
            "flags": 1,
        }
    ]
    (kept,) = found.events
    assert kept["attributes"] == {
        "array": {"type": 4, "array_value": {"values": [{"type": 2, "int_value": 3}]}},
        "empty": {"type": 4, "array_value": {"values": []}},
        "text": {"type": 0, "string_value": "x"},
        "nan": {"type": 3, "double_value": 0.0},
    }


def test_broken_utf8_is_replaced() -> None:
    assert read_span({"name": "x"}).name == "x"
    (chunk,), _ = read("/v0.4/traces", b"\x91\x91\x81\xa4name\xa2\xff\xfe")
    assert chunk[0].name == "\ufffd\ufffd"


def test_what_is_no_span_costs_no_other() -> None:
    (first, second), reading = read("/v0.4/traces", [[as_map(span()), 5], None, "what", [as_map(span(span_id=9))]])
    assert [first[0].span_id, second[0].span_id] == [8, 9]
    assert (reading.lost, reading.problem) == (2, "a span is expected")


def test_a_span_that_cannot_be_built_costs_no_other() -> None:
    """A map as a key of a map is well-formed, but no dictionary takes it."""
    odd, good = b"\x81\x80\x01", msgpack.packb(as_map(span()))
    (chunk,), reading = read("/v0.4/traces", b"\x91\x93" + odd + good + odd)
    assert (chunk, reading.lost) == ([span()], 2)


def test_only_so_many_that_cannot_be_built_are_passed_over() -> None:
    body = b"\x91\xdc\x00\x64" + b"\x81\x80\x01" * 100
    chunks, reading = read("/v0.4/traces", body)
    assert (chunks, reading.lost) == ([], MOST_DETOURS + 1)


@given(st.integers(0, 400), st.integers(0, 5))
def test_of_a_body_that_breaks_off_all_that_stands_before_is_kept(cut: int, told: int) -> None:
    whole = [[as_map(span()), as_map(span(span_id=9))], [as_map(span(trace_id=1))]]
    body = msgpack.packb(whole)
    cut = min(cut, len(body) - 1)
    chunks, reading = read("/v0.4/traces", body[:cut], told)
    read_spans = [one for chunk in chunks for one in chunk]
    assert read_spans == [span(), span(span_id=9), span(trace_id=1)][: len(read_spans)]
    assert reading.lost == max(1, min(told, cut) - len(chunks))
    assert reading.problem


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", [b"", b"\xc1", b"\xc0", b"\x05", b"hello", b"\xdd\xff\xff\xff\xff", b"\x91" * 3000])
def test_what_is_no_message_at_all(path: str, body: bytes) -> None:
    chunks, reading = read(path, body)
    assert chunks == []
    assert reading.lost == (0 if body == b"\xc0" and path in PATHS[:2] else 1)


def test_the_header_tells_how_many_traces_could_not_be_read() -> None:
    assert read("/v0.4/traces", b"\x9a\xc1 and so on", told=3)[1].lost == 3
    assert read("/v0.4/traces", b"\xc1", told=10**9)[1].lost == 1, "no more than there are bytes"


def test_a_long_trace_leaves_room_for_pauses() -> None:
    raw = [as_map(span(span_id=number)) for number in range(1, 3 * AT_ONCE + 2)]
    reading = Reading("/v0.4/traces", msgpack.packb([raw]))
    assert [len(chunk) for chunk in reading.chunks()] == [0, 0, 0, len(raw)]


NESTED = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | TEXT | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.one_of(TEXT, st.integers(0, 12)), inner, max_size=4),
    max_leaves=10,
)
FIELDS = ["service", "trace_id", "start", "duration", "error", "meta", "metrics", "meta_struct", "span_links"]
ODD_SPANS = st.dictionaries(st.sampled_from([*FIELDS, "span_events", "type", "attributes"]), NESTED)


@given(st.sampled_from(PATHS), st.one_of(NESTED, st.lists(st.lists(ODD_SPANS | NESTED, max_size=3), max_size=3)))
def test_any_message_is_read_or_counted(path: str, message: object) -> None:
    read(path, message)


@given(
    st.sampled_from(PATHS),
    st.one_of(st.binary(max_size=200), st.binary(max_size=50).map(lambda data: b"\x92\x91\xa1x\x91\x91" + data)),
)
def test_any_bytes_are_read_or_counted(path: str, body: bytes) -> None:
    for chunk in read(path, body)[0]:
        assert all(0 <= one.trace_id < 2**64 for one in chunk)


@given(st.data())
def test_any_byte_of_a_message_may_be_broken(data: st.DataObject) -> None:
    body = bytearray(msgpack.packb([[as_map(data.draw(SPANS))], [as_map(span())]]))
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    read(data.draw(st.sampled_from(PATHS)), bytes(body))


@pytest.mark.parametrize("path", PATHS[1:])
@pytest.mark.parametrize("part", [b"\x90", b"\x80", b"\xdd" + (2**32 - 1).to_bytes(4), b"\x91\x90"])
def test_a_value_of_more_parts_than_it_may_have_costs_itself(path: str, part: bytes) -> None:
    bomb = b"\xdd" + (decode.MOST_PARTS_OF_PAYLOAD).to_bytes(4) + part * decode.MOST_PARTS_OF_PAYLOAD
    opening = {"/v0.5/traces": b"\x92\x91\xa0\x91\x91", "/v0.7/traces": b"\x81\xa6chunks"}.get(path, b"\x91\x91")
    chunks, reading = read(path, opening + bomb)
    assert (chunks, reading.lost) == ([], 1)


def test_a_span_may_have_as_many_parts_as_anyone_needs() -> None:
    links = [{"trace_id": 1, "span_id": number, "attributes": {"a": "b"}} for number in range(MOST_PARTS // 2 - 10)]
    assert len(read_span({"trace_id": 1, "span_id": 2, "span_links": links}).links) == len(links)


def test_a_table_of_more_texts_than_it_may_have_is_not_read() -> None:
    body = b"\x92\xdd" + (MOST_TEXTS + 1).to_bytes(4) + b"\xa0" * (MOST_TEXTS + 1) + b"\x90"
    chunks, reading = read("/v0.5/traces", body)
    assert (chunks, reading.lost) == ([], 1)
    body = b"\x92\xdd" + MOST_TEXTS.to_bytes(4) + b"\xa0" * MOST_TEXTS + b"\x90"
    assert len(list((reading := Reading("/v0.5/traces", body)).chunks())) > 10, "pauses"
    assert reading.lost == 0


def test_the_parts_of_a_long_chunk_say_what_it_says() -> None:
    said = {"env": "prod", "version": "7"}
    first = span(trace_id=1, span_id=1, meta=said, metrics={"_sampling_priority_v1": 2.0})
    other = [
        span(trace_id=1, span_id=number, meta={"a": "b"}, metrics={}) for number in range(2, 2 * LONGEST_CHUNK + 2)
    ]
    other[-1].meta["env"] = "mine"
    chunks, reading = read("/v0.4/traces", [[as_map(one) for one in [first, *other]]])
    assert ([len(chunk) for chunk in chunks], reading.lost) == ([LONGEST_CHUNK, LONGEST_CHUNK, 1], 0)
    assert [chunk[0].metrics for chunk in chunks] == [{"_sampling_priority_v1": 2.0}] * 3
    assert chunks[1][0].meta == {"a": "b", **said}
    assert chunks[2][0].meta == {"a": "b", "env": "mine", "version": "7"}
    assert chunks[1][1].meta == {"a": "b"}
