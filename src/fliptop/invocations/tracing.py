"""From what tracers and the platform tell to the traces of invocations: which word is about which invocation.

A request id in a tracer's header says so; without one, it is the invocation that runs.
Source: extension-behaviour, 3.7.
"""

import math
from collections.abc import Callable
from hashlib import blake2b
from typing import Final, NamedTuple

from fliptop import report
from fliptop.clock import Clock
from fliptop.enhanced.metrics import PROACTIVE_S
from fliptop.http1 import Headers
from fliptop.invocations.arrival import Arrival, arrival, read_json
from fliptop.invocations.capture import captured
from fliptop.invocations.context import TID, Context
from fliptop.invocations.ending import ending
from fliptop.invocations.invocation import PRIORITY, Invocation, chunk, new_id
from fliptop.invocations.options import InvocationOptions
from fliptop.outbox.ledger import Ledger
from fliptop.platform.telemetry import Record
from fliptop.traces.span import Chunk, Span, Tracer

# Many can run at once on Managed Instances; elsewhere there is one, and those whose last records are on their way.
MOST_KNOWN: Final = 256
MOST_IN_A_ROW: Final = 16
MOST_PAST: Final = 16
REQUEST_ID: Final = "lambda-runtime-aws-request-id"
SPANS: Final = "spans"
_NS: Final = 1_000_000


class Outlets(NamedTuple):
    """Where things go: `add` takes the spans of a trace, `failed` is told that a tracer has seen an invocation fail.
    `first`: no other process has served invocations in this environment.
    """

    add: Callable[[Chunk, Tracer], None]
    failed: Callable[[], None]
    ledger: Ledger
    first: bool = True


