"""The lifecycle listener: the answers that tracers rely on, whatever they send."""

from __future__ import annotations

import base64
import json
import socket
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fliptop.http1 import Request, Response
from fliptop.invocations.lookout import Lookout
from fliptop.invocations.tracing import Invocations
from fliptop.listeners.http import serve
from fliptop.listeners.lifecycle import LIMITS, lifecycle_handler
from tests.conftest import MovedClock
from tests.unit.test_invocations import ENDED, OPTIONS, Life
from tests.unit.test_triggers import CARRIER


def ask(
    life: Life, path: str, body: bytes = b"", headers: dict[str, str] | None = None, method: str = "POST"
) -> Response:
    handle = lifecycle_handler(lambda: life.lookout.invocations)
    return handle(Request(method, path, tuple((headers or {}).items()), body))


@pytest.fixture
def life(clock: MovedClock) -> Life:
    return Life(clock)


def test_the_answer_names_the_trace(life: Life) -> None:
    headers = CARRIER | {"x-datadog-tags": "_dd.p.tid=640cfd8d00000000,_dd.p.dm=-4"}
    answer = ask(life, "/lambda/start-invocation", json.dumps({"headers": headers}).encode())
    assert answer == Response(
        200,
        b"{}",
        (
            ("x-datadog-trace-id", "1234"),
            ("x-datadog-sampling-priority", "1"),
            ("x-datadog-tags", "_dd.p.tid=640cfd8d00000000"),
        ),
    )


def test_headers_count_without_a_body(life: Life) -> None:
    answer = ask(life, "/lambda/start-invocation", b"", {"x-datadog-trace-id": "5"})
    assert answer.headers == (("x-datadog-trace-id", "5"),)


def test_without_a_trace_there_is_nothing_to_say(life: Life) -> None:
    assert ask(life, "/lambda/start-invocation", b"{}") == Response(200, b"{}")
    assert ask(life, "/lambda/end-invocation?x=1", b"{}", ENDED) == Response(200, b"{}")
    assert life.lookout.invocations._early is not None


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/lambda/hello", 200),
        ("POST", "/lambda/flush", 200),
        ("POST", "/lambda/hello", 405),
        ("GET", "/lambda/start-invocation", 405),
        ("PUT", "/lambda/end-invocation", 405),
        ("POST", "/", 404),
        ("GET", "/lambda/", 404),
    ],
)
def test_routes_load_nothing(clock: MovedClock, method: str, path: str, status: int) -> None:
    def load(complete: bool) -> Invocations:
        raise AssertionError("nobody tells of an invocation")

    lookout = Lookout(load, clock)
    answer = lifecycle_handler(lambda: lookout.invocations)(Request(method, path))
    assert answer.status == status
    assert (answer.header("allow") is not None) == (status == 405)


def test_a_defect_is_told_and_the_function_goes_on(said: list[str]) -> None:
    def broken() -> Any:
        raise RuntimeError("defect")

    assert lifecycle_handler(broken)(Request("POST", "/lambda/start-invocation")) == Response(200, b"{}")
    assert "defect" in said[0]


@pytest.mark.anyio
async def test_of_a_body_that_is_too_large_the_headers_count(life: Life, said: list[str]) -> None:
    handle = lifecycle_handler(lambda: life.lookout.invocations)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve, listening.dup(), handle, LIMITS._replace(body_bytes=100))
            async with await anyio.connect_tcp(*listening.getsockname()) as stream:
                for size in (200_000, 2):
                    head = f"POST /lambda/start-invocation HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n"
                    await stream.send(head.encode() + b"x-datadog-trace-id: 5\r\n\r\n" + b" " * (size - 2) + b"{}")
                    answer = await stream.receive()
                    assert answer.startswith(b"HTTP/1.1 200")
                    assert b"x-datadog-trace-id: 5" in answer.lower()
            tasks.cancel_scope.cancel()
    assert "too_large" in said[0]
    for _ in range(2):
        assert handle(Request("POST", "/lambda/start-invocation", refused="no_room")).status == 200
    assert ["no_room" in line for line in said] == [False, True]


@pytest.mark.anyio
async def test_many_invocations_at_once_keep_their_connections() -> None:
    life = Life(MovedClock(), OPTIONS._replace(managed=True))
    handle = lifecycle_handler(lambda: life.lookout.invocations)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with anyio.create_task_group() as tasks, AsyncExitStack() as open_:
            tasks.start_soon(serve, listening.dup(), handle, LIMITS)
            address = listening.getsockname()
            streams = [await open_.enter_async_context(await anyio.connect_tcp(*address)) for _ in range(100)]
            for what in ("start", "end"):
                for number, stream in enumerate(streams):
                    head = f"POST /lambda/{what}-invocation HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n"
                    await stream.send(f"{head}lambda-runtime-aws-request-id: r{number}\r\n\r\n{{}}".encode())
                    assert (await stream.receive()).startswith(b"HTTP/1.1 200")
            tasks.cancel_scope.cancel()
    assert all(one.ending is not None for one in life.lookout.invocations._known.values())


@pytest.mark.anyio
async def test_a_long_stack_trace_fits_into_a_header(life: Life) -> None:
    """That of an overflow has a thousand frames."""
    frame = "at com.example.shop.orders.checkout.PlacesOrdersOfCustomersWhoAreKnown.place(Orders.java:1234)"
    stack = "\n".join([f"\t{frame} ~[orders-1.0.jar:?]"] * 1024)
    head = b"POST /lambda/end-invocation HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n"
    head += b"".join(f"{name}: {value}\r\n".encode() for name, value in ENDED.items())
    life.lookout.invoked("r1")
    life.start()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with anyio.create_task_group() as tasks:
            handle = lifecycle_handler(lambda: life.lookout.invocations)
            tasks.start_soon(serve, listening.dup(), handle, LIMITS)
            async with await anyio.connect_tcp(*listening.getsockname()) as stream:
                await stream.send(head + b"x-datadog-invocation-error-stack: " + base64.b64encode(stack.encode()))
                await stream.send(b"\r\n\r\n{}")
                assert (await stream.receive()).startswith(b"HTTP/1.1 200")
            tasks.cancel_scope.cancel()
    life.done("r1")
    ((span,),) = life.flush()
    assert (span.error, span.meta["error.stack"]) == (1, stack)


text = st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"))
names = text | st.sampled_from((*ENDED, *CARRIER, "x-datadog-tags", "traceparent", "x-datadog-invocation-error-msg"))


@given(
    st.binary()
    | st.recursive(st.text() | st.integers(), lambda s: st.lists(s) | st.dictionaries(st.text(), s))
    .map(json.dumps)
    .map(str.encode),
    st.dictionaries(names, text),
)
def test_anything_is_answered(body: bytes, headers: dict[str, str]) -> None:
    life = Life(MovedClock())
    for path in ("/lambda/start-invocation", "/lambda/end-invocation"):
        answer = ask(life, path, body, headers)
        assert answer.status == 200
        assert all(value.isascii() and value.isprintable() for _, value in answer.headers)
