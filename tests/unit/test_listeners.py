"""The telemetry listener on a real socket: it only accepts, and whatever a client does costs that client alone."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketStream

from fliptop.http1 import Request, Response
from fliptop.listeners.http import Handler, Limits, serve
from fliptop.listeners.inbox import Inbox
from fliptop.listeners.telemetry import telemetry_handler
from fliptop.outbox.ledger import Ledger

pytestmark = pytest.mark.anyio
POST = b"POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 2\r\n\r\n[]"


def post(body: bytes) -> bytes:
    return POST[:-2] + body


def listening(inbox: Inbox[bytes], limits: Limits | None = None) -> AbstractAsyncContextManager[int]:
    return serving(telemetry_handler(inbox), limits)


@asynccontextmanager
async def serving(handler: Handler, limits: Limits | None = None) -> AsyncIterator[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve, listener.dup(), handler, limits)
            yield listener.getsockname()[1]
            tasks.cancel_scope.cancel()


async def exchange(stream: SocketStream, data: bytes = POST) -> bytes:
    await stream.send(data)
    return await stream.receive()


async def test_a_delivery_is_kept_and_answered() -> None:
    inbox = Inbox[bytes](Ledger())
    async with listening(inbox) as port, await anyio.connect_tcp("127.0.0.1", port) as stream:
        for body in (b"[]", b"{}", b"[]"):
            assert (await exchange(stream, post(body))).startswith(b"HTTP/1.1 200")
    assert [await inbox.take() for _ in range(2)] == [b"[]", b"{}"]
    assert inbox.empty, "what is delivered again is not kept again"


async def test_a_full_inbox_asks_for_the_same_again() -> None:
    inbox = Inbox[bytes](Ledger(), ceiling=3)
    async with listening(inbox) as port, await anyio.connect_tcp("127.0.0.1", port) as stream:
        assert (await exchange(stream, post(b"[]"))).startswith(b"HTTP/1.1 200")
        assert (await exchange(stream, post(b"{}"))).startswith(b"HTTP/1.1 503")
        await inbox.take()
        assert (await exchange(stream, post(b"{}"))).startswith(b"HTTP/1.1 200")
    assert await inbox.take() == b"{}"


@pytest.mark.parametrize("nonsense", [b"\x16\x03\x01\r\n\r\n", b"GET\r\n\r\n", POST[:-1]])
async def test_a_client_that_misbehaves_costs_its_own_connection(nonsense: bytes) -> None:
    inbox = Inbox[bytes](Ledger())
    async with listening(inbox) as port:
        async with await anyio.connect_tcp("127.0.0.1", port) as bad:
            await bad.send(nonsense)
            await bad.send_eof()
            with pytest.raises(anyio.EndOfStream):
                await bad.receive()
        async with await anyio.connect_tcp("127.0.0.1", port) as good:
            assert (await exchange(good)).startswith(b"HTTP/1.1 200")


async def test_over_the_ceiling_the_one_that_has_been_silent_for_longest_gives_way() -> None:
    async with listening(Inbox[bytes](Ledger()), Limits(connections=2)) as port:
        streams = [await anyio.connect_tcp("127.0.0.1", port) for _ in range(2)]
        for stream in (*streams, streams[0]):
            assert (await exchange(stream)).startswith(b"HTTP/1.1 200")
        async with await anyio.connect_tcp("127.0.0.1", port) as third:
            assert (await exchange(third)).startswith(b"HTTP/1.1 200")
        with pytest.raises(anyio.EndOfStream):
            await streams[1].receive()
        assert (await exchange(streams[0])).startswith(b"HTTP/1.1 200")
        for stream in streams:
            await stream.aclose()


async def answer(client: socket.socket) -> bytes:
    await anyio.wait_readable(client)
    return client.recv(100)


async def test_of_many_that_come_at_once_the_last_ones_stay(said: list[str]) -> None:
    async with listening(Inbox[bytes](Ledger()), Limits(connections=4)) as port, AsyncExitStack() as open_:
        sockets = [open_.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5)) for _ in range(50)]
        await anyio.wait_all_tasks_blocked()
        for late in sockets[-4:]:
            late.sendall(POST)
        with anyio.fail_after(5):
            assert [await answer(early) for early in sockets[:-4]] == [b""] * 46
            assert [(await answer(late))[:12] for late in sockets[-4:]] == [b"HTTP/1.1 200"] * 4
    assert not said


async def test_nobody_has_to_go_unheard() -> None:
    """A listener that loads, or is frozen, finds many who have waited."""
    inbox = Inbox[bytes](Ledger())
    async with listening(inbox, Limits(connections=4)) as port, AsyncExitStack() as open_:
        sockets = [open_.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5)) for _ in range(20)]
        for number, client in enumerate(sockets):
            body = b"%2d" % number * 100_000
            client.sendall(POST[:-2].replace(b": 2", b": %d" % len(body)) + body)
        with anyio.fail_after(5):
            assert [(await answer(client))[:12] for client in sockets] == [b"HTTP/1.1 200"] * 20
    assert len(inbox) == 20


@pytest.mark.parametrize("begun", [b"", POST[:20]])
async def test_a_client_that_goes_silent_keeps_nobody_out(begun: bytes) -> None:
    async with (
        listening(Inbox[bytes](Ledger()), Limits(connections=1)) as port,
        await anyio.connect_tcp("127.0.0.1", port) as idle,
    ):
        if begun:
            await idle.send(begun)
        async with await anyio.connect_tcp("127.0.0.1", port) as busy:
            assert (await exchange(busy)).startswith(b"HTTP/1.1 200")
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await idle.receive()


async def test_whatever_is_wrong_with_serving_one_client_the_next_is_served(said: list[str]) -> None:
    def handler(request: Request) -> Response:
        if request.target == "/bad":
            raise RuntimeError("a defect")
        return Response(200)

    async with serving(handler) as port:
        async with await anyio.connect_tcp("127.0.0.1", port) as bad:
            await bad.send(POST.replace(b" / ", b" /bad "))
            with pytest.raises(anyio.EndOfStream):
                await bad.receive()
        async with await anyio.connect_tcp("127.0.0.1", port) as good:
            assert (await exchange(good)).startswith(b"HTTP/1.1 200")
    assert "a defect" in said[0]


async def test_a_body_that_is_too_large_is_read_and_refused() -> None:
    inbox = Inbox[bytes](Ledger())
    async with (
        listening(inbox, Limits(body_bytes=1000)) as port,
        await anyio.connect_tcp("127.0.0.1", port) as stream,
    ):
        large = b"POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000
        assert (await exchange(stream, large)).startswith(b"HTTP/1.1 413")
        assert (await exchange(stream)).startswith(b"HTTP/1.1 200"), "on the same connection"
    assert len(inbox) == 1


async def test_bodies_that_arrive_at_once_share_their_room() -> None:
    head = b"POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 600\r\n\r\n"
    inbox = Inbox[bytes](Ledger())
    async with listening(inbox, Limits(body_bytes=1000, bodies_bytes=1000)) as port:
        slow = await anyio.connect_tcp("127.0.0.1", port)
        await slow.send(head + b"x" * 599)
        await anyio.wait_all_tasks_blocked()
        async with await anyio.connect_tcp("127.0.0.1", port) as other:
            assert (await exchange(other, head + b"y" * 600)).startswith(b"HTTP/1.1 503")
            assert (await exchange(slow, b"x")).startswith(b"HTTP/1.1 200")
            assert (await exchange(other, head + b"z" * 600)).startswith(b"HTTP/1.1 200")
        await slow.send(head + b"x" * 599)
        await slow.aclose()
        await anyio.wait_all_tasks_blocked()
        async with await anyio.connect_tcp("127.0.0.1", port) as other:
            assert (await exchange(other, head + b"w" * 600)).startswith(b"HTTP/1.1 200"), "room is given back"


@pytest.mark.parametrize(("method", "status"), [("POST", 200), ("PUT", 200), ("GET", 405), ("DELETE", 405)])
def test_every_path_is_served_for_deliveries_only(method: str, status: int) -> None:
    answer = telemetry_handler(Inbox[bytes](Ledger()))(Request(method, "/any/path"))
    assert answer.status == status
    assert answer == Response(200) or answer.header("allow") == "POST, PUT"


async def test_a_delivery_is_accounted_for_until_it_has_been_read() -> None:
    ledger = Ledger()
    inbox = Inbox[bytes](ledger, ceiling=4)
    assert inbox.put(b"one", 3)
    assert not inbox.put(b"too much", 8)
    assert inbox.put(b"2", 1)
    assert ledger.pending("deliveries") == 2
    assert await inbox.take() == b"one"
    assert ledger.pending("deliveries") == 2, "taken is not read"
    inbox.done()
    inbox.give_up("shutdown")
    assert ledger.summary()["deliveries"] == {"accepted": 2, "delivered": 1, "pending": 0, "dropped": {"shutdown": 1}}
    assert inbox.empty
