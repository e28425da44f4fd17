"""What the machine tells about itself, in `/proc` and by `statvfs`. Source: extension-behaviour, 12.

Files that are read for each invocation stay open: opening one costs as much as reading it.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

# The function's own network; the others belong to the platform.
INTERFACES: Final = ("vinternal_1", "vint_runtime", "Ceth1")
READ_BYTES: Final = 65536
# `/proc/<pid>/task` is a directory, and those have a link for each subdirectory, themselves and their parent.
LINKS_OF_ITS_OWN: Final = 2


class Counters(NamedTuple):
    """Counts that only grow, in milliseconds and bytes. `idle_ms` is per core. Network is None where there is none."""

    uptime_ms: float
    user_ms: float
    system_ms: float
    idle_ms: tuple[float, ...]
    network: tuple[int, int] | None = None


class Usage(NamedTuple):
    """What is in use at one moment: bytes in /tmp, open files and threads of all processes."""

    tmp_bytes: int = 0
    files: int = 0
    threads: int = 0

    def peak(self, other: "Usage") -> "Usage":
        """The larger of each."""
        return Usage(*map(max, self, other))


class Limits(NamedTuple):
    """What there may be at most: bytes in /tmp, open files of a process, and processes. None: unlimited."""

    tmp_bytes: int
    files: int | None
    threads: int | None


class Proc:
    """Reads below `root` and `tmp`. Whatever cannot be read counts as nothing; nothing is raised."""

    def __init__(self, root: str = "/proc", tmp: str = "/tmp") -> None:  # noqa: S108 -- that is what is measured
        self._root = Path(root)
        self._tmp = tmp
        self._open: dict[str, int] = {}
        self._tick_ms = 1000 / os.sysconf("SC_CLK_TCK")

    def counters(self) -> Counters | None:
        """All counters at this moment; None where the machine does not tell."""
        lines = self._read("stat").split(b"\n")
        cores = [line.split() for line in lines if line.startswith(b"cpu")]
        try:
            (_, user, _nice, system, *_), *each = cores
            idle = tuple(int(core[4]) * self._tick_ms for core in each)
            uptime_ms = time.clock_gettime_ns(time.CLOCK_BOOTTIME) / 1e6
            return Counters(uptime_ms, int(user) * self._tick_ms, int(system) * self._tick_ms, idle, self._network())
        except (ValueError, IndexError):
            return None

    def _network(self) -> tuple[int, int] | None:
        for line in self._read("net/dev").split(b"\n"):
            name, _, numbers = line.strip().partition(b":")
            if name.decode("utf-8", "replace").startswith(INTERFACES):
                columns = numbers.split()
                return int(columns[0]), int(columns[8])
        return None

    def _read(self, name: str) -> bytes:
        try:
            if name not in self._open:
                self._open[name] = os.open(self._root / name, os.O_RDONLY | os.O_CLOEXEC)
            return os.pread(self._open[name], READ_BYTES, 0)
        except OSError:
            return b""

    def usage(self) -> Usage:
        """What is in use at this moment."""
        files = threads = 0
        for process in self._processes():
            try:
                threads += os.stat(f"{process}/task").st_nlink - LINKS_OF_ITS_OWN  # noqa: PTH116 -- as below
                files += len(os.listdir(f"{process}/fd"))  # noqa: PTH208 -- a tenth of the time
            except OSError:  # gone, or another user's
                continue
        return Usage(self._tmp_bytes()[1], files, threads)

    def limits(self) -> Limits:
        """The strictest limits of all processes."""
        files: list[int] = []
        threads: list[int] = []
        for process in self._processes():
            try:
                text = Path(f"{process}/limits").read_text("utf-8")
            except OSError:
                continue
            files += _soft_limit(text, "Max open files")
            threads += _soft_limit(text, "Max processes")
        return Limits(self._tmp_bytes()[0], min(files, default=None), min(threads, default=None))

    def _tmp_bytes(self) -> tuple[int, int]:
        """In total, and in use."""
        try:
            found = os.statvfs(self._tmp)
        except OSError:
            return 0, 0
        return found.f_frsize * found.f_blocks, found.f_frsize * (found.f_blocks - found.f_bavail)

    def _processes(self) -> Iterator[str]:
        try:
            names = os.listdir(self._root)  # noqa: PTH208 -- as above
        except OSError:
            return iter(())
        return (f"{self._root}/{name}" for name in names if name.isdigit())


def _soft_limit(text: str, name: str) -> list[int]:
    line = next((line for line in text.splitlines() if line.startswith(name)), name)
    value = line.removeprefix(name).split()[:1]
    return [int(number) for number in value if number.isdigit()]
