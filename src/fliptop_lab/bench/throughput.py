"""How much an extension gets through per second of CPU: datagrams, log lines, spans; and what gets lost on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from fliptop_lab.bench.measuring import Cell, Metric, Sample, trouble
from fliptop_lab.bench.serving import PREFIX, load, serve_after_one
from fliptop_lab.bench.variants import Variant
from fliptop_lab.intake import Intake
from fliptop_lab.run import Plan, opened

DATAGRAMS, LINES, SPANS = "datagrams", "lines", "spans"
METRICS: Final = (
    Metric("sent", "sent", "", "by the function, altogether"),
    Metric("per_cpu_s", "per CPU second", "", "items that arrived per second of its CPU, SHUTDOWN included"),
    Metric("cpu_us", "CPU each", "µs", "the same the other way round"),
    Metric("missing", "missing", "", "items that the intake does not have after SHUTDOWN"),
    Metric("unheld", "no room", "", "datagrams of these for which the kernel's buffer had no room"),
    Metric("lost", "lost", "", "items that are missing for no such reason"),
)


def cells(base: Plan, variants: Sequence[Variant], bursts: Mapping[str, int]) -> list[Cell]:
    """For every variant and each kind of items, a burst of so many in each invocation; none for 0."""
    loads = {
        DATAGRAMS: load(0, bursts[DATAGRAMS]),
        LINES: load(bursts[LINES], 0),
        SPANS: load(0, 0, bursts[SPANS]),
    }
    return [
        Cell(
            {"variant": variant.name, "items": kind, "burst": str(burst)},
            replace(variant.attached(base), environment={**base.environment, **variant.environment, **loads[kind]}),
        )
        for kind, burst in bursts.items()
        if burst
        for variant in variants
    ]


async def observe(cell: Cell, count: int) -> Sample | str:
    """``count`` invocations, one after the other."""
    async with opened(cell.plan) as stage:
        first, served = await serve_after_one(stage, cell, count)
    if reason := trouble(stage.environment.init_result, [first, *served.invocations]):
        return reason
    # The first invocation's are among what arrives, though what it cost is not counted.
    sent = (len(served.invocations) + 1) * int(cell.parts["burst"])
    missing = sent - arrived(stage.intake, cell.parts["items"])
    counted = (sent - missing) * len(served.invocations) / (len(served.invocations) + 1)
    cpu_s = None if served.cpu_and_end_ms is None else served.cpu_and_end_ms / 1000
    return {
        "sent": sent,
        "per_cpu_s": counted / cpu_s if cpu_s else None,
        "cpu_us": cpu_s / counted * 1e6 if cpu_s and counted else None,
        "missing": missing,
        "unheld": served.unheld,
        "lost": missing - served.unheld,
    }


def arrived(intake: Intake, kind: str) -> float:
    """How many of the function's items the intake has."""
    received = intake.received
    if kind == LINES:
        return sum(entry.text.startswith(PREFIX) for entry in received.logs)
    if kind == SPANS:
        return sum(span.service == PREFIX for span in received.spans)
    counts = (value for item in received.series if item.metric.startswith(PREFIX) for _, value in item.points)
    return sum(counts) + sum(item.count for item in received.sketches if item.metric.startswith(PREFIX))
