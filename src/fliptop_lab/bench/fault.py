"""What a function notices of a fault between its extension and Datadog: latency, time that is billed, errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from fliptop_lab.bench.measuring import Cell, Metric, Sample
from fliptop_lab.bench.serving import percentile, serve_after_one
from fliptop_lab.bench.variants import Variant
from fliptop_lab.run import Plan, opened

OK: Final = "ok"
FAULTS: Final = (
    OK,
    "refuse",
    "403",
    "413",
    "429,retry-after=2",
    "500",
    "blackhole",
    "reset-body",
    "delay=1",
    "untrusted",
    "garbage",
    "no-dns",
    "dead-dns",
    "proxy-down",
)
METRICS: Final = (
    Metric("p50_ms", "50 %", "ms", "of the callers wait no longer for the answer; the first invocation is left out"),
    Metric("p99_ms", "99 %", "ms", "the same for 99 % of them"),
    Metric("first_ms", "first", "ms", "the first caller's wait, init included"),
    Metric("billed_p50_ms", "billed, 50 %", "ms", "the environment is busy no longer with half of the invocations"),
    Metric("billed_p99_ms", "billed, 99 %", "ms", "the same for 99 % of them, the first one included"),
    Metric("billed_max_ms", "longest", "ms", "the same for the longest of them"),
    Metric("errors", "errors", "%", "share of the invocations that did not succeed"),
)


def cells(base: Plan, variants: Sequence[Variant], faults: Sequence[str]) -> list[Cell]:
    """Every variant with every fault, which is there from the start."""
    return [
        Cell(
            {"variant": variant.name, "fault": fault},
            replace(variant.attached(base), faults=[] if fault == OK else [fault]),
        )
        for fault in faults
        for variant in variants
    ]


async def observe(cell: Cell, count: int) -> Sample | str:
    """``count`` invocations after the first one, one after the other. An error is a result."""
    async with opened(cell.plan) as stage:
        first, served = await serve_after_one(stage, cell, count)
    everything = [first, *served.invocations]
    waits = [each.latency_ms for each in served.invocations]
    billed = [float(each.billed_ms) for each in everything]
    return {
        "p50_ms": percentile(waits, 0.5),
        "p99_ms": percentile(waits, 0.99),
        "first_ms": first.latency_ms,
        "billed_p50_ms": percentile(billed, 0.5),
        "billed_p99_ms": percentile(billed, 0.99),
        "billed_max_ms": max(billed),
        "errors": 100 * sum(each.status != "success" for each in everything) / len(everything),
    }
