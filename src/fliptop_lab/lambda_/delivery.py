"""Telemetry on its way: subscribers with their buffers, POSTs into the environment, retry, loss that is told.

Nothing here is ever awaited by `/event/next`. While the environment is frozen no POST starts, and one that is under way
waits for the thaw without its time running.
"""

import asyncio
import base64
import hashlib
import socket
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from fliptop_lab.lambda_.answers import Answer, Changes, refused
from fliptop_lab.lambda_.config import Platform
from fliptop_lab.lambda_.events import Event
from fliptop_lab.lambda_.telemetry import Api, Batch, Batcher, Destination, Subscription, subscription

HISTORY = 10_000
OK = Answer(200, b'"OK"')
Note = Callable[[str, Mapping[str, Any]], None]
FAILURES = (aiohttp.ClientError, OSError, ValueError)


@dataclass(frozen=True)
class Outside:
    """What delivery needs of its surroundings: sockets in the environment, a notebook, a stamp for events."""

    new_socket: Callable[[], socket.socket]
    address: str
    note: Note
    stamp: Callable[[str, Mapping[str, Any]], Event]


class _Here(AbstractResolver):
    """sandbox.localdomain, whatever the host's resolver thinks of it."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host=self._address, port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        """Nothing is held."""


class Transport(Protocol):
    """Carries one batch; raises one of `FAILURES`."""

    async def send(self, batch: Batch) -> None:
        """Returns once the other side has it."""

    async def close(self) -> None:
        """Closes connections."""


class HttpTransport:
    """POST of a JSON array over a kept-alive connection; any status but 2xx is a failure."""

    def __init__(self, outside: Outside, to: Destination) -> None:
        self._outside = outside
        self._sockets: list[socket.socket] = []
        self._url = f"http://sandbox.localdomain:{to.port}{to.path}"
        connector = aiohttp.TCPConnector(
            resolver=_Here(outside.address), socket_factory=lambda _info: self._dial(), keepalive_timeout=3600
        )
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))

    async def send(self, batch: Batch) -> None:
        """As `Transport.send`."""
        body = batch.array()
        sequence = base64.b64encode(hashlib.sha256(body).digest()).decode()
        headers = {"Content-Type": "application/json", "Sequence-Id": sequence}
        async with self._session.post(self._url, data=body, headers=headers) as response:
            await response.read()
            if not 200 <= response.status < 300:
                raise ValueError(f"status {response.status}")

    async def close(self) -> None:
        """As `Transport.close`."""
        await self._session.close()
        for dialled in self._sockets:
            dialled.close()

    def _dial(self) -> socket.socket:
        """A socket, remembered: one whose connect is cancelled half-way is closed by nobody else."""
        self._sockets = [dialled for dialled in self._sockets if dialled.fileno() >= 0]
        self._sockets.append(_nonblocking(self._outside))
        return self._sockets[-1]


class TcpTransport:
    """Newline-delimited JSON; written is all that one can know."""

    def __init__(self, outside: Outside, to: Destination) -> None:
        self._outside, self._port = outside, to.port
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, batch: Batch) -> None:
        """As `Transport.send`."""
        if self._writer is None or self._writer.is_closing():
            dialled = _nonblocking(self._outside)
            try:
                await asyncio.get_running_loop().sock_connect(dialled, (self._outside.address, self._port))
            except BaseException:
                dialled.close()
                raise
            _, self._writer = await asyncio.open_connection(sock=dialled)
        self._writer.write(batch.lines())
        await self._writer.drain()

    async def close(self) -> None:
        """As `Transport.close`."""
        if self._writer is not None:
            self._writer.transport.abort()


def _nonblocking(outside: Outside) -> socket.socket:
    made = outside.new_socket()
    made.setblocking(False)
    return made


class Subscriber:
    """One subscription at work: its buffer and the one task that sends from it."""

    def __init__(self, name: str, wants: Subscription, hub: "TelemetryHub") -> None:
        self.name, self.wants, self._hub = name, wants, hub
        self.batcher = Batcher(wants, hub.platform.telemetry_buffer_bytes, asyncio.get_running_loop().time)
        kind = HttpTransport if wants.destination.protocol == "HTTP" else TcpTransport
        self._transport: Transport = kind(hub.outside, wants.destination)
        self._settled_batches = 0
        self._changes = Changes()
        self._task = asyncio.create_task(self._run())

    def offer(self, event: Event) -> None:
        """Buffers the event if it is of a subscribed type."""
        self.batcher.offer(event)
        self._changes.notify()

    async def flush(self, timeout_s: float) -> None:
        """Sends what is buffered now without waiting for its time; gives up after `timeout_s`."""
        self.batcher.close()
        wanted = self.batcher.closed_batches
        self._changes.notify()
        await self._changes.until(lambda: self._settled_batches >= wanted, timeout_s)

    async def close(self) -> None:
        """Stops; what is still buffered is forgotten with the extension it was for."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._transport.close()

    async def _run(self) -> None:
        while True:
            await self._changes.until(lambda: self.batcher.due_s is not None)
            await self._changes.until(lambda: self.batcher.due_s == 0.0, self.batcher.due_s)
            await self._hub.thawed.wait()
            if batch := self.batcher.take():
                if await self._send(batch):
                    self._tell_losses()
                self._settled_batches += 1
                self._changes.notify()

    async def _send(self, batch: Batch) -> bool:
        """Whether it arrived; losses are told to a listener only when it is known to be there."""
        platform = self._hub.platform
        for attempt in range(platform.telemetry_attempts):
            if attempt:
                await asyncio.sleep(platform.telemetry_backoff_s * 2 ** (attempt - 1))
                await self._hub.thawed.wait()
            failure = await self._attempt(batch)
            data = {"extension": self.name, "events": len(batch.members), "bytes": batch.size, "attempt": attempt + 1}
            if failure is None:
                self._hub.outside.note("batch", {**data, "types": batch.types})
                return True
            self._hub.outside.note("retry", {**data, "error": failure})
        self.batcher.lose(batch.countable, batch.size if batch.countable else 0)
        return False

    async def _attempt(self, batch: Batch) -> str | None:
        """None on success. Its time limit runs only while the environment does."""
        post = asyncio.create_task(self._transport.send(batch))
        try:
            while not post.done():
                await asyncio.wait({post}, timeout=self._hub.platform.telemetry_timeout_s)
                if not post.done() and self._hub.thawed.is_set():
                    return "no answer in time"
                await self._hub.thawed.wait()
            error = post.exception()
        finally:
            post.cancel()
            await asyncio.gather(post, return_exceptions=True)
        if error is not None and not isinstance(error, FAILURES):
            raise error
        return f"{type(error).__name__}: {error}" if error else None

    def _tell_losses(self) -> None:
        if record := self.batcher.dropped():
            self._hub.outside.note("drop", {"extension": self.name, **record})
            self.offer(self._hub.outside.stamp("platform.logsDropped", record))


