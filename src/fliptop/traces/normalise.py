"""What Datadog expects of spans, made so. Source: extension-behaviour, 8.3 and 8.4."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from fliptop.traces.coerce import MOST
from fliptop.traces.span import Chunk, Span

LONGEST: Final = 100
LONGEST_TAG: Final = 200
# So that what is kept for the next time has a size. Nobody has a tag that begins with hundreds of signs.
LONGEST_READ: Final = 1000
YEAR_2000_NS: Final = 946_684_800_000_000_000
NO_PRIORITY: Final = -128
PRIORITY: Final = "_sampling_priority_v1"
ORIGIN: Final = "_dd.origin"
TOP_LEVEL: Final = "_top_level"
TRACER_TOP_LEVEL: Final = "_dd.top_level"
STATUS_CODE: Final = "http.status_code"
ENV: Final = "env"

_NOT_IN_TAGS: Final = re.compile(r"(?:[^\w\-:./]|_)+")
_NOT_AT_THE_START: Final = re.compile(r"^[\d_\-./]+")
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9.]+")
_BEFORE_A_LETTER: Final = re.compile(r"^[^A-Za-z]+")


def cut(text: str, size: int) -> str:
    """`text` in at most `size` bytes of UTF-8, whole characters only."""
    if len(text) * 4 <= size:
        return text
    encoded = text.encode("utf-8", "replace")
    return text if len(encoded) <= size else encoded[:size].decode("utf-8", "ignore")


@lru_cache(maxsize=256)
def tag(text: str) -> str:
    """As Datadog writes tags: lower case; letters, digits and `_-:./`, a letter or colon first; 200 characters."""
    kept = _NOT_AT_THE_START.sub("", _NOT_IN_TAGS.sub("_", text.lower()))
    return kept[:LONGEST_TAG].rstrip("_")


@lru_cache(maxsize=256)
def _service(text: str) -> str:
    return tag(text) or "unnamed-service"


@lru_cache(maxsize=256)
def _name(text: str) -> str:
    kept = _NOT_IN_NAMES.sub("_", _BEFORE_A_LETTER.sub("", text))
    return kept.replace("_.", ".").replace("._", ".").rstrip("_") or "unnamed_operation"


def normalise(span: Span, now: int) -> None:
    """Make `span` what Datadog expects; `now` in nanoseconds stands in for a time that cannot be. Idempotent."""
    span.service = _service(cut(span.service, LONGEST))
    span.name = _name(cut(span.name, LONGEST))
    span.resource = span.resource or span.name
    span.type = cut(span.type, LONGEST)
    if span.parent_id == span.span_id == span.trace_id:
        span.parent_id = 0
    span.duration = max(span.duration, 0)
    if span.start < YEAR_2000_NS:
        span.start = now - span.duration if now - span.duration >= YEAR_2000_NS else now
    if span.start + span.duration > MOST:
        span.duration = 0
    meta = span.meta
    if ENV in meta:
        meta[ENV] = tag(meta[ENV][:LONGEST_READ])
    if STATUS_CODE in meta and not _is_status(meta[STATUS_CODE]):
        del meta[STATUS_CODE]


def _is_status(written: str) -> bool:
    return len(written) == 3 and written.isascii() and written.isdigit() and 100 <= int(written) <= 599


def by_trace(chunk: Chunk) -> list[Chunk]:
    """The same spans, those of each trace in a chunk of its own."""
    if len({span.trace_id for span in chunk}) <= 1:
        return [chunk]
    traces: dict[int, Chunk] = {}
    for span in chunk:
        traces.setdefault(span.trace_id, []).append(span)
    return list(traces.values())


def mark_top_level(chunk: Chunk, *, computed: bool) -> None:
    """Mark the spans with which a service begins its work; by the tracer's own mark, if it has `computed` them."""
    if computed:
        for span in chunk:
            if TRACER_TOP_LEVEL in span.metrics:
                span.metrics[TOP_LEVEL] = 1.0
        return
    services = {span.span_id: span.service for span in chunk}
    for span in chunk:
        if services.get(span.parent_id) != span.service:  # no parent has the id 0, or none here that id
            span.metrics[TOP_LEVEL] = 1.0


def root_of(chunk: Chunk) -> Span:
    """The span that the others stem from, as far as that shows in a chunk that may be a part of its trace."""
    ids = {span.span_id for span in chunk}
    without_parent = (span for span in reversed(chunk) if not span.parent_id)
    parent_elsewhere = (span for span in reversed(chunk) if span.parent_id not in ids)
    return next(without_parent, None) or next(parent_elsewhere, chunk[-1])


def priority(chunk: Chunk, root: Span) -> int:
    """How the trace was sampled, as its root says, or else the first span that says it."""
    for span in (root, *chunk):
        if PRIORITY in span.metrics:
            return int(max(-(2.0**31), min(span.metrics[PRIORITY], 2.0**31 - 1)))
    return NO_PRIORITY


def first_said(chunk: Chunk, root: Span, key: str) -> str:
    """The value of `key` in the root, or else in the first span that has one; no longer than a tag may be."""
    return next((cut(found, LONGEST_TAG) for span in (root, *chunk) if (found := span.meta.get(key))), "")
