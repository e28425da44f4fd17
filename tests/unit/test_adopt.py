"""Adopting what the launcher made ready, by the protocol of sd_listen_fds(3)."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from fliptop.platform import ready
from fliptop.platform.api import RuntimeApi
from fliptop.platform.extensions_api import Registration, Shutdown, event, next_event
from tests.scripted_api import SHUTDOWN, ScriptedApi

FIRST = 200
VARIABLES = {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "FLIPTOP_REGISTRATION", "FLIPTOP_REGISTRATION_BODY"}


@pytest.fixture(autouse=True)
def inherited(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let descriptors be inherited from FIRST on: what pytest has open at 3 is its own."""
    monkeypatch.setattr(ready, "FIRST_INHERITED", FIRST)
    yield
    close_left()


def close_left() -> None:
    """Close what nobody adopted."""
    for number in range(FIRST, FIRST + 5):
        try:
            os.close(number)
        except OSError:
            continue


def place(number: int, given: socket.socket) -> None:
    """Leave a copy of a socket where the launcher would, and close it here."""
    os.dup2(given.fileno(), FIRST + number, inheritable=True)
    given.close()


def handed_over(api: ScriptedApi, names: str = "telemetry:next") -> dict[str, str]:
    """Do what the launcher does, and return the environment that it would give."""
    for number, name in enumerate(names.split(":")):
        if name == "next":
            connection = RuntimeApi(api.address)
            connection.send(next_event("id-1"))
            place(number, connection.socket)
        elif name == "dogstatsd":
            datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            datagrams.bind(("127.0.0.1", 0))
            place(number, datagrams)
        else:
            place(number, socket.create_server(("127.0.0.1", 0)))
    return {
        "AWS_LAMBDA_RUNTIME_API": api.address,
        "LISTEN_FDS": str(len(names.split(":"))),
        "LISTEN_PID": str(os.getpid()),
        "LISTEN_FDNAMES": names,
        "FLIPTOP_REGISTRATION": "id-1",
        "FLIPTOP_REGISTRATION_BODY": '{"functionName":"f","accountId":"111122223333"}',
        "OTHER": "kept",
    }


def adopted(environ: dict[str, str]) -> ready.Handover:
    handover = ready.adopt(environ)
    assert handover is not None
    return handover


def close(handover: ready.Handover) -> None:
    handover.api.close()
    handover.refuse()


def test_the_pending_event_arrives_and_nothing_is_asked_again() -> None:
    with ScriptedApi([SHUTDOWN, SHUTDOWN]) as api:
        handover = adopted(handed_over(api))
        assert handover.registration == Registration("id-1", "f", "111122223333")
        assert event(handover.api.receive()) == Shutdown("spindown", 0)
        assert len(api.requests) == 1
        assert event(handover.api.call(next_event("id-1"))) == Shutdown("spindown", 0)
        assert handover.warnings == ()
        close(handover)


@pytest.mark.parametrize("name", ["telemetry", "lifecycle", "trace_agent"])
def test_a_listener_takes_what_came_before(name: str) -> None:
    with ScriptedApi([]) as api:
        environ = handed_over(api, "telemetry:lifecycle:trace_agent:dogstatsd:next")
        with socket.socket(fileno=os.dup(FIRST + ready.LISTENERS.index(name))) as given:
            client = socket.create_connection(given.getsockname(), timeout=1)
        handover = adopted(environ)
        listener: socket.socket = getattr(handover, name)
        with client:
            client.sendall(b"x")
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(1) == b"x"
        assert listener.proto == socket.IPPROTO_TCP, "or asyncio would not set TCP_NODELAY"
        assert not os.get_inheritable(listener.fileno())
        close(handover)


def test_datagrams_that_came_before_are_there() -> None:
    with ScriptedApi([]) as api:
        environ = handed_over(api, "telemetry:dogstatsd:next")
        with socket.socket(fileno=os.dup(FIRST + 1)) as given, given.dup() as client:
            client.sendto(b"early:1|c", given.getsockname())
        handover = adopted(environ)
        assert handover.dogstatsd is not None
        assert handover.dogstatsd.recv(100) == b"early:1|c"
        assert not os.get_inheritable(handover.dogstatsd.fileno())
        close(handover)


def test_no_child_inherits_anything() -> None:
    with ScriptedApi([]) as api:
        environ = handed_over(api)
        handover = adopted(environ)
        assert environ.keys() == {"AWS_LAMBDA_RUNTIME_API", "OTHER"}
        assert handover.telemetry is not None
        assert not os.get_inheritable(handover.telemetry.fileno())
        assert not os.get_inheritable(handover.api.socket.fileno())
        close(handover)


def test_without_telemetry() -> None:
    with ScriptedApi([]) as api:
        handover = adopted(handed_over(api, "next"))
        assert handover.telemetry is None
        close(handover)


def test_a_listener_that_this_version_does_not_know_refuses_its_clients() -> None:
    with ScriptedApi([]) as api:
        environ = handed_over(api, "traces:next")
        handover = adopted(environ)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(FIRST)
        close(handover)


def test_a_registration_whose_answer_did_not_fit_is_one() -> None:
    with ScriptedApi([]) as api:
        environ = handed_over(api)
        del environ["FLIPTOP_REGISTRATION_BODY"]
        handover = adopted(environ)
        assert handover.registration == Registration("id-1", "")
        close(handover)


@pytest.mark.parametrize(
    "left_over",
    [
        {"LISTEN_PID": "1"},
        {"LISTEN_PID": "x"},
        {"LISTEN_PID": ""},
        {"LISTEN_FDS": "3"},
        {"LISTEN_FDNAMES": "telemetry"},
        {"FLIPTOP_REGISTRATION": ""},
    ],
)
def test_what_was_meant_for_another_process_is_left_alone(left_over: dict[str, str]) -> None:
    with ScriptedApi([]) as api:
        environ = handed_over(api) | left_over
        assert ready.adopt(environ) is None
        assert environ.keys().isdisjoint(VARIABLES)
        os.fstat(FIRST)
        os.fstat(FIRST + 1)
        close_left()


@pytest.mark.parametrize("what", ["a file", "nothing"])
def test_descriptors_that_are_no_sockets_are_not_adopted(what: str) -> None:
    with ScriptedApi([]) as api:
        environ = handed_over(api)
        os.close(FIRST + 1)
    if what == "a file":
        opened = os.open(os.devnull, os.O_RDONLY)
        os.dup2(opened, FIRST + 1)
        os.close(opened)
    assert ready.adopt(environ) is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(FIRST)


def test_without_a_launcher_there_is_nothing_to_adopt() -> None:
    assert ready.adopt({"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001"}) is None
