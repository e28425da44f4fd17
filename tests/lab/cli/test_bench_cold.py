"""`fliptop-lab bench cold` and `bench subscribe`: what is compared, real measurements, errors that name the fix."""

import asyncio
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.lab.cli.commands import lab, last_line

from fliptop_lab import legacy
from fliptop_lab.bench.cold import METRICS, observing
from fliptop_lab.bench.measuring import Cell, measure
from fliptop_lab.bench.subscribe import arrivals
from fliptop_lab.bench.variants import FLOOR_SOURCE, Choice, unpacked
from fliptop_lab.functions import find
from fliptop_lab.functions.compiling import compile_c
from fliptop_lab.run import Plan
from fliptop_lab.staging import Ingredients, LayerError, find_layer


@pytest.fixture
def layer() -> str:
    try:
        return str(find_layer())
    except LayerError as error:
        pytest.skip(str(error))


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """The bones of a fliptop layer."""
    for name, text in (("extensions/datadog-agent", ""), ("fliptop/manifest.json", '{"flavour": "source"}')):
        (tmp_path / "ours" / name).parent.mkdir(parents=True)
        (tmp_path / "ours" / name).write_text(text)
    return tmp_path / "ours"


def test_without_a_choice_everything_is_compared(ours: Path) -> None:
    with unpacked(Choice(layer=ours)) as (variants, told):
        assert [variant.name for variant in variants] == ["none", "floor", "fliptop", "fliptop-python"]
        none, floor, fliptop, python = variants
        assert (none.layer, none.disk_bytes) == (None, None)
        assert floor.layer is not None
        assert [path.name for path in (floor.layer / "extensions").iterdir()] == ["floor"]
        assert fliptop.layer == python.layer
        assert (fliptop.environment, python.environment) == ({}, {"FLIPTOP_HANDOVER": "off"})
        assert fliptop.disk_bytes == len('{"flavour": "source"}')
    assert told is not None
    assert (told.flavour, told.version) == ("source", None)


def test_a_peer_may_be_a_zip_a_directory_or_one_executable(tmp_path: Path) -> None:
    program = legacy.install(tmp_path)
    directory, archive = tmp_path / "layer", tmp_path / "layer.zip"
    (directory / "extensions").mkdir(parents=True)
    (directory / "extensions/one").write_text("#!/bin/sh")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("extensions/two", "#!/bin/sh")
    peers = {"program": program, "directory": directory, "zip": archive}
    with unpacked(Choice(only=["zip", "directory", "program"], peers=peers)) as (variants, told):
        found = {each.name: [path.name for path in each.layer.glob("extensions/*")] for each in variants if each.layer}
    assert found == {"program": [program.name], "directory": ["one"], "zip": ["two"]}
    assert told is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["cold", "--only", "flip"], "there is no such variant. There are none, floor, fliptop, fliptop-python."),
        (["cold", "--peer", "floor=/bin/true"], "Take another name"),
        (["cold", "--peer", "/bin/true"], "Write --peer /bin/true=VALUE"),
        (["cold", "--peer", "other=/nowhere", "--only", "other"], "/nowhere does not exist"),
        (["cold", "--layer", "/nowhere.zip"], "make layer"),
        (["cold", "--memory", "1 GB"], "--memory 128,512"),
        (["cold", "--only", "none", "--memory", "64"], "128 to 10240"),
        (["cold", "--plot", "cold.pdf"], "Name it cold.svg"),
        (["cold", "--plot", "/nowhere/cold.svg"], "there is no directory /nowhere"),
        (["cold", "--function", "cobol"], "neither one of python, node, c"),
        (["subscribe", "--latency", "soon"], "soon"),
    ],
)
def test_a_mistake_is_answered_with_a_sentence_and_status_2(arguments: list[str], says: str) -> None:
    result = lab(*arguments)
    assert result.exit_code == 2, result.output
    assert says in result.stderr.replace("\n", " ")
    assert result.stdout == ""


def test_node_is_asked_for_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    result = lab("cold", "--only", "none", "--function", "node")
    assert result.exit_code == 2
    assert "Install Node 18" in result.stderr


