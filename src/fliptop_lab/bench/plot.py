"""Every run as a dot: one panel per metric, one strip per variant, as a self-contained SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from fliptop_lab.bench.figures import Figure
from fliptop_lab.bench.measuring import Cell, Metric
from fliptop_lab.bench.report import names, number

COLOURS: Final = ("#5b6770", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9")
"""Distinguishable also without red and green (Okabe and Ito)."""
PANEL, GAP, STRIP, HEAD, FOOT, TOP = 560, 40, 26, 44, 34, 84
NAME_LETTER, VALUE_ROOM = 7.2, 56
LOGARITHMIC_FROM: Final = 12
"""A ratio of the largest to the smallest value from which on only a logarithm shows both."""
STYLE: Final = """\
text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:#22272e}
.title{font-size:19px;font-weight:600}.sub,.tick{fill:#6b7480}.tick{font-size:11px;text-anchor:middle}
.metric{font-size:14px;font-weight:600}.name{text-anchor:end}.value{font-weight:600}
.grid{stroke:#e3e7eb}.band{fill:#f6f8fa}.run{fill-opacity:.42}
.interval{stroke-width:7;stroke-opacity:.28}.median{stroke-width:2.4}"""


def checked(file: Path | None) -> Path | None:
    """The file as it is. ``ValueError`` for one that cannot become an SVG."""
    if file is not None and file.suffix != ".svg":
        raise ValueError(f"--plot {file}: the plot is an SVG, which every browser shows. Name it {file.stem}.svg.")
    if file is not None and not file.absolute().parent.is_dir():
        raise ValueError(f"--plot {file}: there is no directory {file.parent}. Make it, or name another.")
    return file


@dataclass(frozen=True)
class Scale:
    """Values to pixels between ``left`` and ``right``."""

    smallest: float
    largest: float
    left: float
    right: float
    logarithmic: bool

    @classmethod
    def over(cls, values: Sequence[float], left: float, right: float) -> Scale:
        """A scale that shows all values: from a little below the smallest, from zero, or by logarithm."""
        least, most = min(values), max(values)
        if least > 0 and most / least >= LOGARITHMIC_FROM:
            return cls(least / 1.15, most * 1.15, left, right, True)
        margin = (most - least) * 0.06 or abs(most) * 0.05 or 1.0
        from_zero = 0 <= least < most / 2 or least == most == 0
        return cls(0.0 if from_zero else least - margin, most + margin, left, right, False)

    def x(self, value: float) -> float:
        """The position of a value."""
        place = math.log if self.logarithmic else float
        part = (place(value) - place(self.smallest)) / (place(self.largest) - place(self.smallest))
        return self.left + part * (self.right - self.left)

    def ticks(self) -> list[float]:
        """Round values within the scale, four to eight of them."""
        found = self._decades() if self.logarithmic else self._steps()
        return [value for value in found if self.smallest <= value <= self.largest]

    def _decades(self) -> list[float]:
        exponents = range(math.floor(math.log10(self.smallest)), math.ceil(math.log10(self.largest)) + 1)
        factors = (1, 2, 5) if len(exponents) <= 4 else (1,)
        return [factor * 10.0**exponent for exponent in exponents for factor in factors]

    def _steps(self) -> list[float]:
        rough = (self.largest - self.smallest) / 5
        decade = 10.0 ** math.floor(math.log10(rough))
        step = min((factor * decade for factor in (1, 2, 5, 10)), key=lambda size: abs(size - rough))
        first = math.ceil(self.smallest / step)
        return [round(index * step, 10) for index in range(first, math.floor(self.largest / step) + 1)]


def draw(cells: Sequence[Cell], metrics: Sequence[Metric], title: str) -> str:
    """The SVG. Metrics that nobody has, or that cannot differ between runs, get no panel."""
    panels = [panel for metric in metrics if (panel := _figures(cells, metric)) is not None]
    height = HEAD + STRIP * len(cells) + FOOT
    rows = -(-len(panels) // 2)
    size = (2 * PANEL + 3 * GAP, TOP + rows * (height + 10) + 10)
    parts = [*_heading(title)]
    for index, (metric, found) in enumerate(panels):
        x, y = GAP + (index % 2) * (PANEL + GAP), TOP + (index // 2) * (height + 10)
        parts += [f'<g transform="translate({x},{y})">', *_panel(metric, found, _colours(cells)), "</g>"]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" width="{size[0]}">'
    return "\n".join(
        [head, f"<style>{STYLE}</style>", '<rect width="100%" height="100%" fill="#fff"/>', *parts, "</svg>\n"]
    )


def _figures(cells: Sequence[Cell], metric: Metric) -> tuple[Metric, dict[str, Figure | None]] | None:
    found = {name: cell.figure(metric.key) for name, cell in zip(names(cells), cells, strict=True)}
    return (metric, found) if any(found.values()) and metric.varies else None


def _colours(cells: Sequence[Cell]) -> list[str]:
    """One per variant, whatever else differs between cells."""
    first = [next(iter(cell.parts.values())) for cell in cells]
    order = list(dict.fromkeys(first))
    return [COLOURS[order.index(name) % len(COLOURS)] for name in first]


def _heading(title: str) -> Iterator[str]:
    yield f'<text class="title" x="{GAP}" y="36">{escape(title)}</text>'
    about = "every run is a dot; the line is the median, the bar behind it the 95 % bootstrap interval of the median"
    yield f'<text class="sub" x="{GAP}" y="58">{escape(about)}</text>'


def _panel(metric: Metric, found: dict[str, Figure | None], colours: Sequence[str]) -> Iterator[str]:
    values = [value for each in found.values() if each for value in each.values]
    left = 16 + NAME_LETTER * max(map(len, found))
    scale = Scale.over(values, left, PANEL - VALUE_ROOM)
    kind = ", logarithmic" if scale.logarithmic else ""
    unit = f" ({metric.unit}{kind})" if metric.unit else kind
    yield f'<text class="metric" x="0" y="14">{escape(metric.title + unit)}</text>'
    yield f'<text class="sub" x="0" y="31">{escape(metric.about)}</text>'
    yield from _grid(scale, HEAD, HEAD + STRIP * len(found))
    for index, ((name, figure), colour) in enumerate(zip(found.items(), colours, strict=True)):
        yield from _strip(name, figure, scale, (HEAD + STRIP * (index + 0.5), colour))


def _grid(scale: Scale, top: float, bottom: float) -> Iterator[str]:
    yield f'<rect class="band" x="{scale.left}" y="{top}" width="{scale.right - scale.left}" height="{bottom - top}"/>'
    for value in scale.ticks():
        x = scale.x(value)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>'
        yield f'<text class="tick" x="{x:.1f}" y="{bottom + 15}">{value:g}</text>'


def _strip(name: str, found: Figure | None, scale: Scale, place: tuple[float, str]) -> Iterator[str]:
    y, colour = place
    yield f'<text class="name" x="{scale.left - 8}" y="{y + 4}">{escape(name)}</text>'
    if found is None:
        yield f'<text class="sub" x="{scale.right + 8}" y="{y + 4}">—</text>'
        return
    if found.low is not None and found.high is not None:
        ends = f'x1="{scale.x(found.low):.1f}" x2="{scale.x(found.high):.1f}" y1="{y}" y2="{y}"'
        yield f'<line class="interval" {ends} stroke="{colour}"/>'
    for index, value in enumerate(found.values):
        # The golden ratio spreads neighbours apart, and the same values give the same picture.
        offset = (index * 0.618 % 1 - 0.5) * STRIP * 0.6
        yield f'<circle class="run" cx="{scale.x(value):.1f}" cy="{y + offset:.1f}" r="2.7" fill="{colour}"/>'
    x = scale.x(found.median)
    yield f'<line class="median" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 10}" y2="{y + 10}" stroke="{colour}"/>'
    yield f'<text class="value" x="{scale.right + 8}" y="{y + 4}">{number(found.median)}</text>'
