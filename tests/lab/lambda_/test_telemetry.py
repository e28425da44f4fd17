"""Checklist 43 to 62: subscriptions, and how telemetry reaches extensions."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fliptop_lab.lambda_ import ExecutionEnvironment, Platform
from fliptop_lab.lambda_.config import Status

from .harness import QUICK, Listener, body, lab, listening, names, order, records, said

RETRYING = Platform(init_timeout_s=5.0, shutdown_budget_s=1.0, telemetry_attempts=2, telemetry_backoff_s=0.01)
SUBSCRIBED = {"init": [["register"], ["subscribe"]]}
URI = "http://sandbox.localdomain:8124/"


def destination(**changes: Any) -> dict[str, Any]:
    return {"destination": {"protocol": "HTTP", "URI": URI} | changes}


def buffering(**changes: int) -> dict[str, Any]:
    return {"buffering": {"maxItems": 1000, "maxBytes": 262_144, "timeoutMs": 25} | changes}


INVALID: dict[str, dict[str, Any]] = {
    "schema": {"schemaVersion": "2020-01-01"},
    "no schema": {"schemaVersion": None},
    "no types": {"types": []},
    "unknown type": {"types": ["platform", "other"]},
    "items too few": buffering(maxItems=999),
    "items too many": buffering(maxItems=10_001),
    "bytes too few": buffering(maxBytes=262_143),
    "bytes too many": buffering(maxBytes=1_048_577),
    "timeout too short": buffering(timeoutMs=24),
    "timeout too long": buffering(timeoutMs=30_001),
    "not a number": {"buffering": {"maxItems": "many"}},
    "no destination": {"destination": None},
    "protocol": destination(protocol="UDP"),
    "no URI": destination(URI=""),
    "host": destination(URI="http://example.com:8124/"),
    "scheme": destination(URI="https://sandbox.localdomain:8124/"),
    "no port": destination(URI="http://sandbox.localdomain/"),
    "reserved port": destination(URI="http://sandbox.localdomain:9001/"),
    "TCP port": {"destination": {"protocol": "TCP", "port": 1024}},
}
VALID: list[dict[str, Any]] = [
    buffering(),
    buffering(maxItems=10_000, maxBytes=1_048_576, timeoutMs=30_000),
    {"schemaVersion": "2022-07-01", "buffering": {}},
    {"schemaVersion": "2022-12-13", **destination(URI="http://sandbox:8124")},
    {"destination": {"protocol": "TCP", "port": 1025}},
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> ExecutionEnvironment:
    """Many extensions subscribe, rightly and wrongly; one of each way to be refused later."""
    wrong = [["subscribe", changes] for changes in INVALID.values()]
    unnamed = ["http", "PUT", "/2022-07-01/telemetry", {}, {"Lambda-Extension-Identifier": None}]
    logs = {"schemaVersion": "2021-03-18"}
    extensions: dict[str, Any] = {
        "asker": {
            "init": [["register"], *wrong, ["http", "PUT", "/2022-07-01/telemetry", "{"], unnamed],
            "invoke": [[["subscribe"]]],
        },
        "both": {"init": [["register"], ["subscribe", logs, "/2020-08-15/logs"], ["subscribe"]]},
        "slash": {"init": [["register"], ["subscribe", {}, "/2022-07-01/telemetry/"], ["subscribe"]]},
    }
    for number, changes in enumerate(VALID):
        extensions[f"valid{number}"] = {"init": [["register"], ["subscribe", changes]]}

    async def run() -> ExecutionEnvironment:
        async with lab(tmp_path_factory.mktemp("ask"), extensions) as environment, listening(environment):
            assert (await environment.invoke()).status == "success"
            await environment.kill()
        return environment

    return asyncio.run(run())


def test_item_43_subscribing_is_answered_ok_and_announced(answers: ExecutionEnvironment) -> None:
    answer = said(answers, "valid0", "subscribe")[0]
    assert (answer["status"], answer["body"]) == (200, '"OK"')
    told = [record.data for record in records(answers, "telemetry", "platform.telemetrySubscription")]
    expected = {"name": "valid0", "state": "Subscribed", "types": ["platform", "function", "extension"]}
    assert expected in told
    assert said(answers, "slash", "subscribe")[0]["status"] == 200


def test_item_44_every_rule_of_a_subscription_is_checked_at_its_bounds(answers: ExecutionEnvironment) -> None:
    refusals = said(answers, "asker", "subscribe")[: len(INVALID)]
    for what, answer in zip(INVALID, refusals, strict=True):
        assert (answer["status"], body(answer)["errorType"]) == (400, "ValidationError"), what
        assert body(answer)["errorMessage"], what
    for number in range(len(VALID)):
        assert said(answers, f"valid{number}", "subscribe")[0]["status"] == 200
    assert body(refusals[2])["errorMessage"] == "types should not be empty"
    assert said(answers, "asker", "http")[0]["status"] == 400


def test_item_45_after_init_subscriptions_are_closed(answers: ExecutionEnvironment) -> None:
    answer = said(answers, "asker", "subscribe")[-1]
    assert (answer["status"], body(answer)["errorType"]) == (403, "Telemetry.SubscriptionClosed")
    assert body(answer)["errorMessage"] == "Telemetry API subscription is closed already"


def test_item_45_a_subscription_may_come_beside_the_first_next_but_not_after_init(tmp_path: Path) -> None:
    """The time in which one can subscribe ends with init, not with the extension's own first /event/next."""
    extension = {"one": {"init": [["register"], ["subscribe_beside", "/tmp/done"]]}}
    until_subscribed = [["wait", "/tmp/done"]]

    async def run(name: str, latency_s: float, init: list[Any]) -> tuple[ExecutionEnvironment, list[str]]:
        platform = replace(QUICK, subscribe_latency_s=latency_s)
        async with lab(tmp_path / name, extension, platform, init=init) as environment:
            async with listening(environment) as listener:
                await environment.invoke(order(before=until_subscribed))
                await environment.shutdown()
            return environment, platform_types(listener)

    slow, heard = asyncio.run(run("slow", 0.05, until_subscribed))
    assert said(slow, "one", "subscribe")[0]["status"] == 200
    assert heard[:2] == ["initStart", "telemetrySubscription"]
    assert "initReport" in heard
    kinds = [record.name for record in records(slow, "api") if record.data.get("extension")]
    assert kinds.index("next") < kinds.index("subscribe")
    quick, nothing = asyncio.run(run("quick", 1.0, []))
    assert said(quick, "one", "subscribe")[0]["status"] == 403
    assert nothing == []


