"""Telemetry records: whatever arrives, one broken record never takes its neighbours with it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fliptop.platform.telemetry import Record, Unreadable, parse

START = {"time": "2026-11-22T06:35:18.106Z", "type": "platform.start", "record": {"requestId": "r1"}}
LINE = {"time": "2026-11-22T06:35:18.498Z", "type": "function", "record": "hello\n"}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def test_records_in_order_with_their_times() -> None:
    first, second = parse(json.dumps([START, LINE]).encode())
    assert first == Record("platform.start", 1795329318106, {"requestId": "r1"})
    assert second == Record("function", 1795329318498, "hello\n")


def test_unknown_types_pass_through() -> None:
    (record,) = parse(b'[{"time":"2026-11-22T06:35:18Z","type":"platform.new","record":{"a":1}}]')
    assert isinstance(record, Record)
    assert record.type == "platform.new"


def test_a_time_that_cannot_be_read_costs_only_the_time() -> None:
    (record,) = parse(b'[{"time":"yesterday","type":"function","record":"x"}]')
    assert record == Record("function", None, "x")


@given(st.lists(json_values, max_size=5), st.integers(0, 5))
def test_any_element_costs_only_itself(elements: list[Any], position: int) -> None:
    batch = [*elements[:position], LINE, *elements[position:]]
    got = list(parse(json.dumps(batch).encode()))
    assert len(got) == len(batch)
    assert Record("function", 1795329318498, "hello\n") in got


@given(st.integers(0, 400))
def test_a_batch_cut_anywhere_keeps_the_records_before_the_cut(cut: int) -> None:
    whole = json.dumps([LINE, START, LINE]).encode()
    first_ends = whole.index(b"}") + 1
    got = list(parse(whole[:cut]))
    if cut >= first_ends:
        assert got[0] == Record("function", 1795329318498, "hello\n")
    if cut < len(whole):
        assert any(isinstance(item, Unreadable) for item in got)


def test_garbage_between_records_costs_only_itself() -> None:
    one = json.dumps(LINE)
    got = list(parse(f'[{one},{{"time": broken}},{one}]'.encode()))
    assert [type(item) for item in got] == [Record, Unreadable, Record]


def test_a_delivery_that_is_all_rubbish_costs_no_time() -> None:
    got = list(parse(b'{"time"' * 40_000))
    assert 0 < len(got) <= 101


def test_a_lone_surrogate_costs_nothing() -> None:
    got = list(parse(b'[{"time":"2026-11-22T06:35:18Z","type":"function","record":"\\ud800"}]'))
    assert [type(item) for item in got] == [Record]


def test_broken_utf8_is_replaced() -> None:
    (record,) = parse(b'[{"time":"2026-11-22T06:35:18Z","type":"function","record":"caf\xe9"}]')
    assert isinstance(record, Record)
    assert record.record == "caf\N{REPLACEMENT CHARACTER}"


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(body: bytes) -> None:
    list(parse(body))


def test_paths_into_a_record() -> None:
    record = Record("platform.report", 0, {"metrics": {"durationMs": 1.5, "ok": True}, "status": "success"})
    assert record.number("metrics", "durationMs") == 1.5
    assert record.number("metrics", "ok") is None
    assert record.text("status") == "success"
    assert record.text("metrics", "nothing", "here") is None
    assert Record("function", 0, "text").text("requestId") is None
