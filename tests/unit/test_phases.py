"""The phase log."""

from __future__ import annotations

import re

import pytest

from fliptop import report
from fliptop.phases import Phases


@pytest.fixture(autouse=True)
def debug() -> None:
    report.set_level("debug")


def test_the_launchers_phases_come_first_and_all_are_told_in_order(said: list[str]) -> None:
    clock = iter([5_000_000, 9_500_000])
    environ = {"FLIPTOP_STARTED_NS": "1000000", "FLIPTOP_PHASES": "decided=50,registered=700,asked=1200"}
    phases = Phases(environ, lambda: next(clock))
    phases.reach("python")
    phases.tell()
    told = [line.split("DEBUG | ", 1)[1].rstrip('"}') for line in said]
    assert told == [
        "INIT | phase=decided delta=0.050000 cumulative=0.050000",
        "INIT | phase=registered delta=0.650000 cumulative=0.700000",
        "INIT | phase=asked delta=0.500000 cumulative=1.200000",
        "INIT | phase=python delta=2.800000 cumulative=4.000000",
        "Datadog Next-Gen Extension ready in 1.200ms",
    ]


@pytest.mark.parametrize("left_over", [{}, {"FLIPTOP_STARTED_NS": "x", "FLIPTOP_PHASES": "decided,=,asked=-1,"}])
def test_without_a_launcher_time_begins_here(left_over: dict[str, str], said: list[str]) -> None:
    phases = Phases(left_over)
    phases.reach("loaded")
    phases.tell()
    assert any("phase=loaded" in line for line in said)
    assert re.search(r"ready in \d+\.\d{3}ms", said[-1])


def test_at_the_default_level_nothing_is_said(said: list[str]) -> None:
    report.set_level("info")
    phases = Phases({})
    phases.reach("loaded")
    phases.tell()
    assert said == []
