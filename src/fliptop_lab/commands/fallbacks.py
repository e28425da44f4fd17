"""``fliptop-lab fallbacks``: which starts fell back to legacy, and why, from logs."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from fliptop_lab.commands.common import print_json, stdout, usage_errors
from fliptop_lab.fallbacks import Export, Figures, ReasonFigures, Tally, plot, records
from fliptop_lab.fallbacks.exports import name_of
from fliptop_lab.fallbacks.tally import FunctionFigures

STDIN = Path("-")
ROWS = 10
"""Functions shown in the table; the others are counted."""
CSV_COLUMNS = ("reason", "function", "starts", "alone", "function_starts", "share", "first", "last", "what_to_do")


def fallbacks(
    exports: Annotated[
        list[Path] | None, typer.Argument(help="Files or directories of logs; `-` or none: standard input.")
    ] = None,
    function: Annotated[
        str | None, typer.Option(help="The function, for exports that do not name it. Default: the file's name.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, one row per reason and function.")] = False,
    picture: Annotated[Path | None, typer.Option("--plot", dir_okay=False, help="Write a picture (SVG).")] = None,
) -> None:
    """Say which starts fell back to the legacy extension, why, and what would have to change.

    Reads what `aws logs filter-log-events`, `aws logs tail`, `sam logs`, Logs Insights (JSON, CSV), an export to S3
    or a subscription give, and bare lines; gzip too. Millions of lines take seconds.

    Examples:

    * `aws logs tail /aws/lambda/shop --since 7d | fliptop-lab fallbacks --function shop`
    * `fliptop-lab fallbacks exported/ --plot fallbacks.svg`
    """
    with usage_errors():
        if as_json and as_csv:
            raise ValueError("--json and --csv exclude each other. Choose one.")
        files = list(_files(exports or [STDIN]))
    figures, problems = _read(files, function)
    console = stdout(quiet=as_json or as_csv)
    _show(console, figures)
    if as_json:
        print_json({**as_document(figures), "problems": problems})
    if as_csv:
        typer.echo(as_table(figures), nl=False)
    if picture:
        picture.write_text(plot(figures), encoding="utf-8")
        console.print(f"wrote {picture}")
    for problem in problems:
        Console(stderr=True).print(Text.assemble(("warning: ", "bold yellow"), problem), soft_wrap=True)
    if problems:
        raise typer.Exit(1)


def _files(exports: list[Path]) -> Iterator[Path]:
    for path in exports:
        if path.is_dir():
            yield from sorted(each for each in path.rglob("*") if each.is_file())
        elif path.exists() or path == STDIN:
            yield path
        else:
            raise ValueError(f"There is no file {path}. Name an export, or - for standard input.")


def _read(files: list[Path], function: str | None) -> tuple[Figures, list[str]]:
    """Read all files; return the figures, and a sentence for each file that could not be read to its end."""
    tally, problems = Tally(), []
    with _progress(files) as advance:
        for path in files:
            try:
                with _opened(path) as opened:
                    for record in records(Export(_Watched(opened, advance), function or name_of(path))):
                        tally.add(record)
            except (OSError, EOFError, csv.Error) as error:
                problems.append(f"{path} could not be read to its end ({error}). What precedes is counted.")
    return tally.figures(), problems


def _opened(path: Path) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdin.buffer) if path == STDIN else path.open("rb")


@contextmanager
def _progress(files: list[Path]) -> Iterator[Callable[[int], None]]:
    """A bar on stderr where that is a terminal. What is yielded is told of bytes read."""
    size = sum(path.stat().st_size for path in files if path != STDIN)
    columns = (TextColumn("reading"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading", total=None if STDIN in files else size)
        yield lambda count: progress.advance(task, count)


class _Watched(io.RawIOBase):
    """A file that tells how much of it was read."""

    def __init__(self, source: BinaryIO, advance: Callable[[int], None]) -> None:
        self._source, self._advance = source, advance

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._source.read(len(buffer))
        buffer[: len(chunk)] = chunk
        self._advance(len(chunk))
        return len(chunk)


def as_document(figures: Figures) -> dict[str, Any]:
    """The figures as one JSON object; times in ISO 8601, UTC; null for what the export does not tell."""
    return {
        "starts": figures.starts,
        "fallbacks": figures.fallbacks,
        "share": figures.share,
        "unavailable": figures.unavailable,
        "too_late": figures.too_late,
        "functions": len(figures.functions),
        "counted_by": figures.counted_by,
        "reasons": [_reason_document(each) for each in figures.reasons],
    }


def _reason_document(each: ReasonFigures) -> dict[str, Any]:
    return {
        "reason": each.reason,
        "starts": each.starts,
        "alone": each.alone,
        "share": each.share,
        "first": _iso(each.first),
        "last": _iso(each.last),
        "functions": {name: span.starts for name, span in sorted(each.functions.items())},
        "what_to_do": each.what_to_do,
    }


def as_table(figures: Figures) -> str:
    """The figures as CSV; `share` is that of the function's own starts."""
    starts = {each.name: each.starts for each in figures.functions}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for reason in figures.reasons:
        for name, span in sorted(reason.functions.items()):
            total = starts[name]
            share = f"{span.starts / total:.4f}" if total else ""
            times = (_iso(span.first) or "", _iso(span.last) or "")
            writer.writerow((reason.reason, name, span.starts, span.alone, total, share, *times, reason.what_to_do))
    return text.getvalue()


