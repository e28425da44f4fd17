"""Ready before the extension has started: what the platform is asked, what the extension inherits, what goes wrong."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.launcher.conftest import (
    COMPATIBILITY,
    PORTS,
    ROOT,
    Layer,
    Outcome,
    assert_legacy,
    free_ports,
    load_build,
    only_line,
)
from tests.scripted_api import (
    HANG_UP,
    IDENTIFIER,
    INVOKE,
    REGISTERED,
    REGISTRATION,
    SHUTDOWN,
    SHUTDOWN_EVENT,
    SUBSCRIBED,
    Answer,
    ScriptedApi,
    chunked,
    error,
    http,
)

from fliptop.platform import ready
from fliptop.platform.extensions_api import Refused

VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "FLIPTOP_REGISTRATION", "FLIPTOP_REGISTRATION_BODY")
READY = (REGISTERED, SUBSCRIBED)
REGISTER, TELEMETRY, NEXT = "register", "telemetry", "next"


@dataclass(frozen=True)
class Start:
    """One start of the launcher, with the Runtime API that it talked to."""

    outcome: Outcome
    api: ScriptedApi
    seen: dict[str, Any] | None

    @property
    def environ(self) -> dict[str, str]:
        """What the extension was started with."""
        assert self.seen is not None, "the extension was not started"
        found: dict[str, str] = self.seen["environ"]
        return found

    @property
    def sockets(self) -> dict[str, dict[str, Any]]:
        """The sockets that the extension inherited."""
        assert self.seen is not None, "the extension was not started"
        found: dict[str, dict[str, Any]] = self.seen["sockets"]
        return found


@pytest.fixture
def telemetry_port() -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    yield port


@pytest.fixture
def inspected(layer: Layer, telemetry_port: int) -> Layer:
    """A layer whose extension writes down what it inherits."""
    script = (Path(__file__).parent / "inspector.py").read_text()
    layer.extension.write_text(f"#!{sys.executable} -IS\n{script}")
    return replace(
        layer, extra={**layer.extra, "FLIPTOP_TEST_TELEMETRY_PORT": str(telemetry_port), "FLIPTOP_GUARD": "off"}
    )


def start(
    layer: Layer, answers: tuple[Answer, ...], environ: Mapping[str, str] | None = None, **options: object
) -> Start:
    with ScriptedApi(answers) as api:
        outcome = layer.run({"AWS_LAMBDA_RUNTIME_API": api.address, **(environ or {})})
    seen = layer.extension.with_name("fliptop.seen")
    return Start(outcome, api, json.loads(seen.read_text()) if seen.exists() else None)


# --- all well ---


def test_registers_subscribes_and_asks_on_one_connection(inspected: Layer) -> None:
    done = start(inspected, READY)
    assert done.outcome.returncode == 0
    assert done.outcome.lines == []
    assert done.api.whats() == [REGISTER, TELEMETRY, NEXT]
    assert {request.connection for request in done.api.requests} == {1}
    register, telemetry, following = done.api.requests
    assert register.headers["lambda-extension-name"] == "datadog-agent"
    assert telemetry.headers["lambda-extension-identifier"] == IDENTIFIER
    assert following.headers["lambda-extension-identifier"] == IDENTIFIER
    assert all(request.headers["host"] == done.api.address for request in done.api.requests)


def test_the_extension_inherits_listener_and_connection(inspected: Layer, telemetry_port: int) -> None:
    done = start(inspected, READY)
    assert done.seen is not None
    assert done.seen["pid"] == done.outcome.pid
    assert [done.environ[name] for name in VARIABLES] == [
        "5",
        str(done.outcome.pid),
        "telemetry:lifecycle:trace_agent:dogstatsd:next",
        IDENTIFIER,
        REGISTRATION,
    ]
    listener, connection = done.sockets["telemetry"], done.sockets["next"]
    stream = {"type": socket.SOCK_STREAM, "protocol": socket.IPPROTO_TCP, "blocking": True}
    assert (
        listener.items()
        >= {
            **stream,
            "number": 3,
            "listening": True,
            "address": "0.0.0.0",
            "port": telemetry_port,
            "peer": None,
        }.items()
    )
    assert connection.items() >= {**stream, "number": 7, "listening": False, "peer": done.api.port}.items()
    assert done.seen["files"] == [0, 1, 2, 3, 4, 5, 6, 7], "nothing else is inherited"


@pytest.mark.parametrize(("listener", "number"), [("lifecycle", 4), ("trace_agent", 5)])
def test_tracers_have_listeners_on_the_loopback_interface(inspected: Layer, listener: str, number: int) -> None:
    (port,) = free_ports(1)
    inherited = start(inspected, READY, {f"FLIPTOP_TEST_{listener.upper()}_PORT": str(port)}).sockets[listener]
    wanted = {"type": socket.SOCK_STREAM, "protocol": socket.IPPROTO_TCP, "listening": True, "blocking": True}
    assert inherited.items() >= {**wanted, "address": "127.0.0.1", "port": port, "number": number}.items()


def test_datagrams_have_a_socket_on_the_loopback_interface(inspected: Layer) -> None:
    with closing(datagrams()) as probe:
        port = probe.getsockname()[1]
    inherited = start(inspected, READY, {"FLIPTOP_TEST_STATSD_PORT": str(port)}).sockets["dogstatsd"]
    wanted = {"type": socket.SOCK_DGRAM, "address": "127.0.0.1", "port": port, "number": 6, "blocking": True}
    assert inherited.items() >= wanted.items()
    with closing(datagrams()) as plain:
        assert inherited["buffer"] > plain.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


def datagrams() -> socket.socket:
    """A socket for datagrams on a free port of the loopback interface."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    return made


