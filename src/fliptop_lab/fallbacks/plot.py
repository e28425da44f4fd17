"""Figures → a picture: the starts per reason, and when they fell back. One SVG file, no library."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from html import escape

from fliptop_lab.fallbacks.tally import HOUR, Figures, ReasonFigures

WIDTH, LEFT, RIGHT = 960, 170, 30
ROW, BARS_TOP = 34, 96
CHART_HEIGHT = 180
LONGEST_NAME = 20
COLUMNS = 60
"""Columns of the picture over time, at most."""
STEPS_H = (1, 2, 3, 6, 12, 24, 48, 168, 336, 720, 2160, 8760)
# Okabe and Ito's palette: distinguishable with every kind of colour vision.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442", "#555555")
STYLE = (
    "text{font:14px system-ui,sans-serif;fill:#222}.title{font-size:20px;font-weight:600}"
    ".quiet{fill:#666;font-size:12px}.end{text-anchor:end}.middle{text-anchor:middle}.axis{stroke:#999}.grid{stroke:#e4e4e4}"
)


def plot(figures: Figures) -> str:
    """Return an SVG document."""
    chart_top = BARS_TOP + ROW * max(len(figures.reasons), 1) + 60
    height = chart_top + CHART_HEIGHT + 50
    colours = {each.reason: COLOURS[n % len(COLOURS)] for n, each in enumerate(figures.reasons)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">',
        f'<style>{STYLE}</style><rect width="100%" height="100%" fill="white"/>',
        _text(30, 40, "Starts that fall back to the legacy extension", "title"),
        _text(30, 64, _summary(figures), "quiet"),
        *_bars(figures, colours),
        *_over_time(figures, colours, chart_top),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _summary(figures: Figures) -> str:
    functions = (
        f"in {sum(bool(each.fallbacks) for each in figures.functions):,} of {len(figures.functions):,} functions"
    )
    if figures.share is None:
        return f"{figures.fallbacks:,} starts, {functions}; the export does not tell how many starts there were in all"
    return f"{figures.fallbacks:,} of {figures.starts:,} starts ({figures.share:.1%}), {functions}"


def _bars(figures: Figures, colours: dict[str, str]) -> Iterator[str]:
    room = WIDTH - LEFT - RIGHT - 150
    most = max((each.starts for each in figures.reasons), default=0)
    for row, each in enumerate(figures.reasons):
        top = BARS_TOP + row * ROW
        width = room * each.starts / most
        yield _text(LEFT - 10, top + 17, _short(each.reason), "end")
        yield _rect((LEFT, top), (max(width, 1), 24), colours[each.reason], each.what_to_do)
        yield _text(LEFT + width + 8, top + 17, _bar_label(each))
    if not figures.reasons:
        yield _text(30, BARS_TOP + 17, "none")


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _bar_label(each: ReasonFigures) -> str:
    share = "" if each.share is None else f" · {each.share:.1%}"
    return f"{each.starts:,}{share}"


def _over_time(figures: Figures, colours: dict[str, str], top: int) -> Iterator[str]:
    if not figures.hours:
        return
    step = _step(figures)
    columns: dict[int, Counter[str]] = {}
    for hour, counts in figures.hours.items():
        columns.setdefault(hour // step, Counter()).update(counts)
    first, last = min(columns), max(columns)
    most = max(counts.total() for counts in columns.values())
    width = (WIDTH - LEFT - RIGHT) / (last - first + 1)
    yield _text(30, top - 14, f"When they started, per {_named(step)} (UTC), by the first reason told")
    yield from _grid(top, most)
    for column, counts in sorted(columns.items()):
        yield from _column(LEFT + (column - first) * width, top + CHART_HEIGHT, width, (counts, most, colours))
    for column in _labelled(first, last):
        at = datetime.fromtimestamp(column * step * HOUR, UTC)
        label = (
            f"{at:%H:%M}" if (last - first + 1) * step <= 24 else f"{at:%d %b %H:%M}" if step < 24 else f"{at:%d %b %Y}"
        )
        yield _text(LEFT + (column - first + 0.5) * width, top + CHART_HEIGHT + 20, label, "quiet middle")


def _step(figures: Figures) -> int:
    """Hours per column: the first of the usual spans with which there are not too many columns."""
    hours = max(figures.hours) - min(figures.hours) + 1
    return next((step for step in STEPS_H if hours / step <= COLUMNS), STEPS_H[-1])


def _named(step: int) -> str:
    names = {1: "hour", 24: "day", 168: "week"}
    return names.get(step) or (f"{step} hours" if step < 24 else f"{step // 24} days")


def _grid(top: int, most: int) -> Iterator[str]:
    for share in (0.0, 0.5, 1.0):
        y = top + CHART_HEIGHT * (1 - share)
        yield f'<line class="{"grid" if share else "axis"}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
        if share * most == int(share * most):
            yield _text(LEFT - 10, y + 4, f"{int(share * most):,}", "quiet end")


def _column(x: float, bottom: float, width: float, what: tuple[Counter[str], int, dict[str, str]]) -> Iterator[str]:
    counts, most, colours = what
    for reason in colours:
        if counts[reason]:
            height = CHART_HEIGHT * counts[reason] / most
            bottom -= height
            yield _rect((x, bottom), (max(width - 1, 0.5), height), colours[reason], f"{reason}: {counts[reason]:,}")


def _labelled(first: int, last: int) -> list[int]:
    """The columns that have room for a label."""
    every = max((last - first) // 6, 1)
    return list(range(first, last + 1, every))


def _rect(at: tuple[float, float], size: tuple[float, float], colour: str, title: str) -> str:
    place = f'x="{at[0]:.1f}" y="{at[1]:.1f}" width="{size[0]:.1f}" height="{size[1]:.1f}"'
    return f'<rect {place} fill="{colour}"><title>{escape(title)}</title></rect>'


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(text)}</text>'
