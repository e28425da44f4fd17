"""Checklist 1 to 14: launch and registration."""

import asyncio
import os
import uuid
from pathlib import Path
from typing import Any

import pytest

from fliptop_lab.lambda_ import ExecutionEnvironment, Platform

from .harness import QUICK, body, data, function, lab, layer, names, records, said

EXTENSION = "/2020-01-01/extension"
REGISTER = f"{EXTENSION}/register"
UNKNOWN = str(uuid.uuid4())


def call(method: str, path: str, sent: Any = None, **headers: str | None) -> list[Any]:
    """A step: a request with these headers (underscores for hyphens, None to leave out the probe's own)."""
    return ["http", method, path, sent, {name.replace("_", "-"): value for name, value in headers.items()}]


def named(name: str, sent: Any, **headers: str | None) -> list[Any]:
    return call("POST", REGISTER, sent, Lambda_Extension_Name=name, **headers)


IDENTIFIED = (
    (f"{EXTENSION}/event/next", "GET"),
    (f"{EXTENSION}/init/error", "POST"),
    (f"{EXTENSION}/exit/error", "POST"),
)
QUESTIONS: dict[str, list[Any]] = {
    "no name": call("POST", REGISTER, {"events": []}),
    "empty name": named("", {"events": []}),
    "unknown event": named("asker", {"events": ["FOO"]}),
    "empty body": named("asker", None),
    "bad JSON": named("asker", "{nope"),
    "configurationKeys": named("asker", {"configurationKeys": []}),
    "plain": named("asker", {}, Lambda_Extension_Accept_Feature="somethingElse"),
    "twice": named("asker", {"events": ["INVOKE"]}),
    "account": named("second", {"events": []}, Lambda_Extension_Accept_Feature="somethingElse, accountId"),
    "internal shutdown": named("inside", {"events": ["SHUTDOWN"]}),
    "wrong method": call("GET", REGISTER),
    "wrong method telemetry": call("POST", "/2022-07-01/telemetry", {}),
    "unknown path": call("GET", "/2020-01-01/extension/nothing"),
    "unknown version": call("GET", "/1999-01-01/extension/register"),
    **{
        f"{what} {path}": call(method, path, {}, Lambda_Extension_Identifier=identifier)
        for path, method in (*IDENTIFIED, ("/2022-07-01/telemetry", "PUT"))
        for what, identifier in (("missing", None), ("malformed", "abc"), ("unknown", UNKNOWN))
    },
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """One extension asks everything in turn; the answers by question."""
    second = {"init": [["wait", "/tmp/asked"], ["exit", 0]]}
    asker = {"init": [*QUESTIONS.values(), ["touch", "/tmp/asked"], ["hang"]]}

    async def ask() -> list[dict[str, Any]]:
        async with lab(tmp_path_factory.mktemp("ask"), {"asker": asker, "second": second}) as environment:
            await environment.init()
            return said(environment, "asker", "http")

    return dict(zip(QUESTIONS, asyncio.run(ask()), strict=True))


def error(answer: dict[str, Any]) -> tuple[int, str]:
    return answer["status"], body(answer)["errorType"]


def test_item_1_every_file_in_extensions_is_started_once_in_name_order_with_its_path(tmp_path: Path) -> None:
    async def run() -> ExecutionEnvironment:
        folder = layer(tmp_path / "layer", {"b-ext": {}, "a-ext": {}, "c-link": {}})
        (folder / "extensions" / "c-link").rename(folder / "probe" / "elsewhere")
        (folder / "extensions" / "c-link").symlink_to("../probe/elsewhere")
        (folder / "extensions" / "folder").mkdir()
        (folder / "extensions" / "folder" / "nested").write_text("#!/bin/false")
        async with ExecutionEnvironment(function(tmp_path / "task"), [folder], QUICK) as environment:
            assert (await environment.init()).status == "success"
        return environment

    environment = asyncio.run(run())
    started = [record.data for record in records(environment, "process", "start") if record.data["role"] == "extension"]
    root = environment.sandbox.opt
    assert [start["argv"] for start in started] == [
        [f"{root}/extensions/{name}"] for name in ("a-ext", "b-ext", "c-link")
    ]


def test_item_2_the_runtime_starts_only_after_every_extension_has_registered(tmp_path: Path) -> None:
    async def run() -> ExecutionEnvironment:
        slow = {"init": [["sleep", 0.1], ["register"]]}
        async with lab(tmp_path, {"quick": {}, "slow": slow}) as environment:
            await environment.init()
        return environment

    environment = asyncio.run(run())
    order = [(record.kind, record.name, record.data.get("name")) for record in environment.records]
    runtime = order.index(("process", "start", "runtime"))
    assert order[:runtime].count(("api", "register", None)) == 2
    assert order.index(("process", "start", "slow")) < order.index(("api", "register", None))


def test_item_3_a_file_that_cannot_be_executed_is_a_launch_error_and_siblings_are_killed(tmp_path: Path) -> None:
    async def run() -> ExecutionEnvironment:
        folder = layer(tmp_path / "layer", {"a-fine": {}})
        (folder / "extensions" / "b-noexec").write_text("#!/bin/true")
        async with ExecutionEnvironment(function(tmp_path / "task"), [folder], QUICK) as environment:
            result = await environment.init()
            assert (result.status, result.error_type) == ("error", "Extension.LaunchError")
            invocation = await environment.invoke()
            assert (invocation.status, invocation.error_type) == ("error", "Extension.LaunchError")
        return environment

    environment = asyncio.run(run())
    assert not records(environment, "event", "SHUTDOWN")
    assert {record.data["signal"] for record in records(environment, "process", "exit")} == {9}
    assert all(record.data["role"] == "extension" for record in records(environment, "process", "start"))
    assert "initRuntimeDone" not in names(environment)
    assert any("State: LaunchError" in line for line in environment.log)


def test_item_4_an_eleventh_extension_is_refused(tmp_path: Path) -> None:
    async def run(count: int, inside: list[Any]) -> ExecutionEnvironment:
        many: dict[str, Any] = {f"e{number:02}": {} for number in range(count)}
        async with lab(tmp_path / str(count), many, init=inside) as environment:
            await environment.init()
        return environment

    assert data(asyncio.run(run(11, [])), "initReport")["errorType"] == "Extension.TooManyExtensions"
    answer = said(asyncio.run(run(10, [["internal", "eleventh"]])), "eleventh", "register")[0]
    assert error(answer) == (403, "Extension.TooManyExtensions")


def test_item_5_register_answers_with_an_identifier_and_the_function(answers: dict[str, dict[str, Any]]) -> None:
    answer = answers["plain"]
    assert answer["status"] == 200
    uuid.UUID(answer["headers"]["Lambda-Extension-Identifier"])
    assert body(answer) == {"functionName": "lab-function", "functionVersion": "$LATEST", "handler": "handler.handler"}


def test_item_6_the_account_is_told_only_to_those_who_ask_for_it(answers: dict[str, dict[str, Any]]) -> None:
    assert body(answers["account"])["accountId"] == "111122223333"
    assert "accountId" not in body(answers["plain"])


def test_item_7_no_name_is_refused(answers: dict[str, dict[str, Any]]) -> None:
    assert error(answers["no name"]) == (403, "Extension.InvalidExtensionName")
    assert error(answers["empty name"]) == (403, "Extension.InvalidExtensionName")


def test_item_8_an_unknown_event_is_refused_and_no_events_are_accepted(answers: dict[str, dict[str, Any]]) -> None:
    assert error(answers["unknown event"]) == (403, "Extension.InvalidEventType")
    assert body(answers["unknown event"])["errorMessage"] == "FOO: ErrorInvalidEventType"
    assert answers["plain"]["status"] == answers["account"]["status"] == 200


def test_item_9_an_empty_or_malformed_body_is_refused(answers: dict[str, dict[str, Any]]) -> None:
    for question in ("empty body", "bad JSON", "configurationKeys"):
        assert error(answers[question]) == (403, "InvalidRequestFormat")


def test_item_10_registering_twice_is_refused(answers: dict[str, dict[str, Any]]) -> None:
    assert error(answers["twice"]) == (403, "Extension.InvalidExtensionState")
    assert body(answers["twice"])["errorMessage"].startswith("State transition from Registered to Registered failed")


def test_item_11_another_name_is_an_internal_extension_which_gets_no_shutdown(
    answers: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    assert error(answers["internal shutdown"]) == (403, "Extension.InvalidEventType")

    async def run() -> ExecutionEnvironment:
        async with lab(tmp_path, init=[["internal", "inside"]]) as environment:
            await environment.invoke()
        return environment

    environment = asyncio.run(run())
    assert [record.data["external"] for record in records(environment, "api", "register")] == [False]
    assert [record.name for record in records(environment, "event")] == ["INVOKE"]


def test_item_12_registration_closes_with_the_first_next_of_the_runtime(tmp_path: Path) -> None:
    late = named("late", {"events": ["INVOKE"]})

    async def run() -> ExecutionEnvironment:
        async with lab(tmp_path, {"one": {"invoke": [[late]]}}) as environment:
            await environment.invoke()
        return environment

    assert error(said(asyncio.run(run()), "one", "http")[0]) == (403, "Extension.RegistrationClosed")


def test_item_13_missing_malformed_and_unknown_identifiers_are_told_apart(answers: dict[str, dict[str, Any]]) -> None:
    types = {"missing": "Missing", "malformed": "Invalid", "unknown": "Unknown"}
    for path, _ in (*IDENTIFIED, ("/2022-07-01/telemetry", "PUT")):
        for what, prefix in types.items():
            assert error(answers[f"{what} {path}"]) == (403, f"Extension.{prefix}ExtensionIdentifier")


def test_item_14_wrong_methods_and_paths(answers: dict[str, dict[str, Any]]) -> None:
    assert answers["wrong method"]["status"] == answers["wrong method telemetry"]["status"] == 405
    assert answers["wrong method"]["headers"]["Allow"] == "POST"
    assert (answers["unknown path"]["status"], answers["unknown path"]["body"]) == (404, "404 page not found\n")
    assert answers["unknown version"]["status"] == 404


def test_extensions_can_be_switched_off_by_a_file_in_the_layer(tmp_path: Path) -> None:
    async def run() -> ExecutionEnvironment:
        folder = layer(tmp_path / "layer", {"one": {}})
        (folder / "disable-extensions-jwigqn8j").touch()
        task = function(tmp_path / "task", init=[["http", "POST", REGISTER, {}]])
        async with ExecutionEnvironment(task, [folder], Platform()) as environment:
            assert (await environment.invoke()).status == "success"
        return environment

    environment = asyncio.run(run())
    assert said(environment, "runtime", "http")[0]["status"] == 404
    assert [record.data["name"] for record in records(environment, "process", "start")] == ["runtime"]
    assert os.sep not in environment.log[0]