def test_a_measurement_of_nothing_and_of_the_least(tmp_path: Path) -> None:
    picture = tmp_path / "cold.svg"
    options = ("--only", "none,floor", "-n", "2", "--warm", "1", "--register-latency", "30", "--json")
    found = last_line(lab("cold", *options, "--plot", str(picture)))
    none, floor = found["variants"]["none"], found["variants"]["floor"]
    keys = {metric.key for metric in METRICS} | {"failures"}
    assert none.keys() == floor.keys() == keys
    assert none["next_ms"] is None
    assert none["cpu_ready_ms"] is None
    assert none["init_ms"]["n"] == floor["init_ms"]["n"] == 2
    assert 30 <= floor["register_ms"]["median"] <= floor["next_ms"]["median"] <= floor["init_ms"]["median"]
    assert floor["first_ms"]["median"] > floor["warm_ms"]["median"]
    for key in ("cpu_ready_ms", "cpu_warm_ms", "faults", "rss_mb", "disk_mb"):
        assert min(floor[key]["values"]) > 0, key
    assert floor["subscribe_ms"] is None
    assert floor["cpu_flush_ms"] is None
    assert (found["runs"], found["layer"]) == (2, None)
    assert 0 <= found["others"] <= 1
    dots = ElementTree.parse(picture).getroot().findall(".//{http://www.w3.org/2000/svg}circle")
    assert (
        len(dots)
        == sum(variant[key] is not None for variant in (none, floor) for key in keys - {"disk_mb", "failures"}) * 2
    )


def test_a_peer_that_crashes_is_counted_as_failed_and_left_out(tmp_path: Path) -> None:
    program = tmp_path / "broken"
    program.write_text("#!/bin/sh\nexit 3\n")
    result = lab("cold", "--peer", f"broken={program}", "--only", "broken", "-n", "1", "--warm", "0", "--json")
    assert result.exit_code == 1
    variant = json.loads(result.stdout)["variants"]["broken"]
    assert variant["failures"] == ["init: Extension.Crash"]
    assert variant["init_ms"] is None


def test_people_see_the_names_the_units_and_where_cpu_time_is_from() -> None:
    result = lab("cold", "--only", "floor", "-n", "1", "--warm", "0", "--memory", "512")
    for text in ("floor", "first /event/next ms", "the function c, 512 MB", "CPU time is from", "runs"):
        assert text in result.stdout


def test_an_extension_that_hears_nothing_is_told_from_one_that_does(tmp_path: Path) -> None:
    """The experiment must see a lost subscription: the floor has none, the stand-in has."""
    deaf, hearing = Ingredients(extensions=[compile_c(FLOOR_SOURCE)]), Ingredients([legacy_layer(tmp_path)])
    cells = [
        Cell({"variant": name}, Plan(function=find("c"), ingredients=replace(parts, no_legacy=True), invocations=1))
        for name, parts in (("deaf", deaf), ("hearing", hearing))
    ]
    asyncio.run(measure(cells, 1, lambda _: None, observing(arrivals)))
    found = {
        cell.parts["variant"]: {key: cell.figure(key) for key in ("subscribed", "init_report", "lost")}
        for cell in cells
    }
    medians = {name: {key: each.median for key, each in all_.items() if each} for name, all_ in found.items()}
    assert medians["deaf"] == {"subscribed": 0, "init_report": 0, "lost": 1}
    assert medians["hearing"] == {"subscribed": 1, "init_report": 1, "lost": 0}


def legacy_layer(folder: Path) -> Path:
    (folder / "layer/extensions").mkdir(parents=True)
    legacy.install(folder).rename(folder / "layer/extensions/stand-in")
    return folder / "layer"


@pytest.mark.slow
def test_our_layer_is_measured_with_and_without_handover(layer: str) -> None:
    found = last_line(lab("cold", "--layer", layer, "--only", "fliptop,fliptop-python", "-n", "1", "--json"))
    handed, alone = found["variants"]["fliptop"], found["variants"]["fliptop-python"]
    assert handed["next_ms"]["median"] < alone["next_ms"]["median"]
    assert handed["cpu_ready_ms"]["median"] < handed["cpu_flush_ms"]["median"]
    assert handed["subscribe_ms"]["n"] == 1
    assert found["layer"]["flavour"] in ("frozen", "source")


@pytest.mark.slow
def test_both_orders_of_subscribing_are_measured(layer: str) -> None:
    options = ("--layer", layer, "--function", "python", "--latency", "0,5", "-n", "1", "--json")
    found = last_line(lab("subscribe", *options))["variants"]
    assert list(found) == ["before@0ms", "overlap@0ms", "before@5ms", "overlap@5ms"]
    before = found["before@5ms"]
    assert before["next_ms"]["median"] > 5
    assert before["subscribed"] == before["init_start"] == before["init_report"] == {"count": 1, "n": 1}
    assert (before["first_line"], before["lost"]["median"]) == ({"count": 1, "n": 1}, 0)
