"""Promise 2: `/event/next` is called before the invocation's deadline less a margin, however dead the intake is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lifetimes import Life, Plan, live

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


def spare_seconds(life: Life, timeout_s: float) -> list[float]:
    """For each INVOKE, how long before its deadline the extension asked for the next event. Not where a reset came."""
    spare: list[float] = []
    deadline: float | None = None
    for record in life.records:
        if record.kind == "event" and record.name == "INVOKE" and record.data["extension"] == "datadog-agent":
            deadline = record.wall + timeout_s
        elif record.kind == "phase" and record.name == "shutdown":
            deadline = None
        elif record.kind == "api" and record.name == "next" and record.data["extension"] == "datadog-agent":
            if deadline is not None:
                spare.append(deadline - record.wall)
            deadline = None
    return spare


@pytest.mark.parametrize("fault", ["blackhole", "delay=2", "refuse"])
@pytest.mark.parametrize("timeout_s", [1.0, pytest.param(3.0, marks=pytest.mark.slow)])
async def test_a_dead_intake_never_costs_the_deadline(fault: str, timeout_s: float, tmp_path: Path) -> None:
    life = await live(Plan(faults=[fault], timeout_s=timeout_s), tmp_path)
    assert len(spare_seconds(life, timeout_s)) == 3
    assert min(spare_seconds(life, timeout_s)) > 0
    assert [invocation.status for invocation in life.invocations] == ["success"] * 3


async def test_a_dead_intake_is_paid_for_once(tmp_path: Path) -> None:
    """The breaker: after the first flush has found the intake dead, the next ones cost nothing."""
    life = await live(Plan(faults=["blackhole"], payloads=[b"{}"] * 4), tmp_path)
    first, *others = [invocation.post_runtime_ms for invocation in life.invocations]
    assert first > 2000
    assert max(others) < 1500
    assert sum(other < 500 for other in others) >= 2


@pytest.mark.parametrize(("memory_mb", "timeout_s"), [(128, 1.0), (128, 3.0), (512, 1.0)])
async def test_a_small_function_meets_its_deadline_while_the_extension_still_loads(
    memory_mb: int, timeout_s: float, tmp_path: Path
) -> None:
    """128 MB own a fourteenth of a core: loading takes longer than the first invocation may."""
    life = await live(Plan(memory_mb=memory_mb, timeout_s=timeout_s), tmp_path)
    assert [invocation.status for invocation in life.invocations] == ["success"] * 3
    assert min(spare_seconds(life, timeout_s)) > 0


async def test_shutdown_ends_within_its_budget_with_a_dead_intake(tmp_path: Path) -> None:
    life = await live(Plan(faults=["blackhole"]), tmp_path)
    assert [exited.get("code") for exited in life.exits()] == [0]
    assert life.ledger()["logs"]["dropped"].keys() == {"shutdown"}
