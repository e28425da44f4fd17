"""CPU quota, memory limit and task limit for one environment, by cgroup v1 or v2 where the machine allows.

Lambda gives memory/1769 of a vCPU after init, about two vCPUs during it, and 1 024 tasks (its guide, "Memory").
"""

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PERIOD_US, BOOST_CPUS, MB_PER_CPU, TASKS = 20_000, 2.0, 1769, 1024
ACCOUNT = "extensions"


@dataclass(frozen=True)
class Limits:
    """Which limits to set; a memory of None leaves memory alone."""

    memory_mb: int | None
    cpu: bool


class Cgroups:
    """The cgroups of one environment. Where none can be made the object exists, is empty, and `missing` says why."""

    def __init__(self, name: str, limits: Limits) -> None:
        self.missing: dict[str, str] = {}
        self._limits = limits
        self._folders: dict[str, Path] = {}
        wanted = ["pids"] + ["cpu"] * limits.cpu + ["memory"] * (limits.memory_mb is not None)
        for controller, parent in _parents().items():
            if controller in (*wanted, "cpuacct"):
                self._create(controller, parent / name)
        for controller in wanted:
            if controller not in self._folders:
                self.missing.setdefault(controller, "no cgroup controller that this user may use")
        self._account = self._open_account()
        self._limit()

    def _create(self, controller: str, folder: Path) -> None:
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            self.missing[controller] = f"{folder}: {error.strerror}"
        else:
            self._folders[controller] = folder

    def _open_account(self) -> Path | None:
        """A group inside the environment's, for the extensions alone: the kernel adds up what they use there."""
        unified = [folder for folder in self._folders.values() if (folder / "cgroup.controllers").exists()]
        parent = self._folders.get("cpuacct") or next(iter(unified), None)
        if parent is None:
            return None
        with contextlib.suppress(OSError):
            (parent / ACCOUNT).mkdir(exist_ok=True)
            return parent / ACCOUNT
        return None

    def _limit(self) -> None:
        self._set("pids", {"pids.max": TASKS})
        if self._limits.memory_mb is not None:
            size = self._limits.memory_mb << 20
            names = {"memory.limit_in_bytes": size, "memory.memsw.limit_in_bytes": size, "memory.max": size}
            self._set("memory", {**names, "memory.swap.max": 0})
        self.boost()

    def _set(self, controller: str, values: Mapping[str, int | str]) -> None:
        """v1 and v2 name their files differently: those that exist are meant."""
        if folder := self._folders.get(controller):
            for name, value in values.items():
                if (folder / name).exists():
                    (folder / name).write_text(str(value))

    def boost(self) -> None:
        """Init: two CPUs whatever the memory."""
        self._quota(BOOST_CPUS)

    def throttle(self, memory_mb: int) -> None:
        """After init: the share that the memory setting buys."""
        self._quota(memory_mb / MB_PER_CPU)

    def _quota(self, cpus: float) -> None:
        quota = max(1000, round(cpus * PERIOD_US))
        self._set("cpu", {"cpu.cfs_period_us": PERIOD_US, "cpu.cfs_quota_us": quota, "cpu.max": f"{quota} {PERIOD_US}"})

    @property
    def quota(self) -> float | None:
        """CPUs the environment may use at present; None where there is no limit."""
        folder = self._folders.get("cpu")
        if folder is None:
            return None
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) / int(period)

    @property
    def tasks(self) -> int | None:
        """How many processes and threads there may be; None where there is no limit."""
        folder = self._folders.get("pids")
        return int((folder / "pids.max").read_text()) if folder else None

    def open(self, *, account: bool) -> list[int]:
        """Descriptors to write "0" to, in this order, for a process that wants in; the caller closes them.

        `account` for an extension, whose use of the CPU is counted apart.
        """
        folders = dict.fromkeys(self._folders.values())
        if account and self._account is not None:
            folders[self._account] = None
        return [os.open(folder / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) for folder in folders]

    def pids(self) -> list[int] | None:
        """The members' pids; None where there is no cgroup."""
        for folder in self._folders.values():
            return [pid for parent, _, _ in os.walk(folder) for pid in _members(Path(parent))]
        return None

    def extension_pids(self) -> list[int] | None:
        """Pids of the extensions and all that they have started; None where there is no cgroup to tell."""
        return _members(self._account) if self._account is not None else None

    @property
    def extensions_cpu_ns(self) -> int | None:
        """CPU time of the extensions and all that they have started, the dead included; None without a cgroup.

        Without the time since a process was last interrupted, unless its own clock has just been read.
        """
        if self._account is None:
            return None
        if (usage := self._account / "cpuacct.usage").exists():
            return int(usage.read_text())
        lines = (line.split() for line in (self._account / "cpu.stat").read_text().splitlines())
        return next(int(value) * 1000 for name, value in lines if name == "usage_usec")

    @property
    def oom_kills(self) -> int:
        """How many processes the kernel has killed here for want of memory."""
        if folder := self._folders.get("memory"):
            for name in ("memory.events", "memory.oom_control"):
                with contextlib.suppress(FileNotFoundError):
                    lines = (folder / name).read_text().splitlines()
                    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
        return 0

    def remove(self) -> None:
        """Removes the cgroups; a process that is on its last instructions is waited for briefly."""
        for folder in dict.fromkeys([*filter(None, [self._account]), *self._folders.values()]):
            for _ in range(200):
                try:
                    folder.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.005)
        self._folders.clear()
        self._account = None


def _members(folder: Path) -> list[int]:
    return [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]


def _parents() -> dict[str, Path]:
    """Controller → directory in which an environment's cgroup can be made."""
    own = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, names, path = line.split(":", 2)
            own.update(dict.fromkeys(names.split(","), path))
    parents: dict[str, Path] = {}
    for controller in ("cpu", "cpuacct", "memory", "pids"):
        mounted = Path("/sys/fs/cgroup", controller)
        if controller in own and mounted.is_dir():
            parents[controller] = mounted / own[controller].lstrip("/")
    unified = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError):
        for controller in (unified / "cgroup.subtree_control").read_text().split():
            parents.setdefault(controller, unified)
    return {controller: parent for controller, parent in parents.items() if os.access(parent, os.W_OK)}
