"""The stand-in that answers `/event/next` while the extension loads."""

from __future__ import annotations

import json
import threading

import anyio
import pytest

from fliptop.http1 import Response
from fliptop.lifecycle.events import EventStream
from fliptop.lifecycle.standin import StandIn, Watch
from fliptop.platform import extensions_api
from fliptop.platform.api import RuntimeApi
from fliptop.platform.extensions_api import Event, Invoke, Shutdown
from tests.conftest import MovedClock
from tests.unit.runtime_api import HANG_UP, SHUTDOWN, ScriptedApi


def invoke(clock: MovedClock, seconds: float) -> Response:
    event = {"eventType": "INVOKE", "requestId": "r1", "deadlineMs": round((clock.now + seconds) * 1000)}
    return Response(200, json.dumps(event).encode())


def stand_in(api: ScriptedApi, clock: MovedClock) -> tuple[RuntimeApi, StandIn]:
    connection = RuntimeApi(api.address)
    connection.send(extensions_api.next_event("id-1"))
    return connection, StandIn(connection, "id-1", clock, 0.2)


def wait_for(api: ScriptedApi, requests: int) -> None:
    ticks = threading.Event()
    for _ in range(500):
        if len(api.requests) >= requests:
            return
        ticks.wait(0.01)
    pytest.fail(f"{len(api.requests)} requests, {requests} expected")


def test_relieved_before_any_event_the_question_is_still_pending(clock: MovedClock) -> None:
    with ScriptedApi([]) as api:
        connection, watching = stand_in(api, clock)
        assert watching.relieve() == Watch()
        connection.close()


def test_an_event_that_waits_is_left_to_the_loop(clock: MovedClock) -> None:
    async def first_two(connection: RuntimeApi, watch: Watch) -> list[Event]:
        events = EventStream(connection, "id-1", watch)
        got = [await events.next(), await events.next()]
        await events._disconnect()
        return got

    with ScriptedApi([invoke(clock, 600), SHUTDOWN]) as api:
        connection, watching = stand_in(api, clock)
        wait_for(api, 1)
        watch = watching.relieve()
        # Relieved before or after the event was read: nothing is lost, and nothing is asked for twice.
        expected = [Invoke("r1", round((clock.now + 600) * 1000), ""), Shutdown("spindown", 0)]
        assert anyio.run(first_two, connection, watch) == expected
        assert len(api.requests) == 2


def test_an_invocation_whose_time_is_up_is_answered_without_the_loop(clock: MovedClock) -> None:
    with ScriptedApi([invoke(clock, 0.25), invoke(clock, 0)]) as api:
        connection, watching = stand_in(api, clock)
        wait_for(api, 3)
        assert watching.relieve() == Watch()
        connection.close()


def test_shutdown_is_left_to_the_loop(clock: MovedClock) -> None:
    with ScriptedApi([SHUTDOWN]) as api:
        connection, watching = stand_in(api, clock)
        watching._thread.join(5)
        assert watching.relieve() == Watch(Shutdown("spindown", 0))
        connection.close()


@pytest.mark.parametrize("trouble", [HANG_UP, Response(500), Response(200, b"nonsense")])
def test_a_connection_that_broke_is_not_handed_on(clock: MovedClock, trouble: Response) -> None:
    with ScriptedApi([trouble]) as api:
        connection, watching = stand_in(api, clock)
        watching._thread.join(5)
        assert watching.relieve() == Watch(intact=False)
        connection.close()
