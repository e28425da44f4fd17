"""What all measurements of ``fliptop-lab bench`` share: options, a bar while they run, what they print."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from fliptop_lab.bench import plot, report
from fliptop_lab.bench.measuring import Cell, Metric, Observe, measure
from fliptop_lab.bench.variants import Choice, LayerTold
from fliptop_lab.commands.common import complete, pairs, print_json, stdout

UNTRACED = {"LAB_TRACES": "off"}
"""Keeps the lab's Python function from sending traces: waiting for who takes them is no part of these figures."""
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
Peers = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=PATH", help="Another extension: a layer (zip, directory) or one executable."),
]
Only = Annotated[
    list[str] | None,
    typer.Option(help="Just these variants: `none`, `floor`, `fliptop`, `fliptop-python`, or a peer's name."),
]
Memory = Annotated[str, typer.Option(help="MB; several with commas. Decides the CPU share after init.")]
Timeout = Annotated[float, typer.Option(help="The function's timeout in seconds.")]
Env = Annotated[list[str] | None, typer.Option(help="`NAME=VALUE` for every variant; may be repeated.")]
BUSY = 0.1
"""Share of the machine's processors that others may have before the figures say more about them."""


def split(values: Sequence[str] | None) -> list[str]:
    """Values of an option that may be repeated or hold several with commas."""
    return [part.strip() for value in values or [] for part in value.split(",") if part.strip()]


def numbers(values: Sequence[str] | str, option: str) -> list[int]:
    """Whole numbers with commas between. ``ValueError`` for anything else."""
    parts = split([values] if isinstance(values, str) else values)
    if not parts or not all(part.isdigit() for part in parts):
        raise ValueError(f"{option} {','.join(parts)} must be whole numbers: {option} 128,512.")
    return [int(part) for part in parts]


def chosen(only: Sequence[str] | None, layer: Path | None, peers: Sequence[str] | None) -> Choice:
    """What the options of these names ask for. ``ValueError`` for a peer without a path."""
    named = {name: Path(path) for name, path in pairs(peers or [], "--peer").items()}
    return Choice(split(only), layer, named)


class Bystanders:
    """How much of the machine went to anything but the measurement, its own processes included, since it was made."""

    def __init__(self) -> None:
        self._busy, self._all = _processor_ticks()
        self._own = self._own_ticks()

    def share(self) -> float:
        """0 to 1. Steal, which is what a virtual machine was not given, counts as somebody else's."""
        busy, everything = _processor_ticks()
        others = busy - self._busy - (self._own_ticks() - self._own)
        return max(0.0, others / max(1.0, everything - self._all))

    @staticmethod
    def _own_ticks() -> float:
        """The environments' processes are children of children that have been waited for."""
        return sum(os.times()[:4]) * os.sysconf("SC_CLK_TCK")


def _processor_ticks() -> tuple[float, float]:
    """Busy, and altogether, of all processors; see proc_stat(5)."""
    user, nice, system, idle, waiting, interrupts, soft, steal = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    )
    busy = user + nice + system + interrupts + soft + steal
    return busy, busy + idle + waiting


@dataclass
class Session:
    """One measurement of many cells: carries it out, and says what came of it.

    ``what`` is its name for people, ``others`` the share of the machine that went to others meanwhile.
    """

    what: str
    cells: list[Cell]
    metrics: Sequence[Metric]
    runs: int
    layer: LayerTold | None
    others: float = 0.0

    @property
    def title(self) -> str:
        """What was measured, in one line."""
        layer = f" · {self.layer.path} ({self.layer.flavour or 'not made by `make layer`'})" if self.layer else ""
        runs = "1 run" if self.runs == 1 else f"{self.runs} runs"
        return f"{self.what}, {runs} each{layer}"

    def carry_out(self, observe: Observe, *, rehearsed: bool = True) -> None:
        """Measure; on a terminal a bar on stderr shows how far it is."""
        bystanders = Bystanders()
        with _bar((self.runs + rehearsed) * len(self.cells)) as told:
            complete(measure(self.cells, self.runs, told, observe, rehearsed=rehearsed))
        self.others = bystanders.share()

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
        print_json({**document, **machine, "others": round(self.others, 3)})

    def tell(self, tables: Iterable[Table], plot_to: Path | None, as_json: bool) -> NoReturn:
        """The result in all forms that are asked for. Exit status 1 when a run failed."""
        if plot_to:
            plot_to.write_text(plot.draw(self.cells, self.metrics, self.title))
        if as_json:
            self.print_json()
        else:
            self.show(tables)
        raise typer.Exit(any(cell.failures for cell in self.cells))

    def remarks(self) -> list[str]:
        """As ``report.remarks``, and what else the machine was busy with."""
        found = report.remarks(self.cells, self.metrics)
        if self.others >= BUSY:
            found.append(f"Others had {self.others:.0%} of the machine meanwhile: repeat when it is quiet.")
        return found


@contextmanager
def _bar(total: int) -> Iterator[Any]:
    console = Console(stderr=True)
    columns = (TextColumn("measuring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)
        yield lambda done: progress.update(task, completed=done)
