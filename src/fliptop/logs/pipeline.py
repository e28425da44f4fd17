"""The logs pipeline: telemetry record → log entry → buffer → sealed payload.

A record that has no request id of its own belongs to the invocation that is running. Between invocations (during init,
after END) there is none: such an orphan waits for the next record that names a request and takes its id.
"""

import itertools
from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

from fliptop.clock import Clock
from fliptop.compression import zstd
from fliptop.identity import Identity
from fliptop.logs.buffer import SIGNAL, LogBuffer
from fliptop.logs.entry import LogEntry, LogSource, encode, shorten
from fliptop.logs.records import line
from fliptop.logs.rules import Rule, apply
from fliptop.outbox.ledger import Ledger
from fliptop.outbox.payload import Payload
from fliptop.platform.telemetry import Record

# Orphans are few (what a function prints while it loads); a runaway loop in the background must not fill the memory.
MAX_ORPHANS: Final = 2000
MAX_ORPHAN_SIZE: Final = 4 * 1024 * 1024


class LogOptions(NamedTuple):
    """What the user chose. `url` is complete; `compression_level` is zstd's, None for no compression."""

    enabled: bool
    service: str
    url: str
    compression_level: int | None
    rules: tuple[Rule, ...] = ()


class LogPipeline:
    """Everything between a telemetry record and a sealed payload of logs."""

    def __init__(self, options: LogOptions, identity: Identity, ledger: Ledger, clock: Clock) -> None:
        self._options = options
        self._identity = identity
        self._ledger = ledger
        self._clock = clock
        self._buffer = LogBuffer(ledger)
        self._orphans: deque[LogEntry] = deque()
        self._orphan_size = 0
        self._request_id: str | None = None
        self._runtime_done: tuple[str | None, float | None] = (None, None)
        self._numbers = itertools.count(1)

    @property
    def waiting(self) -> int:
        """Entries that are neither sealed nor dropped."""
        return len(self._buffer) + len(self._orphans)

    def take(self, record: Record) -> None:
        """Turn `record` into a log entry, if it is one. Logs that are switched off cost nothing and count nothing."""
        if record.type == "platform.start":
            self._request_id = record.text("requestId")
        entry = self._entry(record) if self._options.enabled else None
        if entry is not None:
            self._ledger.accept(SIGNAL)
            self._place(entry)
        if record.type == "platform.runtimeDone":
            self._request_id = None
            self._runtime_done = (record.text("requestId"), record.number("metrics", "durationMs"))

    def _entry(self, record: Record) -> LogEntry | None:
        request_id, runtime_ms = self._runtime_done
        said = line(record, runtime_ms if record.text("requestId") == request_id else None)
        if said is None:
            return None
        text = apply(self._options.rules, said.text)
        if text is None:
            return None
        time_ms = record.time_ms if record.time_ms is not None else round(self._clock.wall() * 1000)
        return LogEntry(shorten(text), said.status, time_ms, said.request_id or self._request_id, said.tags)

    def _place(self, entry: LogEntry) -> None:
        if entry.request_id is None:
            self._orphans.append(entry)
            self._orphan_size += len(entry.text)
            while len(self._orphans) > MAX_ORPHANS or self._orphan_size > MAX_ORPHAN_SIZE:
                self._add(self._next_orphan())
            return
        self._release_orphans(entry.request_id)
        self._add(entry)

    def _release_orphans(self, request_id: str | None) -> None:
        while self._orphans:
            self._add(self._next_orphan()._replace(request_id=request_id))

    def _next_orphan(self) -> LogEntry:
        orphan = self._orphans.popleft()
        self._orphan_size -= len(orphan.text)
        return orphan

    def _add(self, entry: LogEntry) -> None:
        source = LogSource(self._identity.arn, self._options.service, self._identity.tags)
        try:
            encoded = encode(entry, source)
        except TypeError:  # orjson: a lone surrogate in an id or a tag
            self._ledger.drop(SIGNAL, 1, "not_encodable")
            return
        self._buffer.add(encoded)

    def seal(self, *, last: bool = False) -> Iterator[Payload]:
        """Everything that waits, as payloads. `last` lets orphans go without an id: no request will come for them."""
        if last:
            self._release_orphans(None)
        # What comes while this is under way waits for the next time: a payload of a few entries costs as much to send
        # as one of a thousand.
        left = len(self._buffer)
        while (last or left > 0) and (batch := self._buffer.take()) is not None:
            body, items = batch
            left -= items
            yield self._payload(body, items)

    def give_up(self, reason: str) -> None:
        """Drop everything that waits, without the work of sealing it."""
        self._ledger.drop(SIGNAL, self.waiting, reason)
        self._buffer.clear()
        self._orphans.clear()
        self._orphan_size = 0

    def _payload(self, body: bytes, items: int) -> Payload:
        headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"), ("DD-PROTOCOL", "agent-json"))
        level = self._options.compression_level
        if level is not None:
            headers = (*headers, ("Content-Encoding", "zstd"))
            body = zstd(body, level)
        return Payload(next(self._numbers), SIGNAL, items, self._options.url, headers, body)
