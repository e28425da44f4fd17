"""What all measurements of ``fliptop-lab bench`` share: options, a bar while they run, what they print."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from fliptop_lab.bench import report
from fliptop_lab.bench.cold import Cell, Extra, Metric, measure
from fliptop_lab.bench.variants import LayerTold
from fliptop_lab.commands.common import complete, print_json, stdout

Runs = Annotated[int, typer.Option("--runs", "-n", min=1, help="Measured runs of everything that is compared.")]
Layer = Annotated[
    Path | None, typer.Option(help="The fliptop layer to measure, as zip or directory. Default: the one in `dist/`.")
]
PlotFile = Annotated[Path | None, typer.Option("--plot", metavar="FILE.svg", help="Draw every run as a dot.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Functions = Annotated[
    list[str] | None,
    typer.Option(help="`c`, `python`, `node`, or a directory; may be repeated, or several with commas."),
]
BUSY = 0.5
"""Load per processor from which on the figures say more about the machine than about extensions."""


def split(values: Sequence[str] | None) -> list[str]:
    """Values of an option that may be repeated or hold several with commas."""
    return [part.strip() for value in values or [] for part in value.split(",") if part.strip()]


def load() -> float:
    """How many processes wanted a processor in the last minute, per processor."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


@dataclass
class Session:
    """One measurement of many cells: carries it out, and says what came of it. ``what`` is its name for people."""

    what: str
    cells: list[Cell]
    metrics: Sequence[Metric]
    runs: int
    layer: LayerTold | None
    load: float = field(default_factory=load)

    @property
    def title(self) -> str:
        """What was measured, in one line."""
        layer = f" · {self.layer.path} ({self.layer.flavour or 'not made by `make layer`'})" if self.layer else ""
        return f"{self.what}, {self.runs} runs each{layer}"

    def carry_out(self, extra: Extra | None = None) -> None:
        """Measure; on a terminal a bar on stderr shows how far it is."""
        with _bar((self.runs + 1) * len(self.cells)) as told:
            complete(measure(self.cells, self.runs, told, extra))

    def show(self, tables: Iterable[Table]) -> None:
        """The tables and what a reader must know."""
        console = stdout()
        console.print(self.title, style="bold magenta")
        for table in tables:
            console.print(table)
        for remark in self.remarks():
            console.print(remark, style="dim")

    def print_json(self) -> None:
        """The whole result on one line."""
        about = asdict(self.layer) if self.layer else None
        machine = {"cpu_source": self.cells[0].cpu_source, "cpu_limited": not self.cells[0].unlimited}
        document = {"variants": report.document(self.cells, self.metrics), "runs": self.runs, "layer": about}
        print_json({**document, **machine, "load_before": round(self.load, 2)})

    def finish(self) -> NoReturn:
        """Exit status 1 when a run failed."""
        raise typer.Exit(any(cell.failures for cell in self.cells))

    def remarks(self) -> list[str]:
        """As ``report.remarks``, and what the machine was busy with before."""
        found = report.remarks(self.cells, self.metrics)
        if self.load >= BUSY:
            found.append(
                f"The machine was busy before ({self.load:.1f} processes per processor): repeat when it is not."
            )
        return found


@contextmanager
def _bar(total: int) -> Iterator[Any]:
    console = Console(stderr=True)
    columns = (TextColumn("measuring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)
        yield lambda done: progress.update(task, completed=done)
