"""The intake on sockets: HTTP/1.1 and HTTP/2, in clear (prior knowledge) or TLS, on any number of listeners."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config

from fliptop_lab.intake.app import ABORT, IntakeApp
from fliptop_lab.intake.faults import Faults
from fliptop_lab.intake.store import Received, Request, Store

CERTIFICATES = Path(__file__).parent / "certificates"
KNOWN, AUTHORITY, UNKNOWN = (CERTIFICATES / f"{name}.pem" for name in ("known", "authority", "unknown"))
"""A certificate for ``intake.lab``, ``localhost`` and 127.0.0.1, its authority, and one that nobody vouches for."""
GARBAGE = b"\x00220 mail.example.com ready for anything but this\r\n" * 8
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time: closing sends RST instead of FIN."""


class Intake:
    """A local Datadog intake, for use as ``async with Intake() as intake``.

    ``key`` is the only API key it accepts (None: any). ``port`` 0 picks a free one. With ``certificate``, a PEM
    file of certificate and private key, it speaks TLS. ``OSError`` on entry when the port is taken.
    """

    def __init__(
        self, key: str | None = None, host: str = "127.0.0.1", port: int = 0, certificate: Path | None = None
    ) -> None:
        self.store = Store()
        self.faults = Faults()
        self._address = (host, port)
        self._app = IntakeApp(self.store, self.faults, key).asgi()
        self._tls = _tls(certificate) if certificate else None
        self._stranger = _tls(UNKNOWN) if certificate else None
        self._transports: set[asyncio.Transport] = set()
        self._listeners: list[Listener] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """``http://host:port`` (or https) of the first listener, without a trailing slash."""
        host, port = self._listeners[0].address
        return f"{'https' if self._tls else 'http'}://{host}:{port}"

    @property
    def received(self) -> Received:
        """Decoded items per signal."""
        return self.store.received

    @property
    def requests(self) -> list[Request]:
        """Every request so far, refused ones included, oldest first."""
        return list(self.store.requests)

    @property
    def duplicates(self) -> int:
        """How many accepted payloads had been accepted before."""
        return self.store.duplicates

    async def wait_for(self, wanted: int | Callable[[], bool], timeout: float = 10.0) -> None:  # noqa: ASYNC109
        """Return once so many logs are there, or once a condition over this intake holds.

        Raises ``TimeoutError`` after ``timeout`` seconds, with what did arrive.
        """
        condition = wanted if callable(wanted) else lambda: self.store.counts["logs"] >= wanted
        await self.store.wait_for(condition, timeout)

    def add_listener(self, sock: socket.socket) -> None:
        """Serve on one more listening TCP socket, which is the intake's to close from now on."""
        listener = Listener(sock, self._connected)
        self._listeners.append(listener)
        self._open_or_refuse()

    def forget_connections(self) -> None:
        """From now on what comes on the connections there are leads to nothing, and nobody is told: what a gateway does
        that has forgotten them.
        """
        for transport in self._transports:
            transport.pause_reading()

    async def __aenter__(self) -> Self:
        sock = socket.create_server(self._address, backlog=512)
        self.add_listener(sock)
        self._spawn(self._follow_faults())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for listener in self._listeners:
            listener.close()
        for transport in list(self._transports):  # a forgotten one would wait for a goodbye that it does not read
            transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _connected(self, connection: socket.socket) -> None:
        if self.faults.active_of("garbage"):
            self._spawn(_babble(connection))
            return
        tls = self._stranger if self.faults.active_of("untrusted") else self._tls
        self._spawn(serve(connection, self._app, tls, self._transports))

    async def _follow_faults(self) -> None:
        while True:
            changed = self.faults.changed
            self._open_or_refuse()
            if self.faults.active_of("refuse", "untrusted", "garbage"):
                for transport in self._transports:
                    transport.abort()
            await changed.wait()

    def _open_or_refuse(self) -> None:
        for listener in self._listeners:
            listener.refuse() if self.faults.active_of("refuse") else listener.open()


class Listener:
    """A listening socket that can refuse connections and come back on the same address."""

    def __init__(self, sock: socket.socket, connected: Callable[[socket.socket], None]) -> None:
        self._sock = sock
        self._connected = connected
        self._accepting: asyncio.Task[None] | None = None
        self.address: tuple[str, int] = sock.getsockname()[:2]
        sock.setblocking(False)

    def open(self) -> None:
        """Accept connections. Doing so already is fine."""
        if self._accepting:
            return
        # After shutdown(2) Linux forgets a port it had chosen itself, and keeps one that was asked for.
        with contextlib.suppress(OSError):
            self._sock.bind(self.address)
        self._sock.listen(512)
        self._accepting = asyncio.create_task(self._accept())

    def refuse(self) -> None:
        """Let connections be refused."""
        if self._accepting:
            self._accepting.cancel()
            self._accepting = None
        # Unlike close(2), this keeps the socket, which may belong to a network namespace out of reach by now.
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the socket back."""
        if self._accepting:
            self._accepting.cancel()
        self._sock.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(self._sock)
            self._connected(connection)


async def _babble(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_sendall(connection, GARBAGE)
        await asyncio.get_running_loop().sock_recv(connection, 65_536)
    connection.close()


async def serve(
    connection: socket.socket, app: Any, tls: ssl.SSLContext | None, transports: set[asyncio.Transport]
) -> None:
    """Serve one connection until it ends; whatever goes wrong on it stays with it. It is in `transports` meanwhile."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    try:
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=tls)
    except OSError:
        connection.close()
        return
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)

    def abort() -> None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        transport.abort()

    async def bound(scope: Any, receive: Any, send: Any) -> None:
        await app(scope | {ABORT: abort}, receive, send)

    transports.add(transport)
    try:
        await TCPServer(ASGIWrapper(bound), loop, _config(), WorkerContext(None), {}, reader, writer)
    finally:
        transports.discard(transport)
        transport.abort()


def _config() -> Config:
    config = Config()
    config.keep_alive_timeout = 60.0
    config.keep_alive_max_requests = 1_000_000
    config.include_server_header = False
    return config


def _tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context
