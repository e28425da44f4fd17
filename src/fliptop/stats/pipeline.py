"""The pipeline of APM statistics: what a tracer has counted goes to Datadog in an envelope, together with what others
have. Source: intake-wire, 6.1 and 6.2; what Datadog's agent does with times is in its `ClientStatsAggregator`.
"""

import itertools
import struct
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgpack

from fliptop import report
from fliptop.clock import Clock
from fliptop.http1 import Request
from fliptop.outbox.buffer import EntryBuffer, Limits
from fliptop.outbox.ledger import Ledger
from fliptop.outbox.payload import Form, Payload, Sealer

SIGNAL: Final = "stats"
LIMITS: Final = Limits(entries=1000, size=3_000_000, ceiling=4 * 1024 * 1024)
# What Datadog's agent uses here: fast.
GZIP_LEVEL: Final = 1
BUCKET_NS: Final = 10_000_000_000
# How old, and how far ahead, points may be when they reach Datadog (its API reference, "Submit metrics").
OLDEST_NS: Final = 3_600_000_000_000
AHEAD_NS: Final = 600_000_000_000
INT64: Final = 2**63 - 1
# So many lists and maps may be in what a tracer sends. There they take a byte each, in memory a hundred times as much.
MOST_PARTS: Final = 100_000


def _array(length: int) -> bytes:
    """How an array of msgpack begins, always in five bytes."""
    return b"\xdd" + struct.pack(">I", length)


def _envelope() -> Form:
    """A StatsPayload but for its `Stats`. A function has no host, and no agent."""
    named = {"AgentHostname": "", "AgentEnv": "", "AgentVersion": "", "ClientComputed": True, "SplitPayload": False}
    fields = b"".join(msgpack.packb(name) + msgpack.packb(value) for name, value in named.items())
    opening = bytes([0x80 | len(named) + 1]) + fields + msgpack.packb("Stats")
    return Form((("Content-Type", "application/msgpack"),), opening, number=_array, coding="gzip")


def _unpacked(body: bytes) -> Any:
    parts = 0

    def count(part: Any) -> Any:
        nonlocal parts
        parts += 1
        if parts > MOST_PARTS:
            raise ValueError(f"more than {MOST_PARTS} lists and maps")
        return part

    return msgpack.unpackb(
        body,
        strict_map_key=False,
        unicode_errors="replace",
        max_array_len=MOST_PARTS,
        max_map_len=MOST_PARTS,
        object_hook=count,
        list_hook=count,
    )


class StatsOptions(NamedTuple):
    """Where statistics go, without a path, and the environment of a tracer that names none."""

    url: str
    env: str = ""


class StatsPipeline:
    """Everything between a tracer's statistics and a payload of them. One item is what one request brought."""

    def __init__(self, options: StatsOptions, ledger: Ledger, clock: Clock) -> None:
        self._env = options.env
        self._ledger = ledger
        self._clock = clock
        sealer = Sealer(SIGNAL, f"{options.url}/api/v0.2/stats", _envelope(), GZIP_LEVEL, itertools.count(1))
        self._buffer = EntryBuffer(SIGNAL, ledger, sealer, LIMITS)
        self._complained = False

    async def take(self, request: Request) -> None:
        """Take over what a tracer sent to `/v0.6/stats`."""
        if len(request.body) > LIMITS.size:
            self._lose("too_large")
            return
        try:
            encoded = self._read(request.body)
        except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as problem:
            self._lose("unreadable")
            self._complain(f"a tracer's statistics cannot be read: {problem!r:.200}")
            return
        if encoded is not None:
            self._ledger.accept(SIGNAL)
            self._buffer.add(encoded)

    def _lose(self, reason: str) -> None:
        self._ledger.accept(SIGNAL)
        self._ledger.drop(SIGNAL, 1, reason)

    def _complain(self, text: str) -> None:
        """Say it loudly once: a tracer that is broken sends the like every ten seconds."""
        (report.debug if self._complained else report.warn)(text)
        self._complained = True

    def _read(self, body: bytes) -> bytes | None:
        """The same as it goes to Datadog; None if there is nothing in it."""
        payload = _unpacked(body)
        if not isinstance(payload, dict):
            raise TypeError(f"expected a map, not {type(payload).__name__}")
        buckets = payload.get("Stats")
        if not buckets:
            return None
        for bucket in buckets:
            self._set_right(bucket)
        payload["Hostname"] = ""
        payload["Env"] = payload.get("Env") or self._env
        return bytes(msgpack.packb(payload))

    def _set_right(self, bucket: Any) -> None:
        """Move a bucket to the present if Datadog would not believe its time, and say how far; as Datadog's agent does.

        A tracer that was frozen for hours sends what it had counted before. All that is recent stays where it was.
        """
        start = bucket.get("Start") if isinstance(bucket, dict) else None
        if not isinstance(start, int):
            raise TypeError(f"expected a bucket with a Start, not {bucket!r:.50}")
        now = int(self._clock.wall() * 1e9)
        if not now - OLDEST_NS <= start <= now + AHEAD_NS:
            bucket["Start"] = now - now % BUCKET_NS
            bucket["AgentTimeShift"] = min(max(bucket["Start"] - start, -INT64), INT64)

    def seal(self, *, last: bool = False) -> Iterator[Payload]:
        """Everything that waits, as payloads."""
        while (payload := self._buffer.take()) is not None:
            yield payload

    def give_up(self, reason: str) -> None:
        """Drop everything that waits, without the work of sealing it."""
        self._ledger.drop(SIGNAL, len(self._buffer), reason)
        self._buffer.clear()
