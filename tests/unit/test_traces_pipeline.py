"""From a tracer's request to the payload that Datadog's intake reads."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import anyio
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fliptop.compression import unzstd
from fliptop.http1 import Headers, Request
from fliptop.identity import Identity
from fliptop.outbox.ledger import Ledger
from fliptop.outbox.payload import Payload
from fliptop.settings.load import load
from fliptop.traces.decode import AT_ONCE
from fliptop.traces.options import TraceOptions, trace_options
from fliptop.traces.payloads import PAYLOAD_BYTES, PIECE_BYTES
from fliptop.traces.pipeline import TracePipeline, tracer_of
from fliptop.traces.span import Span, Tracer
from tests import agent_payload
from tests.conftest import MovedClock
from tests.unit.spans import SPANS, as_map, span

ENVIRON = {"AWS_LAMBDA_FUNCTION_NAME": "Shop", "AWS_REGION": "eu-west-1"}
PYTHON: Headers = (
    ("Content-Type", "application/msgpack"),
    ("Datadog-Meta-Lang", "python"),
    ("Datadog-Meta-Lang-Version", "3.13"),
    ("Datadog-Meta-Lang-Interpreter", "CPython"),
    ("Datadog-Meta-Tracer-Version", "4.0"),
    ("Datadog-Container-ID", "box"),
)

pytestmark = pytest.mark.anyio


def identity(**tags: str) -> Identity:
    return Identity(ENVIRON, "123456789012", tags)


def options(**environ: str) -> TraceOptions:
    settings, complaints = load({**environ, "LAMBDA_TASK_ROOT": "/nowhere"})
    assert complaints == []
    return trace_options(settings, ENVIRON)


@pytest.fixture
def pipeline(ledger: Ledger, clock: MovedClock) -> TracePipeline:
    return TracePipeline(options(), identity(), ledger, clock)


def request(*chunks: list[Span], headers: Headers = PYTHON, path: str = "/v0.4/traces") -> Request:
    body = msgpack.packb([[as_map(one) for one in chunk] for chunk in chunks])
    return Request("PUT", path, headers, body)


def sealed(pipeline: TracePipeline) -> list[tuple[Payload, Any]]:
    """All payloads, and what is in them."""
    return [(payload, agent_payload.parse(unzstd(payload.body))) for payload in pipeline.seal(last=True)]


def only(pipeline: TracePipeline) -> tuple[Payload, Any]:
    (one,) = sealed(pipeline)
    return one


async def test_one_request_becomes_one_payload(pipeline: TracePipeline, ledger: Ledger) -> None:
    root = span(
        meta={"env": "Prod", "version": "1.2", "_dd.hostname": "host", "runtime-id": "run", "_dd.origin": "rum"},
        metrics={"_sampling_priority_v1": 2.0},
    )
    await pipeline.take(request([root, span(span_id=9, parent_id=8)], [span(trace_id=5)]))
    payload, read = only(pipeline)
    assert (payload.signal, payload.items) == ("spans", 3)
    assert payload.url == "https://trace.agent.datadoghq.com/api/v0.2/traces"
    assert (read.targetTPS, read.errorTPS, read.rareSamplerEnabled, read.hostName) == (60.0, 60.0, False, "")
    first, second = read.tracerPayloads
    assert [first.containerID, first.languageName, first.languageVersion, first.tracerVersion] == [
        "box",
        "python",
        "3.13",
        "4.0",
    ]
    assert [first.env, first.appVersion, first.hostname, first.runtimeID] == ["prod", "1.2", "host", "run"]
    assert [second.env, second.appVersion, second.hostname, second.runtimeID] == ["", "", "", ""]
    assert [(chunk.priority, chunk.origin, len(chunk.spans)) for chunk in first.chunks] == [(2, "rum", 2)]
    assert [(chunk.priority, chunk.origin, len(chunk.spans)) for chunk in second.chunks] == [(-128, "", 1)]
    assert ledger.accepted("spans") == ledger.pending("spans") == 3


async def test_headers(pipeline: TracePipeline) -> None:
    await pipeline.take(request([span()], headers=(*PYTHON, ("datadog-client-computed-stats", "yes"))))
    payload, _ = only(pipeline)
    assert dict(payload.headers) == {
        "Content-Type": "application/x-protobuf",
        "Content-Encoding": "zstd",
        "Datadog-Send-Real-Http-Status": "1",
        "Datadog-Meta-Lang": "python",
        "Datadog-Meta-Lang-Version": "3.13",
        "Datadog-Meta-Lang-Interpreter": "CPython",
        "Datadog-Meta-Tracer-Version": "4.0",
        "Datadog-Container-ID": "box",
        "Datadog-Client-Computed-Stats": "true",
    }


async def test_of_several_tracers_the_headers_say_what_all_say(pipeline: TracePipeline) -> None:
    other = tuple((name, value) for name, value in PYTHON if name != "Datadog-Meta-Lang")
    await pipeline.take(request([span()]))
    pipeline.add([span()], Tracer())
    assert dict(next(pipeline.seal()).headers)["Datadog-Meta-Lang"] == "python"
    await pipeline.take(request([span(span_id=9)]))
    await pipeline.take(request([span(span_id=10)], headers=(*other, ("Datadog-Meta-Lang", "ruby"))))
    payload, read = only(pipeline)
    assert [tracer.languageName for tracer in read.tracerPayloads] == ["python", "ruby"]
    assert "Datadog-Meta-Lang" not in dict(payload.headers)
    assert dict(payload.headers)["Datadog-Container-ID"] == "box"


async def test_every_span_carries_the_functions_tags(ledger: Ledger, clock: MovedClock) -> None:
    function = identity(team="a:b", env="prod")
    pipeline = TracePipeline(options(), function, ledger, clock)
    own = {"env": "other", "_dd.origin": "rum", "kept": "1"}
    await pipeline.take(request([span(meta={**own, "_dd.compute_stats": "0"}), span(span_id=9)]))
    function.learn_runtime("python:3.13.v12")
    _, read = only(pipeline)
    expected = dict(tag.split(":", 1) for tag in function.tags.split(","))
    expected |= {"_dd.origin": "lambda", "origin": "lambda", "_dd.compute_stats": "1"}
    first, second = agent_payload.spans(read)
    assert dict(first.meta) == {**expected, **own}, "what the tracer says of a span stands"
    assert dict(second.meta) == expected
    assert expected["runtime"] == "python3.13"
    assert dict(read.tracerPayloads[0].tags) == {"_dd.tags.function": function.tags}
    assert read.tracerPayloads[0].env == "other"


async def test_a_tracer_that_computed_statistics_is_believed(pipeline: TracePipeline) -> None:
    await pipeline.take(request([span()], headers=(*PYTHON, ("Datadog-Client-Computed-Stats", "true"))))
    _, read = only(pipeline)
    assert "_dd.compute_stats" not in agent_payload.spans(read)[0].meta


@pytest.mark.parametrize(
    ("environ", "service", "base_service"),
    [({}, "aws.lambda", "Shop"), ({"DD_SERVICE": "Checkout"}, "checkout", "checkout")],
)
async def test_services(
    environ: dict[str, str], service: str, base_service: str, ledger: Ledger, clock: MovedClock
) -> None:
    pipeline = TracePipeline(options(**environ), identity(), ledger, clock)
    inferred = {"_inferred_span.tag_source": "self"}
    await pipeline.take(
        request(
            [
                span(service="aws.lambda"),
                span(span_id=9, meta=inferred),
                span(span_id=10, meta={**inferred, "_dd.base_service": "own"}),
            ]
        )
    )
    _, read = only(pipeline)
    spans = agent_payload.spans(read)
    assert spans[0].service == service
    assert [one.meta.get("_dd.base_service") for one in spans] == [None, base_service, "own"]


async def test_what_the_user_filters_and_what_is_about_us_is_counted(ledger: Ledger, clock: MovedClock) -> None:
    pipeline = TracePipeline(options(DD_APM_FILTER_TAGS_REJECT="resource:unwanted"), identity(), ledger, clock)
    ours = span(span_id=9, parent_id=8, meta={"http.url": "http://127.0.0.1:8124/lambda/hello"})
    await pipeline.take(request([span(), ours], [span(resource="unwanted"), span(span_id=9, parent_id=8)]))
    _, read = only(pipeline)
    assert [one.spanID for one in agent_payload.spans(read)] == [8]
    assert ledger.summary()["spans"]["dropped"] == {"own_traffic": 1, "filtered": 2}


async def test_spans_without_an_id_are_dropped_and_cost_no_other(pipeline: TracePipeline, ledger: Ledger) -> None:
    await pipeline.take(request([span(), span(trace_id=0), span(span_id=0)], [span(trace_id=0)]))
    payload, _ = only(pipeline)
    assert (payload.items, ledger.dropped("spans", "no_id")) == (1, 3)


async def test_spans_of_several_traces_in_one_chunk_get_chunks_of_their_own(pipeline: TracePipeline) -> None:
    await pipeline.take(request([span(), span(trace_id=5)]))
    _, read = only(pipeline)
    assert [[one.traceID for one in chunk.spans] for chunk in read.tracerPayloads[0].chunks] == [[7], [5]]


async def test_what_cannot_be_read_is_counted_and_said_once(
    pipeline: TracePipeline, ledger: Ledger, clock: MovedClock, said: list[str]
) -> None:
    await pipeline.take(Request("POST", "/v0.4/traces", (("X-Datadog-Trace-Count", "3"),), b"\xc1 what"))
    await pipeline.take(Request("POST", "/v0.4/traces", (), b"\xc1"))
    assert ledger.dropped("spans", "unreadable") == 4
    (line,) = said
    assert "3 spans or traces in a request to /v0.4/traces cannot be read: FormatError" in line
    clock.advance(61)
    await pipeline.take(Request("POST", "/v0.5/traces", (), b"\xc1 again"))
    assert len(said) == 2


async def test_the_watcher_sees_what_tells_of_an_invocation(pipeline: TracePipeline, ledger: Ledger) -> None:
    seen = []

    def watch(one: Span, tracer: Tracer) -> bool:
        seen.append((one.name, tracer.language))
        one.meta["seen"] = "1"
        return one.resource == "dd-tracer-serverless-span"

    pipeline.watch = watch
    placeholder = span(name="x", resource="dd-tracer-serverless-span")
    await pipeline.take(request([span(name="aws.lambda"), span(name="aws.lambda.load"), span(), placeholder]))
    _, read = only(pipeline)
    assert seen == [("aws.lambda", "python"), ("aws.lambda.load", "python"), ("x", "python")]
    assert ["seen" in one.meta for one in agent_payload.spans(read)] == [True, True, False]
    assert ledger.accepted("spans") == 3


async def test_a_placeholder_is_not_sent_even_if_nobody_watches(pipeline: TracePipeline, ledger: Ledger) -> None:
    await pipeline.take(request([span(resource="dd-tracer-serverless-span")]))
    assert sealed(pipeline) == []
    assert ledger.dropped("spans", "placeholder") == 1


async def test_a_watcher_that_fails_costs_nothing(pipeline: TracePipeline, said: list[str]) -> None:
    def watch(one: Span, tracer: Tracer) -> bool:
        raise KeyError(one.name)

    pipeline.watch = watch
    await pipeline.take(request([span(name="aws.lambda")]))
    assert only(pipeline)[0].items == 1
    assert len(said) == 1


async def test_a_defect_costs_one_span(pipeline: TracePipeline, ledger: Ledger, said: list[str]) -> None:
    broken = span(span_id=9)
    broken.events = [{"attributes": {"x": {"type": 2}}}]
    pipeline.add([span(), broken], Tracer())
    assert only(pipeline)[0].items == 1
    assert ledger.dropped("spans", "defect") == 1
    broken.start = None  # type: ignore[assignment]
    pipeline.add([broken], Tracer())
    assert ledger.dropped("spans", "defect") == 2
    assert len(said) == 1


async def test_over_the_ceiling_chunks_are_dropped(ledger: Ledger, clock: MovedClock) -> None:
    pipeline = TracePipeline(options(), identity(), ledger, clock, ceiling=2_000)
    for number in range(3):
        await pipeline.take(request([span(meta={"number": str(number) * 600})]))
    pipeline.add([span()], Tracer())
    assert only(pipeline)[0].items == 2
    assert ledger.dropped("spans", "buffer_full") == 2
    pipeline.add([span()], Tracer())
    assert pipeline.waiting == 1


def noise(size: int) -> str:
    """Text that does not compress."""
    return random.Random(size).randbytes(size // 2).hex()


async def test_a_long_trace_is_sealed_in_pieces_that_can_be_taken_apart(pipeline: TracePipeline) -> None:
    chunk = [span(span_id=number, meta={"noise": noise(9_000 + number)}) for number in range(1, 401)]
    await pipeline.take(request(chunk, [span(trace_id=1)]))
    payloads = sealed(pipeline)
    assert sum(payload.items for payload, _ in payloads) == 401
    assert [one.spanID for _, read in payloads for one in agent_payload.spans(read)] == [*range(1, 401), 8]
    assert len(payloads) == 2
    payload, read = payloads[0]
    assert read.ByteSize() <= PAYLOAD_BYTES + 10_000
    assert all(tracer.ByteSize() <= PIECE_BYTES + 10_000 for tracer in read.tracerPayloads)
    assert len(read.tracerPayloads) > 10
    halves = payload.halves()
    found = [agent_payload.parse(unzstd(half.body)) for half in halves]
    assert [agent_payload.spans(half) for half in found] != [[], []]
    assert [one for half in found for one in agent_payload.spans(half)] == agent_payload.spans(read)
    assert sum(half.items for half in halves) == payload.items
    assert all(half.targetTPS == 60.0 for half in found)
    assert {half.headers for half in halves} == {payload.headers}


async def test_payloads_have_a_size(pipeline: TracePipeline) -> None:
    for number in range(40):
        await pipeline.take(request([span(trace_id=number + 1, meta={"noise": noise(200_000 + number)})]))
    payloads = sealed(pipeline)
    assert sum(payload.items for payload, _ in payloads) == 40
    assert len(payloads) == 3
    assert all(len(unzstd(payload.body)) <= PAYLOAD_BYTES + 10_000 for payload, _ in payloads)


async def test_a_span_that_is_too_large_for_anything(pipeline: TracePipeline, ledger: Ledger) -> None:
    await pipeline.take(request([span(meta_struct={"x": bytes(11_000_000)}), span(span_id=9)]))
    assert only(pipeline)[0].items == 1
    assert ledger.dropped("spans", "too_large") == 1


async def test_giving_up(pipeline: TracePipeline, ledger: Ledger) -> None:
    await pipeline.take(request([span(), span(span_id=9)]))
    pipeline.give_up("no_api_key")
    assert ledger.dropped("spans", "no_api_key") == 2
    assert (pipeline.waiting, sealed(pipeline)) == (0, [])


def long_request() -> Request:
    return request([span(span_id=number) for number in range(1, 5 * AT_ONCE)])


def chunk_of_many_traces() -> Request:
    return request([span(trace_id=number, span_id=number) for number in range(1, 5 * AT_ONCE)])


def long_statements() -> Request:
    statement = "INSERT INTO t VALUES (" + ", ".join(str(number) for number in range(10_000))
    return request([span(type="sql", resource=statement, span_id=number) for number in range(1, 20)])


@pytest.mark.parametrize("made", [long_request, chunk_of_many_traces, long_statements])
async def test_a_long_request_lets_others_have_their_turn(pipeline: TracePipeline, made: Callable[[], Request]) -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        await pipeline.take(made())
        tasks.cancel_scope.cancel()
    assert turns >= 8
    assert pipeline.waiting >= 19


@pytest.mark.parametrize("then", ["seal", "take", "give_up"])
async def test_what_is_cancelled_midway_goes_on_later(pipeline: TracePipeline, ledger: Ledger, then: str) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await pipeline.take(long_request())
    assert scope.cancelled_caught
    assert pipeline.waiting == 0
    if then == "give_up":
        pipeline.give_up("shutdown")
        assert ledger.dropped("spans", "shutdown") == 5 * AT_ONCE - 1
        return
    if then == "take":
        await pipeline.take(request([span(trace_id=1)]))
        assert pipeline.waiting == 5 * AT_ONCE
    assert sum(payload.items for payload in pipeline.seal(last=True)) >= 5 * AT_ONCE - 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [("", False), ("0", False), ("f", False), ("False", False), ("no", True), ("yes", True), ("1", True)],
)
def test_flags_of_tracers(value: str, expected: bool) -> None:
    found = tracer_of((("DATADOG-CLIENT-COMPUTED-TOP-LEVEL", value), ("datadog-meta-lang", "x" * 500)))
    assert (found.computed_top_level, found.computed_stats, found.language) == (expected, False, "x" * 200)


async def test_top_level_and_version_05(pipeline: TracePipeline) -> None:
    row = [1, 2, 0, 7, 8, 0, 1_799_999_999_000_000_000, 5, 0, {3: 4}, {5: 1.0}, 0]
    strings = ["", "shop", "web", "key", "value", "_dd.top_level"]
    headers = (*PYTHON, ("Datadog-Client-Computed-Top-Level", "yes"))
    await pipeline.take(Request("PUT", "/v0.5/traces?x=y", headers, msgpack.packb([strings, [[row]]])))
    _, read = only(pipeline)
    (one,) = agent_payload.spans(read)
    assert (one.service, one.resource, one.meta["key"]) == ("shop", "web", "value")
    assert dict(one.metrics) == {"_dd.top_level": 1.0, "_top_level": 1.0}


async def test_rules_that_cannot_be_used_are_named(ledger: Ledger, clock: MovedClock, said: list[str]) -> None:
    environ = {"DD_APM_REPLACE_TAGS": '[{"name": "x", "pattern": "("}]', "DD_APM_FILTER_TAGS_REGEX_REJECT": "a:("}
    TracePipeline(options(**environ), identity(), ledger, clock)
    assert [name for line in said for name in environ if name in line] == list(environ)


@given(st.lists(st.lists(SPANS, max_size=4), max_size=4), st.lists(SPANS, max_size=3))
async def test_every_span_arrives_or_is_counted(sent: list[list[Span]], added: list[Span]) -> None:
    ledger = Ledger()
    pipeline = TracePipeline(options(), identity(team="a"), ledger, MovedClock())
    expected = sum(1 for chunk in (*sent, added) for one in chunk if one.trace_id and one.span_id)
    await pipeline.take(request(*sent))
    pipeline.add(added, Tracer())
    payloads = sealed(pipeline)
    arrived = [one for _, read in payloads for one in agent_payload.spans(read)]
    assert len(arrived) == sum(payload.items for payload, _ in payloads) == ledger.pending("spans") == expected
    assert ledger.dropped("spans") == ledger.dropped("spans", "no_id")
    assert all(one.meta["team"] == "a" and one.service and one.name for one in arrived)


def test_what_waits_is_counted_with_what_python_takes_around_it(ledger: Ledger, clock: MovedClock) -> None:
    pipeline = TracePipeline(options(), identity(), ledger, clock, ceiling=100_000)
    for number in range(1, 1000):
        pipeline.add([Span(trace_id=number, span_id=number)], Tracer())
    assert ledger.dropped("spans", "buffer_full") > 700
    pipeline.give_up("shutdown")


class RunningClock(MovedClock):
    """Each look at it takes a tenth of a second."""

    def wall(self) -> float:
        self.advance(0.1)
        return super().wall()


@pytest.mark.parametrize("made", [long_request, chunk_of_many_traces, long_statements])
@pytest.mark.parametrize("turns", range(1, 5))
async def test_at_the_end_what_takes_too_long_is_dropped(
    ledger: Ledger, made: Callable[[], Request], turns: int
) -> None:
    pipeline = TracePipeline(options(), identity(), ledger, RunningClock())
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_after, turns, scope)
            await pipeline.take(made()._replace(headers=(("X-Datadog-Trace-Count", "3"),)))
    delivered = 0
    for payload in pipeline.seal(last=True):
        delivered += payload.items
        ledger.deliver("spans", payload.items)
    assert ledger.pending("spans") == 0
    assert ledger.dropped("spans", "shutdown") + delivered == ledger.accepted("spans")
    assert ledger.dropped("spans", "shutdown") > 0


async def _cancel_after(turns: int, scope: anyio.CancelScope) -> None:
    for _ in range(turns):
        await anyio.lowlevel.checkpoint()
    scope.cancel()
