"""A new extension that cannot be started on this machine: legacy where that is still possible, or the next time."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.launcher.conftest import FALLBACK, UNAVAILABLE, Layer, assert_legacy, assert_next, only_line
from tests.launcher.stage import SERVES, Played, Stage
from tests.scripted_api import SHUTDOWN, invoke

TOO_LATE = "DD_EXTENSION_FALLBACK_TOO_LATE"
MACHINE_AT, TYPE_AT = 18, 16
OTHER_MACHINE = {"x86_64": 183, "aarch64": 62}


def verdict(layer: Layer) -> Path:
    return Path(layer.extra["FLIPTOP_TEST_TMP"]) / ".fliptop-cannot-start"


# --- seen before anything is registered ---


def test_another_architecture(layer: Layer) -> None:
    program = bytearray(layer.extension.read_bytes())
    struct.pack_into("<H", program, MACHINE_AT, OTHER_MACHINE[os.uname().machine])
    layer.extension.write_bytes(program)
    outcome = layer.run()
    assert_legacy(layer, outcome)
    told = only_line(outcome)
    assert told["reasons"] == ["architecture"]
    assert told["detail"] == f"{layer.extension}: Exec format error"


def test_what_is_no_program_at_all_has_no_architecture(layer: Layer) -> None:
    program = bytearray(layer.extension.read_bytes())
    struct.pack_into("<H", program, TYPE_AT, 1)  # an object file
    layer.extension.write_bytes(program)
    assert only_line(layer.run())["reasons"] == ["extension_missing"]


def test_the_loader_is_missing(layer: Layer) -> None:
    machine = Path(layer.extra["FLIPTOP_TEST_LIBC_ROOT"])
    (machine / layer.built.loader.relative_to("/")).unlink()
    outcome = layer.run()
    assert_legacy(layer, outcome)
    told = only_line(outcome)
    assert told["reasons"] == ["loader"]
    assert told["detail"] == f"{layer.built.loader}: No such file or directory"


@pytest.mark.parametrize("at", [32, 54, 56], ids=["e_phoff", "e_phentsize", "e_phnum"])
def test_program_headers_that_lead_nowhere(layer: Layer, at: int) -> None:
    program = bytearray(layer.extension.read_bytes())
    program[at : at + 2] = b"\xff\xff"
    layer.extension.write_bytes(program)
    layer.run({"DD_EXTENSION_VERSION": "compatibility"})
    assert layer.legacy.with_name("datadog-agent-go.report").exists(), "it was looked at, and nothing broke"


# --- found out while datadog.yaml is settled ---

SILENT = {
    "nothing": "",
    "half a line": "settled ot",
    "another word": "otel\n",
    "too much": "settled " + "x" * 1000 + "\n",
}


def test_what_the_extension_settles_goes_to_legacy(layer: Layer) -> None:
    layer.yaml("appsec_enabled: &x true\nextension_version: *y\n")
    outcome = layer.run({"DD_LAMBDA_FIPS_MODE": "false", "SETTLED": "settled appsec_enabled no_such_reason fips\n"})
    assert_legacy(layer, outcome)
    told = only_line(outcome)
    assert told["reasons"] == ["appsec_enabled", "fips"]
    assert "unsure" not in told, "it is settled"


def test_what_settles_without_a_reason_runs_the_new_one(layer: Layer) -> None:
    layer.yaml("appsec_enabled: &x false\n")
    outcome = layer.run()
    assert_next(layer, outcome)
    assert outcome.lines == []


def test_without_legacy_the_new_one_runs_whatever_is_settled(layer: Layer) -> None:
    layer.legacy.unlink()
    layer.yaml("appsec_enabled: &x true\n")
    outcome = layer.run({"SETTLED": "settled appsec_enabled\n"})
    assert_next(layer, outcome)
    assert only_line(outcome)["reasons"] == ["appsec_enabled"]


@pytest.mark.parametrize("kind", SILENT)
def test_one_that_gives_no_answer_will_not_serve(layer: Layer, kind: str) -> None:
    layer.yaml("a: *x\n")
    outcome = layer.run({"SETTLED": SILENT[kind]})
    assert_legacy(layer, outcome)
    told = only_line(outcome)
    assert told["reasons"] == ["failed_to_start"]
    assert told["detail"] == "exit 0"


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("exit 127", "exit 127"),
        ("kill -SEGV $$", "SIGSEGV"),
        ("exec >&-; exec sleep 60", "SIGKILL"),
        pytest.param("exec sleep 60", "hang", marks=pytest.mark.slow),
    ],
)
def test_one_that_dies_or_hangs_before_it_answers(layer: Layer, script: str, cause: str) -> None:
    layer.yaml("a: *x\n")
    layer.extension.write_text(f"#!/bin/sh\n{script}\n")
    outcome = layer.run()
    assert_legacy(layer, outcome)
    assert only_line(outcome)["detail"] == cause


def test_one_that_gives_no_answer_runs_where_there_is_no_legacy(layer: Layer) -> None:
    layer.legacy.unlink()
    layer.yaml("a: *x\n")
    outcome = layer.run({"SETTLED": ""})
    assert_next(layer, outcome)
    assert outcome.lines == []


# --- found out after the registration ---

LOADING_DEATHS: dict[str, list[Any]] = {"exit 127": ["exit", 127], "SIGKILL": ["kill", signal.SIGKILL]}


def fail(stage: Stage, death: str = "exit 127") -> Played:
    return stage.play([[LOADING_DEATHS[death]]], [stage.after_births(3), 0.1, invoke(9)], SHUTDOWN)


@pytest.mark.parametrize("death", LOADING_DEATHS)
def test_the_guard_carries_the_function_and_the_next_start_goes_to_legacy(stage: Stage, death: str) -> None:
    played = fail(stage, death)
    assert (played.returncode, played.nexts) == (0, 2)
    told = played.told[-1]
    assert [key for key, _ in played.headlines()] == ["DD_EXTENSION_DIED"] * 3 + [TOO_LATE]
    assert (told[TOO_LATE], told["reasons"], told["detail"]) == ("failed_to_start", ["failed_to_start"], death)
    assert "the legacy extension does" in told["what_happens"]

    outcome = stage.layer.run()
    assert_legacy(stage.layer, outcome)
    assert only_line(outcome)["reasons"] == ["failed_to_start"]
    assert only_line(outcome)["detail"] == death
    assert only_line(stage.layer.run(None, "--explain", "--json"))["decision"] == "legacy"
    assert f"died of     {death}" in stage.layer.run(None, "--explain").lines


def test_one_that_cannot_be_executed_is_known_too(stage: Stage) -> None:
    stage.layer.extension.write_bytes(stage.layer.built.reporter.read_bytes()[:64])  # its header promises more
    played = stage.play([], [invoke(9)], SHUTDOWN)
    assert played.headlines()[-1] == (TOO_LATE, "failed_to_start")
    assert only_line(stage.layer.run())["reasons"] == ["failed_to_start"]


def test_without_legacy_nothing_is_promised_and_the_new_one_is_tried_again(stage: Stage) -> None:
    stage.layer.legacy.unlink()
    assert fail(stage).told[-1]["what_happens"] == "The launcher serves this environment alone, without Datadog."
    lives: list[list[Any]] = [[["exit", 127]]] * 3 + [SERVES]
    again = stage.play(lives, [stage.after_births(4), *SHUTDOWN])
    assert again.headlines() == [(UNAVAILABLE, "failed_to_start")]
    assert again.told[0]["detail"] == "exit 127"


def test_one_that_has_served_once_can_be_started(stage: Stage) -> None:
    lives: list[list[Any]] = [["beat", "ask", "event", ["exit", 1]], [["exit", 1]]]
    played = stage.play(lives, [invoke(9)], [stage.after_births(3), 0.1, *SHUTDOWN])
    assert [key for key, _ in played.headlines()] == ["DD_EXTENSION_DIED"] * 3
    assert not verdict(stage.layer).exists()


# --- what is kept in /tmp ---


def test_another_file_is_not_that_file(stage: Stage) -> None:
    fail(stage)
    shutil.copy2(stage.layer.built.reporter, stage.layer.extension)
    assert_next(stage.layer, stage.layer.run())


@pytest.mark.parametrize("kind", ["absent", "a directory", "read-only"])
def test_a_tmp_that_takes_nothing_changes_nothing(stage: Stage, kind: str) -> None:
    if kind == "a directory":
        verdict(stage.layer).mkdir()
    if kind == "absent":
        verdict(stage.layer).parent.rmdir()
    if kind == "read-only":  # which root may write to all the same
        stage.layer.extra["FLIPTOP_TEST_TMP"] = "/proc/self"
    played = fail(stage)
    assert played.told[-1]["what_happens"] == "The launcher serves this environment alone, without Datadog."
    assert (played.returncode, played.nexts) == (0, 2)


def test_an_old_verdict_gives_way(stage: Stage) -> None:
    verdict(stage.layer).write_text("fliptop 0.0.1 1 2 3 4: exit 1\n")
    verdict(stage.layer).chmod(0o444)
    fail(stage)
    assert only_line(stage.layer.run())["reasons"] == ["failed_to_start"]
    assert verdict(stage.layer).stat().st_mode & 0o777 == 0o600


def bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def doubled(path: Path) -> None:
    path.with_name("second").hardlink_to(path)


def replaced(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


def rewritten(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda path: void(path.write_bytes(change(path.read_bytes())))


def void(_: object) -> None:
    """Nobody wants it."""


HOSTILE: dict[str, Callable[[Path], None]] = {
    "a pipe": replaced(os.mkfifo),
    "a socket": replaced(bound),
    "a directory": replaced(Path.mkdir),
    "a link": linked,
    "a second name": doubled,
    "a link to itself": replaced(lambda path: path.symlink_to(path)),
    "a device": replaced(lambda path: path.symlink_to("/dev/zero")),
    "empty": rewritten(lambda _: b""),
    "cut": rewritten(lambda said: said[:-1]),
    "a huge file": rewritten(lambda said: said[:-1] + b"x" * 10_000_000),
    "no cause": rewritten(lambda said: said.rpartition(b": ")[0] + b": \n"),
    "control characters": rewritten(lambda said: said[:-1] + b"\x1b[2J\n"),
    "a NUL": rewritten(lambda said: said[:-1] + b"\0\n"),
    "another version": rewritten(lambda said: said.replace(b"fliptop ", b"fliptop 9")),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_whatever_else_is_there_does_not_count(stage: Stage, kind: str) -> None:
    fail(stage)
    assert only_line(stage.layer.run(None, "--explain", "--json"))["reasons"] == ["failed_to_start"]
    HOSTILE[kind](verdict(stage.layer))
    assert only_line(stage.layer.run(None, "--explain", "--json"))["reasons"] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file away")
def test_the_word_of_another_user_does_not_count(stage: Stage) -> None:
    fail(stage)
    os.chown(verdict(stage.layer), 65534, 65534)
    assert only_line(stage.layer.run(None, "--explain", "--json"))["reasons"] == []


def test_a_text_that_the_function_has_put_there_cannot_leave_its_place(stage: Stage) -> None:
    fail(stage)
    rewritten(lambda said: said.rpartition(b": ")[0] + b': ","x":"\n')(verdict(stage.layer))
    told = json.loads(stage.layer.run().lines[0])
    assert told["detail"] == '","x":"'
    assert next(iter(told)) == FALLBACK
