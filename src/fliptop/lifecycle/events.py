"""The loop's view of `/event/next`: one event after the other, whatever happens to the connection."""

from __future__ import annotations

import socket
from typing import Final

import anyio
from anyio.abc import SocketStream

from fliptop import report
from fliptop.http1 import ClientSide, ProtocolError, Response
from fliptop.platform import extensions_api
from fliptop.platform.extensions_api import Event, Refused
from fliptop.platform.ready import Handover

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 2.0
_CONNECTION_LOST = (OSError, ProtocolError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


class EventStream:
    """Events, in order, from the connection that was handed over. If it is the platform's, the first request is pending
    on it, and it is made again when it is lost. If it is the guard's, its loss is our end.
    """

    def __init__(self, handover: Handover) -> None:
        self._address = handover.api.address
        self._identifier = handover.registration.identifier
        self._guarded = handover.guarded
        self._pending = not handover.guarded
        self._handed_over: socket.socket | None = handover.api.socket
        self._protocol = handover.api.protocol
        self._stream: SocketStream | None = None

    async def next(self) -> Event:
        """Ask for the next event, unless that has been done, and wait for it. Nothing but cancellation ends it early.

        Unguarded, a lost connection is made again; a refusal, which only a defect of ours or of the platform explains,
        is reported once and the question repeated.
        """
        pause, told = FIRST_PAUSE_S, False
        while True:
            try:
                return extensions_api.event(await self._exchange())
            except (*_CONNECTION_LOST, Refused, ValueError) as problem:
                if self._guarded:
                    raise
                if not told:
                    report.error(f"waiting for the next event failed ({_words(problem)}): trying again")
                    told = True
            await self._disconnect()
            await anyio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    async def _exchange(self) -> Response:
        stream = await self._connected()
        if not self._pending:
            await stream.send(self._protocol.send(extensions_api.next_event(self._identifier)))
            self._pending = True
        while (response := self._protocol.receive(await stream.receive())) is None:
            pass
        self._pending = False
        if not self._protocol.keeps_open:
            await self._disconnect()
        return response

    async def _connected(self) -> SocketStream:
        if self._stream is None:
            if self._handed_over is not None:
                handed_over, self._handed_over = self._handed_over, None
                self._stream = await SocketStream.from_socket(handed_over)
            else:
                host, _, port = self._address.rpartition(":")
                self._stream = await anyio.connect_tcp(host, int(port))
                self._protocol = ClientSide(self._address)
        return self._stream

    async def _disconnect(self) -> None:
        stream, self._stream, self._pending = self._stream, None, False
        if stream is not None:
            await anyio.aclose_forcefully(stream)


def _words(problem: BaseException) -> str:
    return f"{type(problem).__name__}: {problem}".removesuffix(": ")
