"""What the commands share: consoles, progress, reading options, and errors that name the fix."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from fliptop_lab.functions import FunctionError
from fliptop_lab.lambda_ import ConfigurationError, SandboxError
from fliptop_lab.run import Outcome, Plan, run
from fliptop_lab.staging import LayerError

RegisterLatency = Annotated[
    float, typer.Option(min=0, metavar="MS", help="How long the platform takes to answer a registration.")
]
SubscribeLatency = Annotated[
    float, typer.Option(min=0, metavar="MS", help="How long it takes to answer a telemetry subscription.")
]
T = TypeVar("T")


def stdout(quiet: bool = False) -> Console:
    """The console for results; ``quiet`` (for ``--json``) shows nothing."""
    # Off a terminal Rich assumes 80 columns, which is too narrow for a log file or a CI page.
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120
    return Console(quiet=quiet, highlight=False, width=width)


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turn errors a person can fix into one sentence and exit status 2."""
    try:
        yield
    except (LayerError, FunctionError, ConfigurationError, ValueError) as error:
        raise _usage(str(error)) from error
    except SandboxError as error:
        raise _usage(f"{error} (try --isolation none)") from error


def _usage(sentence: str) -> typer.Exit:
    Console(stderr=True).print(Text.assemble(("error: ", "bold red"), sentence), soft_wrap=True)
    return typer.Exit(2)


def carry_out(plan: Plan, title: str) -> Outcome:
    """Run a plan; on a terminal a spinner on stderr says what is happening. SIGTERM cleans up first, as Ctrl-C does."""
    console = Console(stderr=True)
    with console.status(title) as status:
        return complete(run(replace(plan, on_step=lambda step: status.update(f"{title}: {step}"))))


def complete(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end. SIGTERM cancels it first, so that it cleans up, and exits with 143."""
    try:
        return asyncio.run(_until_terminated(work))
    except asyncio.CancelledError:
        raise typer.Exit(128 + signal.SIGTERM) from None


async def _until_terminated(work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work


def print_json(document: dict[str, Any]) -> None:
    """One object on one line of stdout, however long, for programs."""
    typer.echo(json.dumps(document))


def exit_status(summary: dict[str, Any]) -> int:
    """1 when an invocation failed or a line was lost, else 0."""
    return 1 if summary["failures"] or summary["lost"] else 0


def pairs(values: Sequence[str], option: str = "--env") -> dict[str, str]:
    """``--env NAME=VALUE`` options as a mapping. Raises ``ValueError`` for one without an equals sign."""
    for value in values:
        if "=" not in value:
            raise ValueError(f"{option} {value!r} has no value. Write {option} {value}=VALUE.")
    return dict(value.split("=", 1) for value in values)
