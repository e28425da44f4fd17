"""Every flush strategy, with the real extension: when it sends, that nothing is lost by it, and nothing sent twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.lifetimes import Life, Plan, live
from tests.promises.test_metrics_arrive import balanced, counted
from tests.promises.test_no_silent_loss import balanced as logs_balanced
from tests.promises.test_no_silent_loss import missing

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


def chosen(strategy: str) -> dict[str, str]:
    return {"DD_SERVERLESS_FLUSH_STRATEGY": strategy}


def nothing_lost(life: Life, invocations: int) -> None:
    """Assert that everything has arrived, once."""
    assert [invocation.status for invocation in life.invocations] == ["success"] * invocations
    assert missing(life) == Counter()
    assert counted(life, "shop.orders") == invocations
    assert (balanced(life), logs_balanced(life), life.intake.duplicates) == ({}, {}, 0)


@pytest.mark.parametrize("strategy", ["end,600000", "periodically,600000", "continuously,600000"])
async def test_an_interval_that_is_not_over_leaves_everything_to_shutdown(strategy: str, tmp_path: Path) -> None:
    async def quiet(life: Life, _number: int) -> None:
        assert len(life.intake.requests) == 0

    life = await live(Plan(function="python", environment=chosen(strategy), meanwhile=quiet), tmp_path)
    nothing_lost(life, 3)
    assert max(invocation.post_runtime_ms for invocation in life.invocations[1:]) < 500


@pytest.mark.parametrize("strategy", ["end", "end,0", "periodically,0", "continuously,0"])
async def test_sending_with_each_invocation(strategy: str, tmp_path: Path) -> None:
    payloads = [b'{"sleep": 0.2}'] * 6  # long enough for what an overlapping flush shall find
    plan = Plan(function="python", environment=chosen(strategy), payloads=payloads)
    life = await live(plan, tmp_path)
    nothing_lost(life, 6)
    sent = sum(request.path == "/api/v2/logs" for request in life.intake.requests)
    assert sent >= 2, "not at shutdown alone"


async def test_a_flush_that_a_freeze_interrupts_is_no_loss(tmp_path: Path) -> None:
    async def freeze(life: Life, number: int) -> None:
        if number:
            await life.environment.idle(1.2)

    plan = Plan(function="python", environment=chosen("continuously,0"), meanwhile=freeze, faults=["delay=0.2"])
    nothing_lost(await live(plan, tmp_path), 3)


async def test_a_long_invocation_sends_while_it_runs(tmp_path: Path) -> None:
    plan = Plan(function="python", environment=chosen("end,1000"), payloads=[b'{"sleep": 5}'], timeout_s=20)
    life = await live(plan, tmp_path)
    nothing_lost(life, 1)
    moments = [request.at for request in life.intake.requests]
    assert moments[-1] - moments[0] > 1


async def test_the_default_sends_less_often_when_much_happens(tmp_path: Path) -> None:
    life = await live(Plan(function="python", payloads=[b"{}"] * 30), tmp_path)
    nothing_lost(life, 30)
    sent = sum(request.path == "/api/v2/logs" for request in life.intake.requests)
    assert 19 <= sent < 25


async def test_a_strategy_that_nobody_knows_costs_a_warning(tmp_path: Path) -> None:
    life = await live(Plan(function="python", environment=chosen("whenever")), tmp_path)
    nothing_lost(life, 3)
    assert any("DD_SERVERLESS_FLUSH_STRATEGY='whenever' is ignored" in line for line in life.said("extension"))
