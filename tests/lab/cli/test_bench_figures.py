"""From measured values to figures, tables, JSON and a picture; nothing is measured here."""

import io
import random
import statistics
from xml.etree import ElementTree

import pytest
from rich.console import Console, RenderableType

from fliptop_lab.bench import plot, report
from fliptop_lab.bench.cold import METRICS, since_spawn_ms
from fliptop_lab.bench.figures import figure, interval
from fliptop_lab.bench.measuring import Cell, Metric
from fliptop_lab.functions import Prepared
from fliptop_lab.lambda_ import Record
from fliptop_lab.run import Plan
from fliptop_lab.staging import PROJECT, Ingredients

SVG = "{http://www.w3.org/2000/svg}"
PLAN = Plan(function=Prepared("c", [], PROJECT, "c"), ingredients=Ingredients())
READY = next(metric for metric in METRICS if metric.key == "next_ms")
SHARE = Metric("subscribed", "subscribed", "runs", "", share=True)


def cell(values: list[float | None], key: str = "next_ms", **parts: str) -> Cell:
    found = Cell({"variant": "fliptop", "function": "c", "memory": "1024", **parts}, PLAN)
    found.samples = [{key: value} for value in values]
    return found


def printed(renderable: RenderableType, width: int = 120) -> str:
    file = io.StringIO()
    Console(file=file, width=width).print(renderable)
    return file.getvalue()


def test_a_figure_is_the_median_and_missing_values_are_not_zero() -> None:
    found = figure([3.0, None, 1.0, 2.0])
    assert found is not None
    assert (found.median, found.values) == (2.0, (3.0, 1.0, 2.0))
    assert figure([None, None]) is None


def test_with_few_values_nobody_claims_to_be_sure() -> None:
    few = figure([1.0, 2.0, 3.0, 4.0])
    assert few is not None
    assert (few.low, few.high) == (None, None)


def test_the_interval_of_the_median_holds_it_about_nineteen_times_of_twenty() -> None:
    chance, held = random.Random(7), 0
    for _ in range(100):
        low, high = interval([chance.gauss(10, 2) for _ in range(30)])
        held += low <= 10 <= high
        assert low < high
    assert held >= 88


def test_the_same_values_give_the_same_interval() -> None:
    values = [float(value) for value in range(30)]
    assert interval(values) == interval(values)
    low, high = interval(values)
    assert low <= statistics.median(values) <= high


def test_one_function_and_one_memory_are_not_in_the_names() -> None:
    assert report.names([cell([1.0], variant="none"), cell([1.0])]) == ["none", "fliptop"]


def test_names_tell_what_differs() -> None:
    cells = [cell([1.0], function="c", memory="128"), cell([1.0], function="python", memory="512")]
    assert report.names(cells) == ["fliptop@c@128", "fliptop@python@512"]
    assert report.names([cell([1.0], memory="128"), cell([1.0], memory="512")]) == ["fliptop@128", "fliptop@512"]


def test_json_has_variants_metrics_and_null_for_what_is_not_there() -> None:
    measured = cell([5.0, 1.0, 2.0, 3.0, 4.0])
    measured.failures = ["Extension.Crash"]
    found = report.document([measured], METRICS)
    assert found["fliptop"]["next_ms"]["median"] == 3.0
    assert found["fliptop"]["next_ms"]["values"] == [5.0, 1.0, 2.0, 3.0, 4.0]
    assert found["fliptop"]["next_ms"]["n"] == 5
    assert 1 <= found["fliptop"]["next_ms"]["low"] <= 3 <= found["fliptop"]["next_ms"]["high"] <= 5
    assert found["fliptop"]["cpu_flush_ms"] is None
    assert found["fliptop"]["failures"] == ["Extension.Crash"]


def test_a_share_is_counted_not_averaged() -> None:
    measured = cell([1.0, 0.0, 1.0], key="subscribed")
    assert report.document([measured], [SHARE])["fliptop"]["subscribed"] == {"count": 2, "n": 3}
    assert report.shown(measured, SHARE).plain == "2 of 3"


def test_tables_fit_into_120_columns_and_show_a_dash_for_nothing() -> None:
    values: list[float | None] = [123456.0, 99999.5, 100000.0, 123.0, 99.0, 70000.0]
    cells = [cell(values, variant=f"variant-{number}") for number in range(7)]
    tables = list(report.side_by_side(cells, METRICS, "variant"))
    assert len(tables) == 2
    for text in map(printed, tables):
        assert max(map(len, text.splitlines())) <= 120
        assert "the function c, 1024 MB" in text
        assert "…" in text
        assert "—" in text
    listing = printed(report.one_below_the_other([cell([1.0], variant="before@25ms@python")], [*METRICS[:3], SHARE]))
    assert "before@25ms@python" in listing
    assert max(map(len, listing.splitlines())) <= 120


def test_failed_runs_are_named() -> None:
    measured = cell([1.0])
    measured.failures = ["Sandbox.Timedout"]
    assert "+1 failed" in printed(next(report.side_by_side([measured], METRICS, "variant")))
    assert "Sandbox.Timedout" in " ".join(report.remarks([measured], METRICS))


def test_the_plot_has_a_dot_for_every_run_where_it_belongs() -> None:
    cells = [cell([1.0, 2.0, 400.0], variant="a <b> & c"), cell([None, 30.0], variant="other")]
    root = ElementTree.fromstring(plot.draw(cells, METRICS, "title & more"))
    dots = root.findall(f".//{SVG}circle")
    places = [float(dot.attrib["cx"]) for dot in dots]
    assert len(dots) == 4
    assert places[0] < places[1] < places[3] < places[2]
    assert "a <b> & c" in [text.text for text in root.iter(f"{SVG}text")]
    panels = [text.text for text in root.iter(f"{SVG}text") if text.attrib.get("class") == "metric"]
    assert panels == ["first /event/next (ms, logarithmic)"]


def test_what_cannot_vary_gets_no_panel() -> None:
    root = ElementTree.fromstring(plot.draw([cell([32.1], key="disk_mb")], METRICS, ""))
    assert root.findall(f".//{SVG}circle") == []


@pytest.mark.parametrize(
    "values", [[1.0, 1.0], [0.0, 0.0], [0.0, 5.0], [3.0], [0.2, 900.0], [99.0, 101.0], [-1.0, 2.0]]
)
def test_every_scale_shows_all_values_and_some_ticks(values: list[float]) -> None:
    scale = plot.Scale.over(values, 100, 500)
    assert all(100 <= scale.x(value) <= 500 for value in values)
    assert 2 <= len(scale.ticks()) <= 12
    assert all(100 <= scale.x(tick) <= 500 for tick in scale.ticks())


def test_the_slowest_extension_counts_with_its_first_call() -> None:
    calls = [("a", 2.0), ("b", 5.0), ("a", 900.0)]
    records = [Record("api", "next", 0.0, 0, {"extension": name, "since_spawn_ms": since}) for name, since in calls]
    assert since_spawn_ms(records, "next") == 5.0
    assert since_spawn_ms(records, "subscribe") is None