def test_item_46_without_an_identifier_nobody_subscribes(answers: ExecutionEnvironment) -> None:
    answer = said(answers, "asker", "http")[1]
    assert (answer["status"], body(answer)["errorType"]) == (403, "Extension.MissingExtensionIdentifier")


def test_item_47_logs_and_telemetry_exclude_each_other(answers: ExecutionEnvironment) -> None:
    logs, telemetry = said(answers, "both", "subscribe")
    assert (logs["status"], telemetry["status"]) == (200, 400)
    assert said(answers, "slash", "subscribe")[1]["status"] == 500


Heard = tuple[ExecutionEnvironment, Listener]


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Heard:
    """Two invocations and a shutdown, all telemetry heard; things printed in every manner."""
    printing = {
        "init": [["print", "early\n"], ["register"], ["subscribe"]],
        "invoke": [[["complain", "one\ntwo\n"], ["print", "no newline"], ["sleep", 0.1]]],
        "shutdown": [["print", "last words"]],
    }

    async def run() -> Heard:
        async with lab(tmp_path_factory.mktemp("heard"), {"one": printing}) as environment:
            async with listening(environment) as listener:
                await environment.invoke(order(before=[["print", "hello\n"]]))
                await environment.idle(0.1)
                held = list(listener.types)
                assert "platform.report" not in held
                await environment.invoke()
                await listener.until(lambda: listener.types.count("platform.start") == 2)
                await environment.shutdown()
            return environment, listener

    return asyncio.run(run())


