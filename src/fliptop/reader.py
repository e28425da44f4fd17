"""Reads what the telemetry listener accepted, and tells everyone whom a record concerns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import anyio.lowlevel

from fliptop import report
from fliptop.identity import Identity
from fliptop.lifecycle.milestones import Milestones
from fliptop.listeners.inbox import Inbox
from fliptop.outbox.ledger import Ledger
from fliptop.platform.telemetry import Record, Unreadable, parse

Taker = Callable[[Record], None]

TELEMETRY: Final = "telemetry"
MOST_BELIEVED: Final = 1_000_000_000
# The loop has other tasks; on a small share of a core a full delivery takes longer than some of them may wait.
RECORDS_AT_ONCE: Final = 100


class TelemetryReader:
    """The one reader of the inbox. Each of `takers` is given every record. The order matters: milestones come last, so
    that a flush which a milestone sets off finds what came before it.
    """

    def __init__(
        self, inbox: Inbox[bytes], takers: Sequence[Taker], milestones: Milestones, identity: Identity, ledger: Ledger
    ) -> None:
        self._inbox = inbox
        self._takers = takers
        self._milestones = milestones
        self._identity = identity
        self._ledger = ledger

    async def run(self) -> None:
        """Read until cancelled. A record that cannot be used is counted, and costs no other."""
        while True:
            await self._read(await self._inbox.take())
            self._inbox.done()

    async def _read(self, body: bytes) -> None:
        for number, record in enumerate(parse(body)):
            try:
                self._take(record)
            except Exception as problem:  # noqa: BLE001 -- promise 1: one record never takes its neighbours with it
                self._refuse(f"{record!r:.100}: {problem!r}", "defect")
            if number % RECORDS_AT_ONCE == RECORDS_AT_ONCE - 1:
                await anyio.lowlevel.checkpoint()

    def _take(self, record: Record | Unreadable) -> None:
        if isinstance(record, Unreadable):
            self._refuse(record.reason, "unreadable")
            return
        if record.type == "platform.initStart":
            self._identity.learn_runtime(record.text("runtimeVersion") or "")
        elif record.type == "platform.logsDropped":
            self._count_upstream_loss(record)
        try:
            for take in self._takers:
                take(record)
        finally:  # whatever a log line does, the lifecycle must hear that the runtime is done
            self._milestones.take(record)

    def _count_upstream_loss(self, record: Record) -> None:
        records = round(min(max(record.number("droppedRecords") or 0, 0), MOST_BELIEVED))
        self._ledger.accept(TELEMETRY, records)
        self._ledger.drop(TELEMETRY, records, "dropped_by_lambda")
        report.warn(f"Lambda dropped {records} telemetry records before they reached us: {record.text('reason')}")

    def _refuse(self, what: str, reason: str) -> None:
        self._ledger.accept(TELEMETRY)
        self._ledger.drop(TELEMETRY, 1, reason)
        report.debug(f"a telemetry record was refused ({reason}): {what}")
