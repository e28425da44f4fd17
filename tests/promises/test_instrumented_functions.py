"""Functions whose tracer leaves the invocation's span to the extension: it arrives once, between what it belongs to."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fliptop_lab.intake import Span
from tests.lifetimes import Life, Plan, live
from tests.promises.test_enhanced_metrics import told
from tests.promises.test_metrics_arrive import CLIENTS
from tests.unit.test_triggers import CARRIER, HTTP_API, QUEUE

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


async def lived(tmp_path: Path, *events: Any, **more: Any) -> Life:
    payloads = [json.dumps(event).encode() for event in events]
    return await live(
        Plan(function=str(CLIENTS / "instrumented"), payloads=payloads, **{"timeout_s": 20, **more}), tmp_path
    )


def invocations(life: Life) -> list[Span]:
    """The invocations' spans, in order."""
    found = [span for span in life.intake.received.spans if span.name == "aws.lambda"]
    return sorted(found, key=lambda span: span.start)


def below(span: Span, life: Life) -> Counter[str]:
    return Counter(one.name for one in life.intake.received.spans if one.parent_id == span.span_id)


def nothing_is_lost_or_doubled(life: Life) -> None:
    spans = life.intake.received.spans
    assert len({(span.trace_id, span.span_id) for span in spans}) == len(spans)
    assert life.ledger()["spans"] == {"accepted": len(spans), "delivered": len(spans), "pending": 0, "dropped": {}}
    assert life.intake.store.refused == 0


async def test_each_invocation_is_one_span_with_what_the_tracer_has_sent(tmp_path: Path) -> None:
    life = await lived(tmp_path, {}, QUEUE | {"named": 1}, HTTP_API | {"status": 502}, {"raise": "as told"})
    spans = invocations(life)
    assert [span.meta["request_id"] for span in spans] == [each.request_id for each in life.invocations]
    assert [span.error for span in spans] == [0, 0, 1, 1]
    assert [below(span, life) for span in spans] == [{"shop.order": 1}] * 4
    assert [span.meta["cold_start"] for span in spans] == ["true", "false", "false", "false"]
    assert {(span.meta["language"], span.metrics["process_id"]) for span in spans} == {("jvm", 8.0)}
    assert all(span.duration > 0 and span.resource == "lab-function" for span in spans)
    (cold,) = [span for span in life.intake.received.spans if span.name == "aws.lambda.cold_start"]
    assert (cold.trace_id, cold.duration > 0) == (spans[0].trace_id, True)
    above = {span.span_id: span for span in life.intake.received.spans}
    queue, api = above[spans[1].parent_id], above[spans[2].parent_id]
    assert (queue.name, queue.trace_id, queue.parent_id) == ("aws.sqs", 1234, int(CARRIER["x-datadog-parent-id"]))
    assert (api.name, api.error, api.meta["http.status_code"]) == ("aws.httpapi", 1, "502")
    assert spans[3].meta["error.msg"] == "as told"
    assert "dd-tracer-serverless-span" not in {span.resource for span in life.intake.received.spans}
    nothing_is_lost_or_doubled(life)
    counts = told(life)
    assert (counts["invocations"], counts["errors"]) == (4, 2)


async def test_a_tracer_that_says_no_word_at_the_end_costs_one_invocation_nothing(tmp_path: Path) -> None:
    life = await lived(tmp_path, {"untold": 1}, {}, {"untold": 1, "named": 1})
    assert [span.meta["request_id"] for span in invocations(life)] == [each.request_id for each in life.invocations]
    assert [below(span, life) for span in invocations(life)] == [{"shop.order": 1}] * 3
    nothing_is_lost_or_doubled(life)


@pytest.mark.parametrize("strategy", ["periodically,1000", "continuously,1000"])
async def test_whenever_it_is_sent(strategy: str, tmp_path: Path) -> None:
    life = await lived(tmp_path, *[{}] * 6, environment={"DD_SERVERLESS_FLUSH_STRATEGY": strategy})
    assert [span.meta["request_id"] for span in invocations(life)] == [each.request_id for each in life.invocations]
    nothing_is_lost_or_doubled(life)


async def test_an_event_of_six_megabytes_costs_only_what_it_says(tmp_path: Path) -> None:
    life = await lived(tmp_path, QUEUE | {"padding": "x" * (6 * 1024 * 1024 - 2000)}, {"padding": "x" * 5_000_000})
    assert [below(span, life) for span in invocations(life)] == [{"shop.order": 1}] * 2
    nothing_is_lost_or_doubled(life)


async def test_a_timeout_shows(tmp_path: Path) -> None:
    life = await lived(tmp_path, {}, QUEUE | {"hang": 9}, timeout_s=2)
    _, span = invocations(life)
    (queue,) = [one for one in life.intake.received.spans if one.name == "aws.sqs"]
    assert (span.trace_id, span.parent_id, span.error, queue.error) == (1234, queue.span_id, 1, 1)
    assert (span.meta["error.type"], span.meta["request_id"]) == ("Timeout", life.invocations[1].request_id)
    assert 1.9e9 < span.duration < 5e9
    nothing_is_lost_or_doubled(life)
