"""Calls to `AWS_LAMBDA_RUNTIME_API` over one blocking socket: all that the extension needs before it is ready.

Plain sockets, because a concurrency library would cost more to import than the whole exchange takes. Afterwards the
same connection, with `/event/next` pending on it, goes to the event loop (`lifecycle.events`).
"""

from __future__ import annotations

import socket

from fliptop.http1 import ClientSide, ProtocolError, Request, Response

CONNECT_TIMEOUT_S = 2.0


class Unreachable(Exception):
    """The Runtime API did not answer: it cannot be reached, closed the connection or did not speak HTTP."""


class HungUp(Unreachable):
    """The connection ended before a byte of the answer came. A server may end one that has served without saying so;
    what may be asked twice can then be asked again, on another connection.
    """


class RuntimeApi:
    """One connection to the Runtime API at `address` (`host:port`, never with a scheme): a new one, or `connection`,
    which somebody else has made.
    """

    def __init__(self, address: str, connection: socket.socket | None = None) -> None:
        self.address = address
        self._use(connection or _connected(address))

    def _use(self, connection: socket.socket) -> None:
        # Waiting for an event has no limit: the environment may be frozen for hours in the middle of it.
        connection.settimeout(None)
        if connection.family == socket.AF_INET:  # the guard's is a local one
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket, self.protocol = connection, ClientSide(self.address)
        self._is_new, self._is_answered = True, False

    def reopen(self) -> None:
        """Make a new connection in the place of the old one. Raises `Unreachable`."""
        self.socket.close()
        self._use(_connected(self.address))

    def expect(self, request: Request) -> None:
        """Wait for the answer to `request` from now on: whoever made the connection has sent it."""
        self.protocol.send(request)
        self._is_new = False

    def call(self, request: Request) -> Response:
        """Send `request` and wait for its answer, however long that takes. Raises `Unreachable`."""
        self.send(request)
        return self.receive()

    def send(self, request: Request) -> None:
        """Send `request` and leave its answer pending; on a new connection, if the server has ended this one. Raises
        `Unreachable`.
        """
        if not self.protocol.keeps_open:
            self.reopen()
        try:
            self._send(request)
        except (OSError, ProtocolError) as problem:
            if self._is_new:
                raise Unreachable(f"{request.method} {request.target}: {problem}") from problem
            self.reopen()
            self.send(request)

    def _send(self, request: Request) -> None:
        self.socket.sendall(self.protocol.send(request))
        self._is_new, self._is_answered = False, False

    def receive(self) -> Response:
        """Wait for the pending answer. Raises `Unreachable`."""
        while (response := self.read()) is None:
            pass
        return response

    def read(self) -> Response | None:
        """Wait for some bytes of the pending answer; the answer if they complete it. Raises `Unreachable`, `HungUp` if
        there will be none.
        """
        try:
            data = self.socket.recv(65536)
            self._is_answered |= bool(data)
            return self.protocol.receive(data)
        except (OSError, ProtocolError) as problem:
            has_hung_up = not self._is_answered and not isinstance(problem, TimeoutError)
            raise (HungUp if has_hung_up else Unreachable)(f"{self.address}: {problem}") from problem

    def close(self) -> None:
        """Close the connection. A call pending on it is given up."""
        self.socket.close()


def _connected(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    try:
        return socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S)
    except (OSError, ValueError) as problem:
        raise Unreachable(f"AWS_LAMBDA_RUNTIME_API={address}: {problem}") from problem
