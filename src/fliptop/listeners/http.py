"""HTTP endpoints for what runs beside us. A listener only accepts: it answers as soon as the bytes are queued."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import anyio
from anyio.abc import SocketListener, SocketStream

from fliptop.http1 import ProtocolError, Request, Response, ServerSide

Handler = Callable[[Request], Response]

READ_BYTES: Final = 65536


@dataclass(frozen=True, slots=True)
class Limits:
    """Ceilings of one listener: open connections, and bytes of one request's body."""

    connections: int = 64
    body_bytes: int = 8 * 1024 * 1024


async def serve(listening: socket.socket, handler: Handler, limits: Limits | None = None) -> None:
    """Serve `handler` on a socket that is listening already, until cancelled.

    Whatever a client does costs its own connection only. Over the ceiling, new connections wait in the kernel's
    backlog until one is closed.
    """
    limits = limits or Limits()
    listener = await SocketListener.from_socket(listening)
    slots = anyio.CapacityLimiter(limits.connections)

    async def connection(stream: SocketStream) -> None:
        async with slots, stream:
            await _converse(stream, handler, limits.body_bytes)

    async with listener:
        await listener.serve(connection)


async def _converse(stream: SocketStream, handler: Handler, max_body: int) -> None:
    protocol = ServerSide(max_body)
    try:
        while protocol.keeps_open:
            for request in protocol.receive(await stream.receive(READ_BYTES)):
                await stream.send(protocol.respond(handler(request)))
            if protocol.wants_continue:
                await stream.send(protocol.go_ahead())
    except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, ProtocolError):
        return