class Invocations:
    """All invocations that are known. Nothing in here waits; `collect` passes on what is complete."""

    def __init__(self, options: InvocationOptions, outlets: Outlets, clock: Clock) -> None:
        self._options = options
        self._out = outlets
        self._clock = clock
        self._known: dict[str, Invocation] = {}
        # Those that have been told of. Something may still come about them, and is not about another one.
        self._past: dict[str, Invocation] = {}
        self._latest: Invocation | None = None
        # A tracer may be quicker than INVOKE.
        self._early: Invocation | None = None
        self._first = outlets.first
        # Where the platform has none, it is the tracer's word that an invocation is over.
        self._has_telemetry = False
        self._ready_s = math.inf
        # How the environment became ready. In a trace already if a tracer that makes the invocation's span itself has
        # told of it: then it goes alone.
        self._initial: Span | None = None

    # --- the platform's word ---

    def invoked(self, request_id: str, at_s: float) -> None:
        """INVOKE says that a request has begun, `at_s` by the clock."""
        self._begin(request_id, "INVOKE", round(at_s * 1000) * _NS)

    def take(self, record: Record) -> None:
        """Take what a telemetry record tells."""
        what = self._OF.get(record.type)
        if what is not None:
            self._has_telemetry = True
            what(self, record, (record.time_ms or round(self._clock.wall() * 1000)) * _NS)

    def _started(self, record: Record, at_ns: int) -> None:
        invocation = self._begin(record.text("requestId") or "", "platform.start", at_ns)
        if not invocation.is_done:
            invocation.start_ns = at_ns

    def _begin(self, request_id: str, told_by: str, at_ns: int) -> Invocation:
        """INVOKE and `platform.start` say so, in any order. Who says so twice means a retry, which has the same id."""
        known = self._find(request_id)
        if known is not None and told_by not in known.told_by:
            known.told_by.add(told_by)
            return known
        early, self._early = self._early, None
        if early is not None and early.arrival is None:  # the end of one that began before us, and is over
            self._lose(early)
            early = None
        invocation = early or self._new(at_ns)
        invocation.request_id = request_id
        invocation.told_by.add(told_by)
        self._know(invocation)
        return invocation

    def _new(self, at_ns: int) -> Invocation:
        invocation = Invocation("", at_ns, is_first=self._first)
        if not self._options.managed:
            proactive = self._first and at_ns / 1e9 - self._ready_s > PROACTIVE_S
            invocation.tags["cold_start"] = "true" if self._first and not proactive else "false"
            if proactive:
                invocation.tags["proactive_initialization"] = "true"
        self._first = False
        return invocation

    def _know(self, invocation: Invocation) -> None:
        before, latest = self._known.get(invocation.request_id), self._latest
        if before is not None:
            self._send(before)
        self._past.pop(invocation.request_id, None)
        self._known[invocation.request_id] = self._latest = invocation
        for other in list(self._known.values()):
            if self._has_telemetry:  # of the one before, something may still be on its way
                is_over = other.is_done and other is not latest
            else:
                is_over = other.ending is not None and other is not invocation
            if is_over:
                self._send(other)
        if len(self._known) > (MOST_KNOWN if self._options.managed else MOST_IN_A_ROW):
            self._send(next(iter(self._known.values())))

    def _find(self, request_id: str) -> Invocation | None:
        return self._known.get(request_id) or self._past.get(request_id)

    def _done(self, record: Record, at_ns: int) -> None:
        """The run has ended. A report says so too, should the record before it be lost, or where there is none."""
        invocation = self._over(record.text("requestId") or "")
        if invocation is None or (invocation.is_done and record.type == "platform.report"):
            return
        duration = record.number("metrics", "durationMs")
        known = round(duration * _NS) if duration is not None else at_ns - invocation.start_ns
        invocation.duration_ns = max(0, known)
        invocation.status = record.text("status") or "success"
        invocation.error_type = record.text("errorType") or ""

    def _over(self, request_id: str) -> Invocation | None:
        """The invocation with that id; or the one that nobody has seen begin, because that was before us."""
        early = self._early
        if self._find(request_id) is None and early is not None and (early.ending or early.own):
            self._early = None
            early.request_id = request_id
            self._know(early)
        return self._known.get(request_id)

    def _initialising(self, record: Record, at_ns: int) -> None:
        restored = record.type == "platform.restoreStart"
        if not self._options.managed and not self._initial_is_placed:
            name = "aws.lambda.snapstart_restore" if restored else "aws.lambda.cold_start"
            naming = self._options.naming
            self._initial = Span(naming.service, name, naming.function_name, span_id=new_id(), start=at_ns)
            self._initial.type = "serverless"

    def _initialised(self, record: Record, at_ns: int) -> None:
        self._ready_s = at_ns / 1e9
        duration = record.number("metrics", "durationMs")
        if self._initial is not None and duration is not None:
            self._initial.duration = round(duration * _NS)

    _OF: Final[dict[str, Callable[["Invocations", Record, int], None]]] = {
        "platform.initStart": _initialising,
        "platform.restoreStart": _initialising,
        "platform.initReport": _initialised,
        "platform.restoreReport": _initialised,
        "platform.start": _started,
        "platform.runtimeDone": _done,
        "platform.report": _done,
    }

    # --- the tracer's word ---

    def start(self, headers: Headers, body: bytes) -> Context | None:
        """A tracer says that an invocation has begun, and with which event. Returns the trace that it belongs to."""
        request_id, digest = _request_id(headers), blake2b(body, digest_size=16).digest()
        again = self._told_again(request_id, digest)
        if again is not None:
            return again.context
        invocation = self._starting(request_id)
        invocation.event = digest
        event = read_json(body)
        invocation.tags |= self._captured("function.request", event)
        invocation.arrival = arrival(event, dict(headers), self._options)
        return invocation.arrival.context

    def _told_again(self, request_id: str, digest: bytes) -> Arrival | None:
        """What has been made of the same words already: a client may not have had the answer, or be there twice. Taken
        for the next invocation, they would shift what is told of all that follow.
        """
        known = self._find(request_id) if request_id else self._early or self._latest
        if known is None or known.arrival is None or known.ending or known.is_done:
            return None
        return known.arrival if known.event == digest else None

    def _starting(self, request_id: str) -> Invocation:
        known = self._find(request_id) if request_id else self._latest
        if known is not None and known.arrival is None and not (known.is_done or known.sent):
            return known
        invocation = self._new(round(self._clock.wall() * 1000) * _NS)
        if request_id:
            invocation.request_id = request_id
            self._know(invocation)
        else:
            self._lose_early()
            self._early = invocation
        return invocation

    def end(self, headers: Headers, body: bytes) -> None:
        """A tracer says that an invocation has ended, and what the function has answered."""
        invocation = self._meant(_request_id(headers), lambda one: one.ending is None)
        if invocation is None:
            report.debug("a tracer ended an invocation that nobody knows")
            return
        answer = read_json(body)
        invocation.tags |= self._captured("function.response", answer)
        invocation.ending = ending(headers, answer, round(self._clock.wall() * 1000) * _NS)
        if invocation.ending.is_error:
            self._out.failed()

    def _captured(self, root: str, payload: object) -> dict[str, str]:
        depth = self._options.capture_depth
        return captured(root, payload, depth) if depth is not None else {}

    def stand_in(self, span: Span, tracer: Tracer) -> None:
        """A tracer has sent the span that stands for an invocation in its trace."""
        invocation = self._meant(span.meta.get("request_id", ""), lambda one: one.own is None)
        if invocation is not None:
            invocation.own, invocation.tracer = span, tracer

    def _meant(self, request_id: str, waits: Callable[[Invocation], bool]) -> Invocation | None:
        """The invocation with that id, or the one that runs, if it still `waits` for what is told of it."""
        known = self._find(request_id)
        if known is not None:
            candidates = [known]
        else:
            candidates = [one for one in (self._early, None if request_id else self._latest) if one]
            if self._latest is None and not candidates:  # an extension that has died would have known it
                return self._starting(request_id)
        return next((one for one in candidates if waits(one) and not one.sent), None)

    def loaded(self, span: Span) -> None:
        """A tracer that makes the invocation's span itself has sent the one for loading the function's code: the cold
        start belongs between that and its parent.
        """
        initial = self._initial
        if initial is None or self._initial_is_placed:
            return
        initial.trace_id, initial.parent_id, span.parent_id = span.trace_id, span.parent_id, initial.span_id
        initial.meta |= {TID: span.meta[TID]} if TID in span.meta else {}
        initial.metrics |= {PRIORITY: span.metrics[PRIORITY]} if PRIORITY in span.metrics else {}

    @property
    def _initial_is_placed(self) -> bool:
        return self._initial is not None and self._initial.trace_id != 0

    # --- what becomes of it ---

    def collect(self, *, last: bool) -> None:
        """Pass on what is complete; when it is the `last` time, whatever can be told of."""
        initial = self._initial
        if initial is not None and self._initial_is_placed and (initial.duration or last):
            self._initial = None
            self._out.add([initial], Tracer())
        for invocation in list(self._known.values()):
            if invocation.is_done or last:
                self._send(invocation)
        if last:
            self._lose_early()

    def give_up(self, reason: str) -> None:
        """Forget all that has not been passed on, counted."""
        for invocation in list(self._known.values()):
            self._lose(invocation, reason)
        self._lose_early(reason)

    def _send(self, invocation: Invocation) -> None:
        """Pass on the trace of `invocation`, once."""
        try:
            told = self._tell(invocation)
        except Exception as problem:  # noqa: BLE001 -- promise 1: nor may one cost the flush of all others
            report.error(f"an invocation cannot be told of: {problem!r}")
            told = False
        if told:
            self._forget(invocation)
        else:
            self._lose(invocation)

    def _tell(self, invocation: Invocation) -> bool:
        """Pass on the trace of `invocation`; False where too little is known."""
        if not invocation.is_done and invocation.ending is not None:  # nobody will say when it ended but the tracer
            invocation.duration_ns = max(0, invocation.ending.at_ns - invocation.start_ns)
        initial = self._initial if invocation.is_first and not self._initial_is_placed else None
        spans = chunk(invocation, self._options.naming, initial)
        if spans:
            self._initial = None if initial is not None else self._initial
            self._out.add(spans, invocation.tracer._replace(computed_top_level=False))
        return bool(spans)

    def _lose(self, invocation: Invocation, reason: str = "unfinished_invocation") -> None:
        """Its trace is not told of; that is a loss if a tracer has told of it."""
        if any(told is not None for told in (invocation.arrival, invocation.ending, invocation.own)):
            self._out.ledger.accept(SPANS)
            self._out.ledger.drop(SPANS, 1, reason)
        self._forget(invocation)

    def _lose_early(self, reason: str = "unfinished_invocation") -> None:
        early, self._early = self._early, None
        if early is not None:
            self._lose(early, reason)

    def _forget(self, invocation: Invocation) -> None:
        """From here on it is known by its id alone."""
        invocation.sent = True
        invocation.arrival = invocation.ending = invocation.own = None
        invocation.tags = {}
        if self._known.get(invocation.request_id) is invocation:
            self._past[invocation.request_id] = self._known.pop(invocation.request_id)
            if len(self._past) > MOST_PAST:
                del self._past[next(iter(self._past))]


def _request_id(headers: Headers) -> str:
    return next((value.strip() for name, value in headers if name.lower() == REQUEST_ID), "")
