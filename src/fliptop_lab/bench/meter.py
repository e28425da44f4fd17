"""What the extensions of one environment have used: CPU, page faults, memory. Only what is surely theirs is told.

Counting starts at each extension's execve; what the lab's own process needed up to there is left out. Everything that
an extension starts is the extension, the dead included where a cgroup tells (`CGROUP`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from os import sysconf
from pathlib import Path
from typing import Final

from fliptop_lab.lambda_ import ExecutionEnvironment
from fliptop_lab.lambda_.keeper import descendants
from fliptop_lab.lambda_.launch import Started
from fliptop_lab.lambda_.processes import Process

CGROUP: Final = "cgroup"
CLOCKS: Final = "process clocks"
"""Without a cgroup: the clocks of the living, and what they have waited for, which is exact to 10 ms."""
# Positions after the command's name in /proc/<pid>/stat, see proc_pid_stat(5).
_FAULTS: Final = slice(7, 11)
_OF_CHILDREN: Final = slice(13, 15)


@dataclass(frozen=True)
class Memory:
    """In MiB, summed over all processes: the largest resident set each has had, and the present proportional set."""

    rss: float
    pss: float | None


class Meter:
    """Reads what the extensions of an environment have used so far; None where there is none, or no way to know."""

    def __init__(self, environment: ExecutionEnvironment) -> None:
        self._environment = environment
        self._processes: list[Process] = []

    @property
    def source(self) -> str:
        """Where CPU time comes from, `CGROUP` or `CLOCKS`."""
        return CLOCKS if self._environment.sandbox.cgroups.extensions_cpu_ns is None else CGROUP

    def cpu_ms(self) -> float | None:
        """User and system time together. Good to some microseconds with a cgroup, at any moment."""
        if not (started := self._extensions()):
            return None
        pids = self._pids()
        # Reading the clock of a running process also brings its cgroup's count up to date.
        living = sum(_clock_ns(pid) for pid in pids)
        total = self._environment.sandbox.cgroups.extensions_cpu_ns
        if total is not None:
            return (total - sum(each.cpu_ns - each.joined_cpu_ns for each in started)) / 1e6
        if not self._all_living(pids):
            return None
        total = living + sum(_waited_for_ns(pid) for pid in pids)
        return (total - sum(each.cpu_ns for each in started)) / 1e6

    def faults(self) -> float | None:
        """Page faults, with and without a read from disk; of dead processes only those that were waited for."""
        started, pids = self._extensions(), self._pids()
        if not started or not self._all_living(pids):
            return None
        counted = sum(sum(map(int, fields[_FAULTS])) for fields in map(_stat, pids) if fields)
        return counted - sum(each.faults for each in started)

    def memory(self) -> Memory | None:
        """The memory of the processes there are now."""
        if not self._extensions():
            return None
        living = {pid: size for pid in self._pids() if (size := _kib(pid, "status", "VmHWM:")) is not None}
        shares = [share for pid in living if (share := _kib(pid, "smaps_rollup", "Pss:")) is not None]
        pss = sum(shares) / 1024 if len(shares) == len(living) else None
        return Memory(sum(living.values()) / 1024, pss) if living else None

    def _extensions(self) -> list[Started]:
        """After the environment's end still those that there were."""
        if life := self._environment.life:
            self._processes = [process for process in life.processes if process.role == "extension"]
        return [started for process in self._processes if (started := process.started) is not None]

    def _all_living(self, pids: list[int]) -> bool:
        """Whether every extension's own process can still be asked."""
        return all(process.pid in pids and _stat(process.pid) for process in self._processes)

    def _pids(self) -> list[int]:
        members = self._environment.sandbox.cgroups.extension_pids()
        return list(self._below()) if members is None else members

    def _below(self) -> Iterator[int]:
        for process in self._processes:
            yield process.pid
            yield from descendants(process.pid)


def _clock_ns(pid: int) -> int:
    """CPU time of a process and all its threads, with the clock id of clock_getcpuclockid(3)."""
    with suppress(OSError):
        return time.clock_gettime_ns((~pid << 3) | 2)
    return 0


def _stat(pid: int) -> list[str]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []


def _waited_for_ns(pid: int) -> int:
    return sum(map(int, _stat(pid)[_OF_CHILDREN])) * 1_000_000_000 // sysconf("SC_CLK_TCK")


def _kib(pid: int, file: str, key: str) -> int | None:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1])
    return None
