"""`fliptop-lab bench steady`, `throughput` and `fault`: real measurements of small things, and what they add up to."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.lab.cli.commands import lab, last_line

from fliptop_lab import legacy
from fliptop_lab.bench import fault, steady, throughput
from fliptop_lab.bench.serving import percentile


@pytest.fixture
def peer(tmp_path: Path) -> str:
    """An extension that sends what it hears at the end of each invocation."""
    return f"peer={legacy.install(tmp_path)}"


def test_steady_state_of_an_extension_that_flushes_each_time(peer: str, tmp_path: Path) -> None:
    picture = tmp_path / "steady.svg"
    options = ("--peer", peer, "--only", "floor,peer", "--strategy", "end", "--rate", "50", "--load", "20")
    found = last_line(lab("steady", *options, "--seconds", "0.2", "--plot", str(picture), "--json"))["variants"]
    assert list(found) == ["floor", "peer"]
    for name, each in found.items():
        assert each.keys() == {metric.key for metric in steady.METRICS} | {"failures"}, name
        assert each["post_ms"]["median"] <= each["post_p99_ms"]["median"]
        assert 0 < each["rate"]["median"] <= 50
        assert (each["requests"]["median"] > 0) == (name == "peer")
        if each["cpu_ms"]:
            assert 0 < each["cpu_ms"]["median"] <= each["cpu_all_ms"]["median"]
    ElementTree.parse(picture)


def test_throughput_tells_what_is_missing_and_why(peer: str) -> None:
    options = ("--peer", peer, "--only", "peer", "--invocations", "2", "-n", "1")
    bursts = ("--datagrams", "7", "--lines", "30", "--spans", "60")
    found = last_line(lab("throughput", *options, *bursts, "--json"))["variants"]
    assert list(found) == ["peer@datagrams@7", "peer@lines@30", "peer@spans@60"]
    datagrams, lines, spans = found.values()
    assert (spans["sent"]["median"], spans["lost"]["median"]) == (180, 180), "the stand-in takes none"
    assert lines.keys() == {metric.key for metric in throughput.METRICS} | {"failures"}
    assert (datagrams["sent"]["median"], lines["sent"]["median"]) == (21, 90)
    assert (lines["missing"]["median"], lines["lost"]["median"]) == (0, 0)
    for each in found.values():
        assert each["missing"]["median"] == each["unheld"]["median"] + each["lost"]["median"]


def test_faults_beside_the_function_alone(peer: str) -> None:
    options = ("--peer", peer, "--only", "none,peer", "--fault", "ok", "--fault", "503,path=/api/v2/logs", "-n", "1")
    found = last_line(lab("fault", *options, "--invocations", "5", "--json"))["variants"]
    assert list(found) == ["none@ok", "peer@ok", "none@503,path=/api/v2/logs", "peer@503,path=/api/v2/logs"]
    for each in found.values():
        assert each.keys() == {metric.key for metric in fault.METRICS} | {"failures"}
        assert each["errors"]["median"] == 0
        assert each["p50_ms"]["median"] <= each["p99_ms"]["median"]
        assert each["billed_p50_ms"]["median"] <= each["billed_p99_ms"]["median"]


def test_errors_of_the_function_are_a_result(tmp_path: Path) -> None:
    (tmp_path / "handler.py").write_text("def handler(event, context):\n    raise ValueError(event)\n")
    options = ("--only", "none", "--fault", "ok", "--function", str(tmp_path), "--invocations", "1", "-n", "1")
    found = last_line(lab("fault", *options, "--json"))["variants"]["none"]
    assert (found["errors"]["median"], found["failures"]) == (100, [])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["steady", "--rate", "often"], "--rate often must be whole numbers"),
        (["steady", "--rate", "0"], "never invoked"),
        (["steady", "--layer", "/nowhere.zip"], "make layer"),
        (["throughput", "--lines", "0", "--datagrams", "0", "--spans", "0"], "nothing to measure"),
        (["fault", "--fault", "nonsense"], "begin with an HTTP status"),
        (["fault", "--plot", "x.png"], "SVG"),
    ],
)
def test_a_mistake_is_answered_with_a_sentence_and_status_2(arguments: list[str], says: str) -> None:
    result = lab(*arguments)
    assert result.exit_code == 2, result.output
    assert says in result.stderr.replace("\n", " ")
    assert result.stdout == ""


def test_a_percentile_is_one_of_the_values() -> None:
    assert [percentile([3, 1, 2], share) for share in (0.0, 0.5, 0.99)] == [1, 2, 3]
    assert percentile(range(1, 101), 0.99) == 99
