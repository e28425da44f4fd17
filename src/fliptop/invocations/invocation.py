"""One invocation: what is known about it, and the spans that stand for it. No I/O.

Source: extension-behaviour, 3.7 and 8.9. Unlike there, what is known is kept for each invocation by itself, and a run
that ends without the tracer's word still has its span.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Final

from fliptop.invocations.arrival import Arrival
from fliptop.invocations.context import TID, Context
from fliptop.invocations.ending import Ending
from fliptop.invocations.options import Naming
from fliptop.traces.span import Chunk, Span, Tracer

PRIORITY: Final = "_sampling_priority_v1"
ORIGIN: Final = "_dd.origin"


@dataclass(slots=True)
class Invocation:
    """What has been told about one request so far.

    `told_by`: who has said that it began; `start_ns`: when. `arrival` and `ending` are what the tracer has said, before
    and after (`event`: a digest of the body that the first was in); `own` is the span by which it stands for the
    invocation in what it sends, and `tracer` what it says about itself there. `tags` are for the span. `is_first`: no
    other has been in this environment. `status` is the platform's word on how it ended, None until then.
    """

    request_id: str
    start_ns: int
    is_first: bool = False
    told_by: set[str] = field(default_factory=set)
    tags: dict[str, str] = field(default_factory=dict)
    event: bytes = b""
    arrival: Arrival | None = None
    ending: Ending | None = None
    own: Span | None = None
    tracer: Tracer = field(default_factory=Tracer)
    status: str | None = None
    error_type: str = ""
    duration_ns: int = 0
    sent: bool = False

    @property
    def is_done(self) -> bool:
        """True when the platform has said so."""
        return self.status is not None

    @property
    def has_failed(self) -> bool:
        """True when the platform says that the run failed."""
        return self.status not in {None, "success"}

    @property
    def context(self) -> Context | None:
        """The trace that the invocation belongs to, as its event says; None if the tracer has begun another one."""
        context = self.arrival.context if self.arrival else None
        told = (self.ending.trace_id if self.ending else 0) or (self.own.trace_id if self.own else 0)
        return context if context is None or told in {0, context.trace_id} else None


def new_id() -> int:
    """An id for a span. From the kernel, because all environments that come from one snapshot share a random state."""
    return int.from_bytes(os.urandom(8)) >> 1 or 1


def chunk(invocation: Invocation, naming: Naming, initial: Span | None) -> Chunk:
    """The spans of `invocation`, its own first; none where no tracer has told enough to know its place. `initial` is
    the span for how the environment became ready, if that happened for it.
    """
    span = _own_span(invocation, naming)
    if span is None:
        return []
    upstream = _upstream(invocation, span)
    top = upstream[-1] if upstream else span
    _belong(invocation, span, top)
    for child, parent in zip([span, *upstream], upstream, strict=False):
        child.parent_id, parent.parent_id = parent.span_id, child.parent_id
    if initial is not None:
        initial.trace_id, initial.parent_id = span.trace_id, span.parent_id
    spans = [span, *upstream, *([initial] if initial is not None else [])]
    upper_half = top.meta.get(TID) or span.meta.get(TID)
    if upper_half:
        for one in spans:
            one.meta[TID] = upper_half
    return spans


def _own_span(invocation: Invocation, naming: Naming) -> Span | None:
    """The invocation's span; its parent is who called."""
    ids = _ids(invocation)
    if ids is None:
        return None
    own = invocation.own or Span()
    arrived = invocation.arrival.origin.tags if invocation.arrival else {}
    span = Span(
        naming.service,
        "aws.lambda",
        naming.function_name,
        *ids,
        start=invocation.start_ns,
        duration=invocation.duration_ns,
        error=own.error,
        meta={"span.kind": "server", "request_id": invocation.request_id, **own.meta, **invocation.tags, **arrived},
        metrics=dict(own.metrics),
        type="serverless",
        meta_struct=dict(own.meta_struct),
    )
    _tell_outcome(invocation, span)
    return span


def _ids(invocation: Invocation) -> tuple[int, int, int] | None:
    """Trace, span and parent: as the tracer says when it ends, or in the span that stands for the invocation. A run
    that was cut short gets ids, so that its failure shows.
    """
    said, own, context = invocation.ending, invocation.own, invocation.context
    trace_id = (said and said.trace_id) or (context and context.trace_id) or (own and own.trace_id)
    span_id = (said and said.span_id) or (own and own.span_id)
    if invocation.has_failed and invocation.arrival is not None:
        trace_id, span_id = trace_id or new_id(), span_id or new_id()
    if not trace_id or not span_id:
        return None
    parent_id = context.parent_id if context else (said and said.parent_id) or (own and own.parent_id)
    return trace_id, span_id, parent_id or 0


def _tell_outcome(invocation: Invocation, span: Span) -> None:
    said = invocation.ending
    if said is not None:
        span.error |= said.is_error
        span.meta |= said.errors
        if said.status_code is not None:
            span.meta["http.status_code"] = str(said.status_code)
    if invocation.has_failed:
        span.error = 1
        timeout = invocation.status == "timeout"
        kind = "Timeout" if timeout else invocation.error_type
        for tag, text in (("error.msg", "Datadog detected a Timeout" if timeout else ""), ("error.type", kind)):
            if text:
                span.meta.setdefault(tag, text)


def _upstream(invocation: Invocation, span: Span) -> Chunk:
    """The spans of what happened before, the latest first, complete but for their parents."""
    if invocation.arrival is None:
        return []
    origin = invocation.arrival.origin
    found: Chunk = []
    after, end = span, span.start + span.duration if origin.waits else span.start
    for before in (origin.span, origin.wrapped):
        if before is None:
            break
        before.trace_id, before.span_id = span.trace_id, new_id()
        before.start = before.start or after.start
        before.duration = max(0, end - before.start)
        before.error = span.error
        before.meta |= _INFERRED | {
            "_inferred_span.synchronicity": "sync" if origin.waits else "async",
            "peer.service": after.service,
        }
        found.append(before)
        after, end = before, before.start
    if found and "http.status_code" in span.meta:
        found[0].meta["http.status_code"] = span.meta["http.status_code"]
    return found


_INFERRED: Final = {"span.kind": "server", "_inferred_span.tag_source": "self"}


def _belong(invocation: Invocation, span: Span, top: Span) -> None:
    """Write into `top`, the first span of the trace here, what belongs to the trace; and the decision to sample it into
    the invocation's too.
    """
    said, context = invocation.ending, invocation.context
    top.meta |= context.tags if context else said.tags if said else {}
    priority = said.priority if said and said.priority is not None else context.priority if context else None
    for one in (span, top):
        if priority is not None:
            one.metrics[PRIORITY] = priority
        if context and context.origin:
            one.meta[ORIGIN] = context.origin
