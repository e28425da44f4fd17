"""`fliptop-lab fallbacks`: the same figures from every kind of export, and what they say."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import pty
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import Any
from xml.etree import ElementTree

import pytest
from tests.lab.fallbacks import exporting
from tests.lab.fallbacks.exporting import FIRST, HOUR, Event, fallback, start, week
from typer.testing import CliRunner

from fliptop.settings.rules import RULES
from fliptop_lab.cli import app
from fliptop_lab.fallbacks import Export, Figures, Tally, plot, records
from fliptop_lab.fallbacks.exports import name_of
from fliptop_lab.fallbacks.sightings import Kind, Sighting, sighting

Exporter = Callable[[list[Event]], str]


class Chunks(io.RawIOBase):
    """A file of given pieces, each of which is one read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._rest = self._rest or next(self._pieces, b"")
        taken, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)


def figures(data: bytes, function: str = "file", size: int = 1 << 20) -> Figures:
    pieces = (data[at : at + size] for at in range(0, len(data), size))
    tally = Tally()
    for record in records(Export(Chunks(pieces), function)):
        tally.add(record)
    return tally.figures()


def lab(*arguments: str, data: bytes = b"") -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["fallbacks", *arguments], input=data)
    return result.exit_code, result.stdout, result.stderr


def document(*arguments: str, data: bytes = b"") -> dict[str, Any]:
    code, out, _ = lab(*arguments, "--json", data=data)
    found: dict[str, Any] = json.loads(out)
    assert code == (1 if found["problems"] else 0)
    return found


@pytest.mark.parametrize("export", exporting.OF_ONE_FUNCTION)
def test_exports_of_one_function(export: Exporter) -> None:
    found = figures(export(week("shop")).encode(), "shop")
    assert (found.starts, found.fallbacks, found.unavailable) == (6, 4, 0)
    assert [(each.reason, each.starts, each.alone) for each in found.reasons] == [
        ("otel", 3, 2),
        ("appsec_enabled", 1, 0),
        ("fips", 1, 1),
    ]
    assert list(found.reasons[0].functions) == ["shop"]
    if export is not exporting.bare_lines:
        assert found.reasons[0].first == pytest.approx((FIRST + 1) / 1000, abs=1)
        assert found.reasons[0].last == pytest.approx((FIRST + 3 * HOUR + 1) / 1000, abs=1)
        assert sum(counts.total() for counts in found.hours.values()) == 4


@pytest.mark.parametrize("export", exporting.THAT_NAME_THE_FUNCTION)
def test_exports_that_name_the_function(export: Exporter) -> None:
    found = figures(export(week()).encode())
    assert [(each.name, each.starts, each.fallbacks) for each in found.functions] == [("shop", 6, 4), ("mail", 4, 0)]
    assert found.share == 0.4
    assert found.counted_by == {"extension": 2}
    assert found.reasons[0].first == pytest.approx((FIRST + 1) / 1000, abs=0.001)


@pytest.mark.parametrize("export", [*exporting.OF_ONE_FUNCTION, *exporting.THAT_NAME_THE_FUNCTION])
@pytest.mark.parametrize("form", ["pieces", "gzip", "utf-16", "bom"])
def test_however_the_bytes_come(export: Exporter, form: str) -> None:
    data = export(week("shop")).encode()
    wanted = figures(data)
    if form == "gzip":
        data = gzip.compress(data[:500]) + gzip.compress(data[500:])
    elif form != "pieces":
        data = data.decode().encode({"bom": "utf-8-sig"}.get(form, form))
    assert figures(data, size=97) == wanted
    assert figures(data, size=1) == wanted


