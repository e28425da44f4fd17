"""``fliptop-lab demo``: the layer at work, once with each extension."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from fliptop_lab.commands import view
from fliptop_lab.commands.common import carry_out, exit_status, print_json, stdout, usage_errors
from fliptop_lab.functions import find
from fliptop_lab.run import Plan
from fliptop_lab.staging import Ingredients, find_layer
from fliptop_lab.summary import combine, summarise

COMPATIBILITY = {"DD_EXTENSION_VERSION": "compatibility"}
"""What a user sets to stay with the legacy extension."""
SERVICE = {"DD_SERVICE": "shop", "DD_ENV": "demo", "DD_VERSION": "1"}


def demo(
    layer: Annotated[
        Path | None, typer.Option(help="The layer to show, as zip or directory. Default: the one in `dist/`.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Show the layer at work: a real Python function, first with the new extension, then with the legacy one.

    Needs a layer: `make layer` builds the frozen one, `make demo` makes one of the sources and calls this. Ends
    with one JSON object for both runs, whatever the options. Exit status: 0 fine, 1 failures or lost lines, 2 used
    wrongly.

    Examples:

    * `fliptop-lab demo`
    * `fliptop-lab demo --layer dist/source-layer --json`
    """
    console = stdout(quiet=as_json)
    with usage_errors():
        layer = layer or find_layer()
        console.print(_opening(layer))
        plan = Plan(function=find("python"), ingredients=Ingredients([layer]), environment=SERVICE, timeout_s=10)
        first = carry_out(plan, "1 of 2, the new extension")
        console.print(view.run_panel(first, summarise(first), "1 · a function and the new extension"))
        old = replace(plan, environment={**SERVICE, **COMPATIBILITY})
        second = carry_out(old, "2 of 2, the legacy extension")
        title = "2 · the same with DD_EXTENSION_VERSION=compatibility"
        console.print(view.run_panel(second, summarise(second), title))
    summary = combine([summarise(first), summarise(second)])
    print_json(summary)
    raise typer.Exit(exit_status(summary))


def _opening(layer: Path) -> Text:
    kind = "made of the sources in this checkout" if layer.is_dir() else "frozen, as it would be published"
    return Text.assemble(
        ("fliptop demo", "bold magenta"),
        f"\nLayer: {layer.name}, {kind}. Legacy extension: the lab's stand-in, where the layer has none of its own.\n"
        "Function: Python under awslambdaric, in a simulated Lambda; logs, metrics and traces go to a local intake.\n",
    )
