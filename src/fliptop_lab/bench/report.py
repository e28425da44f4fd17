"""What was measured, as tables for people and as one object for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from fliptop_lab.bench.measuring import Cell, Metric

SIDE_BY_SIDE = 5
"""Columns of figures that fit into 120 characters."""


def names(cells: Sequence[Cell]) -> list[str]:
    """What each cell is called: its first part, then whatever differs between cells, with ``@`` between."""
    first = next(iter(cells[0].parts))
    differs = [part for part in cells[0].parts if len({cell.parts[part] for cell in cells}) > 1]
    shown = [first, *(part for part in differs if part != first)]
    return ["@".join(cell.parts[part] for part in shown) for cell in cells]


def document(cells: Sequence[Cell], metrics: Sequence[Metric]) -> dict[str, Any]:
    """``{name: {metric: {"median", "low", "high", "n", "values"}}}``; a metric without any value is null.

    A share is ``{"count", "n"}``. ``failures`` holds the reason of each run that failed, and is not in the figures.
    """
    return {
        name: {metric.key: _figure(cell, metric) for metric in metrics} | {"failures": cell.failures}
        for name, cell in zip(names(cells), cells, strict=True)
    }


def _figure(cell: Cell, metric: Metric) -> dict[str, Any] | None:
    found = cell.figure(metric.key)
    if found is None:
        return None
    if metric.share:
        return {"count": round(sum(found.values)), "n": len(found.values)}
    return {name: _rounded(value) for name, value in asdict(found).items()} | {"n": len(found.values)}


def _rounded(value: Any) -> Any:
    """To a millionth: more digits than any clock here has."""
    if isinstance(value, tuple):
        return [round(each, 6) for each in value]
    return value if value is None else round(value, 6)


def side_by_side(cells: Sequence[Cell], metrics: Sequence[Metric], columns: str) -> Iterator[Table]:
    """A row per metric. The values of the part ``columns`` stand side by side; a table for whatever else differs."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(_title(cell, columns), []).append(cell)
    for title, members in groups.items():
        for start in range(0, len(members), SIDE_BY_SIDE):
            yield _table(title, {cell.parts[columns]: cell for cell in members[start : start + SIDE_BY_SIDE]}, metrics)


def _title(cell: Cell, columns: str) -> str:
    words = {"function": "the function {}", "memory": "{} MB"}
    return ", ".join(words.get(part, "{}").format(text) for part, text in cell.parts.items() if part != columns)


def _table(title: str, cells: Mapping[str, Cell], metrics: Sequence[Metric]) -> Table:
    table = _empty(title)
    for name in cells:
        table.add_column(name, justify="right", no_wrap=True)
    for metric in metrics:
        table.add_row(_label(metric), *(shown(cell, metric) for cell in cells.values()))
    table.add_row("runs", *(_runs(cell) for cell in cells.values()))
    return table


def one_below_the_other(cells: Sequence[Cell], metrics: Sequence[Metric]) -> Table:
    """A row per cell; a column per metric."""
    table = _empty(None)
    for metric in metrics:
        heading = Text("\n").join([*map(Text, metric.title.split(" ")), Text(metric.unit, "dim")])
        table.add_column(heading, justify="right", vertical="bottom", no_wrap=True)
    table.add_column("runs", justify="right")
    for name, cell in zip(names(cells), cells, strict=True):
        table.add_row(name, *(shown(cell, metric) for metric in metrics), _runs(cell))
    return table


def _empty(title: str | None) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    return table


def _label(metric: Metric) -> Text:
    return Text.assemble(metric.title, (f" {metric.unit}", "dim"))


def shown(cell: Cell, metric: Metric) -> Text:
    """The median, and dim behind it its interval; of a share, in how many runs; a dash where there is no value."""
    found = cell.figure(metric.key)
    if found is None:
        return Text("—", "dim")
    if metric.share:
        count, total = round(sum(found.values)), len(found.values)
        return Text(f"{count} of {total}", "" if count == total else "bold red")
    text = Text(number(found.median))
    if found.low is not None and found.high is not None and found.low < found.high:
        text.append(f" {number(found.low)}…{number(found.high)}", "dim")
    return text


def number(value: float) -> str:
    """Three digits that mean something."""
    if value == 0:
        return "0"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}"


def _runs(cell: Cell) -> Text:
    text = Text(str(len(cell.samples)))
    if cell.failures:
        text.append(f" +{len(cell.failures)} failed", "bold red")
    return text


def remarks(cells: Sequence[Cell], metrics: Sequence[Metric]) -> list[str]:
    """What a reader must know to trust the figures, one sentence each."""
    found = ["Median, and behind it the 95 % bootstrap interval of the median. — means that there is no such value."]
    if any(metric.key.startswith("cpu_") for metric in metrics):
        sources = sorted({cell.cpu_source for cell in cells})
        found.append(f"CPU time is from the extension's {' and '.join(sources)}.")
    if unlimited := next((cell.unlimited for cell in cells if cell.unlimited), ""):
        found.append(f"No CPU quota: {unlimited}. The memory setting decides nothing here.")
    troubles = sorted({trouble for cell in cells for trouble in cell.failures})
    if troubles:
        found.append(f"Failed runs are left out: {', '.join(troubles)}.")
    return found
