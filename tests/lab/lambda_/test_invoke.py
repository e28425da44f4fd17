"""Checklist 23 to 33: invocations, and what ends them badly."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from fliptop_lab.lambda_ import ExecutionEnvironment, Invocation, Platform

from .harness import QUICK, body, data, lab, names, order, order_of, records, said, tmp_path_of

TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
ROOMY = Platform(init_timeout_s=5.0, shutdown_budget_s=2.0)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExecutionEnvironment, list[Invocation], float]:
    """Three invocations, the second traced; a slow extension, one that wants no INVOKE."""
    extensions: dict[str, Any] = {
        "slow": {"always": [["sleep", 0.2]]},
        "deaf": {"init": [["register", ["SHUTDOWN"]]]},
    }

    async def run() -> tuple[ExecutionEnvironment, list[Invocation], float]:
        async with lab(tmp_path_factory.mktemp("calm"), extensions) as environment:
            first = await environment.invoke(order())
            second = environment.dispatch(order(response='"two"'), trace_header=TRACE)
            third = environment.dispatch(order())
            assert await second.response() == b'"two"'
            assert not second.settled.done()
            answered = asyncio.get_running_loop().time()
            settled = await second.settled
            waited = asyncio.get_running_loop().time() - answered
            return environment, [first, settled, await third.settled], waited

    return asyncio.run(run())


Calm = tuple[ExecutionEnvironment, list[Invocation], float]


def events(environment: ExecutionEnvironment, who: str) -> list[dict[str, Any]]:
    """The events an extension got, with the header that names each."""
    return [
        {**body(line), "id": line["headers"]["Lambda-Extension-Event-Identifier"]}
        for line in said(environment, who, "next")
    ]


def test_item_23_the_invoke_event_has_its_fields_and_an_identifier_of_its_own(calm: Calm) -> None:
    environment, invocations, _ = calm
    got = [event for event in events(environment, "slow") if event["eventType"] == "INVOKE"]
    assert [event["requestId"] for event in got] == [invocation.request_id for invocation in invocations]
    assert {event["invokedFunctionArn"] for event in got} == {
        "arn:aws:lambda:eu-west-1:111122223333:function:lab-function"
    }
    assert all(isinstance(event["deadlineMs"], int) for event in got)
    assert [event.get("tracing") for event in got] == [None, {"type": "X-Amzn-Trace-Id", "value": TRACE}, None]
    assert len({event["id"] for event in got}) == 3


def test_item_24_runtime_and_extension_agree_on_request_and_deadline(calm: Calm) -> None:
    environment, _, _ = calm
    headers = [line["headers"] for line in said(environment, "runtime", "invocation")]
    told = [(one["Lambda-Runtime-Aws-Request-Id"], int(one["Lambda-Runtime-Deadline-Ms"])) for one in headers]
    got = [event for event in events(environment, "slow") if event["eventType"] == "INVOKE"]
    assert told == [(event["requestId"], event["deadlineMs"]) for event in got]
    assert headers[1]["Lambda-Runtime-Trace-Id"] == TRACE


def test_item_25_who_wants_no_invoke_is_neither_woken_nor_awaited(calm: Calm) -> None:
    environment, _, _ = calm
    assert [event["eventType"] for event in events(environment, "deaf")] == ["SHUTDOWN"]
    assert {record.data["extension"] for record in records(environment, "event", "INVOKE")} == {"slow"}


def test_item_26_the_caller_is_answered_when_the_runtime_has_responded(calm: Calm) -> None:
    _, invocations, waited = calm
    assert waited > 0.15
    assert all(invocation.latency_ms < invocation.duration_ms for invocation in invocations[1:2])


def test_item_27_the_next_invoke_waits_for_runtime_and_extensions(calm: Calm) -> None:
    environment, _, _ = calm
    log = [
        record.name
        for record in environment.records
        if record.name in ("INVOKE", "next") and record.data.get("extension") == "slow"
    ]
    assert log == ["next", *["INVOKE", "next"] * 3]


def test_item_28_time_spent_in_extensions_counts(calm: Calm) -> None:
    environment, invocations, _ = calm
    for number, invocation in enumerate(invocations):
        report = data(environment, "report", number)
        overhead = report["spans"][0]
        assert overhead["name"] == "extensionOverhead"
        assert overhead["durationMs"] > 150
        assert report["metrics"]["durationMs"] == invocation.duration_ms > 200
        assert invocation.billed_ms >= invocation.duration_ms
        assert invocation.post_runtime_ms > 150


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExecutionEnvironment, Invocation, Invocation]:
    """The function hangs past its timeout; one extension is parked, one is busy; /tmp is written; then all is well."""
    extensions: dict[str, Any] = {
        "parked": {"always": [["read", "/tmp/kept"], ["touch", "/tmp/kept", "before"]]},
        "busy": {"always": [["first", "/tmp/busy", [["sleep", 1.7]]]]},
    }
    slow = [["on_term"], ["hang"]]

    async def run() -> tuple[ExecutionEnvironment, Invocation, Invocation]:
        async with lab(tmp_path_factory.mktemp("late"), extensions, ROOMY, timeout_s=1.5) as environment:
            first = await environment.invoke(order(before=slow))
            return environment, first, await environment.invoke(order())

    return asyncio.run(run())


Late = tuple[ExecutionEnvironment, Invocation, Invocation]


def test_item_29_a_timeout_resets_in_order(late: Late) -> None:
    environment, first, _ = late
    assert (first.status, first.duration_ms) == ("timeout", 1500)
    assert b"Task timed out after 1.50 seconds" in first.payload
    done, term, shutdown, report = order_of(
        environment,
        ("telemetry", "platform.runtimeDone"),
        ("phase", "signal"),
        ("event", "SHUTDOWN"),
        ("telemetry", "platform.report"),
    )
    assert done < term < shutdown < report
    assert data(environment, "runtimeDone")["status"] == "timeout"
    signals = [record.data for record in records(environment, "phase", "signal")][:2]
    assert [one["signal"] for one in signals] == ["SIGTERM", "SIGKILL"]
    assert {one["name"] for one in signals} == {"runtime"}
    for who in ("parked", "busy"):
        last = events(environment, who)[1]
        assert (last["eventType"], last["shutdownReason"]) == ("SHUTDOWN", "timeout")
    assert any(line.endswith("Task timed out after 1.50 seconds") for line in environment.log)


def test_item_32_after_a_reset_everything_is_new_but_tmp_is_kept(late: Late) -> None:
    environment, _, second = late
    assert second.status == "success"
    assert second.init_ms is None
    identifiers = [line["headers"]["Lambda-Extension-Identifier"] for line in said(environment, did="register")]
    assert len(set(identifiers)) == 4
    assert [line["text"] for line in said(environment, "parked", "read")] == [None, "before"]
    starts = [record.data["phase"] for record in records(environment, "telemetry", "platform.initStart")]
    assert starts == ["init", "invoke"]


def crash(folder: Path, steps: list[Any], runtime: bytes = b"{}") -> tuple[ExecutionEnvironment, list[Invocation]]:
    """The first invocation makes an extension take these steps; another extension looks on; a second one follows."""
    extensions: dict[str, Any] = {
        "one": {"always": [["first", "/tmp/crashed", steps]]},
        "other": {"shutdown": [["sleep", 0.01]]},
    }

    async def run() -> tuple[ExecutionEnvironment, list[Invocation]]:
        async with lab(folder, extensions, QUICK) as environment:
            return environment, [await environment.invoke(runtime), await environment.invoke()]

    return asyncio.run(run())


@pytest.mark.parametrize("code", [0, 5])
def test_item_30_an_extension_that_exits_during_an_invoke_crashed(tmp_path: Path, code: int) -> None:
    environment, [first, second] = crash(tmp_path, [["exit", code]], order(before=[["sleep", 3]]))
    assert (first.status, first.error_type, first.responded) == ("error", "Extension.Crash", False)
    assert json.loads(first.payload)["errorType"] == "Extension.Crash"
    assert (
        data(environment, "runtimeDone")["errorType"] == data(environment, "report")["errorType"] == "Extension.Crash"
    )
    assert second.status == "success"


def test_item_30_an_extension_that_reported_exit_error_is_told_as_such(tmp_path: Path) -> None:
    steps = [["error", "exit", "Extension.Worn"], ["exit", 1]]
    environment, [first, second] = crash(tmp_path, steps, order(before=[["sleep", 3]]))
    assert (first.error_type, second.status) == ("Extension.ExitError", "success")
    assert said(environment, "one", "http")[0]["status"] == 202


def test_item_30_a_crash_after_the_response_leaves_the_response(tmp_path: Path) -> None:
    environment, [first, second] = crash(tmp_path, [["sleep", 0.3], ["exit", 1]])
    assert (first.payload, first.responded, first.error_type) == (b'"fine"', True, "Extension.Crash")
    done = [record.data["status"] for record in records(environment, "telemetry", "platform.runtimeDone")]
    assert done == ["success", "error", "success"]
    assert second.status == "success"


@pytest.mark.parametrize("step", [["exit", 0], ["exit", 1], ["die"]])
def test_item_31_a_runtime_that_exits_is_an_exit_error_and_a_failure(tmp_path: Path, step: list[Any]) -> None:
    environment, [first, second] = crash(tmp_path, [], order(before=[step]))
    assert (first.status, first.error_type, second.status) == ("error", "Runtime.ExitError", "success")
    reasons = [record.data["shutdownReason"] for record in records(environment, "event", "SHUTDOWN")]
    assert reasons[:2] == ["failure", "failure"]
    assert names(environment).index("runtimeDone") < names(environment).index("report")


def test_item_33_only_the_first_fatal_error_is_told(tmp_path: Path) -> None:
    steps = [["error", "exit", "Extension.First"], ["touch", "/tmp/go"], ["sleep", 0.2], ["exit", 1]]
    environment, [first, _] = crash(tmp_path, steps, order(before=[["wait", "/tmp/go"], ["exit", 1]]))
    assert first.error_type == "Extension.ExitError"
    told = {record.data.get("errorType") for record in records(environment, "telemetry", "platform.report")}
    assert told == {"Extension.ExitError", None}


class Client:
    """A hand-made HTTP client inside the environment's network, for what probes cannot do."""

    async def open(self, environment: ExecutionEnvironment) -> None:
        connection = environment.sandbox.new_socket()
        connection.setblocking(False)
        host, _, port = environment.api.rpartition(":")
        await asyncio.get_running_loop().sock_connect(connection, (host, int(port)))
        self.reader, self.writer = await asyncio.open_connection(sock=connection)

    def send(self, method: str, path: str, body: str = "", **headers: str) -> None:
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
        self.writer.write((head + body).encode())

    async def answer(self) -> tuple[str, str]:
        """Head and body of the next response."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        size = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
        return head, (await self.reader.readexactly(size)).decode()

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


def test_pipelined_requests_are_served_in_order_and_a_second_next_elsewhere_is_refused(tmp_path: Path) -> None:
    next_path = "/2020-01-01/extension/event/next"

    async def run() -> None:
        async with lab(tmp_path, init=[["wait", "/tmp/go"]]) as environment:
            first, second = Client(), Client()
            await first.open(environment)
            await second.open(environment)
            starting = asyncio.create_task(environment.init())
            await asyncio.sleep(0)
            first.send("POST", "/2020-01-01/extension/register", '{"events":["INVOKE"]}', Lambda_Extension_Name="x")
            head, _ = await first.answer()
            identifier = head.split("Lambda-Extension-Identifier: ")[1].split("\r\n")[0]
            first.send("GET", next_path, Lambda_Extension_Identifier=identifier)
            first.send("GET", "/2018-06-01/ping")
            assert environment.life is not None
            await environment.life.changes.until(lambda: bool(records(environment, "api", "next")), 10)
            second.send("GET", next_path, Lambda_Extension_Identifier=identifier)
            head, text = await second.answer()
            assert head.startswith("HTTP/1.1 403")
            assert "State transition from Ready to Ready failed" in text
            first.send("GET", next_path, Lambda_Extension_Identifier=identifier)
            (tmp_path_of(environment) / "go").touch()
            assert (await starting).status == "success"
            assert (await environment.invoke()).status == "success"
            assert '"INVOKE"' in (await first.answer())[1]
            assert (await first.answer())[1] == "pong"
            await first.close()
            await second.close()

    asyncio.run(run())


def test_a_handled_error_keeps_the_environment(tmp_path: Path) -> None:
    async def run() -> tuple[ExecutionEnvironment, list[Invocation]]:
        async with lab(tmp_path, {"one": {}}) as environment:
            return environment, [await environment.invoke(order(error="Function.Bad")), await environment.invoke()]

    environment, [first, second] = asyncio.run(run())
    assert (first.status, first.error_type, first.responded) == ("error", "Function.Bad", True)
    assert second.status == "success"
    assert len(records(environment, "process", "start")) == 2


def test_an_extension_that_dies_while_frozen_costs_the_environment_before_the_next_invoke(tmp_path: Path) -> None:
    async def run() -> tuple[ExecutionEnvironment, list[Invocation]]:
        async with lab(tmp_path, {"one": {}, "other": {}}) as environment:
            first = await environment.invoke()
            process = environment.life.processes[0]  # type: ignore[union-attr]
            process.signal(9)
            await environment.idle(0.05)
            return environment, [first, await environment.invoke()]

    environment, [_, second] = asyncio.run(run())
    assert second.status == "success"
    assert {record.data["shutdownReason"] for record in records(environment, "event", "SHUTDOWN")} == {
        "failure",
        "spindown",
    }
