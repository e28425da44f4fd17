"""Tasks that die: started again, and in the end switched off together with their ports."""

from __future__ import annotations

import socket

import anyio
import pytest

from fliptop import service
from fliptop.parts import Task


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "RESTART_PAUSE_S", 0.0)


class Dying:
    """Dies so many times."""

    def __init__(self, times: int) -> None:
        self.times, self.lives = times, 0

    async def run(self) -> None:
        self.lives += 1
        if self.lives <= self.times:
            raise RuntimeError("no")


def test_a_task_that_dies_is_started_again(said: list[str]) -> None:
    dying = Dying(service.MAX_RESTARTS)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        anyio.run(service.supervise, Task("listener", dying.run, listening))
        with socket.create_connection(listening.getsockname(), timeout=1):
            pass
    assert dying.lives == service.MAX_RESTARTS + 1
    assert not any("switched off" in line for line in said)


def test_when_it_is_switched_off_those_who_wait_at_its_port_are_refused(said: list[str]) -> None:
    dying = Dying(service.MAX_RESTARTS + 1)
    with socket.create_server(("127.0.0.1", 0)) as listening, listening.dup():
        address = listening.getsockname()
        with socket.create_connection(address, timeout=1) as waiting:
            anyio.run(service.supervise, Task("listener", dying.run, listening))
            with pytest.raises(ConnectionResetError):
                waiting.recv(1)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=1)
    assert dying.lives == service.MAX_RESTARTS + 1
    assert "the listener is switched off" in said[-1]


def test_a_task_without_a_port_may_be_switched_off_too(said: list[str]) -> None:
    anyio.run(service.supervise, Task("reader", Dying(service.MAX_RESTARTS + 1).run))
    assert "the reader is switched off" in said[-1]