def test_lines_of_lambdas_json_format() -> None:
    events = [
        {"type": "platform.initStart", "record": {"functionName": "shop", "phase": "init"}},
        {"type": "platform.extension", "record": {"name": "datadog-agent", "state": "Ready"}},
        {"type": "platform.extension", "record": {"name": "another", "state": "Ready"}},
        {"type": "platform.report", "record": {"metrics": {"durationMs": 1.0, "initDurationMs": 80.1}}},
        {"type": "platform.report", "record": {"metrics": {"durationMs": 1.0}}},
    ]
    lines = [json.dumps({"time": "2026-11-22T06:35:18.106Z", **event}) for event in events]
    assert [sighting(line) for line in lines] == [
        Sighting(Kind.INIT),
        Sighting(Kind.EXTENSION),
        None,
        Sighting(Kind.COLD_REPORT),
        None,
    ]
    found = figures(("\n".join(lines) + "\n" + fallback("otel")).encode())
    assert (found.starts, found.fallbacks) == (1, 1)


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        (fallback("otel", "fips"), Sighting(Kind.FALLBACK, ("otel", "fips"))),
        ('{"DD_EXTENSION_FALLBACK_REASON": "otel"}', Sighting(Kind.FALLBACK, ("otel",))),
        ('{\n  "DD_EXTENSION_FALLBACK_REASON": "otel",\n  "reasons": [', Sighting(Kind.FALLBACK, ("otel",))),
        ('fn-1  | {"DD_EXTENSION_FALLBACK_REASON":"otel","reasons":null}', Sighting(Kind.FALLBACK, ("otel",))),
        (fallback("fips", kind="UNAVAILABLE"), Sighting(Kind.UNAVAILABLE, ("fips",))),
        ('    "DD_EXTENSION_FALLBACK_REASON": "otel",', Sighting(Kind.FALLBACK, ("otel",))),
        (json.dumps({"type": "extension", "record": fallback("otel")}), Sighting(Kind.FALLBACK, ("otel",))),
        (json.dumps({"type": "function", "record": fallback("otel")}), None),
        (json.dumps([{"type": "extension"}]), None),
        # A function that logs about such lines is none.
        (json.dumps({"message": fallback("otel")}), None),
        ("I set DD_EXTENSION_FALLBACK_REASON", None),
        ("EXTENSION\tName: lambda-insights\tState: Ready\tEvents: [INVOKE]", None),
        ("my INIT_START", None),
        ("{INIT_START", None),
        ("", None),
    ],
)
def test_sightings(message: str, wanted: Sighting | None) -> None:
    assert sighting(message) == wanted


def test_evidence_from_best_to_worst() -> None:
    with_all = exporting.bare_lines(week("mail"))
    others = with_all.replace("datadog-agent", "another")
    reports = others.replace("INIT_START", "")
    assert figures(others.encode()).counted_by == {"init": 1}
    assert figures(reports.encode()).counted_by == {"cold report": 1}
    assert figures(with_all.encode()).starts == figures(others.encode()).starts == figures(reports.encode()).starts == 4
    alone = figures((fallback("otel") * 3).encode())
    assert (alone.starts, alone.share, alone.fallbacks, alone.reasons[0].share) == (None, None, 3, None)


def test_every_start_that_told_a_reason_is_one() -> None:
    found = figures((exporting.EXTENSION + fallback("otel") * 3).encode())
    assert (found.starts, found.share) == (3, 1.0)


def test_a_start_without_legacy_is_counted_apart() -> None:
    text = exporting.EXTENSION * 4 + fallback("otel", kind="UNAVAILABLE") + fallback("fips")
    found = figures(text.encode())
    assert (found.starts, found.fallbacks, found.unavailable) == (4, 1, 1)
    assert [each.reason for each in found.reasons] == ["fips"]
    assert "1 more had a reason" in lab(data=text.encode())[1]


def test_a_start_that_nobody_served_is_counted_apart() -> None:
    text = exporting.EXTENSION * 4 + fallback("failed_to_start", kind="TOO_LATE") + fallback("failed_to_start")
    found = figures(text.encode())
    assert (found.starts, found.fallbacks, found.unavailable, found.too_late) == (4, 1, 0, 1)
    assert "1 start went without Datadog" in lab(data=text.encode())[1]
    assert document(data=text.encode())["too_late"] == 1


def test_functions_that_share_a_log_group() -> None:
    events = [
        Event("x", event.stream.replace("[$LATEST]", f"{event.function}[$LATEST]"), event.time, event.message)
        for event in week()
    ]
    found = figures(exporting.filter_log_events(events).encode())
    assert [each.name for each in found.functions] == ["shop", "mail"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("logs/shop.json.gz", "shop"),
        ("shop", "shop"),
        ("exports/shop/1a2b3c4d-0000-4000-8000-000000000000/2026-11-22-[$LATEST]ab12/000000.gz", "shop"),
        ("-", "standard input"),
    ],
)
def test_what_a_file_name_says(path: str, name: str) -> None:
    assert name_of(PurePath(path)) == name


def test_damage_costs_what_is_damaged(tmp_path: Path) -> None:
    whole = exporting.filter_log_events(week("shop"))
    (tmp_path / "cut.json").write_text(whole[: whole.index("fips") + 2])
    (tmp_path / "cut.json.gz").write_bytes(gzip.compress(exporting.bare_lines(week("mail")).encode())[:-20])
    code, out, err = lab(str(tmp_path), "--json")
    found = json.loads(out)
    assert code == 1
    assert found["fallbacks"] == 3
    assert len(found["problems"]) == 2
    assert "cut.json could not be read to its end" in err.replace("\n", " ")
    middle = whole.index("INIT_START")
    again = whole[:middle] + '"' + whole[middle:]
    with pytest.raises(EOFError, match="damaged"):
        figures(again.encode())


