"""The trace pipeline: a tracer's request → chunks → encoded spans → sealed payload.

An item, as the ledger counts them, is one span; of what could not be read, one trace at least.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

import anyio.lowlevel

from fliptop import report
from fliptop.clock import Clock
from fliptop.http1 import Headers, Request
from fliptop.identity import Identity
from fliptop.outbox.ledger import Ledger
from fliptop.outbox.payload import Form, Payload, Sealer
from fliptop.traces import payloads
from fliptop.traces.decode import AT_ONCE, Reading
from fliptop.traces.filters import PLACEHOLDER
from fliptop.traces.normalise import by_trace
from fliptop.traces.options import TraceOptions
from fliptop.traces.process import Origin, Prepared, Processor
from fliptop.traces.span import Chunk, Span, Tracer

SIGNAL: Final = "spans"
PATH: Final = "/api/v0.2/traces"
WATCHED_NAMES: Final = frozenset({"aws.lambda", "aws.lambda.load"})
LONGEST_HEADER: Final = 200
COMPLAINT_PAUSE_S: Final = 60.0
# How long a last flush goes on reading what was cancelled midway. What is not read by then is dropped: at SHUTDOWN, two
# seconds later nobody is left to tell what was lost.
FINISH_S: Final = 0.2
# What is done without a pause, in units of about 100 ns: `AT_ONCE` spans, fewer with long statements in them.
SPAN_WORK: Final = 1_000
WORK_AT_ONCE: Final = AT_ONCE * SPAN_WORK

Watch = Callable[[Span, Tracer], bool]


class TracePipeline:
    """Everything between a tracer, or a span made here, and a sealed payload.

    `watch` is shown each span that tells of an invocation (`aws.lambda`, `aws.lambda.load` and the placeholder of some
    tracers) before anything happens to it. It may change the span; when it returns True the span is not sent, because
    what it says is sent with another one.
    """

    def __init__(
        self,
        options: TraceOptions,
        identity: Identity,
        ledger: Ledger,
        clock: Clock,
        ceiling: int = payloads.CEILING_BYTES,
    ) -> None:
        self.watch: Watch | None = None
        self._options = options
        self._identity = identity
        self._ledger = ledger
        self._clock = clock
        self._processor = Processor(options, identity.function_name)
        self._queue = payloads.ChunkQueue(ceiling)
        self._tags = payloads.FunctionTags(identity.tags)
        self._tags_of = identity.tags
        self._unfinished: deque[Iterator[None]] = deque()
        self._numbers = itertools.count(1)
        self._complained_at = 0.0
        self._work = 0
        self._hurry = ""
        self._origin: Origin | None = None

    @property
    def waiting(self) -> int:
        """Spans that are neither sealed nor dropped."""
        return self._queue.spans

    async def take(self, request: Request) -> None:
        """Take over what a tracer sent. What is cancelled midway goes on with the next request, or the last flush."""
        self._unfinished.append(self._read(request))
        while self._unfinished:
            for _ in self._unfinished[0]:
                await anyio.lowlevel.checkpoint()
            self._unfinished.popleft()

    def add(self, chunk: Chunk, tracer: Tracer) -> None:
        """Take over spans that were made here; they are changed on their way."""
        for _ in self._accept(chunk, tracer):
            pass

    def _read(self, request: Request) -> Iterator[None]:
        """Read a request. Yields every few milliseconds."""
        tracer = tracer_of(request.headers)
        reading = Reading(request.target.partition("?")[0], request.body, _traces_told(request.headers))
        in_a_row = 0
        for chunk in reading.chunks():
            if self._hurry:
                lost = len(chunk) + reading.abandon()
                self._ledger.accept(SIGNAL, lost)
                self._lose(self._hurry, lost)
                break
            yield from self._accept(self._watched(chunk, tracer), tracer)
            in_a_row += len(chunk) or AT_ONCE
            if in_a_row >= AT_ONCE:
                in_a_row = 0
                yield
        if reading.lost:
            self._ledger.accept(SIGNAL, reading.lost)
            self._ledger.drop(SIGNAL, reading.lost, "unreadable")
            what = f"{reading.lost} spans or traces in a request to {request.target:.100}"
            self._complain(f"{what} cannot be read: {reading.problem:.200}")

    def _watched(self, chunk: Chunk, tracer: Tracer) -> Chunk:
        if self.watch is None:
            return chunk
        return [span for span in chunk if not (_tells(span) and self._shown(self.watch, span, tracer))]

    def _shown(self, watch: Watch, span: Span, tracer: Tracer) -> bool:
        try:
            return watch(span, tracer)
        except Exception as problem:  # noqa: BLE001 -- promise 1: a span is sent whatever others make of it
            self._complain(f"the span {span.name} tells nothing about its invocation: {problem!r}")
            return False

    def _accept(self, chunk: Chunk, tracer: Tracer) -> Iterator[None]:
        self._ledger.accept(SIGNAL, len(chunk))
        named = [span for span in chunk if span.trace_id and span.span_id]
        self._lose("no_id", len(chunk) - len(named))
        for trace in by_trace(named) if named else ():
            if self._is_enough(SPAN_WORK // 2 * len(trace)):
                yield
            if self._hurry:
                self._lose(self._hurry, len(trace))
                continue
            try:
                prepared = self._processor.prepare(trace, tracer, int(self._clock.wall() * 1e9))
            except Exception as problem:  # noqa: BLE001 -- promise 1: one trace never takes the others with it
                self._lose("defect", len(trace))
                self._complain(f"a trace is dropped: {problem!r}")
            else:
                yield from self._hold(prepared)

    def _hold(self, prepared: Prepared) -> Iterator[None]:
        """Encode the spans and keep them for a flush."""
        encoded, lost = [], prepared.lost
        for span in prepared.spans:
            if self._is_enough(SPAN_WORK + len(span.resource)):
                yield
            if self._hurry:
                lost[self._hurry] += 1
                continue
            try:
                encoded.append(self._processor.finish(span))
            except Exception as problem:  # noqa: BLE001 -- promise 1: one span never takes the others with it
                lost["defect"] += 1
                self._complain(f"a span is dropped: {problem!r}")
        kept = [body for body in encoded if len(body) <= payloads.LARGEST_SPAN]
        lost["too_large"] += len(encoded) - len(kept)
        if kept and not self._queue.put(payloads.held(self._same(prepared.origin), prepared.head, kept)):
            lost["buffer_full"] += len(kept)
        for reason, number in lost.items():
            self._lose(reason, number)

    def _is_enough(self, work: int) -> bool:
        """True if with so much more work it is time for a pause."""
        self._work += work
        if self._work < WORK_AT_ONCE:
            return False
        self._work = 0
        return True

    def _same(self, origin: Origin) -> Origin:
        """The one before, if they are equal: nearly always, and what waits takes less memory."""
        if origin != self._origin:
            self._origin = origin
        return self._origin

    def _lose(self, reason: str, number: int) -> None:
        if number:
            self._ledger.drop(SIGNAL, number, reason)

    def _complain(self, text: str) -> None:
        """Say it, unless something was said a moment ago."""
        now = self._clock.wall()
        if not 0 <= now - self._complained_at < COMPLAINT_PAUSE_S:
            self._complained_at = now
            report.error(text)

    def _function_tags(self) -> payloads.FunctionTags:
        """The tags as they are known by now."""
        if self._tags_of != self._identity.tags:
            self._tags_of = self._identity.tags
            self._tags = payloads.FunctionTags(self._tags_of)
        return self._tags

    def seal(self, *, last: bool = False) -> Iterator[Payload]:
        """Everything that waits, as payloads; what comes meanwhile waits for the next time, unless it is the `last`."""
        if last:
            self._finish("shutdown")
        tags = self._function_tags()
        extra = len(tags.of_span)
        left = self._queue.spans
        while (last or left > 0) and (batch := self._queue.take(extra)):
            left -= sum(len(chunk.spans) for chunk in batch)
            encoded = payloads.pieces(batch, tags)
            form = Form(payloads.headers([chunk.origin.tracer for chunk in batch]), closing=payloads.CLOSING)
            sealer = Sealer(SIGNAL, self._options.url + PATH, form, self._options.compression_level, self._numbers)
            yield sealer.seal([piece for piece, _ in encoded], [spans for _, spans in encoded])

    def _finish(self, reason: str) -> None:
        """Read to the end what was cancelled midway; what takes more than `FINISH_S` is dropped for `reason`."""
        until = self._clock.wall() + FINISH_S
        for reading in self._unfinished:
            for _ in reading:
                if self._clock.wall() > until:
                    self._hurry = reason
        self._hurry = ""

    def give_up(self, reason: str) -> None:
        """Drop everything that waits, without the work of sealing it."""
        self._finish(reason)
        self._ledger.drop(SIGNAL, self.waiting, reason)
        self._queue.clear()


def _tells(span: Span) -> bool:
    return span.name in WATCHED_NAMES or span.resource == PLACEHOLDER


def tracer_of(written: Headers) -> Tracer:
    """What the tracer says about itself, in the headers of a request."""
    found = {name.lower(): value for name, value in written}

    def said(name: str) -> str:
        return found.get(name, "")[:LONGEST_HEADER]

    return Tracer(
        said("datadog-meta-lang"),
        said("datadog-meta-lang-version"),
        said("datadog-meta-lang-interpreter"),
        said("datadog-meta-tracer-version"),
        said("datadog-container-id"),
        _is_true(said("datadog-client-computed-top-level")),
        _is_true(said("datadog-client-computed-stats")),
        said("datadog-meta-lang-interpreter-vendor"),
    )


def _is_true(value: str) -> bool:
    """As Datadog's agent reads flags: anything but what says no."""
    return value not in {"", "0", "f", "F", "false", "False", "FALSE"}


def _traces_told(written: Headers) -> int:
    value = next((value for name, value in written if name.lower() == "x-datadog-trace-count"), "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else 0
