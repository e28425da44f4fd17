"""One cold start and what follows it, measured."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from statistics import fmean
from typing import Final

from fliptop_lab.bench.measuring import Cell, Metric, Observe, Sample, metered, preferred, trouble
from fliptop_lab.bench.meter import Meter
from fliptop_lab.lambda_ import Invocation, Record
from fliptop_lab.run import Outcome, Plan, Stage, opened, outcome

FLUSH_PATIENCE_S: Final = 60.0


METRICS: Final = (
    Metric("register_ms", "registered", "ms", "from the extension's execve to its registration; the slowest counts"),
    Metric("subscribe_ms", "subscribed", "ms", "to the telemetry subscription"),
    Metric("next_ms", "first /event/next", "ms", "to its first /event/next: ready"),
    Metric("runtime_ms", "runtime started", "ms", "from the begin of init to the runtime's execve"),
    Metric("init_ms", "init", "ms", "init as the platform reports it"),
    Metric("first_ms", "first invocation", "ms", "the caller's wait for the first answer, init included"),
    Metric("warm_ms", "warm invocation", "ms", "the caller's wait for a later answer, mean of the run's"),
    Metric("post_first_ms", "after the first", "ms", "from the runtime's end to the last /event/next"),
    Metric("post_warm_ms", "after a warm one", "ms", "the same for later invocations"),
    Metric("cpu_ready_ms", "CPU to ready", "ms", "user and system time up to the first /event/next"),
    Metric("cpu_flush_ms", "CPU to first flush", "ms", "up to the moment the intake answers the first payload"),
    Metric("cpu_warm_ms", "CPU per warm one", "ms", "from thaw to freeze of a later invocation"),
    Metric("faults", "page faults", "", "up to the end of the first invocation"),
    Metric("rss_mb", "peak RSS", "MiB", "summed over the extension's processes"),
    Metric("pss_mb", "PSS", "MiB", "after the last invocation"),
    Metric("disk_mb", "on disk", "MB", "unpacked under /opt", varies=False),
)
Extra = Callable[[Outcome], Sample]


def observing(extra: Extra | None = None) -> Observe:
    """Observes cold starts. ``extra`` adds to a sample what it finds in the outcome of a run."""

    async def observe(cell: Cell) -> Sample | str:
        found, sample = await _observe(cell)
        return trouble(found.init, found.invocations) or {**sample, **(extra(found) if extra else {})}

    return observe


class _Observer:
    """Notes what has been used at the moments that matter, while a run goes on."""

    def __init__(self) -> None:
        self.meter: Meter | None = None
        self.cpu_ready_ms: float | None = None
        self._ready: set[str] = set()

    def on_event(self, record: Record) -> None:
        """Called by the platform for every record; the last extension to become ready is the one that counts."""
        if (record.kind, record.name) == ("api", "next") and record.data["extension"] not in self._ready:
            self._ready.add(record.data["extension"])
            self.cpu_ready_ms = self.meter.cpu_ms() if self.meter else None


async def _observe(cell: Cell) -> tuple[Outcome, Sample]:
    observer = _Observer()
    plan = replace(cell.plan, on_event=observer.on_event)
    async with opened(plan) as stage:
        meter = observer.meter = metered(cell, stage)
        flush = asyncio.create_task(_first_flush(stage, meter))
        with preferred():
            done, used = await _invoke(stage, plan, meter)
            await stage.environment.shutdown()
        used |= {"cpu_ready_ms": observer.cpu_ready_ms, "cpu_flush_ms": await _if_done(flush)}
    found = outcome(plan, done, stage)
    return found, {**_times(found), **used}


async def _first_flush(stage: Stage, meter: Meter) -> float | None:
    requests = stage.intake.store.requests

    def answered() -> bool:
        return any(request.status is not None and request.status < 300 for request in requests)

    with suppress(TimeoutError):
        await stage.intake.wait_for(answered, FLUSH_PATIENCE_S)
        return meter.cpu_ms()
    return None


async def _if_done(task: asyncio.Task[float | None]) -> float | None:
    if task.done():
        return task.result()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return None


async def _invoke(stage: Stage, plan: Plan, meter: Meter) -> tuple[list[Invocation], Sample]:
    """The invocations one after the other. Between them everything stands still, and reading disturbs nothing."""
    done = [await stage.environment.invoke(plan.payload)]
    faults, before = meter.faults(), meter.cpu_ms()
    spent: list[float] = []
    for _ in range(1, plan.invocations):
        done.append(await stage.environment.invoke(plan.payload))
        after = meter.cpu_ms()
        if before is not None and after is not None:
            spent.append(after - before)
        before = after
    memory = meter.memory()
    return done, {
        "faults": faults,
        "cpu_warm_ms": _mean(spent),
        "rss_mb": memory.rss if memory else None,
        "pss_mb": memory.pss if memory else None,
    }


def _times(found: Outcome) -> Sample:
    first, warm = found.invocations[0], found.invocations[1:]
    return {
        "register_ms": since_spawn_ms(found.records, "register"),
        "subscribe_ms": since_spawn_ms(found.records, "subscribe"),
        "next_ms": since_spawn_ms(found.records, "next"),
        "runtime_ms": _runtime_ms(found.records),
        "init_ms": found.init.duration_ms if found.init else None,
        "first_ms": first.latency_ms,
        "warm_ms": _mean([each.latency_ms for each in warm]),
        "post_first_ms": first.post_runtime_ms,
        "post_warm_ms": _mean([each.post_runtime_ms for each in warm]),
    }


def since_spawn_ms(records: Sequence[Record], call: str) -> float | None:
    """From an extension's execve to its first such call; the slowest extension counts."""
    first: dict[str, float] = {}
    for record in records:
        if (record.kind, record.name) == ("api", call) and "since_spawn_ms" in record.data:
            first.setdefault(record.data["extension"], record.data["since_spawn_ms"])
    return max(first.values(), default=None)


def _runtime_ms(records: Sequence[Record]) -> float | None:
    begun = next((record.ns for record in records if record.name == "platform.initStart"), None)
    starts = (record for record in records if (record.kind, record.name) == ("process", "start"))
    started = next((record.ns for record in starts if record.data["role"] == "runtime"), None)
    return (started - begun) / 1e6 if started is not None and begun is not None else None


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
