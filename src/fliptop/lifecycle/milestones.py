"""What telemetry says about the life of an invocation: its runtime is done, its report has come."""

from __future__ import annotations

from collections import deque

import anyio

from fliptop.platform.telemetry import Record

# Enough to tell a milestone that came before we asked for it; an environment runs one request at a time.
REMEMBERED = 16


class Milestones:
    """Remembers the milestones of the latest requests and lets one task wait for them.

    `proven` turns true with the first record of any kind: until then nobody knows whether this platform delivers
    telemetry at all (some emulators accept the subscription and never do).
    """

    def __init__(self) -> None:
        self.proven = False
        self._reached: deque[tuple[str, str | None]] = deque(maxlen=REMEMBERED)
        self._changed = anyio.Event()

    def take(self, record: Record) -> None:
        """Note what `record` tells, if it is a milestone."""
        self.proven = True
        if record.type in {"platform.runtimeDone", "platform.report"}:
            self._reached.append((record.type, record.text("requestId")))
        self._changed.set()
        self._changed = anyio.Event()

    async def runtime_done(self, request_id: str) -> None:
        """Wait until the runtime is done with `request_id`, successfully or not."""
        # A report says so too, should the record before it have been lost.
        await self._wait({("platform.runtimeDone", request_id), ("platform.report", request_id)})

    async def reported(self, request_id: str) -> None:
        """Wait until the platform has reported on `request_id`."""
        await self._wait({("platform.report", request_id)})

    async def any_record(self) -> None:
        """Wait for the first record of any kind."""
        while not self.proven:
            await self._changed.wait()

    async def _wait(self, milestones: set[tuple[str, str]]) -> None:
        while milestones.isdisjoint(self._reached):
            await self._changed.wait()
