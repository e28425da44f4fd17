"""HTTP endpoints for what runs beside us. A listener only accepts: it answers as soon as the bytes are queued."""

import socket
from collections.abc import Callable
from typing import Final, NamedTuple

import anyio
from anyio.abc import SocketListener, SocketStream

from fliptop import report
from fliptop.http1 import MAX_HEADER_BYTES, ProtocolError, Request, Response, Room, ServerSide

Handler = Callable[[Request], Response]

READ_BYTES: Final = 65536
ACCEPT_PAUSE_S: Final = 0.1


class Limits(NamedTuple):
    """Ceilings of one listener: open connections, bytes of one request's body, of all bodies that are arriving, and of
    one request's head.
    """

    connections: int = 16
    body_bytes: int = 2 * 1024 * 1024
    bodies_bytes: int = 8 * 1024 * 1024
    head_bytes: int = MAX_HEADER_BYTES


class Places:
    """The places of open connections, those that have been silent for longest first. There is always one more: over the
    ceiling, the connection that has been silent for longest is closed. (Clients keep theirs for later, and a client
    that finds it closed opens another one; a new client that found no place would have to give up.)
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._taken: dict[anyio.CancelScope, None] = {}

    def take(self) -> anyio.CancelScope:
        """A place for one more connection: the scope to run it in."""
        if len(self._taken) >= self._number:
            silent = next(iter(self._taken))
            silent.cancel()
            self.leave(silent)
        place = anyio.CancelScope()
        self._taken[place] = None
        return place

    def heard(self, place: anyio.CancelScope) -> None:
        """Its client has sent something."""
        if place in self._taken:
            del self._taken[place]
            self._taken[place] = None

    def leave(self, place: anyio.CancelScope) -> None:
        """Its connection is closed."""
        self._taken.pop(place, None)


async def serve(listening: socket.socket, handler: Handler, limits: Limits | None = None) -> None:
    """Serve `handler` on a socket that is listening already, until cancelled.

    Whatever a client does costs its own connection only.
    """
    limits = limits or Limits()
    places, room = Places(limits.connections), Room(limits.bodies_bytes)

    async def connection(stream: SocketStream, place: anyio.CancelScope) -> None:
        protocol = ServerSide(limits.body_bytes, room, limits.head_bytes)
        try:
            with place:
                async with stream:
                    await _converse(stream, protocol, handler, lambda: places.heard(place))
        except Exception as problem:  # noqa: BLE001 -- promise 1: nothing that one client sends may end the listener
            report.error(f"a local client's request could not be served: {problem!r}")
        finally:
            protocol.close()
            places.leave(place)

    async with await SocketListener.from_socket(listening) as listener, anyio.create_task_group() as tasks:
        while True:
            stream = await _accept(listener)
            tasks.start_soon(connection, stream, places.take())


async def _accept(listener: SocketListener) -> SocketStream:
    while True:
        try:
            return await listener.accept()
        except OSError:  # too many open files, or a client that is gone already: others may fare better in a moment
            await anyio.sleep(ACCEPT_PAUSE_S)


async def _converse(stream: SocketStream, protocol: ServerSide, handler: Handler, heard: Callable[[], None]) -> None:
    try:
        while protocol.keeps_open:
            data = await stream.receive(READ_BYTES)
            heard()
            for request in protocol.receive(data):
                await stream.send(protocol.respond(handler(request)))
            if protocol.wants_continue:
                await stream.send(protocol.go_ahead())
    except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, ProtocolError):
        return
