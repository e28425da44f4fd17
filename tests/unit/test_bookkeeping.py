"""The ledger as metrics: each item is told of once, over all lives of the extension in one environment."""

from __future__ import annotations

import pytest

from fliptop.metrics.bookkeeping import INTERVAL_S, Bookkeeping
from fliptop.metrics.samples import Sample
from fliptop.outbox.books import Books
from fliptop.outbox.ledger import Ledger
from tests.conftest import MovedClock


@pytest.fixture
def books() -> Books:
    return Books()


def told(samples: list[Sample]) -> dict[tuple[str, ...], float]:
    """Values by name and tags; forgets them."""
    found = {
        (sample.metric.context.name.removeprefix("fliptop.items."), *sample.metric.context.tags): float(
            sample.values[0]
        )
        for sample in samples
    }
    samples.clear()
    return found


def test_what_is_new_is_told_once(books: Books, clock: MovedClock) -> None:
    ledger, samples = Ledger(books), list[Sample]()
    bookkeeping = Bookkeeping(ledger, books, samples.append, clock)
    ledger.accept("logs", 5)
    ledger.deliver("logs", 2)
    ledger.drop("logs", 1, "too_large")
    bookkeeping.tell()
    assert samples == [], "not yet"
    clock.advance(INTERVAL_S)
    bookkeeping.tell()
    assert told(samples) == {
        ("accepted", "signal:logs"): 5,
        ("delivered", "signal:logs"): 2,
        ("dropped", "reason:too_large", "signal:logs"): 1,
    }
    ledger.deliver("logs", 2)
    bookkeeping.tell(last=True)
    assert told(samples) == {("delivered", "signal:logs"): 2}


def test_a_new_life_tells_what_the_one_before_could_not(books: Books, clock: MovedClock) -> None:
    samples: list[Sample] = []
    ledger = Ledger(books)
    ledger.accept("logs", 3)
    Bookkeeping(ledger, books, samples.append, clock).tell(last=True)
    ledger.accept("logs", 4)
    told(samples)
    Bookkeeping(Ledger(books), books, samples.append, clock).tell(last=True)
    assert told(samples) == {
        ("accepted", "signal:logs"): 4,
        ("dropped", "reason:extension_died", "signal:logs"): 7,
    }
    assert Ledger(books).summary().keys() == {"logs"}


def test_what_is_told_does_not_make_itself_new(books: Books, clock: MovedClock) -> None:
    ledger = Ledger(books)

    def add(_sample: Sample) -> None:
        ledger.accept("metrics")

    ledger.accept("logs")
    Bookkeeping(ledger, books, add, clock).tell(last=True)
    assert ledger.accepted("metrics") == 1
