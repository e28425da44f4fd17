"""The logs pipeline: telemetry record → log entry → buffer → sealed payload.

A record that has no request id of its own belongs to the invocation that is running. Between invocations (during init,
after END) there is none: such an orphan waits for the next record that names a request and takes its id.
"""

import itertools
from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

from fliptop.clock import Clock
from fliptop.identity import Identity
from fliptop.logs.entry import LogEntry, LogSource, encode, shorten
from fliptop.logs.records import line
from fliptop.logs.rules import Rule, apply
from fliptop.outbox.buffer import EntryBuffer, Limits
from fliptop.outbox.ledger import Ledger
from fliptop.outbox.payload import JSON_ARRAY, Form, Payload, Sealer
from fliptop.platform.telemetry import Record

SIGNAL: Final = "logs"
# Limits of the intake for one payload, before compression. Source: Datadog's API reference, "Send logs". Within one
# invocation nothing is sent, so what may wait here bounds what one invocation may log.
LIMITS: Final = Limits(entries=1000, size=5_000_000, ceiling=16 * 1024 * 1024)
# What Datadog's own extension says it sends.
AGENT_JSON: Final = JSON_ARRAY._replace(headers=(*JSON_ARRAY.headers, ("DD-PROTOCOL", "agent-json")))
# Orphans are few (what a function prints while it loads); a runaway loop in the background must not fill the memory.
MAX_ORPHANS: Final = 2000
MAX_ORPHAN_SIZE: Final = 4 * 1024 * 1024


class LogOptions(NamedTuple):
    """What the user chose. `url` is complete; `compression_level` is zstd's, None for no compression; `form` is what
    the other side expects. `concurrent`: many requests run at once, so a record belongs to none that it does not name.
    """

    enabled: bool
    service: str
    url: str
    compression_level: int | None
    rules: tuple[Rule, ...] = ()
    form: Form = AGENT_JSON
    concurrent: bool = False


class LogPipeline:
    """Everything between a telemetry record and a sealed payload of logs."""

    def __init__(self, options: LogOptions, identity: Identity, ledger: Ledger, clock: Clock) -> None:
        self._options = options
        self._identity = identity
        self._ledger = ledger
        self._clock = clock
        sealer = Sealer(SIGNAL, options.url, options.form, options.compression_level, itertools.count(1))
        self._buffer = EntryBuffer(SIGNAL, ledger, sealer, LIMITS)
        self._orphans: deque[LogEntry] = deque()
        self._orphan_size = 0
        self._request_id: str | None = None
        self._runtime_done: tuple[str | None, float | None] = (None, None)

    @property
    def waiting(self) -> int:
        """Entries that are neither sealed nor dropped."""
        return len(self._buffer) + len(self._orphans)

    def take(self, record: Record) -> None:
        """Turn `record` into a log entry, if it is one. Logs that are switched off cost nothing and count nothing."""
        if record.type == "platform.start" and not self._options.concurrent:
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
        if entry.request_id is None and not self._options.concurrent:
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
        while (last or left > 0) and (payload := self._buffer.take()) is not None:
            left -= payload.items
            yield payload

    def give_up(self, reason: str) -> None:
        """Drop everything that waits, without the work of sealing it."""
        self._ledger.drop(SIGNAL, self.waiting, reason)
        self._buffer.clear()
        self._orphans.clear()
        self._orphan_size = 0
