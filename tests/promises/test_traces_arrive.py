"""Promise 3 for traces: what a function traces arrives, or is counted as lost, whatever happens on the way."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgpack
import pytest

from fliptop_lab.intake.body import decompress
from fliptop_lab.intake.traces import decode_traces
from fliptop_lab.intake.trees import traces
from tests import agent_payload
from tests.deaths import kill_before_the_second
from tests.lifetimes import Life, Plan, live
from tests.promises.test_trace_agent import agent, asked
from tests.promises.test_trace_agent import span as traced

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
NAMES = ["aws.lambda", "shop.order", "shop.query"]
TAGS = {"functionname": "lab-function", "region": "eu-west-1", "_dd.origin": "lambda", "language": "python"}


def sent(life: Life) -> list[str]:
    """The names of the function's spans that the intake has; not those that the extension has made itself."""
    return [span.name for span in life.intake.received.spans if span.name in {*NAMES, "shop.item"}]


def balanced(life: Life, signal: str = "spans") -> dict[str, int]:
    """Assert the equation and return the ledger's drops."""
    entry = life.ledger().get(signal, {"accepted": 0, "delivered": 0, "pending": 0, "dropped": {}})
    drops: dict[str, int] = entry["dropped"]
    assert entry["accepted"] == entry["delivered"] + sum(drops.values())
    assert entry["pending"] == 0
    return drops


async def test_what_an_invocation_traces_arrives_with_it(tmp_path: Path) -> None:
    async def arrived(life: Life, number: int) -> None:
        if number:
            assert Counter(sent(life)) == dict.fromkeys(NAMES, number)

    life = await live(Plan(function="python", meanwhile=arrived), tmp_path)
    assert Counter(sent(life)) == dict.fromkeys(NAMES, 3)
    assert balanced(life) == balanced(life, "tracer_requests") == {}
    found = [[row for row in trace.rows if row.span.name in NAMES] for trace in traces(life.intake.received.spans)]
    assert [[row.span.name for row in rows] for rows in found] == [NAMES] * 3
    assert [rows[1].span.parent_id for rows in found] == [rows[0].span.span_id for rows in found]
    requests = [each.request_id for each in life.invocations]
    assert [rows[0].span.meta["request_id"] for rows in found] == requests
    for span in life.intake.received.spans:
        assert TAGS.items() <= span.meta.items() or span.name not in NAMES
        assert span.chunk.priority == 1
    assert life.intake.store.refused == life.intake.duplicates == 0
    google_reads_the_same(life)


def google_reads_the_same(life: Life) -> None:
    """The bytes that came over the wire, as read by somebody who knows neither the extension nor the lab."""
    requests = [request for request in life.intake.requests if request.path == "/api/v0.2/traces"]
    assert requests
    for request in requests:
        body = decompress(request.body, request.encoding, 1 << 24)
        for span, other in zip(decode_traces(body), agent_payload.spans(agent_payload.parse(body)), strict=True):
            assert (span.service, span.name, span.resource) == (other.service, other.name, other.resource)
            assert (span.trace_id, span.span_id, span.parent_id) == (other.traceID, other.spanID, other.parentID)
            assert (span.start, span.duration, span.error) == (other.start, other.duration, other.error)
            assert (span.meta, span.metrics) == (dict(other.meta), dict(other.metrics))


async def test_a_flood_is_delivered_or_counted(tmp_path: Path) -> None:
    payload = b'{"spans": 10000}'
    life = await live(Plan(function="python", payloads=[b"{}", payload, b"{}"], timeout_s=20), tmp_path)
    dropped = balanced(life)
    assert 9 + 10_000 - len(sent(life)) == sum(dropped.values())
    assert set(dropped) <= {"buffer_full", "too_large"}
    assert balanced(life, "tracer_requests") == {}


async def test_an_intake_that_is_away_costs_counted_spans(tmp_path: Path) -> None:
    life = await live(Plan(function="python", faults=["503,path=/api/v0.2/traces"]), tmp_path)
    assert [each.status for each in life.invocations] == ["success"] * 3
    assert sent(life) == []
    assert sum(balanced(life).values()) == 9


async def test_an_intake_that_says_no_once_gets_the_same_bytes_again(tmp_path: Path) -> None:
    life = await live(Plan(function="python", faults=["503,path=/api/v0.2/traces,times=1"]), tmp_path)
    refused, again, *_ = [request for request in life.intake.requests if request.path == "/api/v0.2/traces"]
    assert (refused.status, again.status) == (503, 202)
    assert refused.body == again.body
    assert balanced(life) == {}
    assert Counter(sent(life)) == dict.fromkeys(NAMES, 3)


async def test_a_crash_costs_only_what_was_not_delivered(tmp_path: Path) -> None:
    life = await live(Plan(function="python", meanwhile=kill_before_the_second), tmp_path)
    assert [each.status for each in life.invocations] == ["success"] * 3
    assert Counter(sent(life)) == dict.fromkeys(NAMES, 3)
    assert set(balanced(life)) <= {"extension_died"}


async def test_requests_that_cannot_be_used_cost_nothing_but_themselves(tmp_path: Path) -> None:
    good = msgpack.packb([[traced(6, name="shop.item")]])
    junk = [
        good[:-3],
        b"",
        b"\xc1",
        b"[]",
        msgpack.packb({"a": 1}),
        msgpack.packb([[1]]),
        msgpack.packb([[{"trace_id": "x"}]]),
        msgpack.packb([[traced(6, trace_id=0)]]),
        msgpack.packb([[traced(0)]]),
    ]
    life, answers = await agent(tmp_path, [asked("/v0.4/traces", body, method="PUT") for body in [*junk, good]])
    assert [status for status, _ in answers] == [200] * (len(junk) + 1)
    assert sent(life) == ["shop.item"]
    assert sum(balanced(life).values()) >= 2
    balanced(life, "tracer_requests")
