"""Promises 1 and 3 with Datadog's own tracers, set up as people do it: through the library that wraps the handler."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fliptop_lab.intake import Span
from fliptop_lab.intake.trees import traces
from tests.lifetimes import Life, Plan, live
from tests.promises.test_metrics_arrive import CLIENTS
from tests.promises.test_traces_arrive import google_reads_the_same
from tests.unit.build import samples

tools = samples.load("tools")

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]
PAYLOADS = [b'{"orders": 2}', b'{"orders": 0}', b'{"orders": 1, "fails": true}']
TAGS = {"functionname": "lab-function", "region": "eu-west-1", "env": "demo", "version": "7", "_dd.origin": "lambda"}
COMPLAINTS = ("failed to send", "error sending", "dropping", "connection", "refused", "traceback", "unable")


@pytest.fixture(scope="module")
def node() -> Path:
    if shutil.which("npm") is None:
        pytest.skip("needs Node.js")
    return Path(tools.node_clients())


def plan(name: str, packages: Path, **environment: str) -> Plan:
    environment = {"CLIENT_PACKAGES": str(packages), "DD_ENV": "demo", "DD_VERSION": "7", **environment}
    return Plan(function=str(CLIENTS / name), payloads=PAYLOADS, environment=environment, timeout_s=30)


def python(**environment: str) -> Plan:
    packages = tools.python_clients()
    return plan("datadog_lambda", packages, DD_LAMBDA_HANDLER="traced.handler", **environment)


@pytest.mark.parametrize("version", ["v0.4", "v0.5"])
async def test_ddtrace_for_python(version: str, tmp_path: Path) -> None:
    life = await live(python(DD_TRACE_ENABLED="true", DD_TRACE_API_VERSION=version), tmp_path)
    the_tracer_works(life)


async def test_dd_trace_for_node(node: Path, tmp_path: Path) -> None:
    traced = plan("dd_trace_js", node, DD_LAMBDA_HANDLER="traced.handler", DD_TRACE_ENABLED="true")
    life = await live(traced, tmp_path)
    the_tracer_works(life)


async def test_a_profile_of_ddtrace(tmp_path: Path) -> None:
    life = await live(python(DD_TRACE_ENABLED="true", DD_PROFILING_ENABLED="true"), tmp_path)
    the_tracer_works(life)
    (profile,) = life.intake.received.proxied
    assert (profile.product, profile.document["family"]) == ("profiling", "python")
    assert any(size > 1000 for name, size in profile.attachments.items() if name.endswith(".pprof"))
    assert "functionname:lab-function" in profile.headers["x-datadog-additional-tags"]
    assert life.ledger()["proxied"]["delivered"] == 1


async def test_what_else_ddtrace_sends(tmp_path: Path) -> None:
    """Snapshots of what was raised, and evaluations of a model's answers, each to its product."""
    observing = {"DD_LLMOBS_ENABLED": "true", "DD_LLMOBS_ML_APP": "shop", "DD_EXCEPTION_REPLAY_ENABLED": "true"}
    life = await live(python(DD_TRACE_ENABLED="true", DD_SERVICE="shop", **observing), tmp_path)
    the_tracer_works(life)
    found = life.intake.received.proxied
    told = [each.told for each in found if each.product == "llm evaluations"]
    assert told == ["taste", "taste"]
    (replay,) = [each for each in found if each.product == "debugger"]
    assert "snapshot of shop" in replay.told
    assert "env%3Ademo" in replay.query
    assert life.ledger()["proxied"]["delivered"] == len(found)


def the_tracer_works(life: Life) -> None:
    the_function_is_unharmed(life)
    spans_are_right(life)
    nothing_is_lost_or_doubled(life)
    google_reads_the_same(life)


def the_function_is_unharmed(life: Life) -> None:
    """It answers as it would, and nobody complains in its log."""
    first, second, third = life.invocations
    assert [json.loads(invocation.payload) for invocation in (first, second)] == [{"orders": 2}, {"orders": 0}]
    assert third.status == "error"
    assert b"as it was told to" in third.payload
    said = [line for line in life.said("function") if "as it was told to" not in line]
    assert not [line for line in said if any(complaint in line.lower() for complaint in COMPLAINTS)]


def spans_are_right(life: Life) -> None:
    """One trace for each invocation: the library's span of the handler, and below it what the handler did."""
    spans = life.intake.received.spans
    roots = sorted((span for span in spans if span.name == "aws.lambda"), key=lambda span: span.start)
    assert [root.parent_id for root in roots] == [0, 0, 0]
    assert [root.meta["request_id"] for root in roots] == [each.request_id for each in life.invocations]
    assert [root.error for root in roots] == [0, 0, 1]
    for root, orders in zip(roots, (2, 0, 1), strict=True):
        (order,) = [span for span in spans if span.name == "shop.order" and span.trace_id == root.trace_id]
        assert (order.service, order.resource, order.type) == ("shop", "POST /orders", "web")
        assert order.meta["order.kind"] == "book"
        assert order.metrics["order.items"] == orders
        items = [span for span in spans if span.parent_id == order.span_id and span.name == "shop.item"]
        assert Counter(item.resource for item in items) == Counter(f"item {number}" for number in range(orders))
        assert {item.service for item in items} <= {"shop-items"}
        assert ancestors(order, spans)[-1] is root
    (load,) = [span for span in spans if span.name == "aws.lambda.load"]
    (cold,) = [span for span in spans if span.name == "aws.lambda.cold_start"]
    assert (cold.trace_id, load.trace_id, load.parent_id) == (roots[0].trace_id, roots[0].trace_id, cold.span_id)
    failed = roots[-1]
    assert (failed.meta["error.type"], failed.meta["error.message"]) in {
        ("RuntimeError", "as it was told to"),
        ("builtins.RuntimeError", "as it was told to"),
        ("Error", "as it was told to"),
    }
    for span in spans:
        assert TAGS.items() <= span.meta.items(), span.name


def ancestors(span: Span, spans: Any) -> list[Span]:
    """Its parent, the parent of that, and so on, as far as they have arrived."""
    known = {each.span_id: each for each in spans if each.trace_id == span.trace_id}
    found = [span]
    while found[-1].parent_id in known:
        found.append(known[found[-1].parent_id])
    return found[1:]


def nothing_is_lost_or_doubled(life: Life) -> None:
    """What the ledger says, and what the intake has."""
    spans = life.intake.received.spans
    assert len({(span.trace_id, span.span_id) for span in spans}) == len(spans)
    ledger = life.ledger()
    assert ledger["spans"] == {"accepted": len(spans), "delivered": len(spans), "pending": 0, "dropped": {}}
    assert not ledger["tracer_requests"]["dropped"]
    assert life.intake.store.refused == 0
    assert [trace.rows[0].span.name for trace in traces(spans)].count("aws.lambda") >= 2
