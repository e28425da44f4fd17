"""Files, environments and outputs as they should not be: each has a defined outcome, and none is a crash."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.launcher.conftest import COMPATIBILITY, FALLBACK, UNREADABLE, Layer, assert_legacy, assert_next, only_line


def explained(layer: Layer) -> dict[str, Any]:
    """What `--explain` says."""
    told: dict[str, Any] = json.loads(layer.run(None, "--explain", "--json").lines[0])
    return told


# --- the file ---


def test_a_megabyte_of_yaml_is_read_to_its_end(layer: Layer) -> None:
    filler = "# " + "x" * 97 + "\n"
    tail = "appsec_enabled: true\n"
    layer.yaml(filler * ((2**20 - len(tail)) // len(filler)) + tail)
    assert only_line(layer.run())[FALLBACK] == "appsec_enabled"


def test_more_than_a_mebibyte_is_left_to_the_extension(layer: Layer) -> None:
    layer.yaml("appsec_enabled: true\n".ljust(2**20 + 1, "#"))
    told = only_line(layer.run({"SETTLED": "settled otel\n"}))
    assert told["reasons"] == ["otel"]
    assert explained(layer)["unsure"] == "larger than 1 MiB"


def test_exactly_a_mebibyte_is_read(layer: Layer) -> None:
    layer.yaml("appsec_enabled: true\n".ljust(2**20, "#"))
    assert only_line(layer.run())[FALLBACK] == "appsec_enabled"


UNREADABLES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a directory": (lambda path: path.mkdir(), "Is a directory"),
    "a pipe": (os.mkfifo, "Not a regular file"),
    "a loop": (lambda path: path.symlink_to(path), "Too many symbolic links"),
}


@pytest.mark.parametrize("kind", UNREADABLES)
def test_unreadable_file_is_told_and_left_to_the_extension(layer: Layer, kind: str) -> None:
    path = layer.task / "datadog.yaml"
    make, expected = UNREADABLES[kind]
    make(path)
    outcome = layer.run()
    assert_next(layer, outcome)
    told = only_line(outcome)
    assert next(iter(told)) == UNREADABLE
    assert told[UNREADABLE] == f"{path}: {expected}"
    assert explained(layer)["unsure"] == f"unreadable: {expected}"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become a user who may not read the file")
def test_file_without_permission(layer: Layer) -> None:
    layer.yaml("appsec_enabled: true\n")
    (layer.task / "datadog.yaml").chmod(0)
    for folder in (layer.task.parent, *layer.task.parents[1:3]):
        folder.chmod(0o755)
    layer.extension.parent.chmod(0o777)
    outcome = layer.run(user=65534, group=65534, extra_groups=[])
    assert only_line(outcome)[UNREADABLE].endswith("datadog.yaml: Permission denied")
    assert_next(layer, outcome)


def test_without_lambda_task_root_the_file_is_in_var_task(layer: Layer) -> None:
    for environ in ({}, {"LAMBDA_TASK_ROOT": ""}):
        answer = subprocess.run(
            [layer.launcher, "--explain", "--json"], env={**layer.extra, **environ}, check=True, capture_output=True
        )
        assert json.loads(answer.stdout)["paths"]["config"] == "/var/task/datadog.yaml"


def test_broken_utf8_in_the_file_is_left_to_the_extension(layer: Layer) -> None:
    layer.yaml(b"appsec_enabled: true # \xff\n")
    assert_next(layer, layer.run())
    assert explained(layer)["unsure"] == "line 1: not UTF-8"


# --- hostile surroundings ---


def test_a_large_environment(layer: Layer) -> None:
    many = {f"VARIABLE_{n}": "x" * 30 for n in range(10_000)}
    outcome = layer.run(many | {"HUGE": "y" * 100_000})
    assert_next(layer, outcome)
    assert outcome.extension is not None
    assert len(outcome.extension.environ) == len(layer.environ(many)) + 1 + 3


def test_four_kilobytes_of_environment(layer: Layer) -> None:
    environ = {f"DD_TAG_{n}": "v" * 80 for n in range(40)} | {"DD_SERVERLESS_APPSEC_ENABLED": "true"}
    assert only_line(layer.run(environ))[FALLBACK] == "appsec_enabled"


def test_broken_utf8_in_the_environment(layer: Layer) -> None:
    environ = {"DD_OTLP_CONFIG_X": "\udcff\udcfe", "DD_\udcff": "\udc80", "AWS_LAMBDA_FUNCTION_NAME": "\udcff"}
    outcome = layer.run(environ)
    assert_legacy(layer, outcome)
    assert only_line(outcome)[FALLBACK] == "otel"


def test_broken_utf8_in_a_path_still_gives_a_valid_line(layer: Layer) -> None:
    odd = layer.task / os.fsdecode(b'\xff"\n\x01\xe4\xb8\xad')
    (odd / "datadog.yaml").mkdir(parents=True)
    told = only_line(layer.run({"LAMBDA_TASK_ROOT": str(odd)}))
    assert told[UNREADABLE] == f'{layer.task}/\ufffd"\n\x01中/datadog.yaml: Is a directory'


def test_a_very_long_task_root_is_no_file(layer: Layer) -> None:
    outcome = layer.run({"LAMBDA_TASK_ROOT": "/" + "x" * 50_000})
    assert_next(layer, outcome)
    assert only_line(outcome)[UNREADABLE].endswith(": File name too long")


def test_an_empty_environment(layer: Layer) -> None:
    report = layer.extension.with_name("fliptop.report")
    process = subprocess.run([layer.launcher], env={}, check=False, capture_output=True)
    assert process.returncode == 0
    assert report.exists() or layer.legacy.with_name("datadog-agent-go.report").exists()


def test_stdout_whose_reader_is_gone(layer: Layer) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    outcome = layer.run(COMPATIBILITY, stdout=writer)
    os.close(writer)
    assert_legacy(layer, outcome)


def test_stdout_closed(layer: Layer) -> None:
    command = f'exec "{layer.launcher}" >&- 2>&-'
    subprocess.run(["/bin/sh", "-c", command], env=layer.environ(COMPATIBILITY), check=True)
    assert layer.legacy.with_name("datadog-agent-go.report").exists()


def test_stdout_full(layer: Layer) -> None:
    with Path("/dev/full").open("wb") as full:
        assert_legacy(layer, layer.run(COMPATIBILITY, stdout=full))


def test_sigpipe_ignored_by_the_parent_stays_ignored(layer: Layer) -> None:
    seen = layer.run(COMPATIBILITY, restore_signals=False).legacy
    assert seen is not None
    assert signal.SIGPIPE in seen.ignored_signals
