"""What happens to a chunk between the tracer and the intake. Source: extension-behaviour, 8.2 to 8.6."""

from collections import Counter
from typing import Final, NamedTuple

from fliptop import report
from fliptop.traces import encode, normalise
from fliptop.traces.filters import PLACEHOLDER, Filter, own_traffic
from fliptop.traces.obfuscate import Obfuscator
from fliptop.traces.options import TraceOptions
from fliptop.traces.span import Chunk, Span, Tracer

NO_SERVICE: Final = "aws.lambda"
BASE_SERVICE: Final = "_dd.base_service"
INFERRED: Final = "_inferred_span.tag_source"
COMPUTE_STATS: Final = "_dd.compute_stats"


class Origin(NamedTuple):
    """What a `TracerPayload` says about all that is in it."""

    tracer: Tracer
    env: str = ""
    version: str = ""
    hostname: str = ""
    runtime_id: str = ""


class Prepared(NamedTuple):
    """A chunk that is to be sent: its spans, one by one to be finished; `head` stands before them. `lost` counts, by
    reason, those that are not to be sent.
    """

    spans: Chunk
    origin: Origin
    head: bytes
    lost: Counter[str]


class Processor:
    """Prepares chunks, and finishes their spans. `function_name` stands in for a service that there is not."""

    def __init__(self, options: TraceOptions, function_name: str) -> None:
        self._service = options.service
        self._base_service = options.service or function_name or NO_SERVICE
        self._addresses = options.own_addresses
        self._filter = Filter(options.tags)
        self._obfuscator = Obfuscator(options.urls, options.replacements)
        for complaint in (*options.complaints, *self._filter.complaints):
            report.warn(complaint)

    def prepare(self, chunk: Chunk, tracer: Tracer, now: int) -> Prepared:
        """Normalise the spans of one trace, and decide which of them are sent. `now` is in nanoseconds."""
        for span in chunk:
            normalise.normalise(span, now)
            if not tracer.computed_stats:
                span.meta[COMPUTE_STATS] = "1"  # asks the intake to
        normalise.mark_top_level(chunk, computed=tracer.computed_top_level)
        root = normalise.root_of(chunk)
        head = encode.chunk_head(normalise.priority(chunk, root), normalise.first_said(chunk, root, normalise.ORIGIN))
        said = (normalise.first_said(chunk, root, key) for key in ("env", "version", "_dd.hostname", "runtime-id"))
        kept, lost = self._sort(chunk, root)
        return Prepared(kept, Origin(tracer, *said), head, lost)

    def _sort(self, chunk: Chunk, root: Span) -> tuple[Chunk, Counter[str]]:
        """The spans that are sent, and how many are not, by reason."""
        if not self._filter.wants(root):
            return [], Counter(filtered=len(chunk))
        kept, lost = [], Counter[str]()
        for span in chunk:
            if span.resource == PLACEHOLDER:
                lost["placeholder"] += 1
            elif own_traffic(span, self._addresses):
                lost["own_traffic"] += 1
            else:
                kept.append(span)
        return kept, lost

    def finish(self, span: Span) -> bytes:
        """The message `Span`, but for the tags of the function."""
        meta = span.meta
        if span.service == NO_SERVICE and self._service:
            span.service = self._service
        if INFERRED in meta and not meta.get(BASE_SERVICE):
            meta[BASE_SERVICE] = self._base_service
        self._obfuscator.obfuscate(span)
        return encode.span(span)
