"""What every test may use: a clock that the test moves, and a ledger whose equation is checked when the test ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import settings

from fliptop import report
from fliptop.outbox.ledger import Ledger

# Timing is never asserted: a busy machine is no defect.
settings.register_profile("fliptop", deadline=None)
settings.load_profile("fliptop")


@dataclass
class MovedClock:
    """A clock that stands still until the test moves it. Seconds since the epoch."""

    now: float = 1_800_000_000.0

    def wall(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """A ledger. After the test, every signal must still add up with nothing negative."""
    kept = Ledger()
    yield kept
    for signal, entry in kept.summary().items():
        settled = entry["delivered"] + entry["pending"] + sum(entry["dropped"].values())
        assert entry["accepted"] == settled, signal
        assert entry["pending"] >= 0, signal


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that the extension printed, in order."""
    lines: list[str] = []
    monkeypatch.setattr(report, "line", lines.append)
    return lines


@pytest.fixture(autouse=True)
def default_verbosity() -> Iterator[None]:
    """Each test begins at the default log level."""
    report.set_level("info")
    yield
    report.set_level("info")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
