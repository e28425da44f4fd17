"""Spans in the order in which people read them: trace by trace, each parent before its children."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from fliptop_lab.intake.traces import Span

NOBODY = 0
"""The parent of a span that has none, or none that arrived."""


class Row(NamedTuple):
    """A span, and how many of its ancestors are in the same trace."""

    span: Span
    depth: int


class Trace(NamedTuple):
    """What arrived of one trace. ``start`` and ``duration`` are in ns, as those of spans."""

    trace_id: str
    start: int
    duration: int
    rows: list[Row]


def traces(spans: Iterable[Span]) -> list[Trace]:
    """All traces, the oldest first. Ids are hexadecimal, all 128 bits where they are known."""
    found: defaultdict[int, list[Span]] = defaultdict(list)
    for span in spans:
        found[span.trace_id].append(span)
    return sorted(map(_trace, found.values()), key=lambda trace: trace.start)


def _trace(spans: list[Span]) -> Trace:
    start = min(span.start for span in spans)
    end = max(span.start + span.duration for span in spans)
    upper = next((span.meta["_dd.p.tid"] for span in spans if "_dd.p.tid" in span.meta), "")
    return Trace(f"{upper}{spans[0].trace_id:016x}", start, end - start, _rows(spans))


def _rows(spans: list[Span]) -> list[Row]:
    """Depth first, siblings by time. Each span has one place, also if it came twice, or is its own ancestor."""
    known = {span.span_id for span in spans}
    children: defaultdict[int, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: -span.start):
        children[span.parent_id if span.parent_id in known else NOBODY].append(span)
    rows: list[Row] = []
    waiting: list[Row] = []
    while children or waiting:
        if not waiting:
            first = NOBODY if NOBODY in children else next(iter(children))
            waiting = [Row(span, 0) for span in children.pop(first)]
        row = waiting.pop()
        rows.append(row)
        waiting += (Row(child, row.depth + 1) for child in children.pop(row.span.span_id, ()))
    return rows
