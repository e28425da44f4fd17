"""The guard: what the extension is passed, and what happens when it dies, hangs, is late, or cannot be started."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.launcher.stage import (
    ENOUGH_S,
    LISTENERS,
    NEXT,
    READY,
    REGISTER,
    SERVES,
    STREAMS,
    TELEMETRY,
    Stage,
    is_alive,
)
from tests.scripted_api import (
    HANG_UP,
    IDENTIFIER,
    REGISTERED,
    SHUTDOWN,
    SUBSCRIBED,
    Answer,
    ScriptedApi,
    Step,
    chunked,
    error,
    http,
    invoke,
)

# --- all well ---


def test_events_are_passed_on_and_asked_for(stage: Stage) -> None:
    played = stage.play([SERVES], [invoke(9, "r1")], [invoke(9, "r2")], SHUTDOWN)
    assert (played.returncode, played.told) == (0, [])
    assert played.api.whats() == [REGISTER, TELEMETRY, NEXT, NEXT, NEXT]
    assert {request.connection for request in played.api.requests} == {1}
    assert stage.events() == ["r1", "r2", "SHUTDOWN"]


def test_the_extension_is_a_child_with_the_sockets_and_the_books(stage: Stage) -> None:
    stage.play([SERVES], SHUTDOWN)
    (born,) = stage.births()
    assert born["names"] == [*LISTENERS, "books", "guard"]
    assert born["files"] == [0, 1, 2, 3, 4, 5, 6, 7, 8], "nothing else is inherited"
    environ = born["environ"]
    assert environ["LISTEN_PID"] == str(born["pid"])
    assert environ["FLIPTOP_REGISTRATION"] == IDENTIFIER
    phases = [pair.split("=") for pair in environ["FLIPTOP_PHASES"].split(",")]
    names = ["decided", "listening", "register_ready", "telemetry_subscribed", "next_asked"]
    assert [name for name, _ in phases] == names
    reached = [int(microseconds) for _, microseconds in phases]
    assert reached == sorted(reached)


def test_an_event_waits_for_an_extension_that_loads(stage: Stage) -> None:
    played = stage.play([[["sleep", 0.5], *SERVES]], [invoke(9, "r1")], SHUTDOWN)
    assert (played.told, played.nexts) == ([], 2)
    assert stage.events() == ["r1", "SHUTDOWN"]


def test_with_little_memory_the_first_event_is_asked_for_when_it_has_loaded(stage: Stage) -> None:
    environ = {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128"}
    played = stage.play([[["sleep", 0.3], *SERVES]], SHUTDOWN, environ=environ)
    subscribed, asked = played.api.requests[1:]
    assert asked.what == NEXT
    assert asked.ns - subscribed.ns > 300e6
    assert "next_asked=" not in stage.births()[0]["environ"]["FLIPTOP_PHASES"]


@pytest.mark.parametrize("trouble", [[HANG_UP], http(500), http(200, "{}"), [b"nonsense\n"], error(403, "X")])
def test_the_platforms_trouble_is_kept_from_the_extension(stage: Stage, trouble: Answer) -> None:
    played = stage.play([SERVES], trouble, [invoke(9, "r1")], trouble, trouble, SHUTDOWN)
    assert (played.returncode, played.told) == (0, [])
    assert stage.events() == ["r1", "SHUTDOWN"]


def test_events_in_pieces(stage: Stage) -> None:
    event = b"".join(http(200, '{"eventType": "INVOKE", "requestId": "r1", "deadlineMs": 9999999999999}'))
    pieces: list[Step] = [part for at in range(0, len(event), 5) for part in (event[at : at + 5], 0.002)]
    last = [chunked(b'{"eventType": "SHUTDOWN", "deadlineMs": 0}')]
    assert stage.play([SERVES], pieces, last).returncode == 0
    assert stage.events() == ["r1", "SHUTDOWN"]


def test_what_matters_of_an_event_that_is_too_long(stage: Stage) -> None:
    arn = "arn:aws:lambda:eu-west-1:111122223333:function:f"
    played = stage.play([SERVES], [invoke(9, "r1", invokedFunctionArn=arn, tracing="x" * 20_000)], SHUTDOWN)
    assert played.nexts == 2
    event = next(seen["event"] for seen in stage.seen() if seen["what"] == "event")
    assert event["deadlineMs"] > time.time() * 1000
    assert (event["eventType"], event["requestId"], event["invokedFunctionArn"]) == ("INVOKE", "r1", arn)


def test_by_default_the_subscription_comes_before_the_first_event(stage: Stage) -> None:
    stage.layer.extension.with_name("fliptop.acts").write_text(json.dumps([SERVES]))
    with ScriptedApi((REGISTERED, [0.3, *SUBSCRIBED], SHUTDOWN)) as api:
        stage.layer.run({"AWS_LAMBDA_RUNTIME_API": api.address})
    assert api.whats() == [REGISTER, TELEMETRY, NEXT]
    assert api.requests[2].ns - api.requests[1].ns > 300e6


def test_the_subscription_may_be_asked_for_beside_the_first_event(stage: Stage) -> None:
    stage.layer.extension.with_name("fliptop.acts").write_text(json.dumps([SERVES]))
    both_seen = stage.after(lambda: len(api.requests) == 3)
    with ScriptedApi((REGISTERED, [both_seen, *SHUTDOWN], [both_seen, *SHUTDOWN])) as api:
        outcome = stage.layer.run({"AWS_LAMBDA_RUNTIME_API": api.address, "FLIPTOP_SUBSCRIBE": "overlap"})
    assert outcome.returncode == 0
    assert outcome.lines == []
    assert sorted(api.whats()) == [NEXT, REGISTER, TELEMETRY]
    assert {request.what: request.connection for request in api.requests} == {REGISTER: 1, NEXT: 1, TELEMETRY: 2}
    assert stage.births()[0]["names"] == [*LISTENERS, "books", "guard"]


# --- it dies ---

DEATHS = [
    (["kill", signal.SIGKILL], "SIGKILL"),
    (["kill", signal.SIGSEGV], "SIGSEGV"),
    (["kill", signal.SIGABRT], "SIGABRT"),
    (["kill", signal.SIGUSR1], f"signal {signal.SIGUSR1.value}"),
    (["exit", 0], "exit 0"),
    (["exit", 1], "exit 1"),
]


@pytest.mark.parametrize(("death", "cause"), DEATHS)
def test_dies_while_it_loads(stage: Stage, death: list[Any], cause: str) -> None:
    played = stage.play([[death], SERVES], [stage.after_births(2), invoke(9, "r1")], SHUTDOWN)
    assert played.headlines() == [("DD_EXTENSION_DIED", cause)]
    assert played.told[0]["while"] == "loading"
    assert (played.returncode, played.nexts, stage.events()) == (0, 2, ["r1", "SHUTDOWN"])


@pytest.mark.parametrize(("death", "cause"), DEATHS)
def test_dies_while_it_waits_for_an_event(stage: Stage, death: list[Any], cause: str) -> None:
    played = stage.play([["beat", "ask", death], SERVES], [stage.after_births(2), invoke(9, "r1")], SHUTDOWN)
    assert played.headlines() == [("DD_EXTENSION_DIED", cause)]
    assert played.told[0]["while"] == "waiting for an event"
    assert (played.returncode, played.nexts, stage.events()) == (0, 2, ["r1", "SHUTDOWN"])


@pytest.mark.parametrize(("death", "cause"), DEATHS)
def test_dies_while_it_serves_an_event(stage: Stage, death: list[Any], cause: str) -> None:
    lives = [["beat", "ask", "event", "count", death], SERVES]
    played = stage.play(lives, [invoke(9, "r1")], [stage.after_births(2), invoke(9, "r2")], SHUTDOWN)
    assert played.headlines() == [("DD_EXTENSION_DIED", cause)]
    assert played.told[0]["while"] == "serving an event"
    assert played.told[0]["ledger"] == {"logs accepted": 1}
    assert (played.returncode, played.nexts) == (0, 3)
    assert stage.events() == ["r1", "r2", "SHUTDOWN"], "no event is passed on twice"


@pytest.mark.parametrize("death", [death for death, _ in DEATHS])
def test_dies_after_shutdown(stage: Stage, death: list[Any]) -> None:
    played = stage.play([["beat", "ask", "event", death]], SHUTDOWN)
    assert (played.returncode, played.told, played.nexts) == (0, [], 1)


@pytest.mark.parametrize("listener", STREAMS)
def test_what_clients_sent_meanwhile_waits_for_the_next_life(stage: Stage, listener: str) -> None:
    def send() -> None:
        with socket.create_connection(("127.0.0.1", stage.port(listener)), timeout=5) as client:
            client.sendall(b"while nobody ran")

    lives: list[list[Any]] = [
        ["beat", "ask", ["sleep", 0.3], ["exit", 1]],
        ["beat", "ask", ["accept", listener], "event", ["exit", 0]],
    ]
    stage.play(lives, [stage.after_births(1), send, stage.after_births(2), *SHUTDOWN])
    assert {"what": listener, "said": "while nobody ran"} in stage.seen()


def test_the_ledger_of_the_dead_is_left_to_the_next_life(stage: Stage) -> None:
    lives = [["beat", "ask", "count", ["exit", 1]], ["beat", "ask", "count", ["exit", 1]], SERVES]
    played = stage.play(lives, [stage.after_births(3), *SHUTDOWN])
    assert [line["ledger"] for line in played.told] == [{"logs accepted": 1}, {"logs accepted": 2}]


def test_one_that_closes_the_connection_is_ended(stage: Stage) -> None:
    played = stage.play([["beat", "ask", "close", "hang"], SERVES], [stage.after_births(2), *SHUTDOWN])
    assert played.headlines() == [("DD_EXTENSION_DIED", "SIGKILL")]
    assert not is_alive(stage.births()[0]["pid"])


# --- again and again ---


@pytest.mark.parametrize("memory", ["128", "1024"])
def test_after_three_deaths_in_a_row_the_guard_is_alone(stage: Stage, memory: str) -> None:
    played = stage.play(
        [[["exit", 1]]],
        [invoke(9, "r1")],
        [stage.after(lambda: all(map(stage.refuses, STREAMS))), invoke(9, "r2")],
        [invoke(0, "r3")],
        SHUTDOWN,
        environ={"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": memory},
    )
    too_late = ("DD_EXTENSION_FALLBACK_TOO_LATE", "failed_to_start")
    assert played.headlines() == [("DD_EXTENSION_DIED", "exit 1")] * 3 + [too_late]
    assert [line["deaths"] for line in played.told[:3]] == [1, 2, 3]
    assert played.told[2]["what_happens"] == "The function runs without Datadog."
    assert (played.returncode, played.nexts, stage.events()) == (0, 4, [])


@pytest.mark.parametrize("listener", STREAMS)
def test_alone_the_guard_refuses_those_who_wait_already(stage: Stage, listener: str) -> None:
    ends: list[str] = []

    def wait_for_an_answer() -> None:
        with socket.create_connection(("127.0.0.1", stage.port(listener)), timeout=ENOUGH_S) as client:
            client.sendall(b"POST /lambda/end-invocation HTTP/1.1")
            stage.layer.extension.with_name("fliptop.go").touch()
            try:
                ends.append(repr(client.recv(1)))
            except ConnectionResetError:
                ends.append("reset")

    played = stage.play([["wait", ["exit", 1]]], [stage.after_births(1), wait_for_an_answer, *SHUTDOWN])
    assert ends == ["reset"]
    assert played.told[2]["deaths"] == 3


def test_an_event_served_between_them_is_a_new_beginning(stage: Stage) -> None:
    lives = [*[["beat", "ask", "event", "ask", ["exit", 1]]] * 4, SERVES]
    answers: list[Answer] = [[stage.after_births(number), invoke(9, f"r{number}")] for number in range(1, 6)]
    played = stage.play(lives, *answers, SHUTDOWN)
    assert [line["deaths"] for line in played.told] == [1, 2, 3, 4]
    assert stage.events() == ["r1", "r2", "r3", "r4", "r5", "SHUTDOWN"]


def test_ten_deaths_are_enough(stage: Stage) -> None:
    lives = [["beat", "ask", "event", "ask", ["exit", 1]]]
    answers: list[Answer] = [[stage.after_births(number), invoke(9)] for number in range(1, 11)]
    played = stage.play(lives, *answers, [0.2, invoke(9)], SHUTDOWN)
    assert [line["deaths"] for line in played.told] == list(range(1, 11))
    assert len(stage.births()) == 10
    assert played.returncode == 0


def test_one_that_cannot_be_executed_is_not_tried_again(stage: Stage) -> None:
    stage.layer.extension.write_bytes(Path(sys.executable).resolve().read_bytes()[:64])
    played = stage.play([], [invoke(9)], [invoke(9)], SHUTDOWN)
    headlines = [key for key, _ in played.headlines()]
    assert headlines == ["DD_EXTENSION_CANNOT_START", "DD_EXTENSION_FALLBACK_TOO_LATE"]
    assert played.told[0]["extension"] == f"{stage.layer.extension}: Exec format error"
    assert (played.returncode, played.nexts) == (0, 3)


def test_deaths_are_counted_once_an_extension_runs_again(stage: Stage) -> None:
    environ = {"FLIPTOP_TEST_STATSD_PORT": str(free_datagram_port()), "AWS_LAMBDA_FUNCTION_NAME": "f"}
    lives: list[list[Any]] = [
        [["exit", 3]],
        [["kill", signal.SIGSEGV]],
        ["beat", "ask", "receive", "event", ["exit", 0]],
    ]
    stage.play(lives, [stage.after(lambda: bool(stage.datagrams())), *SHUTDOWN], environ=environ)
    (said,) = stage.datagrams()
    metric, _, tags = said.partition("#")
    assert metric == "fliptop.extension.deaths:2|c|"
    assert tags.startswith("cause:sigsegv,layer_version:")
    assert tags.endswith(",functionname:f")


def test_a_datagram_sent_meanwhile_waits_for_the_next_life(stage: Stage) -> None:
    port = free_datagram_port()

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"while.nobody.ran:1|c", ("127.0.0.1", port))

    lives: list[list[Any]] = [
        ["beat", "ask", ["sleep", 0.3], ["exit", 1]],
        ["beat", "ask", "receive", "event", ["exit", 0]],
    ]
    environ = {"FLIPTOP_TEST_STATSD_PORT": str(port)}
    stage.play(lives, [stage.after_births(1), send, stage.after_births(2), *SHUTDOWN], environ=environ)
    assert stage.datagrams() == ["while.nobody.ran:1|c"]


def free_datagram_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- it hangs, or is late ---


def test_one_that_is_late_is_not_waited_for(stage: Stage) -> None:
    late = ["beat", "ask", "event", ["sleep", 1.5], "serve"]
    played = stage.play([late], [invoke(0.6, "r1")], [2.0, invoke(9, "r2")], SHUTDOWN)
    assert [key for key, _ in played.headlines()] == ["DD_EXTENSION_LATE"]
    asked = [request.ns for request in played.api.requests if request.what == NEXT]
    assert 0.3e9 < asked[1] - asked[0] < 0.6e9, "before the deadline of its event"
    assert stage.events() == ["r1", "r2", "SHUTDOWN"]


def test_one_that_has_not_loaded_by_the_deadline_misses_the_event(stage: Stage) -> None:
    played = stage.play([[["sleep", 1.0], *SERVES]], [invoke(0.5, "r1")], [1.5, invoke(9, "r2")], SHUTDOWN)
    assert [key for key, _ in played.headlines()] == ["DD_EXTENSION_LATE"]
    assert "not loaded" in played.headlines()[0][1]
    assert stage.events() == ["r2", "SHUTDOWN"]


def test_being_late_is_told_once(stage: Stage) -> None:
    played = stage.play([["hang"]], [invoke(0.2)], [invoke(0.2)], [invoke(0.2)], SHUTDOWN)
    assert [key for key, _ in played.headlines()] == ["DD_EXTENSION_LATE"]
    assert played.nexts == 4


def test_one_that_hangs_is_started_again(stage: Stage) -> None:
    """Its loop has turned, and turns no more: for an invocation that may last minutes."""
    lives: list[list[Any]] = [["beat once", "ask", "event", "hang"], SERVES]
    began = time.monotonic()
    played = stage.play(lives, [invoke(900, "r1")], [stage.after_births(2), invoke(9, "r2")], SHUTDOWN)
    assert played.headlines() == [("DD_EXTENSION_DIED", "hang")]
    assert time.monotonic() - began < 30
    assert stage.events() == ["r1", "r2", "SHUTDOWN"]


@pytest.mark.slow
def test_one_that_hangs_after_it_has_asked_for_the_next_event_is_started_again(stage: Stage) -> None:
    """The function may still run, and its tracer wait for an answer until both time out."""
    lives: list[list[Any]] = [["beat once", "ask", "event", "ask", "hang"], SERVES]
    played = stage.play(lives, [invoke(900, "r1")], [stage.after_births(2), invoke(9, "r2")], SHUTDOWN)
    assert played.headlines() == [("DD_EXTENSION_DIED", "hang")]
    assert (played.nexts, stage.events()) == (3, ["r1", "r2", "SHUTDOWN"])


@pytest.mark.slow
def test_one_that_hangs_while_it_loads_is_started_again(stage: Stage) -> None:
    """After it has missed its first event, the function may still run."""
    played = stage.play([["hang"], SERVES], [invoke(900, "r1")], [stage.after_births(2), invoke(9, "r2")], SHUTDOWN)
    assert [key for key, _ in played.headlines()] == ["DD_EXTENSION_LATE", "DD_EXTENSION_DIED"]
    assert stage.events() == ["r2", "SHUTDOWN"]


@pytest.mark.slow
def test_one_that_hangs_where_no_invocation_tells_is_started_again(stage: Stage) -> None:
    """Managed Instances tell of SHUTDOWN alone, and are never frozen."""
    environ = {"AWS_LAMBDA_INITIALIZATION_TYPE": "lambda-managed-instances"}
    lives: list[list[Any]] = [["beat once", "ask", "hang"], SERVES]
    played = stage.play(lives, [stage.after_births(2), 1.0, *SHUTDOWN], environ=environ)
    assert played.headlines() == [("DD_EXTENSION_DIED", "hang")]
    assert (played.nexts, stage.events()) == (1, ["SHUTDOWN"])


@pytest.mark.slow
def test_a_second_of_work_between_deaths_is_a_new_beginning_where_no_invocation_tells(stage: Stage) -> None:
    environ = {"AWS_LAMBDA_INITIALIZATION_TYPE": "lambda-managed-instances"}
    lives = [*[["beat", "ask", ["sleep", 2.5], ["exit", 1]]] * 4, SERVES]
    played = stage.play(lives, [stage.after_births(5), *SHUTDOWN], environ=environ)
    assert [line["deaths"] for line in played.told] == [1, 2, 3, 4]
    assert stage.events() == ["SHUTDOWN"]


@pytest.mark.slow
def test_one_that_is_well_is_left_alone_where_no_invocation_tells(stage: Stage) -> None:
    environ = {"AWS_LAMBDA_INITIALIZATION_TYPE": "lambda-managed-instances"}
    played = stage.play([SERVES], [stage.after_births(1), 7.0, *SHUTDOWN], environ=environ)
    assert (played.told, stage.events()) == ([], ["SHUTDOWN"])


# --- the end ---


def test_shutdown_ends_a_guard_whose_extension_is_dead(stage: Stage) -> None:
    lives: list[list[Any]] = [["beat", "ask", ["exit", 1]], [["exit", 1]], ["hang"]]
    played = stage.play(lives, [stage.after_births(2), 0.05, *SHUTDOWN])
    assert played.returncode == 0


def test_shutdown_waits_no_longer_than_lambda(stage: Stage) -> None:
    deadline_ms = round((time.time() + 1.5) * 1000)
    end = http(200, json.dumps({"eventType": "SHUTDOWN", "shutdownReason": "spindown", "deadlineMs": deadline_ms}))
    played = stage.play([["beat", "ask", "event", "hang"]], end)
    assert (played.returncode, played.told) == (0, [])
    child = stage.births()[0]["pid"]
    stage.after(lambda: not is_alive(child))()  # type: ignore[operator]


def test_nothing_outlives_a_guard_that_is_killed(stage: Stage) -> None:
    stage.layer.extension.with_name("fliptop.acts").write_text(json.dumps([["beat", "ask", "event"]]))
    with ScriptedApi(READY) as api:
        environ = stage.layer.environ({"AWS_LAMBDA_RUNTIME_API": api.address})
        with subprocess.Popen([stage.layer.launcher], env=environ) as guard:
            stage.after_births(1)()  # type: ignore[operator]
            guard.kill()
    child = stage.births()[0]["pid"]
    stage.after(lambda: not is_alive(child))()  # type: ignore[operator]
    assert guard.returncode == -signal.SIGKILL


def test_the_guard_sleeps_and_holds_next_to_nothing(stage: Stage) -> None:
    """The released program, as it waits for an event: its memory is a gate, and a look a second is all it does."""
    from tests.launcher.conftest import load_build

    builder = load_build("launcher")
    artefact = builder.release(builder.native())
    builder.build([artefact])
    stage.layer.launcher.write_bytes(artefact.path.read_bytes())
    stage.layer.extension.with_name("fliptop.acts").write_text(json.dumps([["beat", "ask", "event", ["exit", 0]]]))
    sizes: list[tuple[int, int]] = []

    def measure() -> None:
        before = switches(running[0].pid)
        time.sleep(0.3)
        sizes.append((resident_kb(running[0].pid), switches(running[0].pid) - before))

    running: list[subprocess.Popen[bytes]] = []
    with ScriptedApi((*READY, [stage.after_births(1), 0.5, measure, *SHUTDOWN])) as api:
        environ = stage.layer.environ({"AWS_LAMBDA_RUNTIME_API": api.address})
        with subprocess.Popen([stage.layer.launcher], env=environ) as guard:
            running.append(guard)
            assert guard.wait(ENOUGH_S) == 0
    ((memory_kb, woke),) = sizes
    assert memory_kb <= 160
    assert woke <= 1


def resident_kb(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Rss:"))


def switches(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return sum(int(line.split()[1]) for line in status.splitlines() if "ctxt_switches" in line)
