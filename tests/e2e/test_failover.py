"""Automatic failover, whole: the launcher decides, legacy serves, and every fallback says why."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

from fliptop_lab.fallbacks import Tally
from fliptop_lab.fallbacks.exports import Record
from fliptop_lab.legacy import install
from tests.deaths import kill_three
from tests.lifetimes import Life, Plan, layer_under_test, live

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
FALLBACK, TOO_LATE = "DD_EXTENSION_FALLBACK_REASON", "DD_EXTENSION_FALLBACK_TOO_LATE"


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


def fallback_lines(lines: list[str], key: str = FALLBACK) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines if line.startswith(f'{{"{key}"')]


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
    assert counted(life) == (1, 0, 0), "a start that does not fall back is one of all the same"
    assert "logs" in life.ledger()


async def test_without_legacy_the_new_extension_runs_and_says_so_once(tmp_path: Path) -> None:
    life = await live(Plan(environment={"DD_EXTENSION_VERSION": "compatibility"}), tmp_path)
    told = [line for line in life.said("extension") if "DD_EXTENSION_FALLBACK_UNAVAILABLE" in line]
    assert len(told) == 1
    assert "logs" in life.ledger()
    assert set(life.said("function")) <= set(life.received())


# --- the frozen extension cannot start on this machine ---

ONLY_LEGACY = "extension:legacy-stand-in"
# Long enough for three deaths; then the function itself fails, so that Lambda initialises the environment again.
THEN_AGAIN = [b'{"sleep": 1}', b'{"exit": 3}', b"{}", b"{}"]
STATUSES = ["success", "error", "success", "success"]


def frozen_program(layer: Path) -> Path:
    """The layer's extension as a compiled program; the source layer gets any that there is, which is then broken."""
    program = layer / "fliptop" / "fliptop"
    if not program.read_bytes().startswith(b"\x7fELF"):
        shutil.copy2(shutil.which("true") or "", program)
    return program


def for_another_machine(program: Path) -> None:
    with program.open("r+b") as file:
        file.seek(18)
        file.write(struct.pack("<H", {"x86_64": 183, "aarch64": 62}[os.uname().machine]))


def rename(program: Path, old: bytes, new: bytes) -> None:
    """Change a name in a file; there may be no sections, without which patchelf does nothing."""
    data = program.read_bytes()
    assert old in data
    assert len(old) == len(new)
    program.write_bytes(data.replace(old, new))


def without_a_loader(program: Path) -> None:
    rename(program, b"/ld-linux-", b"/ld-gonex-")


def without_a_library(program: Path) -> None:
    rename(program, b"\0libc.so.6\0", b"\0libx.so.6\0")


@pytest.mark.parametrize(
    ("damage", "reason", "yaml"),
    [
        (for_another_machine, "architecture", None),
        (without_a_loader, "loader", None),
        (without_a_library, "failed_to_start", "a: &anchor b\n"),
    ],
    ids=["architecture", "loader", "library, while nothing is registered"],
)
async def test_legacy_serves_from_the_first_start(
    damage: Callable[[Path], None], reason: str, yaml: str | None, with_legacy: Path, tmp_path: Path
) -> None:
    damage(frozen_program(with_legacy))
    life = await live(Plan(layers=[with_legacy], yaml=yaml), tmp_path)
    (line,) = fallback_lines(life.said("extension"))
    assert (line[FALLBACK], line["reasons"]) == (reason, [reason])
    assert [invocation.status for invocation in life.invocations] == ["success"] * 3
    assert all(ONLY_LEGACY in entry.tags for entry in life.intake.received.logs)
    assert set(life.said("function")) <= set(life.received())


def counted(life: Life) -> tuple[int | None, int, int]:
    """Starts, those that fell back and those that nobody served, as `fliptop-lab fallbacks` counts them in the log."""
    tally = Tally()
    for record in life.records:
        if record.kind == "telemetry":
            line = record.data.get("line") if record.name in ("function", "extension") else None
            event = json.dumps({"type": record.name, "record": dict(record.data)})
            tally.add(Record("f", None, event if line is None else str(line).rstrip()))
    figures = tally.figures()
    return figures.starts, figures.fallbacks, figures.too_late


def assert_carried_then_legacy(life: Life, cause: str) -> None:
    """The guard carried the first life of the environment, legacy serves the second; no invocation failed for us."""
    assert counted(life) == (2, 1, 1)
    (too_late,) = fallback_lines(life.said("extension"), TOO_LATE)
    assert (too_late[TOO_LATE], too_late["detail"]) == ("failed_to_start", cause)
    (line,) = fallback_lines(life.said("extension"))
    assert (line["reasons"], line["detail"]) == (["failed_to_start"], cause)
    assert [invocation.status for invocation in life.invocations] == STATUSES
    assert [exited.get("code") for exited in life.exits()] == [0, 0]
    assert life.received(), "legacy has served"
    assert all(ONLY_LEGACY in entry.tags for entry in life.intake.received.logs)


async def test_once_registered_the_guard_carries_the_function_until_the_next_start(
    with_legacy: Path, tmp_path: Path
) -> None:
    without_a_library(frozen_program(with_legacy))
    life = await live(Plan(function="python", payloads=THEN_AGAIN, layers=[with_legacy]), tmp_path)
    assert any("libx.so.6: cannot open shared object file" in line for line in life.said("extension"))
    assert_carried_then_legacy(life, "exit 127")


async def test_one_that_is_killed_before_it_has_adopted_its_sockets(with_legacy: Path, tmp_path: Path) -> None:
    killers: list[asyncio.Task[None]] = []

    async def meanwhile(life: Life, invocation: int) -> None:
        if invocation == 0:
            killers.append(asyncio.create_task(kill_three(life)))
        elif invocation == 1:
            await killers[0]

    plan = Plan(function="python", payloads=THEN_AGAIN, layers=[with_legacy], meanwhile=meanwhile)
    assert_carried_then_legacy(await live(plan, tmp_path), "SIGKILL")


async def test_without_legacy_every_start_is_carried(tmp_path: Path, with_legacy: Path) -> None:
    without_a_library(frozen_program(with_legacy))
    (with_legacy / "datadog-agent-go").unlink()
    payloads = [b'{"sleep": 1}', b'{"exit": 3}', b'{"sleep": 1}']
    life = await live(Plan(function="python", payloads=payloads, layers=[with_legacy]), tmp_path)
    assert [invocation.status for invocation in life.invocations] == ["success", "error", "success"]
    assert len(fallback_lines(life.said("extension"), TOO_LATE)) == 2
    (line,) = fallback_lines(life.said("extension"), "DD_EXTENSION_FALLBACK_UNAVAILABLE")
    assert (line["reasons"], line["detail"]) == (["failed_to_start"], "exit 127")
