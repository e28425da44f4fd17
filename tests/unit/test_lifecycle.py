"""The loop over events, without sockets: events and records are fed by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest

from fliptop.awake import sleep_awake
from fliptop.identity import Identity
from fliptop.lifecycle import flushing, loop
from fliptop.lifecycle import milestones as milestones_module
from fliptop.lifecycle.deadline import FIRST_PROBE_S, LONGEST_FLUSH_S, flush_budget, invoke_margin, memory_mb, time_left
from fliptop.lifecycle.loop import Lifecycle, Options
from fliptop.lifecycle.milestones import Milestones
from fliptop.lifecycle.strategy import Kind, Strategy
from fliptop.platform.extensions_api import Event, Invoke, Shutdown
from fliptop.platform.telemetry import Record
from tests.conftest import MovedClock

pytestmark = pytest.mark.anyio

ARN = "arn:aws:lambda:eu-west-1:111122223333:function:f:live"


def done(request_id: str) -> Record:
    return Record("platform.runtimeDone", 1, {"requestId": request_id, "status": "success"})


class Script:
    """Events that come one after the other; what happens while each is asked for can be scripted."""

    def __init__(self, *events: Event, before: Callable[[int], Awaitable[None]] | None = None) -> None:
        self.events = list(events)
        self.asked = 0
        self.before = before

    async def next(self) -> Event:
        self.asked += 1
        if self.before:
            await self.before(self.asked)
        return self.events.pop(0)


class Flushes:
    """Remembers each flush and how long it might have taken."""

    def __init__(self, fail: bool = False) -> None:
        self.budgets: list[float] = []
        self.finished: list[float] = []
        self.winding_down = False
        self.fail = fail

    async def flush(self, left_s: float) -> None:
        self.budgets.append(left_s)
        if self.fail:
            raise RuntimeError("a defect")

    def wind_down(self) -> None:
        self.winding_down = True

    async def finish(self, left_s: float) -> None:
        assert self.winding_down, "told before"
        self.finished.append(left_s)


@pytest.fixture
def milestones() -> Milestones:
    return Milestones()


def life(clock: MovedClock, milestones: Milestones, *, telemetry: bool = True) -> Lifecycle:
    return Lifecycle(clock, Identity({}, None, {}), milestones, Options(0.2, telemetry))


def invoke(clock: MovedClock, request_id: str = "r1", seconds: float = 3.0) -> Invoke:
    return Invoke(request_id, round((clock.now + seconds) * 1000), ARN)


def shutdown(clock: MovedClock, seconds: float = 2.0) -> Shutdown:
    return Shutdown("spindown", round((clock.now + seconds) * 1000))


async def test_the_next_event_is_asked_for_after_the_runtime_is_done_and_a_flush(
    clock: MovedClock, milestones: Milestones
) -> None:
    flushes = Flushes()
    milestones.take(done("other"))

    async def before(asked: int) -> None:
        assert len(flushes.budgets) == asked - 1

    async with anyio.create_task_group() as tasks:
        script = Script(invoke(clock, "r1"), invoke(clock, "r2"), shutdown(clock), before=before)
        tasks.start_soon(life(clock, milestones).run, script, flushes)
        await anyio.wait_all_tasks_blocked()
        assert flushes.budgets == []
        milestones.take(done("r1"))
        await anyio.wait_all_tasks_blocked()
        assert (len(flushes.budgets), script.asked) == (1, 2)
        milestones.take(done("r2"))
    assert flushes.budgets == [pytest.approx(2.8), pytest.approx(2.8)]
    assert flushes.finished == [pytest.approx(1.8)]


async def test_runtime_done_that_came_before_we_waited_counts(clock: MovedClock, milestones: Milestones) -> None:
    milestones.take(done("r1"))
    with anyio.fail_after(1):
        await life(clock, milestones).run(Script(invoke(clock), shutdown(clock)), Flushes())


async def test_a_report_says_that_the_runtime_is_done_too(clock: MovedClock, milestones: Milestones) -> None:
    milestones.take(Record("platform.report", 1, {"requestId": "r1"}))
    with anyio.fail_after(1):
        await life(clock, milestones).run(Script(invoke(clock), shutdown(clock)), Flushes())


async def test_without_runtime_done_the_deadline_ends_the_wait(clock: MovedClock, milestones: Milestones) -> None:
    milestones.take(done("other"))
    script, flushes = Script(invoke(clock, seconds=0.25), shutdown(clock)), Flushes()
    with anyio.fail_after(5):
        await life(clock, milestones).run(script, flushes)
    assert (script.asked, len(flushes.budgets)) == (2, 1)


async def test_an_invocation_without_a_deadline_holds_nothing_up(clock: MovedClock, milestones: Milestones) -> None:
    milestones.take(done("other"))
    flushes = Flushes()
    with anyio.fail_after(1):
        await life(clock, milestones).run(Script(Invoke("r1", 0, ""), shutdown(clock)), flushes)
    assert flushes.budgets == [0.0]


async def test_a_platform_that_delivers_nothing_is_found_out_once(
    clock: MovedClock, milestones: Milestones, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "PROOF_S", 0.01)
    script = Script(invoke(clock, "r1", 600), invoke(clock, "r2", 600), shutdown(clock))
    with anyio.fail_after(5):
        await life(clock, milestones).run(script, Flushes())
    assert len(said) == 1
    assert "delivers nothing" in said[0]


async def test_without_telemetry_nothing_is_waited_for(clock: MovedClock, milestones: Milestones) -> None:
    with anyio.fail_after(1):
        script = Script(invoke(clock, "r1", 600), shutdown(clock))
        await life(clock, milestones, telemetry=False).run(script, Flushes())


async def test_a_defect_in_an_invocation_does_not_end_the_loop(
    clock: MovedClock, milestones: Milestones, said: list[str]
) -> None:
    milestones.take(done("r1"))
    milestones.take(done("r2"))
    script, flushes = Script(invoke(clock, "r1"), invoke(clock, "r2"), shutdown(clock)), Flushes(fail=True)
    await life(clock, milestones).run(script, flushes)
    assert (len(flushes.budgets), len(flushes.finished), len(said)) == (2, 1, 2)


async def test_shutdown_waits_a_moment_for_the_last_report(
    clock: MovedClock, milestones: Milestones, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LAST_RECORDS_S", 30)
    milestones.take(done("r1"))
    flushes = Flushes()
    async with anyio.create_task_group() as tasks:
        script = Script(invoke(clock, "r1"), shutdown(clock, 60))
        tasks.start_soon(life(clock, milestones).run, script, flushes)
        await anyio.wait_all_tasks_blocked()
        assert flushes.finished == []
        milestones.take(Record("platform.report", 1, {"requestId": "r1"}))
    assert len(flushes.finished) == 1


class Endless(Flushes):
    """An intake that never answers: every flush takes all the time that it is given."""

    async def flush(self, left_s: float) -> None:
        await super().flush(left_s)
        await anyio.sleep(left_s)


@pytest.mark.parametrize(
    ("outcome", "reset"),
    [
        ({"status": "error", "errorType": "Runtime.ExitError"}, True),
        ({"status": "error", "errorType": "Extension.Crash"}, True),
        ({"status": "failure"}, True),
        ({"status": "timeout"}, True),
        ({"status": "error", "errorType": "Runtime.Unknown"}, False),
        ({"status": "error"}, False),
        ({"status": "success"}, False),
    ],
)
async def test_a_flush_makes_haste_when_the_environment_is_reset(
    outcome: dict[str, str], reset: bool, clock: MovedClock, milestones: Milestones, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SHUTDOWN's time has begun by then, and it can be heard of only once the flush is over."""
    monkeypatch.setattr(loop, "RESET_FLUSH_S", 0.0)
    milestones.take(Record("platform.runtimeDone", 1, {"requestId": "r1", **outcome}))
    script, flushes = Script(invoke(clock, seconds=600), shutdown(clock)), Endless()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(life(clock, milestones).run, script, flushes)
        for _ in range(3):
            await anyio.wait_all_tasks_blocked()
        assert len(flushes.budgets) == 1
        assert script.asked == (2 if reset else 1)
        tasks.cancel_scope.cancel()