def platform_types(listener: Listener) -> list[str]:
    return [kind.removeprefix("platform.") for kind in listener.types if kind.startswith("platform.")]


def test_item_48_what_was_before_the_subscription_comes_first(heard: Heard) -> None:
    _, listener = heard
    assert listener.batches[0][0]["type"] == "platform.initStart"
    assert {"type": "extension", "record": "early\n"}.items() <= listener.batches[0][1].items()


def test_item_50_a_body_is_an_array_and_posts_go_one_at_a_time(heard: Heard) -> None:
    _, listener = heard
    assert all(isinstance(batch, list) and batch for batch in listener.batches)
    assert listener.most_in_flight == 1
    assert {post.headers["Content-Type"] for post in listener.posts} == {"application/json"}
    assert {post.path for post in listener.posts} == {"/here"}
    assert all(set(event) == {"time", "type", "record"} for event in listener.events)


def test_item_54_the_order_of_a_cold_start(heard: Heard) -> None:
    environment, listener = heard
    expected = ["initStart", "telemetrySubscription", "initRuntimeDone", "extension", "initReport"]
    assert platform_types(listener)[:8] == [*expected, "start", "runtimeDone", "report"]
    assert names(environment)[:8] == [*expected, "start", "runtimeDone", "report"]


def test_item_56_the_report_comes_after_the_extensions_and_is_seen_one_invocation_later(heard: Heard) -> None:
    environment, listener = heard
    log = [
        record.name.removeprefix("platform.")
        for record in environment.records
        if record.name in ("platform.runtimeDone", "platform.report", "next", "freeze")
    ]
    assert log[:5] == ["next", "runtimeDone", "next", "report", "freeze"]
    reports = platform_types(listener)
    assert reports.index("report") > reports.index("runtimeDone")
    assert reports.count("report") == 2  # the second one before SHUTDOWN was released


def test_item_57_the_init_is_reported_once(heard: Heard) -> None:
    _, listener = heard
    first, second = (event["record"]["metrics"] for event in listener.events if event["type"] == "platform.report")
    assert first["initDurationMs"] > 0
    assert "initDurationMs" not in second
    assert "restoreDurationMs" not in first
    assert first["memorySizeMB"] == 512
    assert 0 < first["maxMemoryUsedMB"] < 512
    assert first["billedDurationMs"] >= first["durationMs"]


def test_item_59_every_line_is_an_event_and_the_last_needs_no_newline(heard: Heard) -> None:
    environment, _ = heard
    lines = [record.data["line"] for record in records(environment, "telemetry", "extension")]
    assert {"one\n", "two\n", "last words"} <= set(lines)
    assert any(line.startswith("no newline{") for line in lines)


def test_item_60_stdout_and_stderr_of_an_extension_are_extension_events(heard: Heard) -> None:
    environment, listener = heard
    kinds = {event["record"]: event["type"] for event in listener.events if isinstance(event["record"], str)}
    assert (kinds["early\n"], kinds["one\n"], kinds["hello\n"]) == ("extension", "extension", "function")
    assert "hello" in environment.log


def test_item_61_unknown_events_can_be_injected(tmp_path: Path) -> None:
    async def run() -> list[dict[str, Any]]:
        async with lab(tmp_path, {"one": SUBSCRIBED}) as environment, listening(environment) as listener:
            await environment.init()
            environment.inject("platform.fromTheFuture", {"novel": [1]})
            await environment.invoke(order(before=[["sleep", 0.1]]))
            await listener.until(lambda: "platform.fromTheFuture" in listener.types)
            return listener.events

    told = next(event for event in asyncio.run(run()) if event["type"] == "platform.fromTheFuture")
    assert told["record"] == {"novel": [1]}


