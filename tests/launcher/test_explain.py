"""`datadog-agent --explain` and its neighbours: they answer, and start nothing."""

from __future__ import annotations

import json
import os
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


MANIFEST = {
    "arch": "x86_64",
    "flavour": "frozen",
    "glibc": "2.34",
    "nuitka": "4.3.3",
    "package_count": 16,
    "python": "3.11.7",
    "revision": "0123abcd",
    "sources": "f" * 64,
}


def with_provenance(layer: Layer, manifest: str) -> None:
    (layer.root / "fliptop" / "manifest.json").write_text(manifest)
    (layer.root / "fliptop" / "sbom.cdx.json").write_text("{}")


def test_provenance_for_people(layer: Layer) -> None:
    with_provenance(layer, json.dumps({**MANIFEST, "files": {"python": 1}, "tools": {"python": "3"}}, indent=2))
    first, *rows = layer.run({}, "--version").lines
    assert first == __version__
    told = {row[:12].strip(): row[12:] for row in rows}
    assert told == {
        "flavour": "frozen",
        "machine": "x86_64",
        "glibc": "2.34",
        "python": "3.11.7",
        "nuitka": "4.3.3",
        "commit": "0123abcd",
        "sources": "f" * 64,
        "packages": "16",
        "bill": f"{layer.root}/fliptop/sbom.cdx.json",
    }
    assert set(rows) <= set(layer.run(None, "--explain").lines)


def test_provenance_as_json(layer: Layer) -> None:
    assert explained(layer)["provenance"] == {"package_count": 0}
    with_provenance(layer, json.dumps(MANIFEST))
    bill = f"{layer.root}/fliptop/sbom.cdx.json"
    assert explained(layer)["provenance"] == {**MANIFEST, "bill": bill}


@pytest.mark.parametrize(
    "manifest",
    ["", "{", '{"arch":', '{"arch":"x', '{"arch": 7}', "x" * 70_000, '{"arch":"x86_64"}' + " " * 70_000, "\0"],
)
def test_a_manifest_that_says_nothing(layer: Layer, manifest: str) -> None:
    with_provenance(layer, manifest)
    assert layer.run({}, "--version").lines == [__version__, f"bill        {layer.root}/fliptop/sbom.cdx.json"]


def test_a_manifest_that_is_no_file(layer: Layer) -> None:
    os.mkfifo(layer.root / "fliptop" / "manifest.json")
    assert layer.run({}, "--version").lines == [__version__]
    (layer.root / "fliptop" / "manifest.json").unlink()
    (layer.root / "fliptop" / "manifest.json").mkdir()
    assert layer.run({}, "--version").lines == [__version__]


def test_a_manifest_with_long_and_odd_values(layer: Layer) -> None:
    with_provenance(layer, '{"arch":"' + "y" * 1000 + '","python":"\x01\xff"}')
    assert explained(layer)["provenance"]["arch"] == "y" * 255


@pytest.mark.parametrize("arguments", [["--help"], ["--explain", "--yaml"], ["x"], ["--explain", "--json", "x"]])
def test_other_arguments_start_nothing(layer: Layer, arguments: list[str]) -> None:
    outcome = layer.run({}, *arguments)
    assert outcome.returncode == 2
    assert outcome.lines[0].startswith("usage: datadog-agent")
    assert outcome.extension is outcome.legacy is None
