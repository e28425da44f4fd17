"""Events and service checks: from a DogStatsD line to what Datadog's public API takes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fliptop.events.pipeline import CHECK_LIMITS, EVENT_LIMITS, EVENTS_PER_FLUSH, EventPipeline
from fliptop.identity import Identity
from fliptop.metrics.dogstatsd import DogStatsD, Event, ServiceCheck
from fliptop.outbox.ledger import Ledger
from fliptop_lab.intake.events import decode_event, decode_service_checks
from tests.conftest import MovedClock

ENVIRON = {"AWS_LAMBDA_FUNCTION_NAME": "shop", "AWS_REGION": "eu-west-1"}


class Pipe:
    """A pipeline under test: lines in, payloads out."""

    def __init__(self, ledger: Ledger, clock: MovedClock, **tags: str) -> None:
        self.pipeline = EventPipeline("https://api.example", Identity(ENVIRON, None, tags), ledger, clock)

    def take(self, *lines: bytes) -> None:
        for item in DogStatsD().parse(b"\n".join(lines)):
            assert isinstance(item, Event | ServiceCheck)
            self.pipeline.take(item)

    def sent(self, *lines: bytes) -> list[tuple[str, Any]]:
        self.take(*lines)
        payloads = list(self.pipeline.seal())
        assert all(payload.headers == (("Content-Type", "application/json"),) for payload in payloads)
        return [(payload.url, json.loads(payload.body)) for payload in payloads]


@pytest.fixture
def pipe(ledger: Ledger, clock: MovedClock) -> Pipe:
    return Pipe(ledger, clock, env="prod")


def test_an_event_with_everything(pipe: Pipe) -> None:
    line = b"_e{5,4}:title|text|d:1700000000|h:me|k:key|p:low|s:src|t:error|#b:2,a:1"
    ((url, event),) = pipe.sent(line)
    assert url == "https://api.example/api/v1/events"
    tags = event.pop("tags")
    assert {"a:1", "b:2", "env:prod", "functionname:shop"} <= set(tags)
    assert event == {
        "title": "title",
        "text": "text",
        "date_happened": 1700000000,
        "priority": "low",
        "alert_type": "error",
        "host": "me",
        "aggregation_key": "key",
        "source_type_name": "src",
    }
    decode_event({**event, "tags": tags})


def test_an_event_with_nothing_happens_now(pipe: Pipe, clock: MovedClock) -> None:
    ((_, event),) = pipe.sent(b"_e{1,0}:t|")
    assert event.keys() == {"title", "text", "date_happened", "priority", "alert_type", "tags"}
    assert event["date_happened"] == clock.now
    decode_event(event)


def test_service_checks_go_together(pipe: Pipe, clock: MovedClock) -> None:
    ((url, checks),) = pipe.sent(b"_sc|one|2|d:1700000000|h:me|#a:1|m:went\\nwrong", b"_sc|two|0")
    assert url == "https://api.example/api/v1/check_run"
    first, second = decode_service_checks(checks)
    assert (first.check, first.status, first.time, first.host) == ("one", "critical", 1700000000, "me")
    assert first.message == "went\nwrong"
    assert "a:1" in first.tags
    assert (second.check, second.status, second.time, second.host) == ("two", "ok", clock.now, "")


def test_many_events_are_spread_over_flushes_but_for_the_last(pipe: Pipe, ledger: Ledger) -> None:
    pipe.take(*[b"_e{1,1}:a|b"] * (3 * EVENTS_PER_FLUSH))
    assert len(list(pipe.pipeline.seal())) == EVENTS_PER_FLUSH
    assert len(list(pipe.pipeline.seal(last=True))) == 2 * EVENTS_PER_FLUSH
    assert (pipe.pipeline.waiting, ledger.pending("events")) == (0, 3 * EVENTS_PER_FLUSH)


def test_what_waits_is_bounded_and_may_be_given_up(pipe: Pipe, ledger: Ledger) -> None:
    event = b"_e{1,4000}:a|" + b"b" * 4000
    pipe.take(*[event] * 300, *[b"_sc|c|1|m:" + b"x" * 8000] * 200)
    assert ledger.dropped("events", "buffer_full") > 300 - EVENT_LIMITS.ceiling // 4000
    assert ledger.dropped("service_checks", "buffer_full") > 200 - CHECK_LIMITS.ceiling // 8000
    assert pipe.pipeline.waiting > 100
    pipe.pipeline.give_up("shutdown")
    assert pipe.pipeline.waiting == 0
    assert list(pipe.pipeline.seal(last=True)) == []


def test_what_cannot_be_encoded_is_counted(ledger: Ledger, clock: MovedClock) -> None:
    Pipe(ledger, clock, team="\udce9").take(b"_e{1,1}:a|b", b"_sc|c|1")
    assert ledger.dropped("events", "not_encodable") == ledger.dropped("service_checks", "not_encodable") == 1
