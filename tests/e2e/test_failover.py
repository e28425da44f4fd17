"""Automatic failover, whole: the launcher decides, legacy serves, and every fallback says why."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from zipfile import ZipFile

import pytest

from fliptop_lab.legacy import install
from tests.lifetimes import Plan, layer_under_test, live

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
FALLBACK = "DD_EXTENSION_FALLBACK_REASON"


@pytest.fixture
def with_legacy(tmp_path: Path) -> Path:
    """The layer under test plus the legacy stand-in."""
    layer, under_test = tmp_path / "layer", layer_under_test()
    if under_test.is_dir():
        shutil.copytree(under_test, layer)
    else:
        with ZipFile(under_test) as packed:
            for member in packed.infolist():
                target = Path(packed.extract(member, layer))
                target.chmod(member.external_attr >> 16)
    install(layer)
    return layer


def fallback_lines(lines: list[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines if line.startswith(f'{{"{FALLBACK}"')]


@pytest.mark.parametrize(
    ("environment", "yaml", "reasons"),
    [
        ({"DD_EXTENSION_VERSION": "compatibility"}, None, ["extension_version"]),
        ({"DD_SERVERLESS_APPSEC_ENABLED": "true", "DD_LAMBDA_FIPS_MODE": "1"}, None, ["appsec_enabled", "fips"]),
        ({}, "otlp_config:\n  receiver:\n    protocols:\n      http:\n        endpoint: 127.0.0.1:4318\n", ["otel"]),
        # Anchors are beyond the launcher's scanner: the extension settles it with a real parser and execs legacy.
        ({}, "base: &on true\nappsec_enabled: *on\n", ["appsec_enabled"]),
    ],
    ids=["version", "two reasons", "yaml", "unsure"],
)
async def test_legacy_serves_what_is_not_supported(
    environment: dict[str, str], yaml: str | None, reasons: list[str], with_legacy: Path, tmp_path: Path
) -> None:
    life = await live(Plan(environment=environment, yaml=yaml, layers=[with_legacy]), tmp_path)
    (line,) = fallback_lines(life.said("extension"))
    assert (line[FALLBACK], line["reasons"]) == (reasons[0], reasons)
    assert [invocation.status for invocation in life.invocations] == ["success"] * 3
    assert all("extension:legacy-stand-in" in entry.tags for entry in life.intake.received.logs)
    assert set(life.said("function")) <= set(life.received())


async def test_an_unsure_scan_that_settles_well_runs_the_new_extension(with_legacy: Path, tmp_path: Path) -> None:
    yaml = "base: &off false\nappsec_enabled: *off\nservice: from-yaml\n"
    life = await live(Plan(yaml=yaml, layers=[with_legacy]), tmp_path)
    assert fallback_lines(life.said("extension")) == []
    assert {entry.service for entry in life.intake.received.logs} == {"from-yaml"}
    assert "logs" in life.ledger()


async def test_without_legacy_the_new_extension_runs_and_says_so_once(tmp_path: Path) -> None:
    life = await live(Plan(environment={"DD_EXTENSION_VERSION": "compatibility"}), tmp_path)
    told = [line for line in life.said("extension") if "DD_EXTENSION_FALLBACK_UNAVAILABLE" in line]
    assert len(told) == 1
    assert "logs" in life.ledger()
    assert set(life.said("function")) <= set(life.received())
