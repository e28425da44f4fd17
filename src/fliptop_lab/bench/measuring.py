"""Measuring things in turns: what a metric and a measured cell are, rounds in random order, an undisturbed lab."""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from fliptop_lab.bench.figures import Figure, figure
from fliptop_lab.bench.meter import Meter
from fliptop_lab.lambda_ import InitResult, Invocation
from fliptop_lab.run import Plan, Stage


@dataclass(frozen=True)
class Metric:
    """One thing that is measured: its ``key`` in JSON, its name and unit for people, and what it is exactly.

    ``varies`` says whether it can differ from run to run; a ``share`` is 1 for the runs in which it was so, else 0.
    """

    key: str
    title: str
    unit: str
    about: str
    varies: bool = True
    share: bool = False


Sample = dict[str, float | None]


@dataclass
class Cell:
    """One thing that is measured again and again: ``plan`` says how, ``parts`` what it is called, part by part."""

    parts: Mapping[str, str]
    plan: Plan
    constants: Mapping[str, float | None] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    cpu_source: str = ""
    unlimited: str = ""

    def figure(self, key: str) -> Figure | None:
        """The figure of one metric, None where no run had a value."""
        return figure([sample.get(key) for sample in self.samples])


Observe = Callable[[Cell], Awaitable[Sample | str]]
"""One run of a cell: what was measured, or why it does not count."""


async def measure(
    cells: Sequence[Cell], runs: int, told: Callable[[int], None], observe: Observe, *, rehearsed: bool = True
) -> None:
    """Measure every cell ``runs`` times, in rounds, each in its own random order.

    If it is to be ``rehearsed``, a round that does not count comes first: it brings files into the page cache, where
    they stay. ``told`` hears how many runs are done.
    """
    for number in range(not rehearsed, runs + 1):
        for position, cell in enumerate(random.sample(cells, len(cells))):
            with _undisturbed():
                found = await observe(cell)
            if number:
                _keep(cell, found)
            told((number - (not rehearsed)) * len(cells) + position + 1)


def _keep(cell: Cell, found: Sample | str) -> None:
    if isinstance(found, str):
        cell.failures.append(found)
    else:
        cell.samples.append({**found, **cell.constants})


@contextmanager
def _undisturbed() -> Iterator[None]:
    """The collector runs between the measurements, not in them."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def trouble(init: InitResult | None, invocations: Sequence[Invocation]) -> str | None:
    """Why a run does not count, or None."""
    if init is not None and init.status != "success":
        return f"init: {init.error_type or init.status}"
    return next((each.error_type or each.status for each in invocations if each.status != "success"), None)


def metered(cell: Cell, stage: Stage) -> Meter:
    """A meter for a stage of this cell, which notes what the meter is worth."""
    meter = Meter(stage.environment)
    cell.cpu_source = meter.source
    cell.unlimited = stage.environment.sandbox.cgroups.missing.get("cpu", "")
    return meter


@contextmanager
def preferred() -> Iterator[None]:
    """The lab before all other processes, where the machine allows, as Lambda's APIs have processors of their own.

    Otherwise an answer that wakes an extension up costs the lab its processor, and the extension's next call waits for
    milliseconds until the lab has one again. The environment's processes are not children of this one.
    """
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    try:
        yield
    finally:
        with suppress(PermissionError):
            os.sched_setscheduler(0, *before)
