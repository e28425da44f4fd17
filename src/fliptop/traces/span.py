"""Spans, as tracers describe them and as Datadog takes them. Source: intake-wire, 5.2 and 8.2."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass(slots=True)
class Span:
    """One span. `start` is in nanoseconds since the epoch, `duration` in nanoseconds; ids are unsigned 64-bit numbers,
    0 for a parent that there is not. The upper half of a 128-bit trace id is in `meta["_dd.p.tid"]`, in hexadecimal.
    `links` and `events` are maps with the names of the wire format.
    """

    service: str = ""
    name: str = ""
    resource: str = ""
    trace_id: int = 0
    span_id: int = 0
    parent_id: int = 0
    start: int = 0
    duration: int = 0
    error: int = 0
    meta: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    type: str = ""
    meta_struct: dict[str, bytes] = field(default_factory=dict)
    links: list[Mapping[str, Any]] = field(default_factory=list)
    events: list[Mapping[str, Any]] = field(default_factory=list)


Chunk = list[Span]
"""Spans of one trace that were sent together."""


class Tracer(NamedTuple):
    """What a tracer says about itself, in the headers of its requests."""

    language: str = ""
    language_version: str = ""
    interpreter: str = ""
    version: str = ""
    container_id: str = ""
    computed_top_level: bool = False
    computed_stats: bool = False
    interpreter_vendor: str = ""
