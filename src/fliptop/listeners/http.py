"""HTTP endpoints for what runs beside us. A listener only accepts: it answers as soon as the bytes are queued."""

import math
import socket
from collections.abc import Callable
from typing import Final, NamedTuple

import anyio
from anyio.abc import SocketListener, SocketStream

from fliptop.http1 import ProtocolError, Request, Response, ServerSide

Handler = Callable[[Request], Response]

READ_BYTES: Final = 65536
ACCEPT_PAUSE_S: Final = 0.1


class Limits(NamedTuple):
    """Ceilings of one listener: open connections, bytes of one request's body (together they bound the memory that
    clients can make us hold), and seconds for a connection's first request, which a client that only holds the place of
    others never sends.
    """

    connections: int = 16
    body_bytes: int = 2 * 1024 * 1024
    first_request_s: float = 5.0


async def serve(listening: socket.socket, handler: Handler, limits: Limits | None = None) -> None:
    """Serve `handler` on a socket that is listening already, until cancelled.

    Whatever a client does costs its own connection only. Over the ceiling, new connections wait in the kernel's
    backlog until one is closed.
    """
    limits = limits or Limits()
    slots = anyio.Semaphore(limits.connections)

    async def connection(stream: SocketStream) -> None:
        try:
            async with stream:
                await _converse(stream, handler, limits)
        finally:
            slots.release()

    async with await SocketListener.from_socket(listening) as listener, anyio.create_task_group() as tasks:
        while True:
            await slots.acquire()
            tasks.start_soon(connection, await _accept(listener))


async def _accept(listener: SocketListener) -> SocketStream:
    while True:
        try:
            return await listener.accept()
        except OSError:  # too many open files, or a client that is gone already: others may fare better in a moment
            await anyio.sleep(ACCEPT_PAUSE_S)


async def _converse(stream: SocketStream, handler: Handler, limits: Limits) -> None:
    protocol = ServerSide(limits.body_bytes)
    with anyio.CancelScope(deadline=anyio.current_time() + limits.first_request_s) as patience:
        try:
            while protocol.keeps_open:
                for request in protocol.receive(await stream.receive(READ_BYTES)):
                    patience.deadline = math.inf
                    await stream.send(protocol.respond(handler(request)))
                if protocol.wants_continue:
                    await stream.send(protocol.go_ahead())
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, ProtocolError):
            return
