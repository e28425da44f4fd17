"""Promise 1, when our own process fails: the guard keeps the function from noticing, the ledger knows what was lost.

Every way to die at every moment of an extension's life, with the real extension. tests/launcher/test_guard.py has the
guard's rules in detail.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.deaths import extension, kill_three, until
from tests.lifetimes import Life, Plan, live
from tests.promises.test_in_time import spare_seconds

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

DEATHS = {
    "killed": (signal.SIGKILL, "SIGKILL"),  # as the kernel does when memory runs out
    "crashed": (signal.SIGSEGV, "SIGSEGV"),
    "aborted": (signal.SIGABRT, "SIGABRT"),
    "interrupted": (signal.SIGINT, None),  # an exception that nobody expects: it exits, or dies of the signal
}
SLOW = b'{"sleep": 0.6}'
TIMEOUT_S = 20.0


def has_adopted(life: Life) -> bool:
    pid = extension(life)
    try:
        return pid is not None and "fliptop-books" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False


def count(life: Life, kind: str, name: str) -> int:
    return sum(record.kind == kind and record.name == name for record in life.records)


async def loading(life: Life) -> None:
    await until(lambda: extension(life))


async def adopted(life: Life) -> None:
    await until(lambda: has_adopted(life))


async def parked(life: Life) -> None:
    await until(lambda: life.invocations)


async def serving(life: Life) -> None:
    await until(lambda: count(life, "event", "INVOKE") == 2)
    await until(lambda: any("invocation 2" in line for line in life.said("function")))


async def flushing(life: Life) -> None:
    life.intake.faults.inject("delay=1")
    await until(lambda: count(life, "telemetry", "platform.runtimeDone") == 2)
    await asyncio.sleep(0.5)
    life.intake.faults.clear()


async def shutting_down(life: Life) -> None:
    await until(lambda: count(life, "event", "SHUTDOWN"))


MOMENTS: dict[str, Callable[[Life], Awaitable[None]]] = {
    moment.__name__: moment for moment in (loading, adopted, parked, serving, flushing, shutting_down)
}


async def live_and_let_die(moment: str, number: signal.Signals, tmp_path: Path) -> Life:
    """Four invocations; at `moment` the extension's process gets a signal."""
    reapers: list[asyncio.Task[None]] = []

    async def reap(life: Life) -> None:
        await MOMENTS[moment](life)
        if pid := extension(life):
            os.kill(pid, number)

    async def meanwhile(life: Life, invocation: int) -> None:
        if invocation == 0:
            reapers.append(asyncio.create_task(reap(life)))
        elif invocation == 1 and moment == "parked":
            await reapers[0]

    plan = Plan(function="python", payloads=[b"{}", SLOW, b"{}", b"{}"], timeout_s=TIMEOUT_S, meanwhile=meanwhile)
    life = await live(plan, tmp_path)
    await reapers[0]
    return life


def deaths(life: Life) -> list[dict[str, Any]]:
    """What the guard told."""
    return [json.loads(line) for line in life.said("extension") if "DD_EXTENSION_DIED" in line]


def assert_no_harm(life: Life, longest_ms: float) -> None:
    assert [invocation.status for invocation in life.invocations] == ["success"] * len(life.invocations)
    assert [exited.get("code") for exited in life.exits()] == [0]
    assert max(invocation.post_runtime_ms or 0 for invocation in life.invocations) < longest_ms
    assert min(spare_seconds(life, TIMEOUT_S)) > 0


def assert_accounted_for(life: Life) -> None:
    """Every line that the function wrote is in the intake, or was lost with the process and is counted as that."""
    ledger = life.ledger()
    for signal_ in ledger.values():
        assert signal_["pending"] == 0
        assert signal_["accepted"] == signal_["delivered"] + sum(signal_["dropped"].values())
        assert signal_["dropped"].keys() <= {"extension_died"}
    wrote, received = life.said("function"), set(life.received())
    missing = sum(line not in received for line in wrote)
    died = {name: signal_["dropped"].get("extension_died", 0) for name, signal_ in ledger.items()}
    # A delivery that nobody had read yet holds up to so many lines.
    assert missing <= died["logs"] + 1000 * died["deliveries"]


# What the kernel does to a process on SIGSEGV or SIGABRT differs from SIGKILL in what is told, and in nothing else.
TABLE = [pytest.param(death, marks=[pytest.mark.slow] * (death in {"crashed", "aborted"})) for death in DEATHS]


