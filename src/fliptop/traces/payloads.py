"""Encoded chunks waiting for a flush, and the payloads that are made of them: `AgentPayload`, whose entries are
`TracerPayload`s. Source: intake-wire, 5.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, takewhile
from struct import pack
from typing import Final, NamedTuple

from fliptop.outbox.payload import Headers
from fliptop.protobuf import delimited
from fliptop.traces import encode
from fliptop.traces.process import Origin
from fliptop.traces.span import Tracer

# What spans that wait for a flush may take: encoded, with Python's own around them, without the function's tags.
CEILING_BYTES: Final = 16 * 1024 * 1024
# What Datadog's agent sends at once, before compression. The intake takes some 15 MB.
PAYLOAD_BYTES: Final = 3_000_000
# One entry. Where a payload turns out to be too large, it is taken apart between two of them.
PIECE_BYTES: Final = 250_000
# A span of this size is alone in its payload.
LARGEST_SPAN: Final = 10_000_000

_TRACER_PAYLOAD, _CHUNK, _PAYLOAD_TAG = b"\x2a", b"\x32", b"\x3a"
_CONTAINER_ID, _LANGUAGE, _LANGUAGE_VERSION, _TRACER_VERSION, _RUNTIME_ID = b"\x0a", b"\x12", b"\x1a", b"\x22", b"\x2a"
_ENV, _HOSTNAME, _APP_VERSION = b"\x42", b"\x4a", b"\x52"
# targetTPS and errorTPS, as Datadog's extension sends them.
CLOSING: Final = pack("<BdBd", 0x41, 60.0, 0x49, 60.0)
# Key and length of a span, and its part of what stands around it.
_AROUND: Final = 8
# What Python takes around a chunk and around a span while they wait, beside that.
_CHUNK_MEMORY: Final = 350
_SPAN_MEMORY: Final = 40


class Held(NamedTuple):
    """A chunk: what stands before its spans, and these. `size` is in bytes."""

    origin: Origin
    head: bytes
    spans: list[bytes]
    size: int


def held(origin: Origin, head: bytes, spans: list[bytes]) -> Held:
    """A chunk to be held."""
    return Held(origin, head, spans, sum(map(len, spans)) + len(spans) * _AROUND + len(head))


def _memory(chunk: Held) -> int:
    """The bytes that `chunk` takes while it waits."""
    return chunk.size + _CHUNK_MEMORY + _SPAN_MEMORY * len(chunk.spans)


def _cut(chunk: Held, room: int, extra: int) -> list[Held]:
    """The first spans of `chunk`, as many as fit into `room` if each grows by `extra` bytes, one at least; the rest."""
    sizes = accumulate(len(body) + _AROUND + extra for body in chunk.spans)
    fitting = sum(1 for _ in takewhile(lambda size: size <= room, sizes)) or 1
    parts = (chunk.spans[:fitting], chunk.spans[fitting:])
    return [held(chunk.origin, chunk.head, spans) for spans in parts if spans]


class FunctionTags:
    """The tags of the function (`key:value,…`), as they are added to payloads and, as entries of `Span.meta`, to
    spans.
    """

    def __init__(self, written: str) -> None:
        tags = dict(tag.split(":", 1) for tag in written.split(",") if ":" in tag)
        self.of_payload: Final = encode.entry(_PAYLOAD_TAG, "_dd.tags.function", written)
        self.of_span: Final = b"".join([encode.entry(encode.META, *tag) for tag in (tags | _ALWAYS).items()])


_ALWAYS: Final = {"_dd.origin": "lambda", "origin": "lambda"}


class ChunkQueue:
    """First in, first out, bounded by `ceiling` bytes."""

    def __init__(self, ceiling: int = CEILING_BYTES) -> None:
        self._ceiling = ceiling
        self._waiting: deque[Held] = deque()
        self._size = 0

    @property
    def spans(self) -> int:
        """Spans in all chunks."""
        return sum(len(chunk.spans) for chunk in self._waiting)

    def put(self, chunk: Held) -> bool:
        """Keep `chunk`; False when there is no room for it."""
        if self._size + _memory(chunk) > self._ceiling:
            return False
        self._waiting.append(chunk)
        self._size += _memory(chunk)
        return True

    def take(self, extra: int) -> list[Held]:
        """The oldest chunks, as many as fit into a payload if each span grows by `extra` bytes. One that fits into none
        is taken apart: its parts are still of the same trace.
        """
        batch: list[Held] = []
        room = PAYLOAD_BYTES
        while self._waiting:
            chunk = self._waiting[0]
            room -= chunk.size + len(chunk.spans) * extra
            if batch and room < 0:
                break
            self._waiting.popleft()
            self._size -= _memory(chunk)
            if room < 0:
                chunk, *rest = _cut(chunk, PAYLOAD_BYTES, extra)
                self._waiting.extendleft(rest)
                self._size += sum(map(_memory, rest))
            batch.append(chunk)
        return batch

    def clear(self) -> None:
        """Forget all chunks; the caller books them."""
        self._waiting.clear()
        self._size = 0


def pieces(batch: Iterable[Held], tags: FunctionTags) -> list[tuple[bytes, int]]:
    """The entries of a payload, and how many spans each stands for."""
    origins: dict[Origin, list[Held]] = {}
    for chunk in batch:
        origins.setdefault(chunk.origin, []).append(chunk)
    return [piece for origin, chunks in origins.items() for piece in _of_origin(origin, chunks, tags)]


def _of_origin(origin: Origin, chunks: list[Held], tags: FunctionTags) -> Iterator[tuple[bytes, int]]:
    head = _head(origin) + tags.of_payload
    for run in _runs(chunks, PIECE_BYTES - len(head), len(tags.of_span) + _AROUND):
        encoded = [delimited(_CHUNK, encode.chunk(head, spans, tags.of_span)) for head, spans in run]
        yield delimited(_TRACER_PAYLOAD, head + b"".join(encoded)), sum(len(spans) for _, spans in run)


Run = list[tuple[bytes, list[bytes]]]


def _runs(chunks: Iterable[Held], room: int, extra: int) -> Iterator[Run]:
    """Chunks that fit into one entry each time."""
    run: Run = []
    left = room
    for chunk in chunks:
        spans: list[bytes] = []
        run.append((chunk.head, spans))
        for body in chunk.spans:
            left -= len(body) + extra
            if left < 0 and (spans or len(run) > 1):
                yield run if spans else run[:-1]
                spans = []
                run, left = [(chunk.head, spans)], room - len(body) - extra
            spans.append(body)
    if run:
        yield run


def _head(origin: Origin) -> bytes:
    tracer = origin.tracer
    return encode.texts(
        (
            (_CONTAINER_ID, tracer.container_id),
            (_LANGUAGE, tracer.language),
            (_LANGUAGE_VERSION, tracer.language_version),
            (_TRACER_VERSION, tracer.version),
            (_RUNTIME_ID, origin.runtime_id),
            (_ENV, origin.env),
            (_HOSTNAME, origin.hostname),
            (_APP_VERSION, origin.version),
        )
    )


def headers(tracers: Sequence[Tracer]) -> Headers:
    """The headers of a payload. About the tracer they say what all say that say anything: its entries know better."""
    said = [tracer for tracer in dict.fromkeys(tracers) if tracer.language] or list(tracers)
    first, *others = map(_about, said)
    agreed = ((name, value) for name, value in first.items() if value and all(one[name] == value for one in others))
    return (("Content-Type", "application/x-protobuf"), ("Datadog-Send-Real-Http-Status", "1"), *agreed)


def _about(tracer: Tracer) -> dict[str, str]:
    return {
        "Datadog-Meta-Lang": tracer.language,
        "Datadog-Meta-Lang-Version": tracer.language_version,
        "Datadog-Meta-Lang-Interpreter": tracer.interpreter,
        "Datadog-Meta-Lang-Interpreter-Vendor": tracer.interpreter_vendor,
        "Datadog-Meta-Tracer-Version": tracer.version,
        "Datadog-Container-ID": tracer.container_id,
        "Datadog-Client-Computed-Top-Level": "true" if tracer.computed_top_level else "",
        "Datadog-Client-Computed-Stats": "true" if tracer.computed_stats else "",
    }
