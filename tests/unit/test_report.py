"""Lines on stdout, where nobody may be reading."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from fliptop import report


@pytest.fixture
def stdout(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The end of a pipe that is read; the other end is stdout."""
    reader, writer = os.pipe()
    monkeypatch.setattr(report, "STDOUT", writer)
    monkeypatch.setattr(report, "FULL_MS", 1)
    monkeypatch.setattr(report, "_patience_ms", 1)
    yield reader
    os.close(reader)
    with suppress(OSError):
        os.close(writer)


def fill() -> int:
    """Leave no room in the pipe, and say how much there was."""
    filled = 0
    os.set_blocking(report.STDOUT, False)
    with suppress(BlockingIOError):
        while True:
            filled += os.write(report.STDOUT, b"x" * 4096)
    os.set_blocking(report.STDOUT, True)
    return filled


def test_a_line_that_nobody_reads_is_given_up(stdout: int) -> None:
    filled = fill()
    report.line("one")
    report.line("two")
    os.read(stdout, filled)
    report.line("three")
    assert os.read(stdout, 100) == b"three\n"


def test_a_line_longer_than_a_pipe_comes_whole(stdout: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_patience_ms", 10_000)
    monkeypatch.setattr(report, "FULL_MS", 10_000)
    text = "é" * 100_000
    received = bytearray()

    def read() -> None:
        while not received.endswith(b"\n"):
            received.extend(os.read(stdout, 1000))

    reading = threading.Thread(target=read)
    reading.start()
    report.line(text)
    reading.join(20)
    assert received.decode() == text + "\n"


def test_a_closed_stdout_costs_nothing(stdout: int) -> None:
    os.close(report.STDOUT)
    report.line("one")
