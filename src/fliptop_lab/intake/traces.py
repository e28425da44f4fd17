"""Traces: the ``AgentPayload`` of ``/api/v0.2/traces``, down to its spans.

Datadog answers 202 whatever is in it, and drops silently what it cannot use. Here that is a refusal which says what is
wrong and where, because nobody would notice otherwise. Limits are those that Datadog's agent keeps before it sends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fliptop_lab.intake.refusals import Refusal
from fliptop_lab.intake.schema import (
    Field,
    Schema,
    blob,
    boolean,
    decode,
    double,
    entry,
    fixed64,
    int32,
    int64,
    nested,
    text,
    uint32,
    uint64,
)

YEAR_2000_NS = 946_684_800 * 10**9
MAX_NAME = 100
"""Characters of a service, an operation's name and a type."""
MAX_RESOURCE_BYTES = 15_000
NO_PRIORITY = -128
"""A chunk's priority when nobody has decided about it."""


@dataclass(frozen=True)
class TracerPayload:
    """What a tracer said about itself, and the payload that carried it (``agent`` has the fields of that)."""

    language: str = ""
    language_version: str = ""
    tracer_version: str = ""
    runtime_id: str = ""
    container_id: str = ""
    env: str = ""
    hostname: str = ""
    app_version: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    agent: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class TraceChunk:
    """Spans of one trace that travelled together, as far as it is not said in them."""

    priority: int
    origin: str
    dropped: bool
    tags: dict[str, str]
    tracer: TracerPayload = field(repr=False)


@dataclass(frozen=True)
class Span:
    """One span. Times are in nanoseconds, ``start`` since the epoch. ``links`` and ``events`` have the names of the
    wire; an event's attributes are plain values.
    """

    service: str
    name: str
    resource: str
    trace_id: int
    span_id: int
    parent_id: int
    start: int
    duration: int
    error: int
    meta: dict[str, str]
    metrics: dict[str, float]
    type: str
    meta_struct: dict[str, bytes]
    links: list[dict[str, Any]]
    events: list[dict[str, Any]]
    chunk: TraceChunk = field(repr=False)


TEXTS = entry(text, text, "")
LINK: Schema = {
    1: Field("traceID", uint64),
    2: Field("traceID_high", uint64),
    3: Field("spanID", uint64),
    4: Field("attributes", TEXTS, "map"),
    5: Field("tracestate", text),
    6: Field("flags", uint32),
}
_SCALAR: Schema = {
    1: Field("type", int32),
    2: Field("string_value", text),
    3: Field("bool_value", boolean),
    4: Field("int_value", int64),
    5: Field("double_value", double),
}
ANY_VALUE: Schema = {**_SCALAR, 6: Field("array_value", nested({1: Field("values", nested(_SCALAR), "list")}))}
ATTRIBUTE_TYPES: dict[int, tuple[str, Any]] = {
    0: ("string_value", ""),
    1: ("bool_value", False),
    2: ("int_value", 0),
    3: ("double_value", 0.0),
    4: ("array_value", {"values": []}),
}
"""Where the value of an attribute is, by its type, and what it is when it is not there."""
EVENT: Schema = {
    1: Field("time_unix_nano", fixed64),
    2: Field("name", text),
    3: Field("attributes", entry(text, nested(ANY_VALUE), {}), "map"),
}
SPAN: Schema = {
    1: Field("service", text),
    2: Field("name", text),
    3: Field("resource", text),
    4: Field("traceID", uint64),
    5: Field("spanID", uint64),
    6: Field("parentID", uint64),
    7: Field("start", int64),
    8: Field("duration", int64),
    9: Field("error", int32),
    10: Field("meta", TEXTS, "map"),
    11: Field("metrics", entry(text, double, 0.0), "map"),
    12: Field("type", text),
    13: Field("meta_struct", entry(text, blob, b""), "map"),
    14: Field("spanLinks", nested(LINK), "list"),
    15: Field("spanEvents", nested(EVENT), "list"),
}
CHUNK: Schema = {
    1: Field("priority", int32),
    2: Field("origin", text),
    3: Field("spans", nested(SPAN), "list"),
    4: Field("tags", TEXTS, "map"),
    5: Field("droppedTrace", boolean),
}
TRACER_PAYLOAD: Schema = {
    1: Field("containerID", text),
    2: Field("languageName", text),
    3: Field("languageVersion", text),
    4: Field("tracerVersion", text),
    5: Field("runtimeID", text),
    6: Field("chunks", nested(CHUNK), "list"),
    7: Field("tags", TEXTS, "map"),
    8: Field("env", text),
    9: Field("hostname", text),
    10: Field("appVersion", text),
}
AGENT_PAYLOAD: Schema = {
    1: Field("hostName", text),
    2: Field("env", text),
    5: Field("tracerPayloads", nested(TRACER_PAYLOAD), "list"),
    6: Field("tags", TEXTS, "map"),
    7: Field("agentVersion", text),
    8: Field("targetTPS", double),
    9: Field("errorTPS", double),
    10: Field("rareSamplerEnabled", boolean),
}


