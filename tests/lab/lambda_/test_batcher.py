"""The telemetry batcher by itself, under a clock that the test moves."""

import json
from dataclasses import replace
from typing import Any

import pytest

from fliptop_lab.lambda_.events import Event
from fliptop_lab.lambda_.telemetry import Batcher, Destination, Subscription

HERE = Destination("HTTP", 8124)
TIME = "2026-11-22T06:35:18.106Z"


class Bench:
    """A batcher and its clock."""

    def __init__(self, limit: int = 1 << 20, **wants: Any) -> None:
        self.now = 100.0
        wanted = Subscription("telemetry", "2025-01-29", ("platform", "function"), False, 3, 10_000, 1.0, HERE)
        self.batcher = Batcher(replace(wanted, **wants), limit, lambda: self.now)

    def add(self, *lines: str) -> None:
        for line in lines:
            self.batcher.offer(Event(TIME, "function", line))

    def taken(self) -> list[str] | None:
        batch = self.batcher.take()
        return [event["record"] for event in json.loads(batch.array())] if batch else None


def test_nothing_is_due_before_the_first_event() -> None:
    bench = Bench()
    assert bench.batcher.due_s is None
    assert bench.taken() is None


def test_a_batch_is_due_its_time_after_its_first_event() -> None:
    bench = Bench()
    bench.add("a")
    bench.now += 0.75
    bench.add("b")
    assert bench.batcher.due_s == pytest.approx(0.25)
    assert bench.taken() is None
    bench.now += 0.25
    assert bench.taken() == ["a", "b"]
    assert bench.batcher.due_s is None


def test_a_batch_closes_when_it_is_full() -> None:
    bench = Bench()
    bench.add("a", "b", "c", "d")
    assert bench.batcher.due_s == 0
    assert bench.taken() == ["a", "b", "c"]
    assert bench.taken() is None


def test_a_batch_closes_when_it_is_large() -> None:
    bench = Bench(max_bytes=200)
    bench.add("x" * 150, "y")
    assert bench.taken() == ["x" * 150]


def test_types_that_were_not_asked_for_are_left_out() -> None:
    bench = Bench()
    bench.batcher.offer(Event(TIME, "extension", "mine"))
    assert bench.batcher.due_s is None


def test_beyond_the_limit_events_are_counted_instead_of_kept() -> None:
    bench = Bench(limit=300)
    bench.add(*["z" * 100] * 5)
    record = bench.batcher.dropped()
    assert record is not None
    assert record["droppedRecords"] == 4
    assert record["droppedBytes"] > 400
    assert bench.batcher.dropped() is None
    assert bench.batcher.add(Event(TIME, "platform.logsDropped", record))


def test_what_is_taken_makes_room() -> None:
    bench = Bench(limit=300, max_items=1)
    bench.add("a" * 100)
    assert bench.taken() == ["a" * 100]
    bench.add("b" * 100)
    assert bench.taken() == ["b" * 100]
    assert bench.batcher.dropped() is None
