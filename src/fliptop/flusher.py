"""Flush: seal what the pipelines hold, send what the outbox holds, within the time there is."""

from __future__ import annotations

import json

import anyio
import anyio.lowlevel

from fliptop import report
from fliptop.intake.client import IntakeClient
from fliptop.lifecycle.deadline import SHORTEST_FLUSH_S, flush_budget
from fliptop.logs.pipeline import LogPipeline
from fliptop.outbox.breaker import Breaker
from fliptop.outbox.ledger import Ledger
from fliptop.outbox.outbox import Outbox


class TelemetryFlusher:
    """Moves telemetry from the pipelines through the outbox to the intake. `client` is None without an API key."""

    def __init__(self, logs: LogPipeline, outbox: Outbox, client: IntakeClient | None, breaker: Breaker) -> None:
        self._logs = logs
        self._outbox = outbox
        self._client = client
        self._breaker = breaker

    async def flush(self, left_s: float) -> None:
        """See `lifecycle.loop.Flusher`. Costs next to nothing while the intake is known to be dead."""
        await self._send(0.0 if self._breaker.open else flush_budget(left_s, self._breaker.failures), left_s)

    async def finish(self, left_s: float) -> None:
        """See `lifecycle.loop.Flusher`."""
        try:
            await self._send(left_s, left_s, last=True)
        finally:  # without a pause from here on, so that nothing can be accepted after the books are closed
            reason = "shutdown" if self._client else "no_api_key"
            self._logs.give_up(reason)
            self._outbox.drop_all(reason)

    async def _send(self, seconds: float, left_s: float, *, last: bool = False) -> None:
        """Seal, then send, both within `left_s`; sending takes `seconds` at most."""
        if self._client is None:
            self._logs.give_up("no_api_key")
            return
        began = anyio.current_time()
        with anyio.move_on_after(left_s):
            for payload in self._logs.seal(last=last):
                self._outbox.put(payload)
                await anyio.lowlevel.checkpoint()  # a batch takes milliseconds to compress, more on a small share
        seconds = min(seconds, left_s - (anyio.current_time() - began))
        if self._outbox.items and seconds >= SHORTEST_FLUSH_S:
            with anyio.move_on_after(seconds) as flush:
                await self._outbox.flush(self._client.send)
            if flush.cancelled_caught:
                self._outbox.no_answer(seconds)


def log_ledger(ledger: Ledger) -> None:
    """The ledger as one line, at SHUTDOWN."""
    report.info(f"LEDGER | {json.dumps(ledger.summary(), separators=(',', ':'))}")