def test_the_first_event_comes_over_the_inherited_connection(inspected: Layer) -> None:
    done = start(inspected, (*READY, SHUTDOWN), {"READ_EVENT": "1"})
    assert done.seen is not None
    assert done.seen["event"].endswith('"deadlineMs": 0}')


def test_the_listener_is_open_before_the_platform_is_asked_to_deliver(inspected: Layer, telemetry_port: int) -> None:
    def deliver() -> None:
        socket.create_connection(("127.0.0.1", telemetry_port), timeout=5).close()

    assert start(inspected, (REGISTERED, [deliver, *SUBSCRIBED])).outcome.returncode == 0


SAME_REQUESTS: dict[str, tuple[dict[str, str], list[Answer]]] = {
    "on demand": ({}, [REGISTERED, SUBSCRIBED]),
    "logs off": ({"DD_LOGS_ENABLED": " FALSE "}, [REGISTERED, SUBSCRIBED]),
    "logs off by the other name": ({"datadog_serverless_logs_enabled": "0"}, [REGISTERED, SUBSCRIBED]),
    "one name off, one on": (
        {"DD_LOGS_ENABLED": "false", "DD_SERVERLESS_LOGS_ENABLED": "true"},
        [REGISTERED, SUBSCRIBED],
    ),
    "one prefix off, one on": ({"DD_LOGS_ENABLED": "0.0", "DATADOG_LOGS_ENABLED": "true"}, [REGISTERED, SUBSCRIBED]),
    "logs empty": ({"DD_LOGS_ENABLED": ""}, [REGISTERED, SUBSCRIBED]),
    "managed instances": ({"AWS_LAMBDA_INITIALIZATION_TYPE": "lambda-managed-instances"}, [REGISTERED, SUBSCRIBED]),
    "managed instances that do not say so": ({}, [error(403, "Extension.InvalidEventType"), REGISTERED, SUBSCRIBED]),
    "snap start": ({"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}, [REGISTERED, SUBSCRIBED]),
    "no telemetry": ({}, [REGISTERED, error(202, "Telemetry.NotSupported")]),
    "registration refused": ({}, [error(403, "Extension.RegistrationClosed")]),
}


@pytest.mark.parametrize("case", SAME_REQUESTS)
def test_the_launcher_asks_what_the_extension_would_ask(
    inspected: Layer, telemetry_port: int, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ, answers = SAME_REQUESTS[case]
    launcher = start(inspected, tuple(answers), environ).api
    for name in ("LIFECYCLE_PORT", "TRACE_AGENT_PORT", "DOGSTATSD_PORT"):
        monkeypatch.setattr(ready, name, 0)
    monkeypatch.setattr(ready, "TELEMETRY_PORT", telemetry_port)
    with ScriptedApi(answers) as extension:
        try:
            handover = ready.become_ready({"AWS_LAMBDA_RUNTIME_API": extension.address, **environ}, "datadog-agent")
        except Refused:
            pass
        else:
            handover.api.close()
            handover.refuse()
    for ours, theirs in zip(launcher.requests, extension.requests, strict=False):
        assert ours.line == theirs.line
        assert ours.body == theirs.body
        assert {**ours.headers, "host": ""} == {**theirs.headers, "host": ""}
    # Closed at once, the extension's last request may not have been seen.
    assert launcher.whats()[: len(extension.requests)] == extension.whats()
    assert len(launcher.requests) >= len(answers)


# --- who is not handed anything ---


@pytest.mark.parametrize(
    "environ",
    [
        {"FLIPTOP_HANDOVER": "off"},
        {"FLIPTOP_HANDOVER": " OFF "},
        {"AWS_LAMBDA_RUNTIME_API": ""},
        {"AWS_LAMBDA_RUNTIME_API": "runtime.example:80"},
        {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1"},
        {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:0"},
        {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:65536"},
        {"AWS_LAMBDA_RUNTIME_API": "[::1]:9001"},
        {"AWS_LAMBDA_RUNTIME_API": "http://127.0.0.1:9001"},
        {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128"},
        {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "511"},
        {"FLIPTOP_HANDOVER": "loaded"},
        {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/datadog_wrapper"},
        {"DD_UNIVERSAL_INSTRUMENTATION": "True"},
    ],
)
def test_the_extension_does_it_all_itself(inspected: Layer, environ: dict[str, str]) -> None:
    left_over = dict.fromkeys(VARIABLES, "left over")
    done = start(inspected, READY, left_over | environ)
    assert done.outcome.lines == []
    assert done.api.requests == []
    assert done.environ.keys().isdisjoint(VARIABLES)


@pytest.mark.parametrize(
    "environ",
    [
        {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512"},
        {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "10240"},
        {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "99999999999999999999"},
        {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128", "FLIPTOP_HANDOVER": "on"},
        {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrapper"},
        {"DD_UNIVERSAL_INSTRUMENTATION": "false"},
        {"DD_UNIVERSAL_INSTRUMENTATION": "true", "FLIPTOP_HANDOVER": "on"},
    ],
)
def test_with_cpu_to_spare_the_launcher_does_it(inspected: Layer, environ: dict[str, str]) -> None:
    done = start(inspected, READY, environ)
    assert done.environ.keys() >= set(VARIABLES)


def test_what_the_scan_leaves_open_is_settled_before_anything_is_registered(inspected: Layer) -> None:
    inspected.yaml("a: &x 1\n")
    done = start(inspected, READY, {"SETTLED": "otel"})
    assert_legacy(inspected, done.outcome)
    assert done.api.requests == []


def test_nothing_is_registered_for_legacy(inspected: Layer) -> None:
    done = start(inspected, READY, COMPATIBILITY)
    assert_legacy(inspected, done.outcome)
    assert done.api.requests == []


def test_once_settled_it_is_handed_over(inspected: Layer) -> None:
    inspected.yaml("appsec_enabled: &x false\n")
    done = start(inspected, READY)
    assert done.api.whats() == [REGISTER, TELEMETRY, NEXT]
    assert done.environ.keys() >= set(VARIABLES)


def test_once_settled_it_is_handed_over_when_legacy_is_missing(inspected: Layer) -> None:
    inspected.legacy.unlink()
    inspected.yaml("appsec_enabled: &x true\n")
    done = start(inspected, READY, {"SETTLED": "appsec_enabled"})
    assert only_line(done.outcome)["reasons"] == ["appsec_enabled"]
    assert done.api.whats() == [REGISTER, TELEMETRY, NEXT]


def test_localhost_is_an_address(inspected: Layer) -> None:
    with ScriptedApi(READY) as api:
        inspected.run({"AWS_LAMBDA_RUNTIME_API": f"localhost:{api.port}"})
        assert api.whats() == [REGISTER, TELEMETRY, NEXT]
        assert api.requests[0].headers["host"] == f"localhost:{api.port}"


# --- parts that cannot be had ---


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (error(202, "Telemetry.NotSupported"), "telemetry: HTTP 202 Telemetry.NotSupported"),
        (http(404, "404 page not found"), "telemetry: HTTP 404 404 page not found"),
        (error(403, "Telemetry.SubscriptionClosed"), "telemetry: HTTP 403 Telemetry.SubscriptionClosed"),
        (http(500, '{"errorType": "unclosed\n'), 'telemetry: HTTP 500 {"errorType": "unclosed\n'),
        ([b"HTTP/1.1 200", HANG_UP], "telemetry: connection closed before the answer was complete"),
        ([b"nonsense\r\n"], "telemetry: the answer is not HTTP"),
        ([], "telemetry: Connection timed out"),
        pytest.param([b"HTTP/1.1 200 OK\r\n"], "telemetry: Connection timed out", marks=pytest.mark.slow),
    ],
)
def test_without_a_subscription_it_goes_on_without_telemetry(inspected: Layer, answer: Answer, told: str) -> None:
    done = start(inspected, (REGISTERED, answer))
    assert done.api.whats() == [REGISTER, TELEMETRY, NEXT]
    assert done.environ["LISTEN_FDNAMES"] == "lifecycle:trace_agent:dogstatsd:next"
    assert done.sockets.keys() == {"lifecycle", "trace_agent", "dogstatsd", "next"}
    line = only_line(done.outcome)
    assert next(iter(line)) == "DD_EXTENSION_NO_TELEMETRY"
    assert line["DD_EXTENSION_NO_TELEMETRY"] == told


def test_a_platform_that_hangs_up_twice_is_not_asked_a_third_time(inspected: Layer) -> None:
    done = start(inspected, (REGISTERED, [HANG_UP], [HANG_UP]))
    assert done.api.whats() == [REGISTER, TELEMETRY, TELEMETRY, NEXT]
    told = only_line(done.outcome)["DD_EXTENSION_NO_TELEMETRY"]
    assert told == "telemetry: connection closed before the answer was complete"


def test_a_platform_that_hangs_up_without_a_word_is_asked_again_to_subscribe(inspected: Layer) -> None:
    done = start(inspected, (REGISTERED, [HANG_UP], SUBSCRIBED))
    assert done.outcome.lines == []
    assert done.api.whats() == [REGISTER, TELEMETRY, TELEMETRY, NEXT]
    assert "telemetry" in done.sockets


def test_one_that_hung_up_after_the_registration_is_asked_to_subscribe_on_a_new_connection(inspected: Layer) -> None:
    done = start(inspected, ([*REGISTERED, HANG_UP], SUBSCRIBED))
    assert done.outcome.lines == []
    assert "telemetry" in done.sockets
    assert [request.connection for request in done.api.requests if request.what == NEXT] == [2]


LOSSES = {
    "telemetry": "no logs will be collected",
    "lifecycle": "no spans will be made of invocations for tracers that leave that to the extension",
    "trace_agent": "no traces will be collected",
    "dogstatsd": "no DogStatsD metrics will be collected",
}


@pytest.mark.parametrize("listener", LOSSES)
def test_a_port_in_use_is_named_and_costs_only_its_listener(inspected: Layer, listener: str) -> None:
    with closing(datagrams() if listener == "dogstatsd" else socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        switch = "STATSD" if listener == "dogstatsd" else listener.upper()
        done = start(inspected, READY, {f"FLIPTOP_TEST_{switch}_PORT": str(port)})
    assert done.api.whats() == ([REGISTER, NEXT] if listener == "telemetry" else [REGISTER, TELEMETRY, NEXT])
    assert done.sockets.keys() == {*LOSSES, "next"} - {listener}
    line = only_line(done.outcome)
    assert next(iter(line)) == "DD_EXTENSION_CANNOT_LISTEN"
    assert line["DD_EXTENSION_CANNOT_LISTEN"] == f"port {port}: Address already in use"
    assert line["listener"] == listener
    assert line["what_happens"] == f"The extension runs without this listener: {LOSSES[listener]}."


def test_with_all_ports_in_use_it_still_starts(inspected: Layer) -> None:
    with closing(datagrams()) as statsd, socket.create_server(("127.0.0.1", 0)) as taken:
        ports = dict.fromkeys(PORTS, taken.getsockname()[1]) | {"STATSD_PORT": statsd.getsockname()[1]}
        done = start(inspected, READY, {f"FLIPTOP_TEST_{name}": str(port) for name, port in ports.items()})
    assert done.sockets.keys() == {"next"}
    assert [json.loads(line)["listener"] for line in done.outcome.lines] == list(LOSSES)


def test_what_is_lost_without_a_port_is_told_in_the_same_words_by_the_extension(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with closing(datagrams()) as statsd, socket.create_server(("127.0.0.1", 0)) as taken:
        for name in ("TELEMETRY_PORT", "LIFECYCLE_PORT", "TRACE_AGENT_PORT"):
            monkeypatch.setattr(ready, name, taken.getsockname()[1])
        monkeypatch.setattr(ready, "DOGSTATSD_PORT", statsd.getsockname()[1])
        with ScriptedApi(READY[:1]) as api:
            handover = ready.become_ready({"AWS_LAMBDA_RUNTIME_API": api.address}, "datadog-agent")
            handover.api.close()
    assert [warning.partition("): ")[2] for warning in handover.warnings] == list(LOSSES.values())


# --- the platform does not let it ---


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ((error(403, "Extension.RegistrationClosed"),), "register: HTTP 403 Extension.RegistrationClosed"),
        ((error(403, "Extension.InvalidEventType"), error(400, "No")), "register: HTTP 400 No"),
        ((http(500, "x" * 1000),), "register: HTTP 500 " + "x" * 200),
        ((http(200, REGISTRATION),), "register: HTTP 200 " + REGISTRATION),
        (
            (http(200, REGISTRATION, "Lambda-Extension-Identifier: " + "x" * 300),),
            "register: the answer is not HTTP",
        ),
        (([b"SSH-2.0-OpenSSH_9.6\r\n"],), "register: the answer is not HTTP"),
        (([HANG_UP],), "register: connection closed before the answer was complete"),
        (([b"HTTP/1.1 200 OK\r\nContent-", HANG_UP],), "register: connection closed before the answer was complete"),
        (([b"".join(REGISTERED) + b"surplus"],), "register: the answer is not HTTP"),
    ],
)
def test_a_refused_registration_is_the_end(inspected: Layer, answers: tuple[Answer, ...], told: str) -> None:
    done = start(inspected, answers)
    assert done.outcome.returncode == 1
    assert done.seen is None
    line = only_line(done.outcome)
    assert next(iter(line)) == "DD_EXTENSION_CANNOT_REGISTER"
    assert line["DD_EXTENSION_CANNOT_REGISTER"] == told
    assert line["runtime_api"] == done.api.address
    assert line["name"] == "datadog-agent"


def test_an_api_that_cannot_be_reached_is_the_end(inspected: Layer) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unheard.getsockname()[1]}"
        outcome = inspected.run({"AWS_LAMBDA_RUNTIME_API": address})
    assert outcome.returncode == 1
    assert only_line(outcome)["DD_EXTENSION_CANNOT_REGISTER"] == "register: Connection refused"


def test_an_api_that_does_not_accept_is_given_up_soon(inspected: Layer) -> None:
    with socket.socket() as deaf, socket.socket() as first, socket.socket() as second:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for waiting in (first, second):  # fill the queue, so that the kernel drops what comes next
            waiting.setblocking(False)
            waiting.connect_ex(deaf.getsockname())
        outcome = inspected.run({"AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{deaf.getsockname()[1]}"})
    assert outcome.returncode == 1
    assert only_line(outcome)["DD_EXTENSION_CANNOT_REGISTER"] == "register: Connection timed out"


# --- answers as no server should give them, but some do ---


def pieces(answer: Answer) -> list[bytes | float]:
    (whole,) = answer
    assert isinstance(whole, bytes)
    return [part for at in range(0, len(whole), 7) for part in (whole[at : at + 7], 0.002)]


IDENTIFIED = f"LAMBDA-extension-IDENTIFIER:  {IDENTIFIER} "
ODD: dict[str, list[Any]] = {
    "split and slow": [pieces(REGISTERED), pieces(SUBSCRIBED)],
    "chunked": [[chunked(REGISTRATION.encode(), IDENTIFIED)], [chunked(b'"OK"')]],
    "informational": [
        [b"HTTP/1.1 100 Continue\r\n\r\n", *REGISTERED],
        [b"HTTP/1.1 103 X\r\na: b\r\n\r\n", *SUBSCRIBED],
    ],
    "without a length": [
        [f"HTTP/1.1 200 OK\r\n{IDENTIFIED}\r\n\r\n{REGISTRATION}".encode(), HANG_UP],
        [b'HTTP/1.0 200\n\n"OK"', HANG_UP],
    ],
    "closing": [[*http(200, REGISTRATION, IDENTIFIED, "connection: Close"), HANG_UP], SUBSCRIBED],
    "many headers": [http(200, REGISTRATION, *["X: " + "y" * 5000] * 10, IDENTIFIED), SUBSCRIBED],
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_answers_are_understood(inspected: Layer, kind: str) -> None:
    done = start(inspected, tuple(ODD[kind]))
    assert done.outcome.lines == []
    assert done.api.whats() == [REGISTER, TELEMETRY, NEXT]
    assert done.environ["FLIPTOP_REGISTRATION"] == IDENTIFIER
    assert done.environ["FLIPTOP_REGISTRATION_BODY"] == REGISTRATION


@pytest.mark.parametrize("body", ["{" + " " * 5000 + "}", '{"functionName": "f\0"}'])
def test_a_body_that_fits_no_variable_is_left_out(inspected: Layer, body: str) -> None:
    done = start(inspected, (http(200, body, IDENTIFIED), SUBSCRIBED))
    assert done.environ["FLIPTOP_REGISTRATION"] == IDENTIFIER
    assert "FLIPTOP_REGISTRATION_BODY" not in done.environ


def test_four_kilobytes_of_body_still_fit(inspected: Layer) -> None:
    body = "{" + " " * 4094 + "}"
    done = start(inspected, (http(200, body, IDENTIFIED), SUBSCRIBED))
    assert done.environ["FLIPTOP_REGISTRATION_BODY"] == body


def test_with_stdout_closed_no_socket_takes_its_place(inspected: Layer, telemetry_port: int) -> None:
    command = f'exec "{inspected.launcher}" <&- >&- 2>&-'
    with socket.create_server(("0.0.0.0", telemetry_port)), ScriptedApi(READY[:1]) as api:
        environ = inspected.environ({"AWS_LAMBDA_RUNTIME_API": api.address})
        subprocess.run(["/bin/sh", "-c", command], env=environ, check=True)
        assert api.whats() == [REGISTER, NEXT]
        assert api.requests[0].line.startswith("POST "), "the line about the port went into the connection"
    assert json.loads(inspected.extension.with_name("fliptop.seen").read_text())["sockets"]["next"]["number"] == 6


def test_files_that_are_open_already_do_not_get_in_the_way(inspected: Layer) -> None:
    command = f'exec "{inspected.launcher}" 3</dev/null 4</dev/null 5</dev/null'
    with ScriptedApi(READY) as api:
        environ = inspected.environ({"AWS_LAMBDA_RUNTIME_API": api.address})
        subprocess.run(["/bin/sh", "-c", command], env=environ, check=True)
        seen = json.loads(inspected.extension.with_name("fliptop.seen").read_text())
        assert seen["sockets"]["next"]["peer"] == api.port


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_aarch64_hands_over_the_same(inspected: Layer) -> None:
    builder = load_build("launcher")
    emulator = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if builder.native() == "aarch64" or not emulator:
        pytest.skip("needs qemu-user, on another architecture than aarch64")
    artefact = builder.release("aarch64")
    builder.build([artefact])
    shutil.copy2(artefact.path, inspected.launcher)
    with socket.socket() as taken:  # the release listens on its own port, which may be free here or not
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("0.0.0.0", ready.TELEMETRY_PORT))
        taken.listen()
        with ScriptedApi(READY[:1]) as api:
            environ = inspected.environ({"AWS_LAMBDA_RUNTIME_API": api.address})
            subprocess.run([emulator, inspected.launcher], env=environ, check=True, stdout=subprocess.DEVNULL)
            assert api.whats() == [REGISTER, NEXT]
    seen = json.loads(inspected.extension.with_name("fliptop.seen").read_text())
    assert seen["environ"]["FLIPTOP_REGISTRATION"] == IDENTIFIER
    assert seen["sockets"]["next"]["peer"] == api.port


# --- registered, and then the extension cannot be executed ---


def damaged_elf() -> bytes:
    """A program whose header is right, so that only the kernel finds out."""
    return Path(sys.executable).resolve().read_bytes()[:64]


@pytest.fixture
def damaged(inspected: Layer) -> Layer:
    inspected.extension.write_bytes(damaged_elf())
    return inspected


def test_the_launcher_asks_for_events_itself_until_shutdown(damaged: Layer, telemetry_port: int) -> None:
    def are_refused() -> None:
        for port in ports:
            with socket.socket() as client:
                refused.append(client.connect_ex(("127.0.0.1", port)) != 0)

    lifecycle, trace_agent = free_ports(2)
    ports, refused = (telemetry_port, lifecycle, trace_agent), list[bool]()
    environ = {"FLIPTOP_TEST_LIFECYCLE_PORT": str(lifecycle), "FLIPTOP_TEST_TRACE_AGENT_PORT": str(trace_agent)}
    done = start(damaged, (*READY, INVOKE, [are_refused, *INVOKE], [chunked(SHUTDOWN_EVENT)]), environ)
    assert done.outcome.returncode == 0
    assert refused == [True, True, True]
    line, too_late = (json.loads(each) for each in done.outcome.lines)
    assert next(iter(line)) == "DD_EXTENSION_CANNOT_START"
    assert too_late["DD_EXTENSION_FALLBACK_TOO_LATE"] == "failed_to_start"
    assert line["extension"] == f"{damaged.extension}: Exec format error"
    assert done.outcome.legacy is None, "it would be refused: the name is taken"
    assert done.api.whats() == [REGISTER, TELEMETRY, NEXT, NEXT, NEXT]


@pytest.mark.parametrize(
    "trouble", [[HANG_UP], http(500), http(200, "{}"), [b"nonsense\n"], error(403, "Extension.InvalidExtensionState")]
)
def test_trouble_is_no_end_of_asking(damaged: Layer, trouble: Answer) -> None:
    done = start(damaged, (*READY, trouble, INVOKE, trouble, trouble, SHUTDOWN))
    assert done.outcome.returncode == 0
    assert done.api.whats() == [REGISTER, TELEMETRY] + [NEXT] * 5
    gaps = [after.ns - before.ns for before, after in zip(done.api.requests, done.api.requests[1:], strict=False)]
    assert gaps[-1] > 80e6, "the second pause in a row is longer"


def test_a_clearly_unexecutable_file_still_goes_to_legacy(inspected: Layer) -> None:
    header = bytearray(damaged_elf())
    header[18] ^= 0xFF  # e_machine
    inspected.extension.write_bytes(header)
    done = start(inspected, READY)
    assert_legacy(inspected, done.outcome)
    assert done.api.requests == []
    assert only_line(done.outcome)["detail"] == f"{inspected.extension}: Exec format error"


# --- the extension itself ---


def test_the_extension_adopts_what_it_is_handed(inspected: Layer, telemetry_port: int) -> None:
    inspected.extension.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fliptop\n')
    delivered: list[bytes] = []

    def deliver() -> None:
        """As the platform does, while the extension may still be loading."""
        with closing(socket.create_connection(("127.0.0.1", telemetry_port), timeout=20)) as connection:
            connection.settimeout(20)
            connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n[]")
            delivered.append(connection.recv(4096))

    environ = {"PYTHONPATH": str(ROOT / "src"), "DD_LOG_LEVEL": "debug"}
    done = start(inspected, (*READY, [deliver, *SHUTDOWN]), environ)
    assert done.outcome.returncode == 0
    assert delivered[0].startswith(b"HTTP/1.1 200")
    assert done.api.whats() == [REGISTER, TELEMETRY, NEXT], "nothing is done twice"
    assert any("LEDGER" in line for line in done.outcome.lines)
