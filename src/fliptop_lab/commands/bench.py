"""``fliptop-lab bench``: measurements that anyone can repeat."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fliptop_lab.bench.decide import Spread, Variant, measure, spread
from fliptop_lab.commands.bench_cold import cold
from fliptop_lab.commands.bench_serving import fault, steady, throughput
from fliptop_lab.commands.bench_subscribe import subscribe
from fliptop_lab.commands.common import print_json, stdout, usage_errors
from fliptop_lab.commands.explain import LAUNCHER
from fliptop_lab.lambda_.layers import merge
from fliptop_lab.staging import find_layer

DATADOGS_CHECK_US = 4000
"""What Datadog says its own check took, to put the figures into proportion."""

bench = typer.Typer(no_args_is_help=True, help="Measure, side by side, in turns, in random order.")
for command in (cold, steady, throughput, fault, subscribe):
    bench.command()(command)


@bench.command()
def decide(
    layer: Annotated[
        Path | None, typer.Option(help="The layer, as zip or directory. Default: the one in `dist/`.")
    ] = None,
    runs: Annotated[int, typer.Option("-n", "--runs", min=2, help="Rounds; each measures every variant once.")] = 300,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON object.")] = False,
) -> None:
    """What the launcher's decision costs, beside a process that decides nothing."""
    with usage_errors(), tempfile.TemporaryDirectory(prefix="fliptop-lab-") as name:
        opt = Path(name) / "opt"
        opt.mkdir()
        launcher = merge([layer or find_layer()], Path(name), opt) / LAUNCHER
        with Console(stderr=True).status("measuring") as status:
            variants = measure(launcher, Path(name), runs, lambda done: status.update(f"measuring: {done} of {runs}"))
    stdout(quiet=as_json).print(_table(variants, runs))
    if as_json:
        print_json({"variants": {variant.name: _figures(variant) for variant in variants}})


def _figures(variant: Variant) -> dict[str, object]:
    spreads = {"decide_us": spread(variant.decide_us), "process_us": spread(variant.process_us)}
    return {name: asdict(found) for name, found in spreads.items() if found}


def _table(variants: list[Variant], runs: int) -> Table:
    caption = (
        f"median (5 % … 95 %) of {runs} runs each; Datadog's check took about {DATADOGS_CHECK_US} µs by its account"
    )
    table = Table(title="what the launcher's decision costs", title_justify="left", caption=caption)
    table.add_column("")
    for column in ("deciding, µs", "whole process, µs", "against nothing"):
        table.add_column(column, justify="right")
    floor = spread(variants[0].process_us)
    for variant in variants:
        decided, process = spread(variant.decide_us), spread(variant.process_us)
        ratio = f"{process.median / floor.median:.2f} x" if process and floor else ""
        table.add_row(variant.name, _cell(decided), _cell(process), ratio)
    return table


def _cell(found: Spread | None) -> str:
    return f"{found.median:.0f} ({found.low:.0f} … {found.high:.0f})" if found else ""