def test_time_left_is_measured_on_the_wall_clock_and_never_negative() -> None:
    assert time_left(10_000, 7.0, 0.5) == pytest.approx(2.5)
    assert time_left(10_000, 20.0, 0.5) == 0.0
    assert time_left(0, 7.0, 0.0) == 0.0


def test_a_smaller_share_of_a_core_needs_a_wider_margin() -> None:
    assert invoke_margin(10240) == invoke_margin(1769) == pytest.approx(0.2)
    assert invoke_margin(128) == pytest.approx(0.1 + 0.03 * 1769 / 128)
    assert invoke_margin(memory_mb({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128"})) > 0.3
    assert invoke_margin(memory_mb({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "lots"})) == pytest.approx(0.2)


def test_a_flush_gets_what_is_left_and_never_more_than_is_sensible() -> None:
    assert flush_budget(900, 0) == LONGEST_FLUSH_S
    assert flush_budget(900, 1) == FIRST_PROBE_S
    assert [flush_budget(900, failures) for failures in (2, 3, 4, 99)] == [2, 4, LONGEST_FLUSH_S, LONGEST_FLUSH_S]
    assert flush_budget(0.3, 1) == pytest.approx(0.3)


async def test_after_lambda_dropped_records_silence_says_that_the_runtime_is_done(
    clock: MovedClock, milestones: Milestones, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milestones_module, "SILENCE_S", 0.02)
    milestones.take(done("other"))
    milestones.take(Record("platform.logsDropped", 1, {"droppedRecords": 9}))
    with anyio.fail_after(5):
        await life(clock, milestones).run(Script(invoke(clock, "r1", 600), shutdown(clock)), Flushes())


class Held(Flushes):
    """Flushes that last until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = anyio.Event()
        self.ended = 0

    async def flush(self, left_s: float) -> None:
        await super().flush(left_s)
        await self.let_go.wait()
        self.ended += 1


def chosen(clock: MovedClock, milestones: Milestones, strategy: Strategy) -> Lifecycle:
    return Lifecycle(clock, Identity({}, None, {}), milestones, Options(0.2, True, strategy))


async def test_an_overlapping_flush_is_not_waited_for(clock: MovedClock, milestones: Milestones) -> None:
    flushes, script = Held(), Script(invoke(clock, "r1"), invoke(clock, "r2"), shutdown(clock))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(chosen(clock, milestones, Strategy("continuously", 0)).run, script, flushes)
        await anyio.wait_all_tasks_blocked()
        assert script.asked == 3, "no record of any runtime was needed"
        assert (len(flushes.budgets), flushes.ended) == (1, 0), "one at a time"
        assert flushes.finished == []
        flushes.let_go.set()
    assert (flushes.ended, len(flushes.finished)) == (1, 1)


async def test_shutdown_does_not_wait_long_for_an_overlapping_flush(clock: MovedClock, milestones: Milestones) -> None:
    flushes, script = Held(), Script(invoke(clock), shutdown(clock, 0.4))
    with anyio.fail_after(5):
        await chosen(clock, milestones, Strategy("continuously", 0)).run(script, flushes)
    assert (flushes.ended, len(flushes.finished)) == (0, 1)


async def test_a_flush_at_the_start_comes_before_the_next_event(clock: MovedClock, milestones: Milestones) -> None:
    flushes, script = Held(), Script(invoke(clock), shutdown(clock))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(chosen(clock, milestones, Strategy("periodically", 0)).run, script, flushes)
        await anyio.wait_all_tasks_blocked()
        assert (script.asked, len(flushes.budgets)) == (1, 1)
        flushes.let_go.set()
    assert flushes.budgets == [pytest.approx(2.8)], "within the deadline"


@pytest.mark.parametrize("kind", ["end", "periodically", "continuously"])
async def test_an_invocation_without_a_flush_is_done_at_once(
    clock: MovedClock, milestones: Milestones, kind: Kind
) -> None:
    flushes, script = Flushes(), Script(invoke(clock), shutdown(clock))
    with anyio.fail_after(1):
        await chosen(clock, milestones, Strategy(kind, 3600)).run(script, flushes)
    assert (flushes.budgets, len(flushes.finished)) == ([], 1)


async def test_during_a_long_invocation_telemetry_is_sent_meanwhile(
    clock: MovedClock, milestones: Milestones, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flushing, "SHORTEST_RACE_S", 0.01)
    milestones.take(done("other"))
    flushes, script = Flushes(), Script(invoke(clock, seconds=600), shutdown(clock))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(chosen(clock, milestones, Strategy("end", 0.005)).run, script, flushes)
        for number in (1, 2):
            clock.advance(1)
            with anyio.fail_after(5):
                while len(flushes.budgets) < number:  # noqa: ASYNC110 -- its clock is moved by hand
                    await anyio.sleep(0.001)
        assert script.asked == 1
        milestones.take(done("r1"))
    assert len(flushes.budgets) == 3


@pytest.mark.parametrize("interval_s", [0, 0.005])
async def test_where_no_invocation_is_told_telemetry_is_sent_from_time_to_time(
    clock: MovedClock, milestones: Milestones, monkeypatch: pytest.MonkeyPatch, interval_s: float
) -> None:
    monkeypatch.setattr(flushing, "SHORTEST_RACE_S", 0.01)
    flushes, over = Flushes(), anyio.Event()

    async def before(_asked: int) -> None:
        await over.wait()

    async with anyio.create_task_group() as tasks:
        script = Script(shutdown(clock), before=before)
        tasks.start_soon(chosen(clock, milestones, Strategy("continuously", interval_s)).run, script, flushes)
        for number in (1, 2, 3):
            clock.advance(1)
            with anyio.fail_after(5):
                while len(flushes.budgets) < number:  # noqa: ASYNC110 -- its clock is moved by hand
                    await anyio.sleep(0.001)
        over.set()
    assert len(flushes.finished) == 1


async def test_the_end_of_a_run_waits_for_the_flush_that_is_under_way(
    clock: MovedClock, milestones: Milestones, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flushing, "SHORTEST_RACE_S", 0.01)
    milestones.take(done("other"))
    flushes, script = Held(), Script(invoke(clock, seconds=600), shutdown(clock))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(chosen(clock, milestones, Strategy("end", 0.0001)).run, script, flushes)
        clock.advance(1)
        with anyio.fail_after(5):
            while not flushes.budgets:  # noqa: ASYNC110 -- likewise
                await anyio.sleep(0.001)
        milestones.take(done("r1"))
        await anyio.wait_all_tasks_blocked()
        assert (script.asked, len(flushes.budgets)) == (1, 1)
        flushes.let_go.set()
    assert len(flushes.budgets) == 2


async def test_a_defect_in_an_overlapping_flush_does_not_end_the_loop(
    clock: MovedClock, milestones: Milestones, said: list[str]
) -> None:
    flushes, script = Flushes(fail=True), Script(invoke(clock, "r1"), invoke(clock, "r2"), shutdown(clock))
    with anyio.fail_after(5):
        await chosen(clock, milestones, Strategy("continuously", 0)).run(script, flushes)
    assert len(flushes.finished) == 1
    assert "a defect" in said[0]


async def test_a_freeze_does_not_count_as_time_awake(monkeypatch: pytest.MonkeyPatch) -> None:
    now, slept = 0.0, []

    async def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        now += 3600 if len(slept) == 2 else seconds

    monkeypatch.setattr(anyio, "sleep", sleep)
    monkeypatch.setattr(anyio, "current_time", lambda: now)
    await sleep_awake(2.0)
    assert sum(slept) == pytest.approx(2.5), "the tick in which it happened starts anew"
