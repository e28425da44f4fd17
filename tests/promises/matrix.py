"""The failure matrix: what can be wrong with the intake, when, on how small a function, and what the function does.

All pairs of two levels occur (`covertable`), rather than all combinations. Several runs go on at a time, because each
mostly waits. `FLIPTOP_FREEZE_S` says how long "frozen" is: by default six seconds, which is beyond what a connection is
trusted for; with 600 the ten minutes really pass. What is not shown without that: intervals of 20 s and more.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from covertable import make

from fliptop_lab.functions import find
from fliptop_lab.lambda_ import Invocation, Record
from fliptop_lab.routes import route_for
from fliptop_lab.run import Plan, Stage, opened
from fliptop_lab.staging import Ingredients
from tests.lifetimes import Life, layer_under_test

FREEZE_S: Final = float(os.environ.get("FLIPTOP_FREEZE_S", "6"))
SAMPLED_EVERY_S: Final = 0.1
PATIENCE_S: Final = 600.0
AT_A_TIME: Final = 2 * (os.cpu_count() or 1)
FAULTS: Final = {
    "ok": [],
    "refused": ["refuse"],
    "403": ["403"],
    "413": ["413"],
    "429": ["429,retry-after=2"],
    "500": ["500"],
    "black-hole": ["blackhole"],
    "reset-headers": ["reset-headers"],
    "reset-body": ["reset-body"],
    "reset-answer": ["reset-response"],
    "slow": ["delay=1"],
    "trickle": ["trickle,delay=0.05"],
    "untrusted": ["untrusted"],
    "garbage": ["garbage"],
    "no-dns": ["no-dns"],
    "dead-dns": ["dead-dns"],
    "proxy-down": ["proxy-down"],
}
FACTORS: Final[dict[str, list[Any]]] = {
    "fault": list(FAULTS),
    "when": ["cold", "warm", "frozen"],
    "memory": [128, 1024],
    "function": ["ok", "throws", "times-out", "exits", "out-of-memory"],
    "passes": [True, False],
}


class Cell(NamedTuple):
    """One run. The fault begins before the first invocation, before the third, or before a freeze that precedes that.
    Then comes the invocation in which the `function` does what its level says, and another one. If the fault `passes`,
    a last one follows without it.
    """

    fault: str
    when: str
    memory: int
    function: str
    passes: bool

    def __str__(self) -> str:
        return "-".join([self.fault, self.when, str(self.memory), self.function, "passes" if self.passes else "stays"])

    @property
    def timeout_s(self) -> float:
        """The function's. To fill the memory, it needs its time."""
        return 20.0 if self.function == "out-of-memory" else 5.0

    @property
    def payload(self) -> bytes:
        """The event that makes the function do it."""
        return {
            "ok": b"{}",
            "throws": b'{"raise": "no luck"}',
            "times-out": b'{"sleep": 60}',
            "exits": b'{"exit": 3}',
            "out-of-memory": b'{"allocate": %d}' % (self.memory + 64),
        }[self.function]


def cells() -> list[Cell]:
    """All cells, always the same ones in the same order."""
    return sorted(Cell(**row) for row in make(FACTORS))


@dataclass
class Used:
    """What the extension's processes had at most, at any moment that was looked at."""

    rss_mb: float = 0.0
    files: int = 0
    threads: int = 0


@dataclass
class Seen:
    """A run, beside the same function and the same events `without` any extension.

    `listening` are the ports that listened each time the extension asked for its first event.
    """

    cell: Cell
    life: Life
    without: list[Invocation]
    used: Used
    listening: list[set[int]] = field(default_factory=list)


async def run_all(chosen: Sequence[Cell]) -> dict[Cell, Seen | BaseException]:
    """Run these cells, as many at a time as the machine may bear."""
    layer_under_test()
    turns = asyncio.Semaphore(AT_A_TIME)

    async def see(cell: Cell) -> Seen:
        async with asyncio.timeout(FREEZE_S + PATIENCE_S):
            return await _see(cell, turns)

    seen = await asyncio.gather(*map(see, chosen), return_exceptions=True)
    return dict(zip(chosen, seen, strict=True))


