"""What tracers send, read: msgpack → chunks of spans. Source: intake-wire, 8.2 to 8.4.

Streaming, span by span, so that what is broken costs itself alone: a field of a wrong type is as good as not written, a
span that is none is counted, and of a body that breaks off all that stands before is kept.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from io import BytesIO
from typing import Any, Final, NamedTuple

from msgpack import Unpacker

from fliptop.traces import coerce
from fliptop.traces.span import Chunk, Span

# How many spans are read without a pause: a few milliseconds on a full core.
AT_ONCE: Final = 100
# Values that are well-formed and still cannot be built (a map as the key of another) are passed over so often.
MOST_DETOURS: Final = 16
ROW: Final = 12
# What one value (a span; in version 0.7 all there is) may hold: so many lists and maps, none of them longer than that.
# In a message they take a byte each, in memory a hundred times as much.
MOST_PARTS: Final = 20_000
MOST_PARTS_OF_PAYLOAD: Final = 200_000
# Version 0.5's table of texts, likewise.
MOST_TEXTS: Final = 400_000
TEXTS_AT_ONCE: Final = 5_000
# How much of a body msgpack takes for itself at a time; more for a longer value.
READ_BYTES: Final = 16_384
# Tracers send long traces in parts of some hundred spans. What is longer is cut: while it is one, all of it is in
# memory.
LONGEST_CHUNK: Final = 5_000
PRIORITY: Final = "_sampling_priority_v1"
SAID_ONCE: Final = ("env", "version", "_dd.hostname", "runtime-id", "_dd.origin")

_BROKEN: Final = object()
ReadSpan = Callable[[Any], Span | None]


class Unreadable(Exception):
    """This is not what its path says."""


class Reading:
    """One request of `traces` traces, as its header says (0: unknown), sent to `path`, being read.

    `lost` counts what could not be read: spans, and traces of which not even that is known. `problem` says what was
    wrong the first time.
    """

    def __init__(self, path: str, body: bytes, traces: int = 0) -> None:
        self.lost = 0
        self.problem = ""
        self._path = path
        self._body = body
        self._told = min(traces, len(body))
        self._ended = 0
        self._detours = 0
        self._most_parts = MOST_PARTS_OF_PAYLOAD if path.endswith("v0.7/traces") else MOST_PARTS
        self._parts_left = 0
        self._chunk: Chunk = []
        self._start_at(0)

    def _start_at(self, position: int) -> None:
        """Begin to read there."""
        stream = BytesIO(self._body)  # the same bytes, not a copy
        stream.seek(position)
        most = max(READ_BYTES, len(self._body))
        self._offset = position
        self._unpacker = Unpacker(
            stream,
            read_size=READ_BYTES,
            raw=False,
            unicode_errors="replace",
            strict_map_key=False,
            max_buffer_size=most,
            max_array_len=self._most_parts,
            max_map_len=self._most_parts,
            object_hook=self._part,
            list_hook=self._part,
        )

    def _part(self, part: Any) -> Any:
        self._parts_left -= 1
        if self._parts_left < 0:
            raise ValueError(f"more than {self._most_parts} lists and maps in one value")
        return part

    def chunks(self) -> Iterator[Chunk]:
        """The chunks, in order. An empty one is nothing but a chance to pause. Raises nothing."""
        try:
            yield from self._read()
        except Exception as problem:  # noqa: BLE001 -- msgpack raises many kinds, and any means that it cannot go on
            if self._chunk:
                self._ended += 1
                yield self._close()
            self._lose(max(1, self._told - self._ended), f"{type(problem).__name__} {problem}".strip())

    def abandon(self) -> int:
        """How many spans, and traces of which not even that is known, are lost if nothing more is read."""
        return len(self._chunk) + max(1, self._told - self._ended)

    def _read(self) -> Iterator[Chunk]:
        if self._path.endswith("v0.5/traces"):
            yield from self._read_tables()
        elif self._path.endswith("v0.7/traces"):
            yield from self._read_payload()
        else:
            for _ in range(self._length()):
                yield from self._trace(self._array(), span_of_map)

    def _read_tables(self) -> Iterator[Chunk]:
        """Version 0.5: `[strings, traces]`."""
        if self._unpacker.read_array_header() != 2:
            raise Unreadable("an array of two is expected")
        texts: list[str] = []
        for text in self._array():
            if len(texts) == MOST_TEXTS:
                raise Unreadable(f"more than {MOST_TEXTS} texts")
            texts.append(coerce.text(text))
            if len(texts) % TEXTS_AT_ONCE == 0:
                yield []
        read = partial(span_of_row, texts)
        for _ in range(self._length()):
            yield from self._trace(self._array(), read)

    def _read_payload(self) -> Iterator[Chunk]:
        """Version 0.7: a map that holds chunks."""
        payload = self._next()
        if not isinstance(payload, dict):
            raise Unreadable("a map is expected")
        for chunk in coerce.maps(payload.get("chunks")):
            raw = chunk.get("spans")
            for spans in self._trace(raw if isinstance(raw, list) else (), span_of_map):
                if spans:
                    _say_in_span(spans[0], payload, chunk)
                yield spans

    def _trace(self, spans: Iterable[Any], read: ReadSpan) -> Iterator[Chunk]:
        said: Said | None = None
        for number, raw in enumerate(spans, 1):
            span = read(raw)
            if span is None:
                self._lose(1, "a span is expected")
            else:
                self._chunk.append(span)
            if number % AT_ONCE == 0:
                yield []
            if len(self._chunk) == LONGEST_CHUNK:
                _say_again(said, self._chunk)
                said = _said_in(self._chunk)
                yield self._close()
        self._ended += 1
        _say_again(said, self._chunk)
        yield self._close()

    def _close(self) -> Chunk:
        chunk, self._chunk = self._chunk, []
        return chunk

    def _array(self) -> Iterator[Any]:
        for _ in range(self._length()):
            yield self._next()

    def _length(self) -> int:
        """How many values follow; 0 for nil, and for anything else that is no array."""
        try:
            return int(self._unpacker.read_array_header())
        except ValueError:
            if self._next() is not None:
                self._lose(1, "an array is expected")
            return 0

    def _next(self) -> Any:
        start = self._offset + self._unpacker.tell()
        self._parts_left = self._most_parts
        try:
            return self._unpacker.unpack()
        except (TypeError, ValueError):
            self._detours += 1
            if self._detours > MOST_DETOURS:
                raise
            self._start_at(start)
            self._unpacker.skip()  # raises again if it is not even well-formed
            return _BROKEN

    def _lose(self, number: int, problem: str) -> None:
        self.lost += number
        self.problem = self.problem or problem


def span_of_map(raw: Any) -> Span | None:
    """A span as versions 0.3, 0.4 and 0.7 have it. Unknown keys are skipped, nil stands for the default."""
    if not isinstance(raw, dict):
        return None
    get = raw.get
    span = Span(
        coerce.text(get("service")),
        coerce.text(get("name")),
        coerce.text(get("resource")),
        coerce.identifier(get("trace_id")),
        coerce.identifier(get("span_id")),
        coerce.identifier(get("parent_id")),
        coerce.integer(get("start")),
        coerce.integer(get("duration")),
        coerce.flag(get("error")),
        coerce.texts(get("meta")),
        coerce.numbers(get("metrics")),
        coerce.text(get("type")),
    )
    if blobs := get("meta_struct"):
        span.meta_struct = coerce.blobs(blobs)
    if links := get("span_links"):
        span.links = [_link(link) for link in coerce.maps(links)]
    if events := get("span_events"):
        span.events = [_event(event) for event in coerce.maps(events)]
    return span


def span_of_row(strings: list[str], raw: Any) -> Span | None:
    """A span as version 0.5 has it: twelve values in a row, texts as places in a table."""
    if not isinstance(raw, list) or len(raw) != ROW:
        return None

    def string(place: Any) -> str:
        return strings[place] if type(place) is int and 0 <= place < len(strings) else ""

    service, name, resource, trace_id, span_id, parent_id, start, duration, error, meta, metrics, kind = raw
    meta = meta if isinstance(meta, dict) else {}
    metrics = metrics if isinstance(metrics, dict) else {}
    return Span(
        string(service),
        string(name),
        string(resource),
        coerce.identifier(trace_id),
        coerce.identifier(span_id),
        coerce.identifier(parent_id),
        coerce.integer(start),
        coerce.integer(duration),
        coerce.flag(error),
        {found: string(value) for key, value in meta.items() if (found := string(key))},
        coerce.numbers({found: value for key, value in metrics.items() if (found := string(key))}),
        string(kind),
    )


def _link(raw: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        "trace_id": coerce.identifier(raw.get("trace_id")),
        "trace_id_high": coerce.identifier(raw.get("trace_id_high")),
        "span_id": coerce.identifier(raw.get("span_id")),
        "attributes": coerce.texts(raw.get("attributes")),
        "tracestate": coerce.text(raw.get("tracestate")),
        "flags": coerce.identifier(raw.get("flags")) & 0xFFFF_FFFF,
    }


def _event(raw: Mapping[Any, Any]) -> dict[str, Any]:
    attributes = raw.get("attributes")
    found = attributes.items() if isinstance(attributes, dict) else ()
    return {
        "time_unix_nano": coerce.identifier(raw.get("time_unix_nano")),
        "name": coerce.text(raw.get("name")),
        "attributes": {coerce.text(key): value for key, written in found if (value := _attribute(written))},
    }


_SCALARS: Final[Mapping[Any, tuple[str, Callable[[Any], Any]]]] = {
    0: ("string_value", coerce.text),
    1: ("bool_value", bool),
    2: ("int_value", coerce.integer),
    3: ("double_value", coerce.number),
}
ARRAY: Final = 4


def _attribute(raw: Any, *, within: bool = False) -> dict[str, Any] | None:
    """A typed value, None for what is none. `within` an array there is no other array."""
    kind = raw.get("type") or 0 if isinstance(raw, dict) else None
    if type(kind) is int and kind in _SCALARS:
        name, read = _SCALARS[kind]
        return {"type": kind, name: read(raw.get(name))}
    if kind != ARRAY or within:
        return None
    array = raw.get("array_value")
    values = coerce.maps(array.get("values")) if isinstance(array, dict) else []
    items = (_attribute(value, within=True) for value in values)
    return {"type": ARRAY, "array_value": {"values": [item for item in items if item]}}


class Said(NamedTuple):
    """What one span of the trace `trace_id` says for all of them."""

    trace_id: int
    meta: Mapping[str, str]
    metrics: Mapping[str, float]


def _said_in(chunk: Chunk) -> Said:
    def first(key: str, maps: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        return next(({key: found[key]} for found in maps if key in found), {})

    meta = {key: value for name in SAID_ONCE for key, value in first(name, (span.meta for span in chunk)).items()}
    return Said(chunk[0].trace_id, meta, first(PRIORITY, (span.metrics for span in chunk)))


def _say_again(said: Said | None, chunk: Chunk) -> None:
    """In the next part of a chunk that was cut."""
    if said is not None and chunk and chunk[0].trace_id == said.trace_id:
        chunk[0].meta = {**said.meta, **chunk[0].meta}
        chunk[0].metrics = {**said.metrics, **chunk[0].metrics}


def _say_in_span(span: Span, payload: Mapping[Any, Any], chunk: Mapping[Any, Any]) -> None:
    """What version 0.7 says of a payload and a chunk, older ones say in a span: so does this, in the chunk's first."""
    said = {
        **coerce.texts(payload.get("tags")),
        **coerce.texts(chunk.get("tags")),
        "env": coerce.text(payload.get("env")),
        "version": coerce.text(payload.get("app_version")),
        "_dd.hostname": coerce.text(payload.get("hostname")),
        "runtime-id": coerce.text(payload.get("runtime_id")),
        "_dd.origin": coerce.text(chunk.get("origin")),
    }
    for key, value in said.items():
        if value:
            span.meta.setdefault(key, value)
    priority = chunk.get("priority")
    if type(priority) is int:
        span.metrics.setdefault(PRIORITY, float(priority))
    if chunk.get("dropped_trace") is True:
        span.metrics[PRIORITY] = min(span.metrics.get(PRIORITY, 0.0), 0.0)
