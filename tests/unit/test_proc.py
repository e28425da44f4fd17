"""Reading `/proc`: a made-up one, and the one of this machine."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from fliptop.enhanced.proc import Counters, Limits, Proc, Usage

STAT = """cpu  100 5 40 7000 3 0 0 0 0 0
cpu0 60 3 20 3000 3 0 0 0 0 0
cpu1 40 2 20 4000 0 0 0 0 0 0
intr 1 2 3
"""
NET = """Inter-|   Receive           |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo
    lo:     999       9    0    0    0     0          0         0      999       9    0    0    0
{name}:    1234       5    0    0    0     0          0         0     5678       6    0    0    0
"""
LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max processes             {processes}                 unlimited            processes
Max open files            {files}                 4096                 files
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "net").mkdir()
    (tmp_path / "stat").write_text(STAT)
    (tmp_path / "net/dev").write_text(NET.format(name="vinternal_1"))
    return tmp_path


def process(root: Path, number: str, files: int, threads: int, limits: str = "") -> None:
    """Add a process."""
    for kind, count in (("fd", files), ("task", threads)):
        for name in range(count):
            (root / number / kind / str(name)).mkdir(parents=True)
    (root / number / "limits").write_text(limits)


def test_counters(root: Path) -> None:
    proc = Proc(str(root))
    tick = 1000 / os.sysconf("SC_CLK_TCK")
    counters = proc.counters()
    assert counters is not None
    expected = Counters(counters.uptime_ms, 100 * tick, 40 * tick, (3000 * tick, 4000 * tick), (1234, 5678))
    assert counters == expected
    (root / "stat").write_text(STAT.replace("cpu  100", "cpu  200"))
    later = proc.counters()
    assert later is not None
    assert later.user_ms == 200 * tick, "an open file is read anew"


@pytest.mark.parametrize(
    ("name", "found"), [("vint_runtime", True), ("Ceth1", True), ("eth0", False), ("docker0", False)]
)
def test_only_the_functions_own_network_counts(root: Path, name: str, found: bool) -> None:
    (root / "net/dev").write_text(NET.format(name=name))
    counters = Proc(str(root)).counters()
    assert counters is not None
    assert counters.network == ((1234, 5678) if found else None)


@pytest.mark.parametrize("content", ["", "cpu\n", "cpu a b c d e\n", "nothing"])
def test_a_machine_that_does_not_tell(root: Path, content: str) -> None:
    (root / "stat").write_text(content)
    assert Proc(str(root)).counters() is None
    assert Proc("/nowhere").counters() is None


def test_usage_adds_up_all_processes(root: Path) -> None:
    process(root, "7", files=3, threads=2)
    process(root, "12", files=1, threads=1)
    (root / "13").mkdir()  # gone while we look
    (root / "acpi").mkdir()
    assert Proc(str(root), "/nowhere").usage() == Usage(0, 4, 3)


def test_limits_are_those_of_the_strictest(root: Path) -> None:
    process(root, "7", 1, 1, LIMITS.format(processes="1024", files="2048"))
    process(root, "8", 1, 1, LIMITS.format(processes="unlimited", files="1024"))
    assert Proc(str(root), "/nowhere").limits() == Limits(0, 1024, 1024)


def test_no_limits(root: Path) -> None:
    process(root, "7", 1, 1, LIMITS.format(processes="unlimited", files="unlimited"))
    assert Proc(str(root), "/nowhere").limits() == Limits(0, None, None)
    assert Proc("/nowhere", "/nowhere").usage() == Usage()


def test_the_process_that_runs_this() -> None:
    proc = Proc()
    stop = threading.Event()
    before = proc.usage()
    threads = [threading.Thread(target=stop.wait) for _ in range(200)]
    for thread in threads:
        thread.start()
    during = proc.usage()
    stop.set()
    for thread in threads:
        thread.join()
    assert during.threads - before.threads > 100
    assert during.files > 3
    counters = proc.counters()
    assert counters is not None
    assert len(counters.idle_ms) == os.cpu_count()
