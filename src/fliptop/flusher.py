"""Flush: seal what the pipelines hold, send what the outbox holds, within the time there is."""

from __future__ import annotations

import json

import anyio

from fliptop import report
from fliptop.intake.client import IntakeClient
from fliptop.lifecycle.deadline import flush_budget
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
        """See `lifecycle.loop.Flusher`. Costs nothing while the intake is known to be dead."""
        self._seal()
        if not self._breaker.open:
            await self._send(flush_budget(left_s, probing=self._breaker.probing))

    async def finish(self, left_s: float) -> None:
        """See `lifecycle.loop.Flusher`."""
        self._seal(last=True)
        await self._send(left_s)
        self._outbox.drop_all("shutdown")

    def _seal(self, *, last: bool = False) -> None:
        for payload in self._logs.seal(last=last):
            self._outbox.put(payload)
        if self._client is None:
            self._outbox.drop_all("no_api_key")

    async def _send(self, seconds: float) -> None:
        if self._client is not None:
            with anyio.move_on_after(seconds):
                await self._outbox.flush(self._client.send)


def log_ledger(ledger: Ledger) -> None:
    """The ledger as one line, at SHUTDOWN."""
    report.info(f"LEDGER | {json.dumps(ledger.summary(), separators=(',', ':'))}")
