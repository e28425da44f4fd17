"""Checklist 15 to 22: init, its failures, and init again."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from fliptop_lab.lambda_ import ExecutionEnvironment, Invocation, Platform

from .harness import QUICK, body, lab, names, order, order_of, records, said

IMPATIENT = Platform(init_timeout_s=0.7, shutdown_budget_s=1.0)
Outcome = tuple[ExecutionEnvironment, list[Invocation]]


def outcome(folder: Path, extensions: Any, *, times: int = 1, platform: Platform = QUICK, **settings: Any) -> Outcome:
    """Runs so many invocations."""

    async def run() -> Outcome:
        async with lab(folder, extensions, platform, **settings) as environment:
            return environment, [await environment.invoke() for _ in range(times)]

    return asyncio.run(run())


def phases(environment: ExecutionEnvironment) -> list[tuple[str, str]]:
    """Phase and status of each init."""
    return [
        (record.data["phase"], record.data["status"])
        for record in records(environment, "telemetry", "platform.initReport")
    ]


def test_item_15_the_first_invoke_waits_for_all_extensions_and_the_runtime(tmp_path: Path) -> None:
    slow = {"init": [["register"], ["sleep", 0.3]]}
    environment, [invocation] = outcome(tmp_path, {"slow": slow, "quick": {}}, init=[["internal", "inside"]])
    starts = [record.ns for record in records(environment, "telemetry", "platform.start")]
    ready = {record.data["extension"]: record.ns for record in reversed(records(environment, "api", "next"))}
    assert set(ready) == {"slow", "quick", "inside"}
    assert all(ns < starts[0] for ns in ready.values())
    assert records(environment, "api", "runtime/next")[0].ns < ready["slow"]
    assert invocation.init_ms is not None
    assert invocation.init_ms > 300


def test_item_16_an_internal_extension_that_never_calls_next_blocks_init(tmp_path: Path) -> None:
    inside = [["first", "/tmp/been", [["internal", "inside", ["INVOKE"], False]]]]
    environment, [invocation] = outcome(tmp_path, None, platform=IMPATIENT, init=inside)
    assert phases(environment) == [("init", "timeout"), ("invoke", "success")]
    assert invocation.status == "success"


def test_item_17_init_beyond_its_limit_is_killed_and_repeated_within_the_invocation(tmp_path: Path) -> None:
    slow = {"init": [["first", "/tmp/been", [["hang"]]], ["register"]]}
    environment, [invocation] = outcome(tmp_path, {"slow": slow}, platform=IMPATIENT)
    assert phases(environment) == [("init", "timeout"), ("invoke", "success")]
    assert records(environment, "process", "exit")[0].data["signal"] == 9
    report = next(line for line in environment.log if line.startswith("INIT_REPORT"))
    assert report.endswith("Phase: init\tStatus: timeout")
    assert invocation.status == "success"
    assert invocation.duration_ms > 10  # a suppressed init counts


@pytest.mark.parametrize("code", [0, 1, 7])
@pytest.mark.parametrize("registered", [True, False])
def test_item_19_an_exit_during_init_is_a_crash_whatever_the_code(tmp_path: Path, code: int, registered: bool) -> None:
    steps = [["register"], ["exit", code]] if registered else [["exit", code]]
    environment, [invocation] = outcome(tmp_path, {"one": {"init": steps}})
    assert invocation.error_type == "Extension.Crash"
    assert (b"exit status %d" % code if code else b"exit code 0") in invocation.payload
    assert phases(environment) == [("init", "error"), ("invoke", "error")]


@pytest.fixture(scope="module")
def init_error(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """An extension reports an init error, twice, asks for an event, exits."""
    report = [
        ["error", "init", "Extension.ConfigInvalid", {"errorMessage": "no key"}],
        ["error", "init", "Extension.B"],
    ]
    bare = ["http", "POST", "/2020-01-01/extension/init/error", "{}"]
    steps = [["register"], bare, *report, ["next"], ["exit", 0]]
    return outcome(tmp_path_factory.mktemp("init"), {"one": {"init": steps}})


def test_item_20_init_error_is_accepted_and_ends_the_extension(init_error: Outcome) -> None:
    environment, [invocation] = init_error
    assert [answer["status"] for answer in said(environment, "one", "http")][1] == 202
    after = said(environment, "one", "next")[0]
    assert (after["status"], body(after)["errorType"]) == (403, "Extension.InvalidExtensionState")
    assert "from InitError to Ready failed" in body(after)["errorMessage"]
    assert invocation.error_type == "Extension.InitError"


def test_item_21_init_error_needs_a_type_and_keeps_the_first(init_error: Outcome) -> None:
    environment, _ = init_error
    bare, first, second = said(environment, "one", "http")[:3]
    assert (bare["status"], body(bare)["errorType"]) == (403, "Extension.MissingHeader")
    assert (first["status"], second["status"]) == (202, 202)
    told = records(environment, "telemetry", "platform.extension")[0].data
    assert (told["state"], told["errorType"]) == ("InitError", "Extension.ConfigInvalid")


def test_item_22_a_failed_init_is_repeated_once_per_invocation(tmp_path: Path) -> None:
    environment, invocations = outcome(tmp_path, {"one": {"init": [["register"], ["exit", 3]]}}, times=2)
    assert phases(environment) == [("init", "error"), ("invoke", "error"), ("invoke", "error")]
    assert {invocation.error_type for invocation in invocations} == {"Extension.Crash"}
    assert [invocation.init_ms for invocation in invocations] == [None, None]


def test_item_55_a_suppressed_init_is_told_before_the_start(tmp_path: Path) -> None:
    once = {"init": [["register"], ["first", "/tmp/been", [["exit", 1]]]]}
    environment, [invocation] = outcome(tmp_path, {"one": once})
    assert names(environment)[:9] == [
        *("initStart", "initRuntimeDone", "extension", "initReport"),
        *("initStart", "initRuntimeDone", "extension", "initReport"),
        "start",
    ] or names(environment)[:8] == [
        *("initStart", "extension", "initReport"),  # the exit may come before the runtime is started
        *("initStart", "initRuntimeDone", "extension", "initReport"),
        "start",
    ]
    starts = [record.data["phase"] for record in records(environment, "telemetry", "platform.initStart")]
    assert starts == ["init", "invoke"]
    assert invocation.status == "success"
    assert "initDurationMs" not in records(environment, "telemetry", "platform.report")[0].data["metrics"]


def test_a_runtime_that_reports_an_init_error_answers_the_caller_with_it(tmp_path: Path) -> None:
    steps = [["init_error", "Runtime.ImportModuleError", {"errorMessage": "no module"}], ["exit", 1]]
    environment, [invocation] = outcome(tmp_path, {"one": {}}, init=steps)
    assert invocation.error_type == "Runtime.ImportModuleError"
    assert b"no module" in invocation.payload
    first_report = records(environment, "telemetry", "platform.initReport")[0].data
    assert first_report["errorType"] == "Runtime.ImportModuleError"


def test_a_runtime_that_cannot_be_started_is_an_invalid_entrypoint(tmp_path: Path) -> None:
    from dataclasses import replace

    from .harness import function

    async def run() -> Invocation:
        broken = replace(function(tmp_path / "task"), command=["/var/task/nothing"])
        async with ExecutionEnvironment(broken, [], QUICK) as environment:
            return await environment.invoke()

    assert asyncio.run(run()).error_type == "Runtime.InvalidEntrypoint"


def test_init_ahead_of_time_leaves_the_environment_frozen(tmp_path: Path) -> None:
    async def run() -> tuple[ExecutionEnvironment, Invocation]:
        async with lab(tmp_path, {"one": {}}) as environment:
            assert (await environment.init()).phase == "init"
            assert environment.frozen
            return environment, await environment.invoke(order())

    environment, invocation = asyncio.run(run())
    assert invocation.status == "success"
    freeze, start = order_of(environment, ("phase", "freeze"), ("telemetry", "platform.start"))
    assert freeze < start