class TelemetryHub:
    """All subscribers of one initialised environment, and the events that were before them."""

    def __init__(self, platform: Platform, log_format: str, outside: Outside) -> None:
        self.platform, self.outside = platform, outside
        self._log_format = log_format
        self._history: deque[Event] = deque(maxlen=HISTORY)
        self._subscribers: list[Subscriber] = []
        self._open = True
        self.thawed = asyncio.Event()
        self.thawed.set()

    def publish(self, event: Event) -> None:
        """Gives the event to all who asked for it, and keeps it for those who may still subscribe."""
        if self._open:
            self._history.append(event)
        for subscriber in self._subscribers:
            subscriber.offer(event)

    @property
    def history(self) -> list[Event]:
        """Events a new subscriber would get first."""
        return list(self._history)

    def replay(self, events: list[Event]) -> None:
        """Takes over what an earlier, failed init has told."""
        self._history.extendleft(reversed(events))

    def subscribe(self, name: str, body: bytes, api: Api) -> Subscription | Answer:
        """Registers a subscriber, or says why not. The caller announces it, then calls `start`."""
        if not self._open:
            which = "Telemetry" if api == "telemetry" else "Logs"
            return refused(403, f"{which}.SubscriptionClosed", f"{which} API subscription is closed already")
        earlier = next((subscriber for subscriber in self._subscribers if subscriber.name == name), None)
        if earlier is not None and earlier.wants.api != api:
            message = "Logs API and Telemetry API cannot both be subscribed to by the same extension"
            return refused(400, "ValidationError", message)
        if earlier is not None:
            return refused(500, "InternalServerError", "Internal Server Error")
        return subscription(body, api, self._log_format)

    def start(self, name: str, wants: Subscription) -> None:
        """Begins delivery, history first."""
        subscriber = Subscriber(name, wants, self)
        self._subscribers.append(subscriber)
        for event in self._history:
            subscriber.offer(event)

    def close_subscriptions(self) -> None:
        """Init is over: no more subscribers, no more history."""
        self._open = False
        self._history.clear()

    async def flush(self) -> None:
        """Before SHUTDOWN: everything buffered goes out, within `telemetry_flush_s`."""
        await asyncio.gather(*(one.flush(self.platform.telemetry_flush_s) for one in self._subscribers))

    async def close(self) -> None:
        """Ends all delivery."""
        self.thawed.set()
        await asyncio.gather(*(one.close() for one in self._subscribers))
        self._subscribers.clear()
