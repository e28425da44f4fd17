"""When to flush: a pure function of what was chosen, what has happened and what time it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fliptop.lifecycle.flushing import FlushControl
from fliptop.lifecycle.strategy import (
    ADAPTIVE_INTERVAL_S,
    DENSE_S,
    LOOK_BACK,
    SPARSE_S,
    Decision,
    History,
    Strategy,
    decide,
    on_managed_instances,
    parse,
)
from fliptop.settings.load import load
from tests.conftest import MovedClock

NOW = 1_800_000_000.0
KINDS = {"end": "end", "periodically": "start", "continuously": "overlap"}
TIMED = st.builds(Strategy, st.sampled_from(list(KINDS)), st.floats(0, 100))
GAPS = st.lists(st.floats(0.001, 400), min_size=1, max_size=60)


def past(gap_s: float, count: int = LOOK_BACK) -> tuple[float, ...]:
    """The last invocations, `gap_s` apart, the last of them now."""
    return tuple(NOW - gap_s * number for number in range(count - 1, -1, -1))


@pytest.mark.parametrize(
    ("text", "strategy"),
    [
        ("end", Strategy("end")),
        (" End ", Strategy("end")),
        ("end,", Strategy("end")),
        ("default", Strategy()),
        ("end,2500", Strategy("end", 2.5)),
        ("periodically,500", Strategy("periodically", 0.5)),
        ("continuously, 60000", Strategy("continuously", 60)),
        ("periodically,0", Strategy("periodically", 0)),
        ("periodically,10,more", Strategy("periodically", 0.01)),
    ],
)
def test_what_can_be_chosen(text: str, strategy: Strategy) -> None:
    assert parse(text) == strategy


@pytest.mark.parametrize(
    "text",
    ["", "periodically", "continuously,", "end,-1", "end,1.5", "end,soon", "never", "end,²", "default,5"],
)
def test_what_cannot_be_chosen_costs_a_warning(text: str) -> None:
    with pytest.raises(ValueError, match="expected end"):
        parse(text)
    settings, complaints = load({"LAMBDA_TASK_ROOT": "/nowhere", "DD_SERVERLESS_FLUSH_STRATEGY": text or "?"})
    assert settings.serverless_flush_strategy == Strategy()
    assert "DD_SERVERLESS_FLUSH_STRATEGY" in complaints[0]


def test_the_environment_beats_the_default() -> None:
    settings, complaints = load({"LAMBDA_TASK_ROOT": "/nowhere", "DD_SERVERLESS_FLUSH_STRATEGY": "periodically,1000"})
    assert (settings.serverless_flush_strategy, complaints) == (Strategy("periodically", 1), [])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("since", "due"), [(0.0, False), (1.999, False), (2.0, True), (500.0, True), (-5.0, True)])
def test_with_an_interval(kind: str, since: float, due: bool) -> None:
    history = History(past(1), NOW - since, 0, 0)
    assert decide(Strategy(kind, 2.0), history, NOW) == (KINDS[kind] if due else "skip")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_an_interval_of_nothing_is_always_due(kind: str) -> None:
    assert decide(Strategy(kind, 0.0), History(past(1), NOW, 0, 0), NOW) == KINDS[kind]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("gap_s", "count", "since", "run_s", "flush_s", "expected"),
    [
        (0.1, LOOK_BACK - 1, 1000, 0, 1, "end"),  # little is known
        (SPARSE_S, LOOK_BACK, 1000, 9, 1, "end"),  # little happens
        (1.5, LOOK_BACK, 21, 0, 1, "overlap"),  # much happens
        (1.5, LOOK_BACK, 19, 0, 1, "skip"),
        (2.0, LOOK_BACK, 21, 0.1, 0.2, "start"),  # a flush takes longer than a run
        (2.0, LOOK_BACK, 21, 0.2, 0.1, "overlap"),  # a flush fits into a run
        (2.0, LOOK_BACK, 19, 0.2, 0.1, "skip"),
    ],
)
def test_the_default_adapts(
    gap_s: float, count: int, since: float, run_s: float, flush_s: float, expected: Decision
) -> None:
    assert decide(Strategy(), History(past(gap_s, count), NOW - since, run_s, flush_s), NOW) == expected


def traffic(strategy: Strategy, gaps: list[float]) -> list[tuple[float, float, Decision]]:
    """For each invocation when it began, how long ago the last flush was then, and what was decided."""
    clock = MovedClock(NOW)
    control = FlushControl(strategy, clock)
    seen: list[tuple[float, float, Decision]] = []
    flushed_at = NOW
    for gap in gaps:
        clock.advance(gap)
        decision = control.begin()
        seen.append((clock.now, clock.now - flushed_at, decision))
        if decision != "skip":
            control.flushing()
            flushed_at = clock.now
    return seen


@given(strategy=TIMED, gaps=GAPS)
def test_whatever_the_traffic_an_interval_is_kept(strategy: Strategy, gaps: list[float]) -> None:
    assert strategy.interval_s is not None
    for _, since, decision in traffic(strategy, gaps):
        assert decision == (KINDS[strategy.kind] if since >= strategy.interval_s else "skip")


@given(gaps=GAPS)
def test_end_is_always_at_the_end(gaps: list[float]) -> None:
    assert {decision for *_, decision in traffic(Strategy("end"), gaps)} == {"end"}


@given(gaps=GAPS)
def test_whatever_the_traffic_the_default_lets_nothing_wait_long(gaps: list[float]) -> None:
    seen = traffic(Strategy(), gaps)
    for number, (now, since, decision) in enumerate(seen, 1):
        if number < LOOK_BACK:
            assert decision == "end"
            continue
        span = now - seen[number - LOOK_BACK][0]
        if span / (LOOK_BACK - 1) >= SPARSE_S:
            assert decision == "end"
        elif since >= ADAPTIVE_INTERVAL_S:
            assert decision == "overlap", "runs and flushes take no time here"
        else:
            assert decision == "skip"
    assert DENSE_S > ADAPTIVE_INTERVAL_S


@given(jumps=st.lists(st.floats(-1e5, 1e5), min_size=1, max_size=60), strategy=TIMED | st.just(Strategy()))
def test_a_clock_that_jumps_does_not_stop_flushes_for_ever(jumps: list[float], strategy: Strategy) -> None:
    traffic(strategy, jumps)
    clock = MovedClock(NOW)
    control = FlushControl(strategy, clock)
    control.flushing()
    clock.advance(-86_400)
    assert control.begin() != "skip"


@pytest.mark.parametrize("chosen", [Strategy(), Strategy("end"), Strategy("end", 5.0), Strategy("periodically", 5.0)])
def test_where_extensions_are_told_of_no_invocation_only_time_counts(chosen: Strategy) -> None:
    assert on_managed_instances(chosen) == Strategy("continuously", 30)
    assert on_managed_instances(Strategy("continuously", 7)) == Strategy("continuously", 7)


def test_when_a_long_invocation_is_raced() -> None:
    assert Strategy().race_s == 60
    assert Strategy("end").race_s == 900
    assert Strategy("periodically", 2.5).race_s == 2.5
    clock = MovedClock(NOW)
    control = FlushControl(Strategy(), clock)
    assert not control.race_is_due
    clock.advance(60)
    assert control.race_is_due
    control.flushing()
    assert not control.race_is_due
