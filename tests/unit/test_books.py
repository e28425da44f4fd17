"""The books that outlive a crash, and the ledger that is kept in them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fliptop.outbox.books import NAME, ROW, SIZE, Books
from fliptop.outbox.ledger import DIED, Ledger

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def shared() -> Iterator[int]:
    file = os.memfd_create("books")
    os.truncate(file, SIZE)
    yield file
    os.close(file)


def test_what_one_process_counted_the_next_one_reads(shared: int) -> None:
    first = Books(os.dup(shared))
    first.add("logs accepted", 3)
    first.add("logs delivered", 1)
    first.add("logs accepted", 2)
    second = Books(os.dup(shared))
    assert second.names() == ["logs accepted", "logs delivered"]
    assert second["logs accepted"] == 5
    second.add("logs dropped shutdown", 4)
    assert Books(os.dup(shared))["logs dropped shutdown"] == 4


def test_what_died_with_a_process_is_dropped(shared: int) -> None:
    first = Ledger(Books(os.dup(shared)))
    first.accept("logs", 10)
    first.deliver("logs", 4)
    first.drop("logs", 1, "too_large")
    first.accept("metrics", 2)
    second = Ledger(Books(os.dup(shared)))
    dropped = {"too_large": 1, DIED: 5}
    assert second.summary() == {
        "logs": {"accepted": 10, "delivered": 4, "pending": 0, "dropped": dropped},
        "metrics": {"accepted": 2, "delivered": 0, "pending": 0, "dropped": {DIED: 2}},
    }
    second.accept("logs")
    assert second.pending("logs") == 1
    third = Ledger(Books(os.dup(shared)))
    assert third.summary()["logs"]["dropped"] == {"too_large": 1, DIED: 6}


@pytest.mark.books_in_disorder
def test_books_that_do_not_add_up_do_not_stop_the_next_life(shared: int) -> None:
    books = Books(os.dup(shared))
    books.add("logs accepted", 1)
    books.add("logs delivered", 5)
    ledger = Ledger(Books(os.dup(shared)))
    ledger.accept("logs", 2)
    ledger.deliver("logs", 2)
    assert ledger.pending("logs") == 0


def test_nothing_pending_is_nothing_lost(shared: int) -> None:
    first = Ledger(Books(os.dup(shared)))
    first.accept("logs", 2)
    first.deliver("logs", 2)
    assert Ledger(Books(os.dup(shared))).summary()["logs"]["dropped"] == {}


def test_the_layout_is_that_of_the_guard(shared: int) -> None:
    header = (ROOT / "launcher" / "books.h").read_text()
    assert re.search(rf"BOOKS_SIZE = {SIZE}, BOOKS_NAME_SIZE = {NAME}, BOOKS_ROWS = BOOKS_SIZE / {ROW} - 1", header)
    books = Books(os.dup(shared))
    books.beat()
    books.beat()
    books.add("logs accepted", 7)
    written = os.pread(shared, 2 * ROW, 0)
    assert int.from_bytes(written[:8], "little") == 2
    assert written[ROW : ROW + NAME].rstrip(b"\0") == b"logs accepted"
    assert int.from_bytes(written[ROW + NAME :], "little") == 7


@pytest.mark.parametrize("name", ["", "x" * NAME])
def test_a_name_that_does_not_fit_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no room"):
        Books().add(name, 1)


def test_the_books_are_full_at_some_point() -> None:
    books = Books()
    for number in range(SIZE // ROW - 1):
        books.add(f"signal {number}", number)
    with pytest.raises(ValueError, match="no room"):
        books.add("one more", 1)
    assert books["signal 17"] == 17


@given(st.binary(max_size=200))
def test_books_of_any_content_can_be_read(content: bytes) -> None:
    """A process that dies may leave anything there."""
    file = os.memfd_create("books")
    os.truncate(file, SIZE)
    os.pwrite(file, content, 0)
    Books(file).names()
