"""The pipeline of events and service checks: what DogStatsD has read becomes JSON for Datadog's public API.

Source: Datadog's API reference, "Post an event" and "Submit a Service Check". Events go one by one, because that is all
the API takes; service checks go in lists. Neither is compressed: the reference does not say that it may be.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from fliptop.clock import Clock
from fliptop.identity import Identity
from fliptop.metrics.dogstatsd import Event, ServiceCheck
from fliptop.outbox.buffer import EntryBuffer, Limits
from fliptop.outbox.ledger import Ledger
from fliptop.outbox.payload import JSON_ARRAY, JSON_TYPE, Form, Payload, Sealer

EVENTS: Final = "events"
SERVICE_CHECKS: Final = "service_checks"
ONE_EVENT: Final = Form((JSON_TYPE,))
EVENT_LIMITS: Final = Limits(entries=1, size=100_000, ceiling=1024 * 1024)
CHECK_LIMITS: Final = Limits(entries=1000, size=1_000_000, ceiling=1024 * 1024)
# Each event is a request of its own, and nobody should wait for hundreds of them: the others go with the next flush.
EVENTS_PER_FLUSH: Final = 20


class EventPipeline:
    """Everything between an event, or a service check, and its payload. `url` is the base, without a path."""

    def __init__(self, url: str, identity: Identity, ledger: Ledger, clock: Clock) -> None:
        self._identity = identity
        self._ledger = ledger
        self._clock = clock
        events = Sealer(EVENTS, f"{url}/api/v1/events", ONE_EVENT, None, itertools.count(1))
        checks = Sealer(SERVICE_CHECKS, f"{url}/api/v1/check_run", JSON_ARRAY, None, itertools.count(1))
        self._events = EntryBuffer(EVENTS, ledger, events, EVENT_LIMITS)
        self._checks = EntryBuffer(SERVICE_CHECKS, ledger, checks, CHECK_LIMITS)

    @property
    def waiting(self) -> int:
        """Events and service checks that are neither sealed nor dropped."""
        return len(self._events) + len(self._checks)

    def take(self, item: Event | ServiceCheck) -> None:
        """Take over an event or a service check."""
        if isinstance(item, Event):
            self._take(EVENTS, self._events, self._event(item))
        else:
            self._take(SERVICE_CHECKS, self._checks, self._check(item))

    def _take(self, signal: str, buffer: EntryBuffer, document: Mapping[str, Any]) -> None:
        self._ledger.accept(signal)
        try:
            encoded = orjson.dumps(document)
        except TypeError:  # a lone surrogate in a tag of the function
            self._ledger.drop(signal, 1, "not_encodable")
            return
        buffer.add(encoded)

    def _event(self, event: Event) -> dict[str, Any]:
        optional = {"host": event.host, "aggregation_key": event.key, "source_type_name": event.source}
        return {
            "title": event.title,
            "text": event.text,
            "date_happened": self._time(event.time),
            "priority": event.priority,
            "alert_type": event.alert_type,
            "tags": self._tags(event.tags),
            **{name: value for name, value in optional.items() if value},
        }

    def _check(self, check: ServiceCheck) -> dict[str, Any]:
        return {
            "check": check.name,
            "host_name": check.host,
            "timestamp": self._time(check.time),
            "status": check.status,
            "message": check.message,
            "tags": self._tags(check.tags),
        }

    def _time(self, time: int | None) -> int:
        return int(self._clock.wall()) if time is None else time

    def _tags(self, own: tuple[str, ...]) -> list[str]:
        return sorted({*filter(None, self._identity.tags.split(",")), *own})

    def seal(self, *, last: bool = False) -> Iterator[Payload]:
        """What waits, as payloads: `EVENTS_PER_FLUSH` events at most, unless this is the `last` time."""
        while (payload := self._checks.take()) is not None:
            yield payload
        for _ in range(len(self._events) if last else EVENTS_PER_FLUSH):
            if (payload := self._events.take()) is not None:
                yield payload

    def give_up(self, reason: str) -> None:
        """Drop everything that waits, without the work of sealing it."""
        for signal, buffer in ((EVENTS, self._events), (SERVICE_CHECKS, self._checks)):
            self._ledger.drop(signal, len(buffer), reason)
            buffer.clear()
