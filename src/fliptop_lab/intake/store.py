"""What the intake has seen: every request, every item it decoded, and what arrived twice."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fliptop_lab.intake.events import Event, ServiceCheck
from fliptop_lab.intake.logs import LogEntry
from fliptop_lab.intake.metrics import Series, Sketch
from fliptop_lab.intake.proxied import Proxied
from fliptop_lab.intake.stats import StatsGroup
from fliptop_lab.intake.traces import Span

SIGNALS = ("logs", "series", "sketches", "events", "service_checks", "spans", "stats", "proxied")
"""The signals an extension sends, in the order they are shown."""

MAY_REPEAT = ("sketches", "events", "service_checks")


@dataclass
class Request:
    """One HTTP request and what became of it.

    ``at`` is in seconds since the epoch; ``status`` is None while, or because, no answer was given. ``error`` says
    why it was refused, ``fault`` which injected fault met it. ``wire_bytes`` is the size as sent, ``body_bytes``
    after decompression. ``body`` is as sent.
    """

    number: int
    method: str
    path: str
    http_version: str
    headers: dict[str, str]
    query: str = ""
    at: float = field(default_factory=time.time)
    status: int | None = None
    error: str | None = None
    fault: str | None = None
    encoding: str = ""
    wire_bytes: int = 0
    body_bytes: int = 0
    items: int = 0
    duplicate: bool = False
    body: bytes = field(default=b"", repr=False)


class Received:
    """Decoded items per signal, oldest first. Holds the latest ``keep`` of each."""

    def __init__(self, keep: int) -> None:
        self.logs: deque[LogEntry] = deque(maxlen=keep)
        self.series: deque[Series] = deque(maxlen=keep)
        self.sketches: deque[Sketch] = deque(maxlen=keep)
        self.events: deque[Event] = deque(maxlen=keep)
        self.service_checks: deque[ServiceCheck] = deque(maxlen=keep)
        self.spans: deque[Span] = deque(maxlen=keep)
        self.stats: deque[StatsGroup] = deque(maxlen=keep)
        self.proxied: deque[Proxied] = deque(maxlen=keep)

    def of(self, signal: str) -> deque[Any]:
        """The items of one of ``SIGNALS``."""
        items: deque[Any] = getattr(self, signal)
        return items


class Store:
    """Everything that arrived; bounded by ``keep`` items per signal and ``keep`` requests, while counts stay exact."""

    def __init__(self, keep: int = 100_000) -> None:
        self.received = Received(keep)
        self.requests: deque[Request] = deque(maxlen=keep)
        self.counts: Counter[str] = Counter()
        self.refused = 0
        self.duplicates = 0
        self._seen: dict[bytes, None] = {}
        self._keep = keep
        self._changed = asyncio.Event()
        self._numbers = 0

    def begin(self, method: str, path: str, http_version: str, headers: dict[str, str]) -> Request:
        """Record that a request has started."""
        self._numbers += 1
        request = Request(self._numbers, method, path, http_version, headers)
        request.encoding = headers.get("content-encoding", "")
        self.requests.append(request)
        return request

    def accept(self, request: Request, signal: str, items: Sequence[Any], body: bytes) -> None:
        """Keep decoded items. A body that was accepted on this path before counts as a duplicate (and is kept too), but
        for those that may well be the same twice within one bucket of time, or one second.
        """
        request.items = len(items)
        request.duplicate = bool(items) and signal not in MAY_REPEAT and self._seen_before(request.path, body)
        self.duplicates += request.duplicate
        self.counts[signal] += len(items)
        self.received.of(signal).extend(items)
        self.notify()

    def refuse(self, request: Request, status: int, reason: str) -> None:
        """Record that a request was turned away."""
        request.status, request.error = status, reason
        self.refused += 1
        self.notify()

    def notify(self) -> None:
        """Wake everyone in ``wait_for``."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_for(self, condition: Callable[[], bool], timeout: float) -> None:  # noqa: ASYNC109
        """Return once ``condition`` holds; ``TimeoutError`` after ``timeout`` seconds, saying what did arrive."""
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(
                f"not within {timeout} s; the intake has {dict(self.counts)} from {self._numbers} requests, "
                f"{self.refused} of them refused"
            ) from None

    def _seen_before(self, path: str, body: bytes) -> bool:
        digest = hashlib.sha256(path.encode() + b"\0" + body).digest()
        if digest in self._seen:
            return True
        self._seen[digest] = None
        if len(self._seen) > self._keep:
            del self._seen[next(iter(self._seen))]
        return False
