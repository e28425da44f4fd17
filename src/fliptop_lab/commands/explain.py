"""``fliptop-lab explain``: what the launcher would decide, and why."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from fliptop_lab.commands.common import pairs, print_json, stdout, usage_errors
from fliptop_lab.lambda_.layers import merge
from fliptop_lab.staging import Ingredients, LayerError, find_layer, staged, task_root_with

LAUNCHER = "extensions/datadog-agent"
"""Where a layer has the launcher."""
NAMES = {"next": "the new extension", "legacy": "the legacy extension", "none": "nothing can be started"}


def explain(
    layer: Annotated[
        Path | None, typer.Option(help="The layer, as zip or directory. Default: the one in `dist/`.")
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option(help="`NAME=VALUE` of the function's environment; may be repeated.")
    ] = None,
    yaml: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The function's `datadog.yaml`.")
    ] = None,
    no_legacy: Annotated[bool, typer.Option("--no-legacy", help="As if the layer had no legacy extension.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the launcher's JSON object and nothing else.")] = False,
) -> None:
    """Say which extension the launcher would start for a configuration, and why. Starts neither.

    The launcher of the layer itself decides, in an environment of `--env` alone.

    Examples:

    * `fliptop-lab explain --env DD_EXTENSION_VERSION=compatibility`
    * `fliptop-lab explain --yaml datadog.yaml --json`
    """
    with usage_errors():
        answer = ask(Ingredients([layer or find_layer()], no_legacy=no_legacy), pairs(env or []), yaml)
    stdout(quiet=as_json).print(_panel(answer))
    if as_json:
        print_json(answer)


def ask(parts: Ingredients, environment: Mapping[str, str], yaml: Path | None) -> dict[str, Any]:
    """Run the launcher's ``--explain --json``. Raises ``LayerError`` when there is none or it does not answer."""
    with (
        staged(parts) as layers,
        tempfile.TemporaryDirectory(prefix="fliptop-lab-") as name,
    ):
        empty, opt = Path(name) / "task", Path(name) / "opt"
        empty.mkdir()
        opt.mkdir()
        with task_root_with(empty, yaml) as task_root:
            launcher = merge(layers, task_root, opt) / LAUNCHER
            return _answer(launcher, {**environment, "LAMBDA_TASK_ROOT": str(task_root)})


def _answer(launcher: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    if not os.access(launcher, os.X_OK):
        raise LayerError(f"The layer has no {LAUNCHER}. Name a fliptop layer, or build one with `make layer`.")
    done = subprocess.run(
        [launcher, "--explain", "--json"],
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except json.JSONDecodeError:
        raise LayerError(f"{LAUNCHER} --explain gave no JSON but {done.stdout + done.stderr!r}.") from None
    return answer


def _panel(answer: dict[str, Any]) -> Panel:
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("decision", Text(NAMES.get(answer["decision"], answer["decision"]), "bold cyan"))
    for reason in answer["reasons"]:
        table.add_row("reason", Text.assemble((reason, "bold yellow"), "\n", answer["what_to_do"].get(reason, "")))
    if answer.get("unsure"):
        table.add_row("unsure", Text(f"{answer['unsure']}: the extension settles it with a real YAML parser", "yellow"))
    table.add_row("version", answer["layer_version"])
    table.add_row("decided in", f"{answer['decision_us']} µs")
    return Panel(table, title="[bold]what the launcher decides[/]", title_align="left", border_style="magenta")
