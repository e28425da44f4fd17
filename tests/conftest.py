"""What every test may use, and what holds after every test: each ledger it made adds up."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import settings

from fliptop import report
from fliptop.outbox.books import Books
from fliptop.outbox.ledger import Ledger
from tests.ledgers import assert_adds_up

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
def ledger() -> Ledger:
    """A ledger with books of its own."""
    return Ledger()


@pytest.fixture(autouse=True)
def every_ledger_adds_up(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test, each ledger that it made adds up: accepted = delivered + pending + dropped, nothing negative.

    Of those that wrote into the same books the last one counts: the others belong to processes that have died.
    """
    last: dict[int, Ledger] = {}
    make = Ledger.__init__

    def make_and_note(kept: Ledger, books: Books | None = None) -> None:
        make(kept, books)
        shared = isinstance(kept._books._bytes.obj, mmap.mmap)  # by all that are made in one test
        last[0 if shared else id(kept._books)] = kept

    monkeypatch.setattr(Ledger, "__init__", make_and_note)
    yield
    if request.node.get_closest_marker("books_in_disorder") is None:
        for kept in last.values():
            assert_adds_up(kept.summary())


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