def test_item_49_a_batch_closes_by_items_bytes_or_time(tmp_path: Path) -> None:
    patient = {"init": [["register"], ["subscribe", {"types": ["function"], **buffering(timeoutMs=30_000)}]]}

    async def run() -> Listener:
        async with lab(tmp_path, {"one": patient}, timeout_s=10.0) as environment:
            async with listening(environment) as listener:
                await environment.invoke(order(before=[["print", "x\n", 1000], ["sleep", 0.2]]))
                await environment.invoke(order(before=[["print", "y" * 1000 + "\n", 300], ["sleep", 0.2]]))
                await listener.until(lambda: len(listener.batches) == 2)
            await environment.kill()
            return listener

    listener = asyncio.run(run())
    assert len(listener.batches[0]) == 1000
    assert 262_144 <= len(listener.bodies[1]) <= 2 * 262_144


async def hear_of_losses(environment: ExecutionEnvironment, listener: Listener) -> None:
    """Delivery needs an environment that is not frozen."""
    for _ in range(20):
        await environment.invoke(order(before=[["sleep", 0.1]]))
        if "platform.logsDropped" in listener.types:
            return
    raise AssertionError("no platform.logsDropped arrived")


def test_item_51_a_failing_listener_is_tried_again_and_the_loss_is_told(tmp_path: Path) -> None:
    subscribed = {"init": [["register"], ["subscribe", {"types": ["platform", "function"]}]]}

    async def run() -> Heard:
        async with lab(tmp_path, {"one": subscribed}, RETRYING) as environment:
            async with listening(environment) as listener:
                listener.statuses = [500]
                await environment.init()
                environment.thaw()
                await listener.until(lambda: bool(listener.batches))
                await listener.stop()
                await environment.invoke(order(before=[["print", "lost\n", 10], ["sleep", 0.3]]))
                await listener.start(environment)
                await hear_of_losses(environment, listener)
            return environment, listener

    environment, listener = asyncio.run(run())
    assert listener.batches[0][0]["type"] == "platform.initStart"  # the very batch that was answered 500
    retries = records(environment, "delivery", "retry")
    assert retries[0].data["error"] == "ValueError: status 500"
    dropped = next(event["record"] for event in listener.events if event["type"] == "platform.logsDropped")
    assert dropped["droppedRecords"] >= 10
    assert dropped["droppedBytes"] > 0
    assert dropped["reason"]


def test_item_52_a_slow_listener_costs_records_but_no_invocation(tmp_path: Path) -> None:
    small = Platform(init_timeout_s=5.0, shutdown_budget_s=1.0, telemetry_buffer_bytes=300_000, telemetry_flush_s=0.1)

    async def run() -> tuple[ExecutionEnvironment, Listener, list[Status]]:
        async with lab(tmp_path, {"one": SUBSCRIBED}, small, timeout_s=10.0) as environment:
            async with listening(environment) as listener:
                going = asyncio.Event()
                listener.before_answer = going.wait
                loud = order(before=[["print", "z" * 1000 + "\n", 1000]])
                statuses = [(await environment.invoke(loud)).status for _ in range(2)]
                going.set()
                await hear_of_losses(environment, listener)
            return environment, listener, statuses

    environment, listener, statuses = asyncio.run(run())
    assert statuses == ["success", "success"]
    dropped = records(environment, "delivery", "drop")[0].data
    assert dropped["droppedRecords"] > 1000
    received = sum(kind == "function" for kind in listener.types)
    lost = sum(record.data["droppedRecords"] for record in records(environment, "delivery", "drop"))
    printed = len(records(environment, "telemetry", "function"))
    assert received + lost >= printed - 100  # nothing vanishes uncounted but what shutdown cuts off