async def _see(cell: Cell, turns: asyncio.Semaphore) -> Seen:
    plan = Plan(
        function=find("python"),
        ingredients=Ingredients([layer_under_test()], no_legacy=True),
        memory_mb=cell.memory,
        timeout_s=cell.timeout_s,
        route=route_for(FAULTS[cell.fault]),
    )
    async with turns:
        bare = replace(plan, ingredients=Ingredients(no_legacy=True))
        async with opened(bare) as stage:
            without = [await stage.environment.invoke(payload) for payload in _payloads(cell)]
            await stage.environment.shutdown()
    observer = _Observer()
    await turns.acquire()
    try:
        async with opened(replace(plan, on_event=observer.on_event)) as stage:
            observer.stage = stage
            seen = Seen(cell, Life(stage.intake, stage.environment), without, Used(), observer.listening)
            sampling = asyncio.create_task(_sample(stage, seen.used))
            await _live(seen, turns)
            await stage.environment.shutdown()
            sampling.cancel()
            return seen
    finally:
        turns.release()


def _payloads(cell: Cell) -> list[bytes]:
    """The events of one cell."""
    before = [] if cell.when == "cold" else [b"{}", b"{}"]
    return [*before, cell.payload, b"{}", *([b"{}"] if cell.passes else [])]


async def _live(seen: Seen, turns: asyncio.Semaphore) -> None:
    cell, life = seen.cell, seen.life
    payloads = _payloads(cell)
    for number, payload in enumerate(payloads):
        if number == (0 if cell.when == "cold" else 2):
            for fault in FAULTS[cell.fault]:
                life.intake.faults.inject(fault)
            if cell.when == "frozen":
                await _freeze(life, turns)
        if cell.passes and number == len(payloads) - 1:
            life.intake.faults.clear()
        life.invocations.append(await life.environment.invoke(payload))


async def _freeze(life: Life, turns: asyncio.Semaphore) -> None:
    """Others may have the machine; and whoever stands on the way to the intake forgets the connections."""
    life.intake.forget_connections()
    turns.release()
    try:
        await life.environment.idle(FREEZE_S)
    finally:
        await turns.acquire()


class _Observer:
    """Looks at what listens at the very moment of the first `/event/next`."""

    def __init__(self) -> None:
        self.stage: Stage | None = None
        self.listening: list[set[int]] = []
        self._ready = False

    def on_event(self, record: Record) -> None:
        if (record.kind, record.name) == ("process", "start") and record.data["role"] == "extension":
            self._ready = False
        if (record.kind, record.name) == ("api", "next") and not self._ready and self.stage is not None:
            self._ready = True
            self.listening.append(set(_ports(self.stage.environment.pids()["datadog-agent"])))


def _ports(pid: int) -> Iterator[int]:
    """TCP ports in state LISTEN and bound UDP ports of the network that process `pid` is in; see proc(5)."""
    for kind, state in (("tcp", "0A"), ("udp", "07")):
        for line in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()[1:]:
            _, local, _, found, *_ = line.split()
            if found == state:
                yield int(local.rpartition(":")[2], 16)


async def _sample(stage: Stage, used: Used) -> None:
    while True:
        pids = stage.environment.sandbox.cgroups.extension_pids() or stage.environment.pids().values()
        looks = [look for pid in pids if (look := _look(pid))]
        used.rss_mb = max(used.rss_mb, sum(look.rss_mb for look in looks))
        used.files = max(used.files, sum(look.files for look in looks))
        used.threads = max(used.threads, sum(look.threads for look in looks))
        await asyncio.sleep(SAMPLED_EVERY_S)


def _look(pid: int) -> Used | None:
    """What one process has now; None if it is gone."""
    try:
        status = dict(re.findall(r"(\w+):\s+(\d+)", Path(f"/proc/{pid}/status").read_text()))
        files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return None
    return Used(int(status.get("VmRSS", 0)) / 1024, files, int(status["Threads"]))
