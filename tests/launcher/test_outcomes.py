"""The launcher as Lambda sees it: one process that tells what it must and becomes one of the two extensions."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from tests.launcher.conftest import (
    CANNOT_START,
    COMPATIBILITY,
    FALLBACK,
    UNAVAILABLE,
    Layer,
    assert_legacy,
    assert_next,
    only_line,
)

HANDOVER = ("FLIPTOP_LAYER", "FLIPTOP_NAME", "FLIPTOP_STARTED_NS")


# --- next ---


def test_next_is_started_in_place_and_says_nothing(layer: Layer) -> None:
    outcome = layer.run()
    assert_next(layer, outcome)
    assert outcome.lines == []


def test_next_receives_the_handover(layer: Layer) -> None:
    seen = layer.run({"FLIPTOP_NAME": "left over", "FLIPTOP_PHASES": "left over", "OTHER": "kept"}).extension
    assert seen is not None
    assert [seen.variable(name) for name in HANDOVER[:2]] == [str(layer.root), "datadog-agent"]
    assert seen.variable("FLIPTOP_PHASES") is None
    assert int(seen.variable("FLIPTOP_STARTED_NS") or 0) > 0
    assert seen.variable("OTHER") == "kept"
    assert sum(entry.startswith(b"FLIPTOP_NAME=") for entry in seen.environ) == 1


def test_name_is_the_file_that_lambda_started(layer: Layer) -> None:
    renamed = layer.launcher.rename(layer.launcher.with_name("my-extension"))
    subprocess.run([renamed], env=layer.environ(), check=True)
    seen = layer.run(executable=renamed).extension
    assert seen is not None
    assert seen.variable("FLIPTOP_NAME") == "my-extension"


# --- legacy ---


def test_legacy_is_started_in_place_with_one_line(layer: Layer) -> None:
    outcome = layer.run({**COMPATIBILITY, "DD_APPSEC_ENABLED": "true"})
    assert_legacy(layer, outcome)
    told = only_line(outcome)
    assert next(iter(told)) == FALLBACK
    assert told[FALLBACK] == "extension_version"
    assert told["reasons"] == ["extension_version", "appsec_enabled"]
    assert set(told) == {FALLBACK, "reasons", "layer_version", "decision_us"}


def test_legacy_gets_its_environment_untouched(layer: Layer) -> None:
    given = layer.environ({**COMPATIBILITY, "A": "ü", "B": "", "FLIPTOP_NAME": "theirs", "C": "x" * 2000})
    seen = layer.run({**COMPATIBILITY, "A": "ü", "B": "", "FLIPTOP_NAME": "theirs", "C": "x" * 2000}).legacy
    assert seen is not None
    assert seen.environ == [os.fsencode(f"{name}={value}") for name, value in given.items()]


def test_legacy_inherits_no_file_and_no_ignored_signal(layer: Layer) -> None:
    plain = subprocess.run([layer.built.reporter], env=layer.environ(), check=True, stdout=subprocess.DEVNULL)
    assert plain.returncode == 0
    seen = layer.run(COMPATIBILITY, restore_signals=True).legacy
    assert seen is not None
    assert seen.open_files == [0, 1, 2]
    assert signal.SIGPIPE not in seen.ignored_signals


def test_yaml_decides_too(layer: Layer) -> None:
    layer.yaml(
        "site: datadoghq.eu\notlp_config:\n  receiver:\n    protocols:\n      http: {endpoint: 'localhost:4318'}\n"
    )
    outcome = layer.run()
    assert_legacy(layer, outcome)
    assert only_line(outcome)[FALLBACK] == "otel"


def test_the_environment_decides_when_the_file_is_unsure(layer: Layer) -> None:
    layer.yaml("a: *b\n")
    outcome = layer.run(COMPATIBILITY)
    assert_legacy(layer, outcome)
    assert only_line(outcome)["unsure"] == "line 1: alias"


def test_works_from_any_place(layer: Layer, tmp_path: Path) -> None:
    moved = shutil.copytree(layer.root, tmp_path / "a place" / 'with "quotes" and \\')
    elsewhere = Layer(moved, layer.task, layer.built, layer.extra)
    assert_next(elsewhere, elsewhere.run())
    elsewhere.extension.with_name("fliptop.report").unlink()
    assert_legacy(elsewhere, elsewhere.run(COMPATIBILITY))


def test_works_by_link_and_by_relative_path(layer: Layer, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(layer.launcher)
    subprocess.run(["./link"], cwd=tmp_path, env=layer.environ(COMPATIBILITY), check=True, stdout=subprocess.DEVNULL)
    assert layer.legacy.with_name("datadog-agent-go.report").exists()
    subprocess.run(["extensions/datadog-agent"], cwd=layer.root, env=layer.environ(), check=True)
    assert layer.extension.with_name("fliptop.report").exists()


# --- facts about the layer and the machine ---


def machine(layer: Layer) -> Path:
    return Path(layer.extra["FLIPTOP_TEST_LIBC_ROOT"])


@pytest.mark.parametrize(
    "target", ["libc-2.26.so", "libc-2.33.so", "../lib/libc-2.31.so", "libc.musl-x86_64.so.1", "libc-2.so"]
)
def test_old_or_foreign_libc(layer: Layer, target: str) -> None:
    (machine(layer) / "lib64/libc.so.6").unlink()
    (machine(layer) / "lib64/libc.so.6").symlink_to(target)
    outcome = layer.run()
    assert_legacy(layer, outcome)
    assert only_line(outcome)["reasons"] == ["libc"]


def test_linked_but_new_libc(layer: Layer) -> None:
    (machine(layer) / "lib64/libc.so.6").unlink()
    (machine(layer) / "lib64/libc.so.6").symlink_to("libc-2.34.so")
    assert_next(layer, layer.run())


def test_no_glibc_at_all(layer: Layer) -> None:
    (machine(layer) / "lib64/libc.so.6").unlink()
    assert only_line(layer.run())["reasons"] == ["libc"]


def test_libc_in_debians_place(layer: Layer) -> None:
    place = machine(layer) / "lib" / f"{os.uname().machine}-linux-gnu"
    place.mkdir(parents=True)
    (machine(layer) / "lib64/libc.so.6").rename(place / "libc.so.6")
    assert_next(layer, layer.run())


def test_a_script_does_not_need_the_libc(layer: Layer) -> None:
    (machine(layer) / "lib64/libc.so.6").unlink()
    shutil.copy2(layer.extension, layer.root / "reporter")
    layer.extension.write_text(f'#!/bin/sh\nexec {layer.root}/reporter "$0"\n')
    outcome = layer.run()
    assert outcome.lines == []
    assert layer.root.joinpath("reporter.report").exists()


@pytest.mark.parametrize("damage", ["absent", "not executable", "a directory"])
def test_extension_missing(layer: Layer, damage: str) -> None:
    layer.extension.unlink()
    if damage == "not executable":
        layer.extension.touch(0o644)
    if damage == "a directory":
        layer.extension.mkdir()
    outcome = layer.run()
    assert_legacy(layer, outcome)
    told = only_line(outcome)
    assert told["reasons"] == ["extension_missing"]
    expected = {
        "absent": "No such file or directory",
        "not executable": "Permission denied",
        "a directory": "Is a directory",
    }
    assert told["detail"] == f"{layer.extension}: {expected[damage]}"


@pytest.mark.parametrize("damage", ["absent", "not executable"])
def test_legacy_missing_runs_the_new_one_and_says_so_once(layer: Layer, damage: str) -> None:
    layer.legacy.unlink()
    if damage == "not executable":
        layer.legacy.touch(0o644)
    outcome = layer.run({**COMPATIBILITY, "DD_TRACE_OTEL_ENABLED": "true"})
    assert_next(layer, outcome)
    told = only_line(outcome)
    assert next(iter(told)) == UNAVAILABLE
    assert told[UNAVAILABLE] == "extension_version"
    assert told["reasons"] == ["extension_version", "otel"]
    assert told["legacy"].startswith(f"{layer.legacy}: ")
    assert told["starting"] == str(layer.extension)


def test_legacy_missing_without_reasons_is_no_news(layer: Layer) -> None:
    layer.legacy.unlink()
    outcome = layer.run()
    assert_next(layer, outcome)
    assert outcome.lines == []


def test_both_missing(layer: Layer) -> None:
    layer.legacy.unlink()
    layer.extension.unlink()
    outcome = layer.run(COMPATIBILITY)
    assert outcome.returncode == 1
    told = only_line(outcome)
    assert next(iter(told)) == CANNOT_START
    assert str(layer.extension) in told["extension"]
    assert str(layer.legacy) in told["legacy"]
    assert "layer" in told["what_to_do"]


NO_PROGRAMS = {
    "rubbish": (b"\x00\x01rubbish", "Exec format error"),
    "a missing interpreter": (b"#!/no/such/interpreter\n", "No such file or directory"),
    "an empty file": (b"", "Exec format error"),
}


@pytest.mark.parametrize("kind", NO_PROGRAMS)
def test_extension_that_cannot_be_executed(layer: Layer, kind: str) -> None:
    content, error = NO_PROGRAMS[kind]
    layer.extension.write_bytes(content)
    outcome = layer.run()
    assert_legacy(layer, outcome)
    told = only_line(outcome)
    assert told[FALLBACK] == "extension_missing"
    assert told["detail"] == f"{layer.extension}: {error}"


@pytest.mark.parametrize("kind", NO_PROGRAMS)
def test_legacy_that_cannot_be_executed(layer: Layer, kind: str) -> None:
    content, error = NO_PROGRAMS[kind]
    layer.legacy.write_bytes(content)
    outcome = layer.run(COMPATIBILITY)
    assert_next(layer, outcome)
    first, second = (json.loads(line) for line in outcome.lines)
    assert next(iter(first)) == FALLBACK
    assert next(iter(second)) == UNAVAILABLE
    assert second["legacy"] == f"{layer.legacy}: {error}"


def test_neither_can_be_executed(layer: Layer) -> None:
    layer.legacy.write_bytes(b"")
    layer.extension.write_bytes(b"")
    outcome = layer.run()
    assert outcome.returncode == 1
    assert [next(iter(json.loads(line))) for line in outcome.lines] == [FALLBACK, CANNOT_START]
