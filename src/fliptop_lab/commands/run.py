"""``fliptop-lab run``: any extension, any function, as often as wanted."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fliptop_lab.commands import view
from fliptop_lab.commands.common import (
    RegisterLatency,
    SubscribeLatency,
    carry_out,
    exit_status,
    pairs,
    print_json,
    stdout,
    usage_errors,
)
from fliptop_lab.functions import find
from fliptop_lab.intake import Fault
from fliptop_lab.run import Plan
from fliptop_lab.staging import Ingredients, find_layer
from fliptop_lab.summary import summarise


class Isolation(StrEnum):
    """Values of ``--isolation``."""

    auto = "auto"
    namespaces = "namespaces"
    none = "none"


def run(  # noqa: PLR0913, PLR0917 - one argument per option
    layer: Annotated[
        list[Path] | None,
        typer.Option(help="A layer, as zip or directory; may be repeated. Default: the one in `dist/`."),
    ] = None,
    extension: Annotated[
        list[Path] | None,
        typer.Option(help="One executable file, put into `/opt/extensions/`; may be repeated."),
    ] = None,
    function: Annotated[
        str, typer.Option(help="`python`, `node`, `c`, or a directory with a function in it.")
    ] = "python",
    command: Annotated[
        str | None,
        typer.Option(help="The runtime's command, as in a shell. Default: found by what the directory holds."),
    ] = None,
    handler: Annotated[str | None, typer.Option(help="The handler, as `module.function`.")] = None,
    invocations: Annotated[int, typer.Option("--invocations", "-n", min=1, help="How many, one after the other.")] = 3,
    memory: Annotated[int, typer.Option(help="MB; also decides the share of a CPU, where the machine allows.")] = 512,
    timeout: Annotated[float, typer.Option(help="The function's timeout in seconds.")] = 3.0,
    think: Annotated[float, typer.Option(min=0, help="Seconds the environment is frozen between invocations.")] = 0.0,
    env: Annotated[
        list[str] | None, typer.Option(help="`NAME=VALUE` for the function's environment; may be repeated.")
    ] = None,
    yaml: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Becomes the function's `datadog.yaml`.")
    ] = None,
    payload: Annotated[str, typer.Option(help="The event, as JSON.")] = "{}",
    legacy: Annotated[Path | None, typer.Option(help="A real legacy extension, instead of the lab's stand-in.")] = None,
    no_legacy: Annotated[bool, typer.Option("--no-legacy", help="A layer without any legacy extension.")] = False,
    fault: Annotated[
        list[str] | None,
        typer.Option(help="What goes wrong at the intake, see `fliptop-lab intake --help`; may be repeated."),
    ] = None,
    isolation: Annotated[Isolation, typer.Option(help="Namespaces for the environment, or none.")] = Isolation.auto,
    kill: Annotated[bool, typer.Option("--kill", help="End with SIGKILL while frozen instead of SHUTDOWN.")] = False,
    register_latency: RegisterLatency = 0.0,
    subscribe_latency: SubscribeLatency = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Run a function with an extension in a simulated Lambda, and count what reaches the intake.

    The function's environment points logs, metrics and traces to a local intake; `--env` overrides anything.
    **lost** counts the lines that the function wrote and that the intake does not have at the end. Exit status: 0
    fine, 1 failures or lost lines, 2 used wrongly.

    Examples:

    * `fliptop-lab run`: the layer in `dist/` with the Python function, three times
    * `fliptop-lab run --function c -n 100 --json`: the fastest function, a hundred times
    * `fliptop-lab run --layer other.zip --function ./my-function --handler app.handler`
    * `fliptop-lab run --extension ./my-extension --think 2 --env LOG_LEVEL=debug`
    * `fliptop-lab run --fault 503,times=3`: the intake refuses three times
    * `fliptop-lab run --yaml datadog.yaml --env DD_EXTENSION_VERSION=compatibility`
    """
    with usage_errors():
        layers = [find_layer()] if not layer and not extension else layer or []
        plan = Plan(
            function=find(function, command, handler),
            ingredients=Ingredients(layers, extension or [], legacy, no_legacy),
            invocations=invocations,
            memory_mb=memory,
            timeout_s=timeout,
            think_s=think,
            environment=pairs(env or []),
            yaml=yaml,
            payload=payload.encode(),
            faults=[str(Fault.parse(spec)) for spec in fault or []],
            isolation=isolation.value,
            kill=kill,
            register_latency_ms=register_latency,
            subscribe_latency_ms=subscribe_latency,
        )
        outcome = carry_out(plan, "running")
    summary = summarise(outcome)
    title = " + ".join(path.name for path in (*layers, *(extension or [])))
    stdout(quiet=as_json).print(view.run_panel(outcome, summary, f"{title} with {plan.function.name}"))
    if as_json:
        print_json(summary)
    raise typer.Exit(exit_status(summary))
