"""The metrics pipeline: datagram → sample → point → sealed payload.

An item, as the ledger counts them, is one value of a sample that could be read. Aggregation does not lose sight of
it: a point knows how many values it stands for, and a payload how many its points stand for.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from fliptop import report
from fliptop.clock import Clock
from fliptop.identity import Identity
from fliptop.metrics.aggregator import Aggregator
from fliptop.metrics.dogstatsd import DogStatsD, Event, Failure, Refusal, ServiceCheck
from fliptop.metrics.encode import Encoder
from fliptop.metrics.payloads import SERIES, SIGNAL, SKETCHES, PointQueue
from fliptop.metrics.points import Distribution, HistogramOptions
from fliptop.metrics.samples import Sample
from fliptop.outbox.ledger import Ledger
from fliptop.outbox.payload import Form, Payload, Sealer

# Lines that never became an item.
DOGSTATSD: Final = "dogstatsd"
PROTOBUF: Final = Form((("Content-Type", "application/x-protobuf"),))
Others = Callable[[Event | ServiceCheck | Failure], None]


class MetricOptions(NamedTuple):
    """What the user chose. `url` is the base, without a path; `compression_level` is zstd's; `namespace` is put before
    the names of DogStatsD metrics; `excluded_tags` are keys of function tags that custom metrics go without.
    """

    url: str
    compression_level: int
    namespace: str = ""
    excluded_tags: frozenset[str] = frozenset()
    histograms: HistogramOptions = HistogramOptions()


class MetricPipeline:
    """Everything between a datagram, or a metric of our own, and a sealed payload. `others` takes what is no metric."""

    def __init__(
        self, options: MetricOptions, identity: Identity, ledger: Ledger, clock: Clock, others: Others
    ) -> None:
        self._options = options
        self._others = others
        self._identity = identity
        self._ledger = ledger
        self._dogstatsd = DogStatsD(options.namespace)
        self._aggregator = Aggregator(clock)
        self._series, self._sketches = PointQueue(ledger, SERIES), PointQueue(ledger, SKETCHES)
        numbers = itertools.count(1)
        self._sealers = [
            (queue, Sealer(SIGNAL, options.url + path, PROTOBUF, options.compression_level, numbers))
            for queue, path in ((self._series, "/api/v2/series"), (self._sketches, "/api/beta/sketches"))
        ]

    @property
    def waiting(self) -> int:
        """Values that are neither sealed nor dropped."""
        return self._aggregator.samples + self._series.samples + self._sketches.samples

    def take(self, datagrams: Iterable[bytes]) -> None:
        """Read what has just arrived. A line that cannot be used is counted, and costs no other."""
        self._aggregator.advance()
        parse, add = self._dogstatsd.parse, self._aggregator.add
        taken = 0
        try:
            for datagram in datagrams:
                for item in parse(datagram):
                    if not isinstance(item, Sample):
                        self._pass_on(item)
                    elif reason := add(item):
                        self._lose(item, reason)
                    else:
                        taken += len(item.values)
        finally:  # whatever happens, the books tell what the aggregator holds
            self._ledger.accept(SIGNAL, taken)

    def add(self, sample: Sample) -> None:
        """Take over a sample of the extension's own."""
        self._aggregator.advance()
        if reason := self._aggregator.add(sample):
            self._lose(sample, reason)
        else:
            self._ledger.accept(SIGNAL, len(sample.values))

    def _lose(self, sample: Sample, reason: str) -> None:
        self._ledger.accept(SIGNAL, len(sample.values))
        self._ledger.drop(SIGNAL, len(sample.values), reason)

    def _pass_on(self, item: Event | ServiceCheck | Failure | Refusal) -> None:
        if not isinstance(item, Refusal):
            self._others(item)
        if isinstance(item, Event | ServiceCheck):
            return
        reason = item.reason if isinstance(item, Refusal) else "counted_here"
        self._ledger.accept(DOGSTATSD)
        self._ledger.drop(DOGSTATSD, 1, reason)
        report.debug(f"a DogStatsD line was refused ({reason}): {item!r:.200}")

    def seal(self, *, last: bool = False) -> Iterator[Payload]:
        """Everything that waits, as payloads: series first. The bucket of this moment goes too: what the function
        counted in an invocation is to be seen when that has ended, not ten seconds into a freeze.
        """
        for item in self._aggregator.flush(last=last):
            (self._sketches if isinstance(item.point, Distribution) else self._series).put(item)
        encoder = Encoder(self._tags(), self._options.excluded_tags, self._options.histograms)
        for queue, sealer in self._sealers:
            while (payload := queue.take(encoder, sealer)) is not None:
                yield payload

    def _tags(self) -> list[str]:
        return sorted(filter(None, self._identity.tags.split(",")))

    def give_up(self, reason: str) -> None:
        """Drop everything that waits, without the work of sealing it."""
        self._ledger.drop(SIGNAL, self.waiting, reason)
        self._aggregator.flush(last=True)
        self._series.clear()
        self._sketches.clear()
