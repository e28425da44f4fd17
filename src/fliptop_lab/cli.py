"""``fliptop-lab``: the commands people type."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from fliptop_lab.commands.bench import bench
from fliptop_lab.commands.demo import demo
from fliptop_lab.commands.explain import explain
from fliptop_lab.commands.fallbacks import fallbacks
from fliptop_lab.commands.intake import intake
from fliptop_lab.commands.run import run

app = typer.Typer(
    name="fliptop-lab",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for command in (demo, run, explain, fallbacks, intake):
    app.command()(command)
app.add_typer(bench, name="bench")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("fliptop"))
        raise typer.Exit


@app.callback()
def lab(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """A Lambda and a Datadog on this machine, to see and test extensions without an AWS account.

    Start with `fliptop-lab demo`. Every command explains itself with `--help`, and ends with one JSON object when
    given `--json`.
    """


def main() -> None:
    """The entry point. Exit status: 0 fine, 1 an invocation failed or a log line was lost, 2 used wrongly."""
    app()