def test_item_53_each_subscriber_gets_what_it_asked_for(tmp_path: Path) -> None:
    def subscriber(port: int, kind: str) -> dict[str, Any]:
        changes = {"types": [kind], **destination(URI=f"http://sandbox.localdomain:{port}")}
        return {"init": [["register"], ["subscribe", changes]]}

    async def run() -> dict[str, set[str]]:
        extensions = {
            "a": subscriber(8124, "platform"),
            "b": subscriber(8125, "function"),
            "c": subscriber(8126, "extension"),
        }
        async with (
            lab(tmp_path, extensions) as environment,
            listening(environment, 8124) as a,
            listening(environment, 8125) as b,
            listening(environment, 8126) as c,
        ):
            await environment.invoke(order(before=[["print", "hi\n"], ["sleep", 0.2]]))
            await environment.shutdown()
            return {
                name: {kind.partition(".")[0] for kind in one.types} for name, one in zip("abc", (a, b, c), strict=True)
            }

    assert asyncio.run(run()) == {"a": {"platform"}, "b": {"function"}, "c": {"extension"}}


@pytest.mark.parametrize(
    ("log_format", "schema", "expected"),
    [
        ("JSON", "2022-07-01", str),
        ("JSON", "2022-12-13", dict),
        ("JSON", "2025-01-29", dict),
        ("Text", "2025-01-29", str),
    ],
)
def test_item_58_records_are_objects_only_with_json_logs_and_a_newer_schema(
    tmp_path: Path, log_format: Any, schema: str, expected: type
) -> None:
    subscribed = {"init": [["register"], ["subscribe", {"schemaVersion": schema, "types": ["function"]}]]}
    line = '{"level": "INFO", "message": "hello"}\n'

    async def run() -> list[Any]:
        opened = lab(tmp_path, {"one": subscribed}, log_format=log_format)
        async with opened as environment, listening(environment) as listener:
            await environment.invoke(order(before=[["print", line], ["print", "plain\n"]]))
            await environment.shutdown()
            return [event["record"] for event in listener.events]

    told = asyncio.run(run())
    assert (line if expected is str else json.loads(line)) in told
    assert "plain\n" in told


def test_item_62_waiting_batches_never_delay_next(tmp_path: Path) -> None:
    patient = {"init": [["register"], ["subscribe", buffering(timeoutMs=30_000)]]}

    async def run() -> tuple[ExecutionEnvironment, Listener]:
        async with lab(tmp_path, {"one": patient}) as environment, listening(environment) as listener:
            for _ in range(3):
                assert (await environment.invoke()).post_runtime_ms < 1000
            assert not listener.batches
            await environment.shutdown()
            return environment, listener

    environment, listener = asyncio.run(run())
    assert "platform.report" in listener.types  # flushed before SHUTDOWN
    shutdown = records(environment, "event", "SHUTDOWN")[0].ns
    assert records(environment, "delivery", "batch")[0].ns < shutdown


def test_tcp_subscribers_get_lines(tmp_path: Path) -> None:
    tcp = {"init": [["register"], ["subscribe", {"destination": {"protocol": "TCP", "port": 8200}}]]}

    async def run() -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = []

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                lines.append(json.loads(line))
            writer.close()

        async with lab(tmp_path, {"one": tcp}) as environment:
            server = await asyncio.start_server(accept, sock=environment.listen("0.0.0.0", 8200))
            async with server:
                await environment.invoke(order(before=[["sleep", 0.1]]))
                await environment.shutdown()
            await server.wait_closed()
        return lines

    types = [line["type"] for line in asyncio.run(run())]
    assert types[0] == "platform.initStart"
    assert "platform.report" in types


def test_the_older_logs_api_tells_an_end_but_no_init(tmp_path: Path) -> None:
    older = {"schemaVersion": "2020-08-15", "types": ["platform", "function"]}
    subscribed = {"init": [["register"], ["subscribe", older, "/2020-08-15/logs"]]}

    async def run() -> list[str]:
        async with lab(tmp_path, {"one": subscribed}, QUICK) as environment, listening(environment) as listener:
            await environment.invoke()
            await environment.shutdown()
            return [kind for kind in listener.types if kind.startswith("platform.")]

    assert asyncio.run(run()) == [
        *("platform.logsSubscription", "platform.extension", "platform.start", "platform.end", "platform.report"),
    ]
