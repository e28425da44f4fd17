"""Ready first: what the extension does with plain sockets before anything is loaded, and its last line of defence."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator

import anyio
import pytest

from fliptop.lifecycle import bare
from fliptop.lifecycle.events import EventStream
from fliptop.platform import extensions_api, ready
from fliptop.platform.api import RuntimeApi, Unreachable
from fliptop.platform.extensions_api import Event, Refused, Registration, Shutdown
from tests.scripted_api import (
    HANG_UP,
    IDENTIFIER,
    INVOKE,
    OK,
    REGISTERED,
    REGISTRATION,
    SHUTDOWN,
    SHUTDOWN_EVENT,
    Answer,
    ScriptedApi,
    http,
)


@pytest.fixture(autouse=True)
def free_telemetry_port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for name in ("LIFECYCLE_PORT", "TRACE_AGENT_PORT", "DOGSTATSD_PORT"):
        monkeypatch.setattr(ready, name, 0)
    monkeypatch.setattr(ready, "TELEMETRY_PORT", port)
    yield port


def close(handover: ready.Handover) -> None:
    handover.api.close()
    handover.refuse()


def become_ready(api: ScriptedApi, **environ: str) -> ready.Handover:
    return ready.become_ready({"AWS_LAMBDA_RUNTIME_API": api.address, **environ}, "datadog-agent")


def test_listen_register_subscribe_and_ask_for_the_first_event(free_telemetry_port: int) -> None:
    with ScriptedApi([REGISTERED, OK, SHUTDOWN]) as api:
        handover = become_ready(api)
        assert handover.api.receive().body == SHUTDOWN_EVENT
        with socket.create_connection(("127.0.0.1", free_telemetry_port), timeout=1):
            pass
        close(handover)
    assert api.whats() == ["register", "telemetry", "next"]
    assert json.loads(api.requests[1].body)["destination"]["URI"].endswith(f":{free_telemetry_port}/")
    assert handover.warnings == ()
    assert handover.registration.account_id == "111122223333"


def test_what_comes_first_is_done_between_the_registration_and_the_first_event() -> None:
    def first() -> None:
        assert api.whats() == ["register", "telemetry"]

    with ScriptedApi([REGISTERED, OK, SHUTDOWN]) as api:
        handover = ready.become_ready({"AWS_LAMBDA_RUNTIME_API": api.address}, "datadog-agent", first)
        assert handover.api.receive().status == 200
        close(handover)


@pytest.mark.parametrize(
    ("answer", "warning"),
    [
        (http(202, b'{"errorType":"Telemetry.NotSupported"}'), "has no telemetry"),
        (http(404), "has no telemetry"),
        (http(403, b'{"errorType":"Telemetry.SubscriptionClosed"}'), "refused the telemetry subscription"),
        (http(500), "refused the telemetry subscription"),
    ],
)
def test_without_a_subscription_it_runs_without_telemetry(answer: Answer, warning: str) -> None:
    with ScriptedApi([REGISTERED, answer, SHUTDOWN]) as api:
        handover = become_ready(api)
        assert handover.telemetry is None
        assert warning in handover.warnings[0]
        assert handover.api.receive().status == 200
        close(handover)


def test_a_port_in_use_is_named_and_costs_only_its_listener(free_telemetry_port: int) -> None:
    with socket.create_server(("0.0.0.0", free_telemetry_port)), ScriptedApi([REGISTERED, SHUTDOWN]) as api:
        handover = become_ready(api)
        assert handover.telemetry is None
        assert f"port {free_telemetry_port} cannot be listened on" in handover.warnings[0]
        assert handover.api.receive().status == 200
        assert api.whats() == ["register", "next"]
        close(handover)


def test_datagrams_wait_in_a_buffer_as_large_as_the_kernel_allows() -> None:
    with ScriptedApi([REGISTERED, OK, SHUTDOWN]) as api:
        handover = become_ready(api)
        assert handover.dogstatsd is not None
        assert handover.dogstatsd.getsockname()[0] == "127.0.0.1"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"early:1|c", handover.dogstatsd.getsockname())
            plain = client.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        assert handover.dogstatsd.recv(100) == b"early:1|c"
        assert handover.dogstatsd.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) > plain
        assert handover.api.receive().status == 200
        close(handover)


def test_a_port_for_datagrams_in_use_costs_only_that(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(ready, "DOGSTATSD_PORT", taken.getsockname()[1])
        with ScriptedApi([REGISTERED, OK, SHUTDOWN]) as api:
            handover = become_ready(api)
            assert handover.dogstatsd is None
            assert "no DogStatsD metrics" in handover.warnings[0]
            assert handover.telemetry is not None
            assert handover.api.receive().status == 200
            close(handover)


@pytest.mark.parametrize("name", ["lifecycle", "trace_agent"])
def test_tracers_have_listeners_on_the_loopback_interface(name: str) -> None:
    with ScriptedApi([REGISTERED, OK, SHUTDOWN]) as api:
        handover = become_ready(api)
        listener: socket.socket = getattr(handover, name)
        address = listener.getsockname()
        assert address[0] == "127.0.0.1"
        with socket.create_connection(address, timeout=1):
            pass
        assert handover.api.receive().status == 200
        close(handover)


@pytest.mark.parametrize(
    ("name", "loss"), [("lifecycle", "no spans will be made of invocations"), ("trace_agent", "no traces")]
)
def test_a_port_for_tracers_in_use_costs_only_that(monkeypatch: pytest.MonkeyPatch, name: str, loss: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, ScriptedApi([REGISTERED, OK, SHUTDOWN]) as api:
        monkeypatch.setattr(ready, f"{name.upper()}_PORT", taken.getsockname()[1])
        handover = become_ready(api)
        (warning,) = handover.warnings
        assert loss in warning
        assert [each for each in ready.LISTENERS if getattr(handover, each) is None] == [name]
        assert handover.api.receive().status == 200
        close(handover)


@pytest.mark.parametrize("name", ["telemetry", "lifecycle", "trace_agent"])
def test_when_nobody_will_serve_those_who_wait_are_refused(name: str) -> None:
    with ScriptedApi([REGISTERED, OK, SHUTDOWN]) as api:
        handover = become_ready(api)
        listener: socket.socket = getattr(handover, name)
        port = listener.getsockname()[1]
        with listener.dup(), socket.create_connection(("127.0.0.1", port), timeout=1) as waiting:
            waiting.sendall(b"x")
            handover.refuse()
            with pytest.raises(ConnectionResetError):
                waiting.recv(1)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=1)
        assert handover.api.receive().status == 200
        close(handover)


def test_a_refused_registration_is_the_end() -> None:
    with (
        ScriptedApi([http(403, b'{"errorType":"Extension.RegistrationClosed"}')]) as api,
        pytest.raises(Refused, match=r"RegistrationClosed"),
    ):
        become_ready(api)


MANAGED = {"AWS_LAMBDA_INITIALIZATION_TYPE": "lambda-managed-instances"}
NO_INVOKE = http(403, b'{"errorType":"Extension.InvalidEventType"}')


@pytest.mark.parametrize(("environ", "answers"), [(MANAGED, []), ({}, [NO_INVOKE])])
def test_managed_instances_tell_of_no_invocations(environ: dict[str, str], answers: list[Answer]) -> None:
    with ScriptedApi([*answers, REGISTERED, OK, SHUTDOWN]) as api:
        handover = become_ready(api, **environ)
        assert handover.api.receive().status == 200
        close(handover)
    register, subscribe, _ = api.requests[-3:]
    assert json.loads(register.body) == {"events": ["SHUTDOWN"]}
    assert json.loads(subscribe.body)["schemaVersion"] == "2025-01-29"
    assert json.loads(subscribe.body)["buffering"] == {"maxItems": 10_000, "maxBytes": 1_048_576, "timeoutMs": 1000}
    assert len(api.requests) == 3 + len(answers)


def test_a_platform_that_knows_no_event_refuses_for_good() -> None:
    with ScriptedApi([NO_INVOKE, NO_INVOKE]) as api, pytest.raises(Refused, match=r"InvalidEventType"):
        become_ready(api)
    assert len(api.requests) == 2


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "127.0.0.1:port"])
def test_an_api_that_cannot_be_reached_is_named(address: str) -> None:
    with pytest.raises(Unreachable, match=address):
        ready.become_ready({"AWS_LAMBDA_RUNTIME_API": address}, "datadog-agent")


def test_an_api_that_hangs_up_is_unreachable() -> None:
    with ScriptedApi([[HANG_UP]]) as api, pytest.raises(Unreachable, match="closed"):
        become_ready(api)


def test_a_platform_that_closes_after_each_answer_is_asked_on_a_new_connection(said: list[str]) -> None:
    async def one_more(handover: ready.Handover) -> Event:
        events = EventStream(handover)
        got = [await events.next(), await events.next()]
        await events._disconnect()
        return got[-1]

    close_it = "Connection: close"
    answers = [
        [*http(200, REGISTRATION, f"Lambda-Extension-Identifier: {IDENTIFIER}", close_it), HANG_UP],
        [*http(200, '"OK"', close_it), HANG_UP],
        [*http(200, '{"eventType":"INVOKE","requestId":"r"}', close_it), HANG_UP],
        [*http(200, SHUTDOWN_EVENT, close_it), HANG_UP],
    ]
    with ScriptedApi(answers) as api:
        handover = become_ready(api)
        assert anyio.run(one_more, handover) == Shutdown("spindown", 0)
        assert len(api.requests) == 4
        close(handover)
    assert said == []


@pytest.mark.parametrize(
    "answers", [[[HANG_UP], [HANG_UP]], [[]], [[b"HTTP/1.1 200 OK\r\n"]], [[b"HTTP/1.1 200 OK\r\n", HANG_UP]]]
)
def test_a_subscription_without_an_answer_costs_only_telemetry(
    answers: list[Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ready, "SUBSCRIBE_TIMEOUT_S", 0.05)
    with ScriptedApi([REGISTERED, *answers, SHUTDOWN]) as api:
        handover = become_ready(api)
        assert handover.telemetry is None
        assert "got no answer" in handover.warnings[0]
        assert handover.api.receive().status == 200
        close(handover)


@pytest.mark.parametrize("hangs_up", ["before the answer", "after the answer before"])
def test_a_platform_that_hangs_up_without_a_word_is_asked_again_to_subscribe(hangs_up: str) -> None:
    before: list[Answer] = [REGISTERED, [HANG_UP]] if hangs_up == "before the answer" else [[*REGISTERED, HANG_UP]]
    with ScriptedApi([*before, OK, SHUTDOWN]) as api:
        handover = become_ready(api)
        assert handover.telemetry is not None
        assert handover.warnings == ()
        assert handover.api.receive().body == SHUTDOWN_EVENT
        close(handover)
    assert api.requests[-2].connection == api.requests[-1].connection == 2


def test_a_request_that_cannot_be_sent_goes_over_a_new_connection() -> None:
    with ScriptedApi([REGISTERED, SHUTDOWN]) as api:
        connection = RuntimeApi(api.address)
        connection.call(extensions_api.register("datadog-agent"))
        connection.socket.shutdown(socket.SHUT_WR)
        assert connection.call(extensions_api.next_event("id-1")).body == SHUTDOWN_EVENT
        connection.close()


@pytest.mark.parametrize(
    ("environ", "types"),
    [
        ({}, ready.ALL_TYPES),
        ({"DD_LOGS_ENABLED": "FALSE"}, ("platform",)),
        ({"DD_LOGS_ENABLED": "off"}, ("platform",)),
        ({"datadog_serverless_logs_enabled": "0"}, ("platform",)),
        ({"DD_LOGS_ENABLED": "false", "DD_SERVERLESS_LOGS_ENABLED": "true"}, ready.ALL_TYPES),
        ({"DD_LOGS_ENABLED": "false", "DATADOG_LOGS_ENABLED": "true"}, ("platform",)),
    ],
)
def test_logs_switched_off_are_not_subscribed_to(environ: dict[str, str], types: tuple[str, ...]) -> None:
    assert ready.telemetry_types(environ) == types


def test_the_name_is_that_of_the_file_lambda_started() -> None:
    assert ready.extension_name({"FLIPTOP_NAME": "datadog-agent"}, "/opt/fliptop/fliptop") == "datadog-agent"
    assert ready.extension_name({}, "/opt/extensions/datadog-agent") == "datadog-agent"


def test_becoming_ready_loads_nothing_heavy() -> None:
    """What Lambda waits for must not wait for a concurrency library, TLS, pydantic or httpx."""
    heavy = {"anyio", "asyncio", "httpx", "httpcore", "ssl", "pydantic", "pydantic_settings", "orjson", "yaml"}
    program = "import sys, fliptop.boot; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True).stdout
    assert heavy.isdisjoint(loaded.split())
    assert "fliptop.platform.ready" in loaded.split()


def pending(api: ScriptedApi) -> RuntimeApi:
    handed_over = RuntimeApi(api.address)
    handed_over.send(extensions_api.next_event("id-1"))
    return handed_over


def event_stream(api: ScriptedApi) -> EventStream:
    return EventStream(ready.Handover(pending(api), Registration("id-1", "f"), None))


def test_the_pending_event_arrives_and_more_are_asked_for_on_the_same_connection() -> None:
    async def two_events() -> list[Event]:
        events = event_stream(api)
        got = [await events.next(), await events.next()]
        await events._disconnect()
        return got

    with ScriptedApi([SHUTDOWN, SHUTDOWN]) as api:
        assert anyio.run(two_events) == [Shutdown("spindown", 0)] * 2
        assert len(api.requests) == 2


@pytest.mark.parametrize("trouble", [[HANG_UP], http(403, b"{}"), http(500), http(200, b"not an event")])
def test_nothing_ends_the_wait_for_an_event(trouble: Answer, said: list[str]) -> None:
    async def one_event() -> Event:
        events = event_stream(api)
        got = await events.next()
        await events._disconnect()
        return got

    with ScriptedApi([trouble, SHUTDOWN]) as api:
        assert anyio.run(one_event) == Shutdown("spindown", 0)
    assert len(said) == 1
    assert "trying again" in said[0]


@pytest.mark.parametrize("trouble", [b"", b"nonsense", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"])
def test_when_the_guard_fails_us_it_must_start_us_again(trouble: bytes) -> None:
    ours, guards = socket.socketpair()
    handover = ready.Handover(RuntimeApi("127.0.0.1:9", ours), Registration("id-1", "f"), None, guarded=True)

    async def one_event() -> None:
        events = EventStream(handover)
        try:
            await events.next()
        finally:
            await events._disconnect()

    guards.sendall(trouble)
    guards.shutdown(socket.SHUT_WR)
    with guards, pytest.raises((anyio.EndOfStream, ValueError)):
        anyio.run(one_event)


def test_the_last_line_of_defence_answers_until_shutdown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bare, "PAUSE_S", 0.01)
    with ScriptedApi([INVOKE, INVOKE, [HANG_UP], http(500), INVOKE, SHUTDOWN]) as api:
        bare.keep_alive(api.address, "id-1")
        assert len(api.requests) == 6