def decode_traces(body: bytes) -> list[Span]:
    """The spans of an ``AgentPayload``, in its order; ``Refusal`` 400 for what Datadog would drop without a word."""
    try:
        payload = decode(body, AGENT_PAYLOAD)
    except ValueError as error:
        raise Refusal(400, f"the body is not an AgentPayload: {error}") from error
    spans = [
        span
        for number, tracer in enumerate(payload.pop("tracerPayloads"))
        for span in _tracer_payload(tracer, payload, f"tracerPayloads[{number}]")
    ]
    if not spans:
        raise Refusal(400, "the AgentPayload has no spans")
    return spans


def _tracer_payload(found: dict[str, Any], agent: dict[str, Any], where: str) -> list[Span]:
    tracer = TracerPayload(
        language=found.get("languageName", ""),
        language_version=found.get("languageVersion", ""),
        tracer_version=found.get("tracerVersion", ""),
        runtime_id=found.get("runtimeID", ""),
        container_id=found.get("containerID", ""),
        env=found.get("env", ""),
        hostname=found.get("hostname", ""),
        app_version=found.get("appVersion", ""),
        tags=found["tags"],
        agent=agent,
    )
    chunks = enumerate(found["chunks"])
    return [span for number, chunk in chunks for span in _chunk(chunk, tracer, f"{where}.chunks[{number}]")]


def _chunk(found: dict[str, Any], tracer: TracerPayload, where: str) -> list[Span]:
    chunk = TraceChunk(
        priority=found.get("priority", 0),
        origin=found.get("origin", ""),
        dropped=found.get("droppedTrace", False),
        tags=found["tags"],
        tracer=tracer,
    )
    spans = [_span(span, chunk, f"{where}.spans[{number}]") for number, span in enumerate(found["spans"])]
    if len({span.trace_id for span in spans}) != 1:
        what = "spans of several traces" if spans else "no spans"
        raise Refusal(400, f"{where}: a chunk has the spans of one trace, this one has {what}")
    return spans


def _span(found: dict[str, Any], chunk: TraceChunk, where: str) -> Span:
    span = Span(
        service=found.get("service", ""),
        name=found.get("name", ""),
        resource=found.get("resource", ""),
        trace_id=found.get("traceID", 0),
        span_id=found.get("spanID", 0),
        parent_id=found.get("parentID", 0),
        start=found.get("start", 0),
        duration=found.get("duration", 0),
        error=found.get("error", 0),
        meta=found["meta"],
        metrics=found["metrics"],
        type=found.get("type", ""),
        meta_struct=found["meta_struct"],
        links=found["spanLinks"],
        events=[_event(event, where) for event in found["spanEvents"]],
        chunk=chunk,
    )
    if faults := _faults(span):
        raise Refusal(400, f"{where} ({span.name or 'without a name'}): {', '.join(faults)}")
    return span


def _faults(span: Span) -> Sequence[str]:
    """Why Datadog's agent would not have sent this span (intake-wire, 5.4)."""
    code = span.meta.get("http.status_code", "200")
    rules = {
        "the trace id is 0": not span.trace_id,
        "the span id is 0": not span.span_id,
        "it is its own parent": span.parent_id == span.span_id == span.trace_id,
        "the service is missing or too long": not 0 < len(span.service) <= MAX_NAME,
        "the name is missing or too long": not 0 < len(span.name) <= MAX_NAME,
        "the resource is missing or too long": not 0 < len(span.resource.encode()) <= MAX_RESOURCE_BYTES,
        "the type is too long": len(span.type) > MAX_NAME,
        "it starts before the year 2000": span.start < YEAR_2000_NS,
        "the duration is negative": span.duration < 0,
        "it ends after time itself": span.start + span.duration >= 1 << 63,
        f"http.status_code is {code!r}": not (code.isascii() and code.isdigit() and 100 <= int(code) < 600),
    }
    return [fault for fault, is_so in rules.items() if is_so]


def _event(found: dict[str, Any], where: str) -> dict[str, Any]:
    try:
        return {**found, "attributes": {key: _plain(value) for key, value in found["attributes"].items()}}
    except LookupError as error:
        raise Refusal(400, f"{where}.spanEvents: an attribute has the type {error}, which there is not") from error


def _plain(value: dict[str, Any]) -> Any:
    """What an attribute says. Its type says in which field."""
    name, default = ATTRIBUTE_TYPES[value.get("type", 0)]
    found = value.get(name, default)
    return [_plain(each) for each in found["values"]] if name == "array_value" else found
