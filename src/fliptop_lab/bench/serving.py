"""Many invocations of one environment, with a given load at a given pace: what the other measurements are made of."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Final

from fliptop_lab.bench.measuring import Cell, metered, preferred
from fliptop_lab.bench.meter import Meter
from fliptop_lab.functions import Prepared
from fliptop_lab.functions.compiling import compile_c
from fliptop_lab.lambda_ import Invocation
from fliptop_lab.run import Stage

LOAD_SOURCE: Final = Path(__file__).parent / "load.c"
REST: Final = b'{"rest": true}'
"""The event of an invocation without any load."""
PREFIX: Final = "load"
"""How all lines and metrics of the function begin."""
DOGSTATSD_PORT: Final = 8125


def function() -> Prepared:
    """The function that makes the load. Raises ``FunctionError``."""
    program = compile_c(LOAD_SOURCE)
    return Prepared("load", [f"./{program.name}"], program.parent, "load")


def load(lines: int, metrics: int, spans: int = 0) -> dict[str, str]:
    """Variables that tell the function how many of each an invocation writes and sends."""
    return {"LAB_LINES": str(lines), "LAB_METRICS": str(metrics), "LAB_SPANS": str(spans)}


@dataclass(frozen=True)
class Pace:
    """``count`` invocations that begin ``rate`` times a second, or as soon as the environment is free; after ``before``
    others without load, which do not count, as fast as possible. It ends early when ``patience_s`` have passed.
    """

    count: int
    rate: float = 1e6
    before: int = 0
    patience_s: float = 60.0


@dataclass(frozen=True)
class Served:
    """The invocations that count, how long they took altogether, and CPU time (ms) of the extension: used in them, and
    with SHUTDOWN's share.
    """

    invocations: Sequence[Invocation]
    seconds: float
    cpu_ms: float | None
    cpu_and_end_ms: float | None
    requests: int
    unheld: int

    @property
    def rate(self) -> float:
        """Invocations per second, as it was in the end."""
        return len(self.invocations) / self.seconds

    def per_invocation(self, value: float | None) -> float | None:
        """The share of one invocation."""
        return None if value is None else value / len(self.invocations)


async def serve_after_one(stage: Stage, cell: Cell, count: int) -> tuple[Invocation, Served]:
    """A first invocation, with init in it, then ``count`` others, one after the other."""
    meter = metered(cell, stage)
    with preferred():
        first = await stage.environment.invoke(cell.plan.payload)
        return first, await serve(stage, cell.plan.payload, Pace(count), meter)


async def serve(stage: Stage, payload: bytes, pace: Pace, meter: Meter) -> Served:
    """From the first invocation to the end of SHUTDOWN. Between invocations everything is frozen."""
    environment, store = stage.environment, stage.intake.store
    for _ in range(pace.before):
        await environment.invoke(REST)
    used, sent, begun = meter.cpu_ms(), len(store.requests), time.monotonic()
    done: list[Invocation] = []
    while len(done) < pace.count and time.monotonic() - begun < pace.patience_s:
        await asyncio.sleep(max(0.0, begun + len(done) / pace.rate - time.monotonic()))
        done.append(await environment.invoke(payload))
    seconds = max(time.monotonic() - begun, len(done) / pace.rate)
    in_them, requests, unheld = meter.cpu_ms(), len(store.requests) - sent, _dropped_datagrams(environment.pids())
    await environment.shutdown()
    spent, altogether = _since(used, in_them), _since(used, meter.cpu_ms())
    return Served(done, seconds, spent, altogether, requests, unheld)


def _since(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _dropped_datagrams(pids: Mapping[str, int]) -> int:
    """For how many the socket's buffer had no room; see proc(5), ``/proc/net/udp``."""
    for name, pid in pids.items():
        if name == "runtime":
            continue
        for line in Path(f"/proc/{pid}/net/udp").read_text().splitlines()[1:]:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == DOGSTATSD_PORT:
                return int(fields[-1])
    return 0


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of the values do not exceed."""
    return sorted(values)[max(0, ceil(len(values) * share) - 1)]
