"""Reads what the trace agent's listener accepted, and passes each request on to whom its path belongs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

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
        self._reading = anyio.Lock()

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            await self._inbox.arrived()
            await self.drain()

    async def drain(self) -> None:
        """Read all that has been accepted by now."""
        async with self._reading:
            while (request := self._inbox.pop()) is not None:
                try:
                    await self._taker(request.target.partition("?")[0])(request)
                except Exception as problem:  # noqa: BLE001 -- promise 1: one request never takes the next one with it
                    report.error(f"a tracer's request to {request.target} cannot be used: {problem!r}")
                finally:
                    self._inbox.done()
