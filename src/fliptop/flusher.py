"""Flush: seal what the pipelines hold, send what the outbox holds, within the time there is."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import anyio
import anyio.lowlevel

from fliptop import report
from fliptop.intake.client import IntakeClient
from fliptop.lifecycle.deadline import flush_budget
from fliptop.outbox.ledger import Ledger
from fliptop.outbox.outbox import Budget, Outbox
from fliptop.outbox.payload import Payload

if TYPE_CHECKING:
    from fliptop.outbox.copies import Copies


class Pipeline(Protocol):
    """One signal."""

    def seal(self, *, last: bool = False) -> Iterator[Payload]:
        """Everything that waits, as payloads; what was not asked for goes on waiting. `last`: there is no later."""
        ...

    def give_up(self, reason: str) -> None:
        """Drop everything that waits, counted."""
        ...


class TelemetryFlusher:
    """Moves telemetry from the pipelines through the outbox to the intake. `client` is None without an API key.

    `collect` fetches what has arrived and is not in a pipeline yet; it is told whether this is the last time.
    `copies` are for the additional endpoints, if there are any.
    """

    def __init__(
        self,
        pipelines: Sequence[Pipeline],
        outbox: Outbox,
        client: IntakeClient | None,
        collect: Callable[[bool], Awaitable[None]],
        copies: Sequence[Copies] = (),
    ) -> None:
        self._pipelines = pipelines
        self._outbox = outbox
        self._client = client
        self._collect = collect
        self._copies = copies

    async def flush(self, left_s: float) -> None:
        """See `lifecycle.loop.Flusher`. Costs next to nothing while the intake is known to be dead."""
        await self._send(left_s)

    def wind_down(self) -> None:
        """See `lifecycle.loop.Flusher`."""
        self._outbox.wind_down()
        for copies in self._copies:
            copies.wind_down()

    async def finish(self, left_s: float) -> None:
        """See `lifecycle.loop.Flusher`."""
        try:
            await self._send(left_s, last=True)
        finally:  # without a pause from here on, so that nothing can be accepted after the books are closed
            reason = "shutdown" if self._client else "no_api_key"
            self._give_up(reason)
            self._outbox.drop_all(reason)
            for copies in self._copies:
                copies.drop_all(reason)

    async def _send(self, left_s: float, *, last: bool = False) -> None:
        """Seal, then send, both within `left_s`."""
        began = anyio.current_time()

        def budget(failures: int) -> float:
            left = left_s - (anyio.current_time() - began)
            return left if last else flush_budget(left, failures)

        with anyio.move_on_after(left_s):
            with anyio.move_on_after(left_s / 2):  # what takes longer must not keep the rest from being sealed
                await self._collect(last)
            if self._client is not None:
                await self._seal(last=last)
        if self._client is None:
            self._give_up("no_api_key")
        else:
            await self._send_all(self._client, budget, last)

    async def _send_all(self, client: IntakeClient, budget: Budget, last: bool) -> None:
        """Each endpoint beside the others."""
        async with anyio.create_task_group() as endpoints:
            for copies in self._copies:
                endpoints.start_soon(copies.flush, budget, last)
            await self._outbox.flush(client.send, budget, last=last)

    async def _seal(self, *, last: bool) -> None:
        for pipeline in self._pipelines:
            for payload in pipeline.seal(last=last):
                self._put(payload)
                await anyio.lowlevel.checkpoint()  # a batch takes milliseconds to compress, more on a small share

    def _put(self, payload: Payload) -> None:
        self._outbox.put(payload)
        for copies in self._copies:
            copies.take(payload)

    def _give_up(self, reason: str) -> None:
        for pipeline in self._pipelines:
            pipeline.give_up(reason)


def log_ledger(ledger: Ledger) -> None:
    """The ledger as one line, at SHUTDOWN."""
    report.info(f"LEDGER | {json.dumps(ledger.summary(), separators=(',', ':'))}")
