"""``fliptop-lab bench subscribe``: whether to subscribe before asking for the first event, or beside it."""

from __future__ import annotations

from typing import Annotated

import typer

from fliptop_lab.bench import plot, report
from fliptop_lab.bench.cold import observing
from fliptop_lab.bench.subscribe import ARRIVALS, TIMES, arrivals, cells
from fliptop_lab.bench.variants import Choice, unpacked
from fliptop_lab.commands.common import usage_errors
from fliptop_lab.commands.session import AsJson, Functions, Layer, PlotFile, Runs, Session, split
from fliptop_lab.functions import find
from fliptop_lab.run import Plan
from fliptop_lab.staging import Ingredients


def subscribe(
    layer: Layer = None,
    latency: Annotated[str, typer.Option(help="ms that the platform takes to subscribe; several with commas.")] = (
        "0,5,25"
    ),
    function: Functions = None,
    runs: Runs = 30,
    plot_file: PlotFile = None,
    as_json: AsJson = False,
) -> None:
    """Compare both values of FLIPTOP_SUBSCRIBE: what the order gains, and what telemetry it may lose.

    `before` subscribes and then asks for the first event; `overlap` does both at once, while Lambda may end init, and
    with it the time in which one can subscribe. Functions: `c`, whose init is over at once, and `python`, unless
    `--function` names others. Exit status: 0 fine, 1 a run failed, 2 used wrongly.

    Examples:

    * `fliptop-lab bench subscribe`
    * `fliptop-lab bench subscribe --function c --latency 0,25 -n 10 --json`
    """
    with usage_errors():
        plot_to = plot.checked(plot_file)
        functions = [find(name) for name in split(function) or ["c", "python"]]
        latencies = [float(part) for part in split([latency])]
        with unpacked(Choice(["fliptop"], layer)) as (variants, told):
            parts = Ingredients([each.layer for each in variants if each.layer], no_legacy=True)
            base = Plan(function=functions[0], ingredients=parts, invocations=2, memory_mb=1024, timeout_s=10.0)
            metrics = (*TIMES, *ARRIVALS)
            session = Session("subscribing", cells(base, functions, latencies), metrics, runs, told)
            session.carry_out(observing(arrivals))
    session.tell([report.one_below_the_other(session.cells, metrics)], plot_to, as_json)