def _show(console: Console, figures: Figures) -> None:
    if figures.reasons:
        console.print(_reasons(figures))
        console.print(_functions(figures))
        console.print(_remedies(figures))
    console.print(_summary(figures))


def _table(title: str, *numbers: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(title.split(" ", maxsplit=1)[0].rstrip("s").lower(), overflow="fold", style="cyan")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _reasons(figures: Figures) -> Table:
    table = _table("Reasons for which starts fell back", "starts", "share", "alone", "functions")
    for name in ("first seen", "last seen"):
        table.add_column(name, no_wrap=True)
    table.caption = "alone: starts that had no other reason"
    table.caption_justify = "left"
    for each in figures.reasons:
        numbers = (f"{each.starts:,}", _percent(each.share), f"{each.alone:,}", f"{len(each.functions):,}")
        table.add_row(each.reason, *numbers, _minute(each.first), _minute(each.last))
    return table


def _remedies(figures: Figures) -> Table:
    table = Table(title="What would have to change", title_justify="left", box=None, show_header=False, pad_edge=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column()
    for each in figures.reasons:
        table.add_row(each.reason, each.what_to_do)
    return table


def _functions(figures: Figures) -> Table:
    table = _table("Functions that fell back most", "starts", "fell back", "share")
    table.add_column("reasons", overflow="fold")
    fallen = [each for each in figures.functions if each.fallbacks]
    for each in fallen[:ROWS]:
        table.add_row(*_function(each))
    if len(fallen) > ROWS:
        table.add_row(Text(f"… {len(fallen) - ROWS} more (all of them: --csv)", "dim"))
    return table


def _function(each: FunctionFigures) -> tuple[str, ...]:
    share = each.fallbacks / each.starts if each.starts else None
    reasons = ", ".join(sorted(each.reasons, key=lambda reason: -each.reasons[reason].starts))
    starts = "?" if each.starts is None else f"{each.starts:,}"
    return each.name, starts, f"{each.fallbacks:,}", _percent(share), reasons


def _summary(figures: Figures) -> Text:
    """The whole in one or two sentences, and how sure that is."""
    fallen = sum(bool(each.fallbacks) for each in figures.functions)
    if not figures.functions:
        return Text("Nothing here tells of a start. docs/fallback.md says how to export what does.", "yellow")
    text = Text.assemble(
        "\n", (_count(figures.fallbacks, "start"), "bold"), f" of {_count(fallen, 'function')} fell back"
    )
    if figures.starts is None:
        text.append(". The export has no line by which all starts could be counted; docs/fallback.md says how to.")
    else:
        text.append(f", of {_count(figures.starts, 'start')} of {_count(len(figures.functions), 'function')}: ")
        text.append(_percent(figures.share), "bold")
        text.append(".")
    if figures.unavailable:
        text.append(f"\n{figures.unavailable:,} more had a reason, but no legacy extension in the layer.", "yellow")
    if figures.too_late:
        text.append(f"\n{_count(figures.too_late, 'start')} went without Datadog: the new extension died, ", "yellow")
        text.append("and it was too late for legacy (DD_EXTENSION_FALLBACK_TOO_LATE).", "yellow")
    return text


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _percent(share: float | None) -> str:
    return "?" if share is None else f"{share:.1%}"


def _minute(time: float | None) -> str:
    return "?" if time is None else f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M}"


def _iso(time: float | None) -> str | None:
    return None if time is None else datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds")