@pytest.mark.parametrize("death", TABLE)
@pytest.mark.parametrize("moment", [moment for moment in MOMENTS if moment != "shutting_down"])
async def test_a_death_costs_no_invocation(moment: str, death: str, tmp_path: Path) -> None:
    number, cause = DEATHS[death]
    life = await live_and_let_die(moment, number, tmp_path)
    (told,) = deaths(life)
    assert cause in {None, told["DD_EXTENSION_DIED"]}
    assert_no_harm(life, longest_ms=5000)
    assert_accounted_for(life)


@pytest.mark.parametrize("death", TABLE)
async def test_a_death_after_shutdown_is_the_end(death: str, tmp_path: Path) -> None:
    life = await live_and_let_die("shutting_down", DEATHS[death][0], tmp_path)
    assert deaths(life) == []
    assert_no_harm(life, longest_ms=5000)


@pytest.mark.slow
async def test_a_death_with_deliveries_that_nobody_has_read(tmp_path: Path) -> None:
    reapers: list[asyncio.Task[None]] = []

    async def reap(life: Life) -> None:
        await until(lambda: count(life, "telemetry", "function") > 1500)
        os.kill(extension(life) or 0, signal.SIGKILL)

    async def meanwhile(life: Life, invocation: int) -> None:
        if invocation == 1:
            reapers.append(asyncio.create_task(reap(life)))

    payloads = [b"{}", b'{"lines": 4000, "sleep": 1}', b"{}"]
    plan = Plan(function="python", payloads=payloads, timeout_s=TIMEOUT_S, meanwhile=meanwhile, memory_mb=256)
    life = await live(plan, tmp_path)
    await reapers[0]
    assert_no_harm(life, longest_ms=8000)
    assert_accounted_for(life)


@pytest.mark.slow  # the launcher's own tests know a hang, too
@pytest.mark.parametrize("moment", ["serving", "flushing"])
async def test_a_hang_is_noticed_within_seconds(moment: str, tmp_path: Path) -> None:
    """Stopped, a process does what one does whose loop is blocked: nothing."""
    life = await live_and_let_die(moment, signal.SIGSTOP, tmp_path)
    (told,) = deaths(life)
    assert told["DD_EXTENSION_DIED"] == "hang"
    assert_no_harm(life, longest_ms=9000)
    assert_accounted_for(life)


async def test_one_that_dies_again_and_again_leaves_the_function_alone(tmp_path: Path) -> None:
    plans: list[asyncio.Task[None]] = []

    async def meanwhile(life: Life, invocation: int) -> None:
        if invocation == 0:
            plans.append(asyncio.create_task(kill_three(life)))

    life = await live(Plan(timeout_s=TIMEOUT_S, meanwhile=meanwhile), tmp_path)
    await plans[0]
    assert [told["deaths"] for told in deaths(life)] == [1, 2, 3]
    assert deaths(life)[-1]["what_happens"] == "The function runs without Datadog."
    assert_no_harm(life, longest_ms=1000)


@pytest.mark.parametrize("pause_ms", [1, 7])
async def test_freezing_at_any_moment_of_the_start_changes_nothing(pause_ms: int, tmp_path: Path) -> None:
    """Guard and extension are stopped and continued all the time, from the start to the second invocation."""
    freezers: list[asyncio.Task[int]] = []

    async def freeze(life: Life) -> int:
        frozen = 0
        while len(life.invocations) < 1:
            pids = [pid for pid in (life.environment.pids().get("datadog-agent"), extension(life)) if pid]
            for number in (signal.SIGSTOP, signal.SIGCONT):
                for pid in pids:
                    with suppress(ProcessLookupError):
                        os.kill(pid, number)
                await asyncio.sleep(pause_ms / 1000)
            frozen += len(pids) > 1
        return frozen

    async def meanwhile(life: Life, invocation: int) -> None:
        if invocation == 0:
            freezers.append(asyncio.create_task(freeze(life)))
        elif invocation == 1:
            assert await freezers[0] > 10

    life = await live(Plan(timeout_s=TIMEOUT_S, meanwhile=meanwhile), tmp_path)
    assert deaths(life) == []
    assert_no_harm(life, longest_ms=5000)
    assert_accounted_for(life)
    assert set(life.said("function")) <= set(life.received())
