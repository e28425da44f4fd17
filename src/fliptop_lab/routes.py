"""How an extension gets to the intake: straight, by TLS, by a name, or through a proxy; and how each of these fails."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fliptop_lab.intake import Fault, Intake
from fliptop_lab.intake.server import AUTHORITY, KNOWN, Listener
from fliptop_lab.lambda_ import ExecutionEnvironment

NAME: Final = "intake.lab"
NAME_SERVER: Final = ("127.0.0.53", 53)
PROXY: Final = ("127.0.0.1", 3128)
POINTERS: Final = {
    "DD_LOGS_CONFIG_LOGS_DD_URL": "",
    "DD_DD_URL": "",
    "DD_APM_DD_URL": "",
    "DD_APM_PROFILING_DD_URL": "/api/v2/profile",
    "DD_APM_DEBUGGER_DD_URL": "/api/v2/logs",
    "DD_APM_DEBUGGER_DIAGNOSTICS_DD_URL": "/api/v2/debugger",
    "DD_APM_TELEMETRY_DD_URL": "",
    "DD_EVP_PROXY_CONFIG_DD_URL": "",
}
"""Variables that say where an extension sends something, and the path that the URL in them has."""


@dataclass(frozen=True)
class Route:
    """``host`` is what extensions know of the intake: its address, or a name for which a name server must be asked."""

    tls: bool = False
    host: str = "127.0.0.1"
    proxied: bool = False

    @property
    def certificate(self) -> Path | None:
        """What the intake shows."""
        return KNOWN if self.tls else None

    @property
    def name_server(self) -> str | None:
        """Whom the environment's processes ask for names; None for whom the machine asks."""
        return NAME_SERVER[0] if self.host == NAME else None

    def environment(self, port: int) -> dict[str, str]:
        """Variables that lead an extension this way to the intake's ``port``."""
        url = f"http{'s' * self.tls}://{self.host}:{port}"
        trust = {"DD_TLS_CERT_FILE": str(AUTHORITY)} if self.tls else {}
        proxy = {"DD_PROXY_HTTPS": "http://{}:{}".format(*PROXY)} if self.proxied else {}
        return {**pointers(url), **trust, **proxy}

    @asynccontextmanager
    async def open(self, environment: ExecutionEnvironment, intake: Intake) -> AsyncIterator[None]:
        """What stands along the way, for as long as the block lasts. Raises ``ValueError`` where it cannot."""
        async with contextlib.AsyncExitStack() as stack:
            if self.name_server and not environment.isolated:
                raise ValueError(
                    "a name server needs namespaces: take another fault, or run this where they are allowed"
                )
            if self.name_server:
                stack.enter_context(_name_server(environment, intake))
            if self.proxied:
                await stack.enter_async_context(_proxy(environment, intake))
            yield


def pointers(url: str) -> dict[str, str]:
    """Variables that make an extension send everything to the intake at ``url``."""
    return {name: url + path for name, path in POINTERS.items()}


ROUTES: Final = {
    "straight": Route(),
    "tls": Route(tls=True),
    "named": Route(host=NAME),
    "proxied": Route(tls=True, host=NAME, proxied=True),
}
_TAKEN_BY: Final = {
    "untrusted": "tls",
    "garbage": "tls",
    "no-dns": "named",
    "dead-dns": "named",
    "proxy-down": "proxied",
}


def route_for(faults: Sequence[str]) -> str:
    """The one of ``ROUTES`` on which these faults can be met. ``ValueError`` when they are met on different ones."""
    routes = {_TAKEN_BY[kind] for spec in faults if (kind := Fault.parse(spec).kind) in _TAKEN_BY}
    if len(routes) > 1:
        raise ValueError(f"faults {', '.join(faults)}: an extension gets to the intake in one way at a time")
    return routes.pop() if routes else "straight"


@contextlib.contextmanager
def _name_server(environment: ExecutionEnvironment, intake: Intake) -> Iterator[None]:
    """Answers questions for ``NAME``, unless ``no-dns`` or ``dead-dns`` is in force."""
    server = environment.sandbox.new_socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setblocking(False)
    server.bind(NAME_SERVER)

    def answer() -> None:
        with contextlib.suppress(OSError):
            question, client = server.recvfrom(512)
            if not intake.faults.active_of("dead-dns"):
                server.sendto(_named(question, known=not intake.faults.active_of("no-dns")), client)

    loop = asyncio.get_running_loop()
    loop.add_reader(server, answer)
    try:
        yield
    finally:
        loop.remove_reader(server)
        server.close()


def _named(question: bytes, *, known: bool) -> bytes:
    """An answer of a name server (RFC 1035, 4): 127.0.0.1 for ``NAME``, no addresses of another kind, no other name."""
    end = question.index(b"\0", 12) + 5
    labels = b"".join(bytes([len(part)]) + part.encode() for part in NAME.split("."))
    ours = known and question[12:].lower().startswith(labels + b"\0")
    found = ours and question[end - 4 : end - 2] == b"\0\1"
    head = struct.pack("!2sHHHHH", question[:2], 0x8180 if ours else 0x8183, 1, int(found), 0, 0)
    record = struct.pack("!HHHIH4s", 0xC00C, 1, 1, 0, 4, socket.inet_aton("127.0.0.1")) if found else b""
    return head + question[12:end] + record


@asynccontextmanager
async def _proxy(environment: ExecutionEnvironment, intake: Intake) -> AsyncIterator[None]:
    """A proxy for ``CONNECT``; it leads to the intake, whatever name is asked for."""
    tunnels: set[asyncio.Task[None]] = set()

    def connected(client: socket.socket) -> None:
        task = asyncio.create_task(_tunnel(client, int(intake.url.rpartition(":")[2])))
        tunnels.add(task)
        task.add_done_callback(tunnels.discard)

    listener = Listener(environment.listen(*PROXY), connected)

    async def follow_faults() -> None:
        while True:
            changed = intake.faults.changed
            if intake.faults.active_of("proxy-down"):
                listener.refuse()
                for tunnel in tunnels:
                    tunnel.cancel()
            else:
                listener.open()
            await changed.wait()

    following = asyncio.create_task(follow_faults())
    await asyncio.sleep(0)
    try:
        yield
    finally:
        listener.close()
        for task in (following, *tunnels):
            task.cancel()
        await asyncio.gather(following, *tunnels, return_exceptions=True)


async def _tunnel(client: socket.socket, port: int) -> None:
    reader, writer = await asyncio.open_connection(sock=client)
    beyond: asyncio.StreamWriter | None = None
    try:
        await reader.readuntil(b"\r\n\r\n")
        answers, beyond = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_pump(reader, beyond), _pump(answers, writer))
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass
    finally:
        for each in filter(None, (writer, beyond)):
            each.close()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65_536):
        target.write(data)
        await target.drain()
    target.close()
