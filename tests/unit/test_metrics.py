"""The metrics pipeline: from datagrams to payloads the intake accepts, and a ledger that never loses count."""

from __future__ import annotations

import itertools
import random
from itertools import islice
from typing import Any

import pytest
from backports.zstd import decompress
from hypothesis import given
from hypothesis import strategies as st

from fliptop.identity import Identity
from fliptop.metrics import payloads
from fliptop.metrics.aggregator import Aggregated
from fliptop.metrics.dogstatsd import FAILED, Event, Failure, ServiceCheck
from fliptop.metrics.encode import Encoder
from fliptop.metrics.payloads import Limits, PointQueue
from fliptop.metrics.pipeline import PROTOBUF, MetricOptions, MetricPipeline
from fliptop.metrics.points import Count, HistogramOptions
from fliptop.metrics.samples import Context, distribution
from fliptop.outbox.ledger import Ledger
from fliptop.outbox.payload import Payload, Sealer
from tests.conftest import MovedClock
from tests.protocol import protobuf_reader

URL = "https://api.example"
ENVIRON = {"AWS_LAMBDA_FUNCTION_NAME": "shop", "AWS_REGION": "eu-west-1", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512"}
NOW = 1_800_000_000


class Pipe:
    """A pipeline under test: datagrams in, decoded payloads out."""

    def __init__(self, ledger: Ledger, clock: MovedClock, **options: Any) -> None:
        identity = Identity(ENVIRON, "111122223333", {"env": "prod"})
        self.tags = sorted(identity.tags.split(","))
        self.others: list[Event | ServiceCheck | Failure] = []
        self.pipeline = MetricPipeline(MetricOptions(URL, 3, **options), identity, ledger, clock, self.others.append)

    def take(self, *lines: str) -> None:
        self.pipeline.take([line.encode() for line in lines])

    def series(self, *lines: str) -> dict[str, dict[str, Any]]:
        self.take(*lines)
        payloads = [payload for payload in self.pipeline.seal() if payload.url == f"{URL}/api/v2/series"]
        return {entry["metric"]: entry for payload in payloads for entry in protobuf_reader.series(body(payload))}

    def sketches(self, *lines: str) -> dict[str, dict[str, Any]]:
        self.take(*lines)
        payloads = [payload for payload in self.pipeline.seal() if payload.url == f"{URL}/api/beta/sketches"]
        return {entry["metric"]: entry for payload in payloads for entry in protobuf_reader.sketches(body(payload))}


def body(payload: Payload) -> bytes:
    assert dict(payload.headers) == {"Content-Type": "application/x-protobuf", "Content-Encoding": "zstd"}
    return decompress(payload.body)


@pytest.fixture
def pipe(ledger: Ledger, clock: MovedClock) -> Pipe:
    return Pipe(ledger, clock)


def test_series(pipe: Pipe) -> None:
    told = pipe.series("a.count:2|c|#x:y", "a.gauge:0|g", "a.set:u1|s", "a.time:4|ms")
    assert told["a.count"] == {
        "metric": "a.count",
        "tags": [*pipe.tags, "x:y"],
        "value": 2.0,
        "time": NOW,
        "type": 1,
        "interval": 10,
        "origin": (1, 38, 472),
        "resources": [],
    }
    assert "function_arn:arn:aws:lambda:eu-west-1:111122223333:function:shop" in pipe.tags
    assert {name: (entry["type"], entry["interval"], entry["value"]) for name, entry in told.items()} == {
        "a.count": (1, 10, 2),
        "a.gauge": (3, 0, 0),
        "a.set": (3, 0, 1),
        "a.time.max": (3, 0, 4),
        "a.time.median": (3, 0, 4),
        "a.time.avg": (3, 0, 4),
        "a.time.count": (1, 10, 1),
        "a.time.95percentile": (3, 0, 4),
    }


def test_sketches(pipe: Pipe) -> None:
    assert pipe.sketches("a.b:1:1:100|d|#x:y", "a.b:-2:0|d|#x:y")["a.b"] == {
        "metric": "a.b",
        "tags": [*pipe.tags, "x:y"],
        "origin": (1, 38, 472),
        "bins": {-1383: 1, 0: 1, 1338: 2, 1635: 1},
        "time": NOW,
        "count": 5,
        "min": -2,
        "max": 100,
        "avg": 20,
        "sum": 100,
    }


def test_the_vector_of_the_reference() -> None:
    count = Count()
    count.add([3.0], 1.0)
    item = Aggregated(Context("a.b", "c", ("dd.internal.resource:host:h", "env:x")), 1_700_000_000, count)
    entries = Encoder([], frozenset(), HistogramOptions()).encode(item)
    assert entries is not None
    assert entries.body.hex() == (
        "0a370a090a04686f73741201681203612e621a05656e763a78220f0900000000000008401080e2cfaa062801400a4a090a072001282630"
        "d803"
    )


@pytest.mark.parametrize(
    ("name", "origin"),
    [
        ("a.b", (1, 38, 472)),
        ("aws.lambda.enhanced.timeouts", (1, 38, 473)),
        ("jvm.heap", (1, 38, 474)),
        ("runtime.node.mem", (1, 38, 474)),
        ("datadog.agent.x", None),
    ],
)
def test_origin(pipe: Pipe, name: str, origin: tuple[int, ...] | None) -> None:
    assert pipe.series(f"{name}:1|c")[name]["origin"] == origin
    assert pipe.sketches(f"{name}:1|d")[name]["origin"] == origin


def test_options(ledger: Ledger, clock: MovedClock) -> None:
    pipe = Pipe(
        ledger,
        clock,
        namespace="ns",
        excluded_tags=frozenset({"function_arn", "env"}),
        histograms=HistogramOptions(("min",), (50, 99)),
    )
    pipe.pipeline.add(distribution("aws.lambda.enhanced.errors", 1, ("cold_start:true", "b:c", "b:c")))
    sketches = pipe.sketches("a:1|d|#env:mine")
    assert sketches["aws.lambda.enhanced.errors"]["tags"] == [*pipe.tags, "b:c", "cold_start:true"]
    kept = [tag for tag in pipe.tags if not tag.startswith(("function_arn:", "env:"))]
    assert sketches["ns.a"]["tags"] == [*kept, "env:mine"]
    assert sketches["ns.a"]["origin"] == (1, 38, 472)
    assert set(pipe.series("h:1|h")) == {"ns.h.min", "ns.h.50percentile", "ns.h.99percentile"}


def test_tags_of_the_function_are_not_repeated_and_resources_taken_out(pipe: Pipe) -> None:
    entry = pipe.series("a:1|c|#env:prod,dd.internal.resource:device:sda,dd.internal.resource:odd,z")["a"]
    assert entry["tags"] == [*pipe.tags, "dd.internal.resource:odd", "z"]
    assert entry["resources"] == [("device", "sda")]


def test_broken_text_from_the_environment_can_be_sent(ledger: Ledger, clock: MovedClock) -> None:
    identity = Identity(ENVIRON, None, {"env": "caf\udce9"})
    pipeline = MetricPipeline(MetricOptions(URL, 3), identity, ledger, clock, lambda _item: None)
    pipeline.take([b"a:1|c"])
    (payload,) = pipeline.seal()
    assert "env:caf?" in protobuf_reader.series(body(payload))[0]["tags"]


def test_items_are_values_all_the_way(pipe: Pipe, ledger: Ledger) -> None:
    pipe.take("a:1:2:3|d\nb:1|c\n\nb:1|c", "h:1:2|h", "nonsense", "_e{1,1}:a|b", "_sc|up|0")
    assert ledger.accepted("metrics") == ledger.pending("metrics") == pipe.pipeline.waiting == 7
    series, sketches = pipe.pipeline.seal()
    assert (series.items, sketches.items, pipe.pipeline.waiting) == (4, 3, 0)
    assert (series.signal, sketches.signal) == ("metrics", "metrics")
    assert series.number != sketches.number
    assert ledger.summary()["dogstatsd"] == {
        "accepted": 1, "delivered": 0, "pending": 0, "dropped": {"malformed": 1},
    }  # fmt: skip
    assert [type(item) for item in pipe.others] == [Event, ServiceCheck]


def test_failures_that_a_library_tells_of_become_no_metric_here(pipe: Pipe, ledger: Ledger) -> None:
    pipe.take("aws.lambda.enhanced.errors:1|d|#a:b")
    assert pipe.others == [FAILED]
    assert ledger.summary() == {
        "dogstatsd": {"accepted": 1, "delivered": 0, "pending": 0, "dropped": {"counted_here": 1}},
        "metrics": {"accepted": 0, "delivered": 0, "pending": 0, "dropped": {}},
    }


def test_what_is_over_the_ceiling_is_counted(pipe: Pipe, ledger: Ledger) -> None:
    pipe.take(*(f"a:1:2|d|#user:{number}" for number in range(10_241)))
    pipe.pipeline.add(distribution("aws.lambda.enhanced.errors", 1))
    assert ledger.summary()["metrics"]["dropped"] == {"contexts_full": 3}
    assert ledger.pending("metrics") == pipe.pipeline.waiting == 20_480


def test_payloads_hold_a_thousand_entries(pipe: Pipe) -> None:
    pipe.take(*(f"a:1|d|#user:{number}" for number in range(2500)), *(f"h:1|h|#user:{number}" for number in range(500)))
    found = list(pipe.pipeline.seal())
    assert [payload.items for payload in found] == [200, 200, 100, 1000, 1000, 500]
    assert len({payload.number for payload in found}) == len(found)
    assert len(protobuf_reader.series(body(found[0]))) == 1000


def test_numbers_that_went_out_of_range_are_dropped(pipe: Pipe, ledger: Ledger) -> None:
    told = pipe.series("big:1e308|c", "big:1e308|c", "h:1:1e308:1e308|h", "ok:1|c")
    assert set(told) == {"ok"}
    assert pipe.sketches("d:1e308:1e308|d") == {}
    assert ledger.summary()["metrics"]["dropped"] == {"not_finite": 7}


def points(number: int, tag_bytes: int = 10) -> list[Aggregated]:
    made = []
    for position in range(number):
        count = Count()
        count.add([random.random(), 1.0], 1.0)  # hard to compress
        made.append(Aggregated(Context("a", "c", (f"{position:x}".rjust(tag_bytes, "t"),)), NOW, count))
    return made


def queue(ledger: Ledger, limits: Limits, items: list[Aggregated]) -> list[tuple[bytes, int]]:
    ledger.accept(payloads.SIGNAL, 2 * len(items))
    waiting = PointQueue(ledger, limits)
    for item in items:
        waiting.put(item)
    encoder = Encoder([], frozenset(), HistogramOptions())
    sealer = Sealer(payloads.SIGNAL, URL, PROTOBUF, 3, itertools.count(1))
    taken = list(iter(lambda: waiting.take(encoder, sealer), None))
    assert waiting.samples == 0
    return [(payload.body, payload.items) for payload in taken if payload is not None]


def test_payloads_respect_the_size_before_compression(ledger: Ledger) -> None:
    taken = queue(ledger, Limits(1000, 5000, 10**6), points(100, 200))
    assert all(len(decompress(data)) <= 5000 for data, _ in taken)
    assert sum(items for _, items in taken) == 200
    assert len(taken) == 5


def test_payloads_respect_the_size_after_compression(ledger: Ledger) -> None:
    items = points(64)
    taken = queue(ledger, Limits(1000, 10**6, 250), items)
    assert all(len(data) <= 250 for data, _ in taken)
    assert len(taken) > 4
    entries = [entry for data, _ in taken for entry in protobuf_reader.series(decompress(data))]
    assert [tuple(entry["tags"]) for entry in entries] == [item.context.tags for item in items]  # in order
    assert sum(items for _, items in taken) == 128


@pytest.mark.parametrize("limits", [Limits(1000, 40, 10**6), Limits(1000, 10**6, 10)])
def test_what_fits_into_no_payload_is_dropped(ledger: Ledger, limits: Limits) -> None:
    assert queue(ledger, limits, points(3)) == []
    assert ledger.summary()["metrics"]["dropped"] == {"too_large": 6}


def test_a_seal_that_is_cut_short_goes_on_where_it_was(pipe: Pipe, ledger: Ledger) -> None:
    pipe.take(*(f"a:1|c|#user:{number}" for number in range(1500)))
    first = next(pipe.pipeline.seal())
    assert (first.items, pipe.pipeline.waiting) == (1000, 500)
    pipe.take("b:1|c")
    assert sum(payload.items for payload in pipe.pipeline.seal()) == 501
    assert ledger.pending("metrics") == 1501


def test_giving_up(pipe: Pipe, ledger: Ledger) -> None:
    pipe.take(*(f"a:1|c|#user:{number}" for number in range(1500)), "d:1|d")
    next(pipe.pipeline.seal())
    pipe.take("b:1|c")
    pipe.pipeline.give_up("shutdown")
    assert pipe.pipeline.waiting == 0
    assert ledger.summary()["metrics"]["dropped"] == {"shutdown": 502}
    assert list(pipe.pipeline.seal()) == []


steps = st.one_of(
    st.tuples(
        st.just("take"), st.lists(st.sampled_from(["a:1|c", "b:1:2|d", "c:x|s", "d:1|h|@0.5", "?", "a:1e308|c"]))
    ),
    st.tuples(st.just("seal"), st.integers(0, 3)),
    st.tuples(st.just("wait"), st.integers(0, 30)),
    st.tuples(st.just("give up"), st.none()),
)


@given(st.lists(steps, max_size=20))
def test_whatever_happens_the_books_are_right(plan: list[tuple[str, Any]]) -> None:
    ledger, clock = Ledger(), MovedClock()
    pipe = Pipe(ledger, clock)
    sealed = 0
    for what, how in plan:
        if what == "take":
            pipe.take(*how)
        elif what == "wait":
            clock.advance(how)
        elif what == "give up":
            pipe.pipeline.give_up("shutdown")
        else:
            sealed += sum(payload.items for payload in islice(pipe.pipeline.seal(), how))
        assert ledger.pending("metrics") == pipe.pipeline.waiting + sealed
