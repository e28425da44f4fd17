"""Reads what the trace agent's listener accepted, and passes each request on to whom its path belongs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel

from fliptop import report
from fliptop.http1 import Request
from fliptop.listeners.inbox import Inbox

TakeRequest = Callable[[Request], Awaitable[None]]
"""Takes a request over, whatever is in it; may pause, so that the loop goes on turning."""


class TracerReader:
    """The one reader of the tracers' inbox. `taker` says who takes requests to a path (without its query string)."""

    def __init__(self, inbox: Inbox[Request], taker: Callable[[str], TakeRequest]) -> None:
        self._inbox = inbox
        self._taker = taker
        self._running = False
        self._begun = 0
        self._read = 0
        self._progress = anyio.Event()

    async def run(self) -> None:
        """Read until cancelled."""
        self._running, self._begun = True, self._read
        try:
            while True:
                await self._pass_on(await self._inbox.take())
                await anyio.lowlevel.checkpoint()
        finally:
            self._running = False
            self._tell()

    async def _pass_on(self, request: Request) -> None:
        self._begun += 1
        try:
            await self._taker(request.path)(request)
        except Exception as problem:  # noqa: BLE001 -- promise 1: one request never takes the next one with it
            report.error(f"a tracer's request to {request.path} cannot be used: {problem!r}")
            self._inbox.lost("defect")
        else:
            self._inbox.done()
        self._read += 1
        self._tell()

    def _tell(self) -> None:
        self._progress.set()
        self._progress = anyio.Event()

    async def drain(self) -> None:
        """Wait until all that has been accepted by now has been read. To give up waiting does not stop the reading, and
        where nobody reads, nobody waits.
        """
        enough = self._begun + len(self._inbox)
        while self._running and self._read < enough:
            await self._progress.wait()