def test_directories_files_and_standard_input_together(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "shop.json").write_text(exporting.filter_log_events(week("shop")))
    (tmp_path / "mail.log.gz").write_bytes(gzip.compress(exporting.tail_detailed(week("mail")).encode()))
    more = exporting.bare_lines(list(start("third", FIRST, "libc"))).encode()
    found = document(str(tmp_path), "-", data=more)
    assert (found["starts"], found["fallbacks"], found["functions"]) == (11, 5, 3)
    by_reason = {each["reason"]: each for each in found["reasons"]}
    assert by_reason["libc"]["functions"] == {"standard input": 1}
    assert by_reason["libc"]["first"] is None
    assert by_reason["otel"]["share"] == pytest.approx(3 / 11)
    assert by_reason["otel"]["first"] == "2023-11-14T22:13:20.001+00:00"
    assert by_reason["otel"]["what_to_do"] == {rule.reason: rule.what_to_do for rule in RULES}["otel"]
    assert document("--function", "third", data=more)["reasons"][0]["functions"] == {"third": 1}


def test_table_says_what_matters() -> None:
    code, out, _ = lab("--function", "shop", data=exporting.tail_detailed(week("shop")).encode())
    assert code == 0
    flat = " ".join(out.split())
    for text in (
        "otel",
        "50.0%",
        "2023-11-14 22:13",
        "4 starts of 1 function fell back, of 6 starts of 1 function",
        "66.7%",
    ):
        assert text in flat
    assert "OpenTelemetry ingestion needs" in flat


def test_nothing_to_tell() -> None:
    code, out, _ = lab(data=b"hello\nworld\n")
    assert code == 0
    assert "Nothing here tells of a start" in " ".join(out.split())
    assert document(data=b"")["starts"] is None


def test_reasons_of_another_version() -> None:
    found = document(data=fallback("something_new").encode())
    assert "knows no such reason" in found["reasons"][0]["what_to_do"]


def test_csv_has_a_row_per_reason_and_function() -> None:
    _, out, _ = lab("--csv", data=exporting.query_results(week()).encode())
    rows = list(csv.DictReader(out.splitlines()))
    assert [(row["reason"], row["function"], row["starts"], row["share"]) for row in rows] == [
        ("otel", "shop", "3", "0.5000"),
        ("appsec_enabled", "shop", "1", "0.1667"),
        ("fips", "shop", "1", "0.1667"),
    ]
    assert rows[0]["function_starts"] == "6"


def test_picture_is_valid_and_shows_every_reason(tmp_path: Path) -> None:
    picture = tmp_path / "out.svg"
    assert lab("--plot", str(picture), data=exporting.filter_log_events(week("shop")).encode())[0] == 0
    root = ElementTree.fromstring(picture.read_text())
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"otel", "appsec_enabled", "fips", "3 · 50.0%"} <= set(texts)
    # One bar per reason, one piece per hour that had a fallback, and the background.
    assert len(list(root.iter("{http://www.w3.org/2000/svg}rect"))) == 1 + 3 + 4
    ElementTree.fromstring(plot(Tally().figures()))


def test_years_fit_into_the_picture() -> None:
    lines = "".join(
        event.iso + " " + event.message for n in range(0, 40000, 37) for event in start("f", n * HOUR, "otel")
    )
    root = ElementTree.fromstring(plot(figures(lines.encode())))
    assert len(list(root.iter("{http://www.w3.org/2000/svg}rect"))) <= 62


@pytest.mark.parametrize(
    ("arguments", "sentence"), [(["--json", "--csv"], "exclude each other"), (["/nowhere"], "no file /nowhere")]
)
def test_mistakes_are_named(arguments: list[str], sentence: str) -> None:
    code, _, err = lab(*arguments)
    assert code == 2
    assert sentence in " ".join(err.split())


def peak(export: Exporter, times: int) -> int:
    """The most memory in use while an export of so many weeks is read, in bytes."""
    text = export(week("shop"))
    before, marker, after = text.partition('"events":[')
    again = f"{after.rpartition(']')[0]}," if marker else text
    pieces = [f"{before}{marker}" if marker else "", *[again] * times, "]}" if marker else ""]
    stream = Chunks(piece.encode() for piece in pieces if piece)
    tally = Tally()
    tracemalloc.start()
    for record in records(Export(stream, "shop")):
        tally.add(record)
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert tally.figures().starts == 6 * times
    return found


@pytest.mark.parametrize("export", [exporting.bare_lines, exporting.filter_compact, exporting.json_lines])
def test_memory_does_not_grow_with_the_export(export: Exporter) -> None:
    assert peak(export, 600) < 1.3 * peak(export, 300)


def test_progress_is_shown_on_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "shop.log").write_text(exporting.bare_lines(week("shop")))
    ours, theirs = pty.openpty()
    program = "from fliptop_lab.cli import main; main()"
    command = [sys.executable, "-c", program, "fallbacks", str(tmp_path / "shop.log"), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, check=True, timeout=30)
    os.close(theirs)
    shown = os.read(ours, 1 << 16)
    os.close(ours)
    assert b"reading" in shown
    assert json.loads(done.stdout)["fallbacks"] == 4
