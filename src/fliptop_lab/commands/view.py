"""How a run looks to a person: tables and panels for Rich."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from fliptop_lab.intake import LogEntry, Proxied, Sketch, Span, StatsGroup, trees
from fliptop_lab.lambda_ import Invocation
from fliptop_lab.run import Outcome
from fliptop_lab.summary import fallback_line

ROWS = 40
"""Log lines shown of one run; the others are counted."""
TRACES, SPANS = 10, 20
"""Traces shown of one run, and spans of one trace; likewise."""
SHORTER = (
    (re.compile(r"([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), r"\1…"),
    (re.compile(r"\d{4}-\d\d-\d\dT(\d\d:\d\d:\d\d\.\d{3})Z"), r"\1"),
)
"""How ids and times in a log line are shortened for the screen."""
COLOURS = {"error": "red", "critical": "red", "warn": "yellow", "debug": "bright_black", "trace": "bright_black"}
"""Log levels that are not shown in the colour of ``info``."""


def invocations(outcome: Outcome) -> RenderableType:
    """One row per invocation, with the times that matter to the caller and to the bill; of many, the first and last."""
    table = _table()
    for name in ("#", "start"):
        table.add_column(name, no_wrap=True)
    table.add_column("status", overflow="fold")
    for name in ("init", "answer", "duration", "after", "billed", "memory"):
        table.add_column(name, justify="right", no_wrap=True)
    numbered = list(enumerate(outcome.invocations, 1))
    hidden = numbered[5:-5] if len(numbered) > 12 else []
    for number, each in numbered:
        if (number, each) not in hidden:
            table.add_row(*_invocation(number, each))
        elif (number, each) == hidden[0]:
            table.add_row("…", f"+{len(hidden)}")
    legend = "answer: what the caller waits · after: from the runtime's end until the extension is done"
    return Group(table, Text(legend, "dim"))


def _invocation(number: int, each: Invocation) -> list[RenderableType]:
    fine = each.status == "success"
    status = Text("ok" if fine else each.error_type or each.status, "green" if fine else "red")
    init = f"{each.init_ms:.0f} ms" if each.init_ms is not None else ""
    times = [f"{each.latency_ms:.1f} ms", f"{each.duration_ms:.0f} ms", f"{each.post_runtime_ms:.0f} ms"]
    start = Text("cold", "cyan") if each.cold else Text("warm", "dim")
    return [str(number), start, status, init, *times, f"{each.billed_ms} ms", f"{each.max_memory_mb} MB"]


def logs(outcome: Outcome) -> RenderableType:
    """What the intake decoded, in order of time; tags that all entries share stand below, once."""
    if not outcome.logs:
        return Text("no logs arrived", "yellow")
    entries = sorted(outcome.logs, key=lambda entry: entry.timestamp or 0)
    shared = _shared_tags([entry.tags for entry in entries])
    table = _table()
    table.add_column("level", no_wrap=True)
    table.add_column("service", no_wrap=True, max_width=18)
    table.add_column("request", no_wrap=True)
    table.add_column("text, as decoded by the intake", no_wrap=True, overflow="ellipsis", ratio=1)
    table.expand = True
    for entry, following in zip_longest(entries[:ROWS], entries[1:ROWS]):
        last = following is not None and following.request_id != entry.request_id
        table.add_row(*_log(entry, shared), end_section=last)
    parts = [table, Text(f"… {len(entries) - ROWS} more", "dim")] if len(entries) > ROWS else [table]
    return Group(*parts, Text("tags     " + _abbreviate(shared), "dim"))


def metrics(outcome: Outcome) -> RenderableType | None:
    """One row per metric: what its points say, all of them together; None when no metric arrived."""
    series: dict[tuple[str, str], list[float]] = {}
    for item in outcome.series:
        series.setdefault((item.metric, item.type), []).extend(value for _, value in item.points)
    sketches: dict[str, list[Sketch]] = {}
    for sketch in outcome.sketches:
        sketches.setdefault(sketch.metric, []).append(sketch)
    rows = [(name, kind, " ".join(f"{value:g}" for value in values)) for (name, kind), values in series.items()]
    rows += [(name, "distribution", _distribution(found)) for name, found in sketches.items()]
    table = _table()
    table.add_column("metric", no_wrap=True)
    table.add_column("type", no_wrap=True)
    table.add_column("values, as decoded by the intake", no_wrap=True, overflow="ellipsis")
    for row in sorted(rows)[:ROWS]:
        table.add_row(*row)
    return table if rows else None


def _distribution(found: Sequence[Sketch]) -> str:
    count, total = sum(each.count for each in found), sum(each.sum for each in found)
    low, high = min(each.min for each in found), max(each.max for each in found)
    if low == high:
        return f"{low:g}" if count == 1 else f"{low:g}, {count} times"
    return f"{count} from {low:g} to {high:g}, mean {total / count:g}"


def traces(outcome: Outcome) -> RenderableType | None:
    """Each trace as a tree of spans, with what each says of itself; None when none arrived."""
    found = trees.traces(outcome.spans)
    if not found:
        return None
    shared = _shared_tags([_tags(span) for span in outcome.spans]) if len(outcome.spans) > 1 else []
    table = _table()
    table.add_column("span, as decoded by the intake", no_wrap=True, overflow="ellipsis")
    table.add_column("service", no_wrap=True, max_width=18)
    table.add_column("resource", no_wrap=True, overflow="ellipsis", max_width=32)
    for name in ("after", "duration"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("tags of its own", no_wrap=True, overflow="ellipsis", ratio=1)
    table.expand = True
    shown = found[:TRACES]
    for trace in shown:
        rows = _uppermost(trace.rows)
        for row in rows:
            table.add_row(*_span(row, trace.start, shared))
        if len(trace.rows) > len(rows):
            table.add_row(Text(f"… {len(trace.rows) - len(rows)} more", "dim"))
        table.add_section()
    more = [Text(f"… {len(found) - TRACES} more traces", "dim")] if len(found) > TRACES else []
    return Group(table, *more, *([Text("tags     " + _abbreviate(shared, 8), "dim")] if shared else []))


def _uppermost(rows: Sequence[trees.Row]) -> Sequence[trees.Row]:
    """Those that there is room for. Of a large trace what is deepest is the least interesting: modules, loops."""
    depth = max(row.depth for row in rows)
    while len(rows) > SPANS and depth > 1:
        depth -= 1
        rows = [row for row in rows if row.depth <= depth]
    return rows[:SPANS]


def _span(row: trees.Row, origin: int, shared: Sequence[str]) -> list[RenderableType]:
    span, depth = row
    name = Text("  " * (depth - 1) + "└ " if depth else "", "dim").append(span.name, "red" if span.error else "cyan")
    told = Text("")
    if span.error:
        told.append(f"{span.meta.get('error.message', 'error')}  ", "red")
    own = [tag for tag in _tags(span) if tag not in shared and not tag.startswith(("_dd.", "error."))]
    told.append(_abbreviate(own, 3), "dim")
    after = f"{(span.start - origin) / 1e6:.1f} ms"
    return [name, span.service, span.resource, after, f"{span.duration / 1e6:.1f} ms", told]


def _tags(span: Span) -> list[str]:
    return [f"{key}:{value}" for key, value in sorted(span.meta.items())]


def others(outcome: Outcome) -> RenderableType | None:
    """APM stats and what is passed on unread, a line each; None when there are none."""
    if not (outcome.stats or outcome.proxied):
        return None
    table = _table()
    table.add_column("also received", no_wrap=True)
    table.add_column("", no_wrap=True, overflow="ellipsis")
    rows = [("stats", _stats(group)) for group in outcome.stats] + [
        (each.product, _proxied(each)) for each in outcome.proxied
    ]
    for row in rows[:ROWS]:
        table.add_row(*row)
    more = [Text(f"… {len(rows) - ROWS} more", "dim")] if len(rows) > ROWS else []
    return Group(table, *more)


def _stats(group: StatsGroup) -> str:
    median = group.ok.quantile(0.5)
    took = f", half within {median / 1e6:.3g} ms" if median is not None else ""
    errors = f", {group.errors} of them in error" if group.errors else ""
    return f"{group.service} {group.name} {group.resource}: {group.hits} hits{errors}{took}"


def _proxied(payload: Proxied) -> str:
    return ", ".join([payload.told, *(f"{name} {size} B" for name, size in payload.attachments.items())])


def _log(entry: LogEntry, shared: Sequence[str]) -> list[RenderableType]:
    plain = " ⏎ ".join(entry.text.rstrip().replace("\t", " ").splitlines())
    for long, short in SHORTER:
        plain = long.sub(short, plain)
    text = Text(plain)
    own = [tag for tag in entry.tags if tag not in shared]
    if own:
        text.append("  " + _abbreviate(own, 2), "dim")
    level = Text(entry.status.lower(), COLOURS.get(entry.status.lower(), "green"))
    return [level, entry.service, (entry.request_id or "")[:8], text]


def _shared_tags(tags: Sequence[Sequence[str]]) -> list[str]:
    everywhere = set(tags[0]).intersection(*tags)
    return [tag for tag in tags[0] if tag in everywhere]


def _abbreviate(tags: Sequence[str], limit: int = 5) -> str:
    more = f" +{len(tags) - limit}" if len(tags) > limit else ""
    return " ".join(tag if len(tag) < 44 else tag[:43] + "…" for tag in tags[:limit]) + more


def verdict(summary: dict[str, Any]) -> Text:
    """One line: who served, what arrived, what went wrong."""
    good = not (summary["failures"] or summary["lost"])
    received = ", ".join(f"{count} {signal}" for signal, count in summary["received"].items())
    troubles = [f"{summary[key]} {key}" for key in ("refused", "surplus", "duplicates") if summary[key]]
    failures = "1 failure" if summary["failures"] == 1 else f"{summary['failures']} failures"
    parts = [failures, f"{summary['lost']} lost", f"received {received}", *troubles]
    text = Text(("✓ " if good else "✗ ") + " · ".join(parts), "bold green" if good else "bold red")
    if summary["lost"] and summary["ended"] == "kill":
        text.append("\n  killed while frozen: what an extension still held is lost, and counted here", "yellow")
    return text


def decision(summary: dict[str, Any]) -> Text:
    """Which extension served the function, and why."""
    names = {"next": "the new extension", "legacy": "the legacy extension", "none": "no extension"}
    text = Text.assemble("served by ", (names[summary["decision"]], "bold cyan"))
    if summary["reasons"]:
        text.append(f", because of {', '.join(summary['reasons'])}")
    if summary["ready_ms"] is not None:
        text.append(f" · asked for its first event {summary['ready_ms']:.1f} ms after its start", "dim")
    return text


def fallback(outcome: Outcome) -> RenderableType | None:
    """The fallback line as a panel, when there is one."""
    line = fallback_line(outcome)
    if line is None:
        return None
    text = Text("\n").join(Text.assemble((f"{key}: ", "cyan"), _plain(value)) for key, value in line.items())
    return Panel(text, title="the fallback line in the function's log", title_align="left", border_style="yellow")


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def run_panel(outcome: Outcome, summary: dict[str, Any], title: str) -> Panel:
    """A whole run in one panel."""
    alone = "" if outcome.isolated else " · without namespaces: the machine does not allow them"
    told = [
        decision(summary),
        fallback(outcome),
        invocations(outcome),
        logs(outcome),
        traces(outcome),
        metrics(outcome),
    ]
    told.append(others(outcome))
    body = Group(*(part for part in told if part is not None), verdict(summary))
    return Panel(body, title=f"[bold]{title}[/]{alone}", title_align="left", border_style="magenta", padding=(1, 1))


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False, padding=(0, 1))
