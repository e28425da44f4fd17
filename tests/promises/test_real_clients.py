"""Promises 1 and 3 with the client libraries that people use: nothing they say is lost, and they harm no invocation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.lifetimes import Life, Plan, live
from tests.promises.test_metrics_arrive import CLIENTS, balanced, counted, distributed
from tests.unit.build import samples

tools = samples.load("tools")

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]
ENHANCED = "aws.lambda.enhanced"
PAYLOADS = [b'{"orders": 500}', b'{"orders": 250}', b'{"orders": 1, "fails": true}']


@pytest.fixture(scope="module")
def node() -> Path:
    if shutil.which("npm") is None:
        pytest.skip("needs Node.js")
    return Path(tools.node_clients())


def plan(name: str, packages: Path, **environment: str) -> Plan:
    environment = {"CLIENT_PACKAGES": str(packages), **environment}
    return Plan(function=str(CLIENTS / name), payloads=PAYLOADS, environment=environment, timeout_s=30)


async def test_hot_shots(node: Path, tmp_path: Path) -> None:
    life = await live(plan("hot_shots", node), tmp_path)
    assert [invocation.status for invocation in life.invocations] == ["success"] * 3
    assert counted(life, "hot.orders") == 3 + 751
    assert counted(life, "hot.balance") == -6
    assert distributed(life, "hot.price") == 9
    series = {(item.metric, item.type): item for item in life.intake.received.series}
    assert series["hot.stock", "gauge"].points[0][1] == 42.5
    assert series["hot.customer", "gauge"].points[0][1] == 1
    assert series["hot.size.max", "gauge"].points[0][1] == 7
    assert series["hot.took.95percentile", "gauge"].points[0][1] == 120
    assert {"client:hot-shots", "kind:book"} <= set(series["hot.orders", "count"].tags)
    event, check = life.intake.received.events[0], life.intake.received.service_checks[0]
    assert (event.title, event.text, event.alert_type) == ("hot.shipped", "to\nwhom it may concern", "success")
    assert (check.check, check.status, check.message) == ("hot.up", "warning", "slow")
    assert {"client:hot-shots", "kind:book"} <= set(event.tags) & set(check.tags)
    assert balanced(life) == {}
    assert "dogstatsd" not in life.ledger()


async def test_datadog_lambda_for_python(tmp_path: Path) -> None:
    life = await live(plan("datadog_lambda", tools.python_clients(), DD_LAMBDA_HANDLER="shop.handler"), tmp_path)
    the_wrapper_works(life)


async def test_datadog_lambda_for_node(node: Path, tmp_path: Path) -> None:
    life = await live(plan("datadog_lambda_js", node), tmp_path)
    the_wrapper_works(life)


def the_wrapper_works(life: Life) -> None:
    """Assert what both wrappers have in common: they find the extension, and leave to it what it does better."""
    first, second, third = life.invocations
    assert [json.loads(invocation.payload) for invocation in (first, second)] == [{"orders": 500}, {"orders": 250}]
    assert third.status == "error"
    assert b"as it was told to" in third.payload
    assert distributed(life, "wrapped.price") == 751
    (tags,) = {item.tags for item in life.intake.received.sketches if item.metric == "wrapped.price"}
    assert {"kind:book", "functionname:lab-function"} <= set(tags)
    assert distributed(life, f"{ENHANCED}.invocations") == 3, "the library counts them too"
    assert distributed(life, f"{ENHANCED}.errors") == 1
    assert balanced(life) == {}
