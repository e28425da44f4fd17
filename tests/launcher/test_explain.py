"""`datadog-agent --explain` and its neighbours: they answer, and start nothing."""

from __future__ import annotations

from typing import Any

import pytest
from tests.launcher.conftest import COMPATIBILITY, Layer, only_line

from fliptop import __version__


def explained(layer: Layer, environ: dict[str, str] | None = None) -> dict[str, Any]:
    outcome = layer.run(environ, "--explain", "--json")
    assert outcome.returncode == 0
    assert outcome.extension is None
    assert outcome.legacy is None
    return only_line(outcome)


def test_explain_next(layer: Layer) -> None:
    told = explained(layer)
    assert told["decision"] == "next"
    assert told["reasons"] == []
    assert told["what_to_do"] == {}
    assert told["unsure"] is None
    assert told["paths"] == {
        "root": str(layer.root),
        "extension": str(layer.extension),
        "legacy": str(layer.legacy),
        "config": str(layer.task / "datadog.yaml"),
    }


def test_explain_legacy_says_what_to_do(layer: Layer) -> None:
    told = explained(layer, {**COMPATIBILITY, "AWS_REGION": "us-gov-east-1"})
    assert told["decision"] == "legacy"
    assert told["reasons"] == ["extension_version", "fips"] == list(told["what_to_do"])
    assert "DD_EXTENSION_VERSION" in told["what_to_do"]["extension_version"]


def test_explain_unsure_and_unavailable(layer: Layer) -> None:
    layer.yaml("a: !x 1\n")
    layer.legacy.unlink()
    told = explained(layer, COMPATIBILITY)
    assert told["decision"] == "next"
    assert told["unsure"] == "line 1: tag"
    assert told["legacy_error"].endswith("No such file or directory")
    layer.extension.unlink()
    assert explained(layer)["decision"] == "none"


def test_explain_for_people(layer: Layer) -> None:
    layer.yaml("a: !x 1\n")
    page = "\n".join(layer.run(COMPATIBILITY, "--explain").lines)
    for part in (
        "legacy",
        "extension_version",
        "To use the new extension",
        str(layer.legacy),
        "line 1: tag",
        __version__,
    ):
        assert part in page


def test_version(layer: Layer) -> None:
    assert layer.run({}, "--version").lines == [__version__]


@pytest.mark.parametrize("arguments", [["--help"], ["--explain", "--yaml"], ["x"], ["--explain", "--json", "x"]])
def test_other_arguments_start_nothing(layer: Layer, arguments: list[str]) -> None:
    outcome = layer.run({}, *arguments)
    assert outcome.returncode == 2
    assert outcome.lines[0].startswith("usage: datadog-agent")
    assert outcome.extension is outcome.legacy is None
