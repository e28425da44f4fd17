"""``fliptop-lab bench cold``: cold starts of several extensions, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import typer

from fliptop_lab.bench import plot, report
from fliptop_lab.bench.cold import METRICS, observing
from fliptop_lab.bench.measuring import Cell
from fliptop_lab.bench.variants import Variant, unpacked
from fliptop_lab.commands.common import RegisterLatency, SubscribeLatency, pairs, usage_errors
from fliptop_lab.commands.session import (
    UNTRACED,
    AsJson,
    Env,
    Functions,
    Layer,
    Memory,
    Only,
    Peers,
    PlotFile,
    Runs,
    Session,
    Timeout,
    chosen,
    numbers,
    split,
)
from fliptop_lab.functions import Prepared, find
from fliptop_lab.run import Plan
from fliptop_lab.staging import Ingredients


def cold(  # noqa: PLR0913, PLR0917 - one argument per option
    layer: Layer = None,
    peer: Peers = None,
    only: Only = None,
    function: Functions = None,
    memory: Memory = "1024",
    runs: Runs = 30,
    warm: Annotated[int, typer.Option(min=0, help="Invocations after the first one, in each run.")] = 3,
    timeout: Timeout = 10.0,
    env: Env = None,
    register_latency: RegisterLatency = 0.0,
    subscribe_latency: SubscribeLatency = 0.0,
    plot_file: PlotFile = None,
    as_json: AsJson = False,
) -> None:
    """Measure cold starts: no extension, the least one, fliptop, fliptop all in Python, and any peers.

    Every run is an environment of its own: a cold invocation, some warm ones, shutdown. All that is compared runs in
    turns, in a new random order each round; a first round is not counted. `docs/lab.md` says how to read the result.
    Exit status: 0 fine, 1 a run failed, 2 used wrongly.

    Examples:

    * `fliptop-lab bench cold`: the layer in `dist/`, thirty times, with the fastest function possible
    * `fliptop-lab bench cold --function c,python,node --memory 128,512,1024,1769 --plot cold.svg`
    * `fliptop-lab bench cold --only fliptop --only other --peer other=./other-layer.zip`
    * `fliptop-lab bench cold --only floor,fliptop --subscribe-latency 25 --json`
    """
    with usage_errors():
        plot_to = plot.checked(plot_file)
        base = Plan(
            function=find("c"),
            ingredients=Ingredients(),
            invocations=1 + warm,
            timeout_s=timeout,
            environment={**UNTRACED, **pairs(env or [])},
            register_latency_ms=register_latency,
            subscribe_latency_ms=subscribe_latency,
        )
        axes = Axes([find(name) for name in split(function) or ["c"]], numbers(memory, "--memory"))
        with unpacked(chosen(only, layer, peer)) as (variants, told):
            session = Session("cold starts", axes.cells(base, variants), METRICS, runs, told)
            session.carry_out(observing())
    session.tell(report.side_by_side(session.cells, METRICS, "variant"), plot_to, as_json)


@dataclass(frozen=True)
class Axes:
    """What every variant is measured with."""

    functions: Sequence[Prepared]
    memories: Sequence[int]

    def cells(self, base: Plan, variants: Sequence[Variant]) -> list[Cell]:
        """All combinations."""
        return [
            _cell(base, variant, function, memory)
            for function in self.functions
            for memory in self.memories
            for variant in variants
        ]


def _cell(base: Plan, variant: Variant, function: Prepared, memory: int) -> Cell:
    plan = replace(variant.attached(base), function=function, memory_mb=memory)
    size = variant.disk_bytes
    parts = {"variant": variant.name, "function": function.name, "memory": str(memory)}
    return Cell(parts, plan, {"disk_mb": None if size is None else size / 1e6})
