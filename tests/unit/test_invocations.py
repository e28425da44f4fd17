"""Invocations become traces: each once, complete, in its place, whoever tells of it first or not at all."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fliptop.invocations.invocation import PRIORITY
from fliptop.invocations.lookout import LOAD, MOST_OF_RUNS, OWN, Lookout
from fliptop.invocations.options import InvocationOptions, Naming
from fliptop.invocations.tracing import MOST_IN_A_ROW, MOST_KNOWN, Invocations, Outlets
from fliptop.outbox.ledger import Ledger
from fliptop.platform.telemetry import Record
from fliptop.traces.span import Chunk, Span, Tracer
from tests.conftest import MovedClock
from tests.unit.test_triggers import CARRIER, ENVELOPE, HTTP_API, QUEUE

NOW = 1_800_000_000
NS = 1_000_000_000
TID = "_dd.p.tid"
OPTIONS = InvocationOptions(Naming("shop", "orders", "eu-west-1", {}))
ENDED = {"x-datadog-trace-id": "1234", "x-datadog-span-id": "99", "x-datadog-parent-id": "56"}


class Life:
    """An environment, told by hand."""

    def __init__(self, clock: MovedClock, options: InvocationOptions = OPTIONS) -> None:
        self.clock, self.ledger = clock, Ledger()
        self.sent: list[tuple[Chunk, Tracer]] = []
        self.failures = 0
        self.lookout = Lookout(lambda complete: Invocations(options, self.outlets(complete), clock), clock)

    def outlets(self, complete: bool) -> Outlets:
        return Outlets(lambda chunk, tracer: self.sent.append((chunk, tracer)), self.fail, self.ledger, complete)

    def fail(self) -> None:
        self.failures += 1

    def record(self, kind: str, at: float = 0, **record: Any) -> None:
        moment = datetime.fromtimestamp(NOW + at, UTC)
        self.lookout.take(Record(f"platform.{kind}", round(moment.timestamp() * 1000), record))

    def init(self) -> None:
        self.record("initStart", -0.5)
        self.record("initReport", -0.1, metrics={"durationMs": 400.5})

    def done(self, request_id: str, at: float = 1, status: str = "success", **more: Any) -> None:
        self.record("runtimeDone", at, requestId=request_id, status=status, metrics={"durationMs": 100.25}, **more)

    def start(self, event: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        body = event if isinstance(event, bytes) else json.dumps(event or {}).encode()
        return self.lookout.invocations.start(tuple((headers or {}).items()), body)

    def end(self, answer: Any = None, headers: Mapping[str, str] | None = None) -> None:
        given = ENDED if headers is None else headers
        self.lookout.invocations.end(tuple(given.items()), json.dumps(answer).encode())

    def flush(self, *, last: bool = False) -> list[Chunk]:
        assert list(self.lookout.seal(last=last)) == []
        chunks, self.sent = [chunk for chunk, _ in self.sent], []
        return chunks

    def run(
        self, request_id: str, event: Any = None, answer: Any = None, ended: Mapping[str, str] | None = None
    ) -> Span:
        """A whole invocation; its span."""
        self.lookout.invoked(request_id)
        self.start(event)
        self.record("start", 0, requestId=request_id)
        self.end(answer, ended)
        self.done(request_id)
        (chunk,) = self.flush()
        return chunk[0]


@pytest.fixture
def life(clock: MovedClock) -> Life:
    return Life(clock)


# --- one invocation ---


def test_an_invocation_is_a_span_in_the_tracer_s_trace(life: Life) -> None:
    life.init()
    span = life.run("r1")
    assert span == Span(
        service="shop",
        name="aws.lambda",
        resource="orders",
        trace_id=1234,
        span_id=99,
        parent_id=56,
        start=NOW * NS,
        duration=100_250_000,
        meta={"span.kind": "server", "request_id": "r1", "cold_start": "true"},
        type="serverless",
    )
    assert life.flush(last=True) == []


def test_it_goes_on_with_the_trace_that_its_event_names(life: Life) -> None:
    headers = CARRIER | {"x-datadog-tags": "_dd.p.tid=640cfd8d00000000,_dd.p.dm=-4", "x-datadog-origin": "rum"}
    context = life.start({"headers": headers | {"x-datadog-sampling-priority": "2"}})
    assert (context.trace_id, context.priority, context.tags[TID]) == (1234, 2, "640cfd8d00000000")
    life.lookout.invoked("r1")
    life.end(headers={"x-datadog-trace-id": "1234", "x-datadog-span-id": "99"})
    life.done("r1")
    ((span,),) = life.flush()
    assert (span.trace_id, span.span_id, span.parent_id) == (1234, 99, 56)
    assert (span.meta[TID], span.meta["_dd.p.dm"], span.meta["_dd.origin"]) == ("640cfd8d00000000", "-4", "rum")
    assert span.metrics == {PRIORITY: 2}


def test_a_tracer_that_begins_a_trace_of_its_own_is_believed(life: Life) -> None:
    ended = {"x-datadog-trace-id": "7", "x-datadog-span-id": "8", "x-datadog-sampling-priority": "-1"}
    ended["x-datadog-tags"] = "_dd.p.tid=640cfd8d00000000"
    span = life.run("r1", {"headers": CARRIER}, ended=ended)
    assert (span.trace_id, span.span_id, span.parent_id) == (7, 8, 0)
    assert (span.meta[TID], span.metrics) == ("640cfd8d00000000", {PRIORITY: -1})


def test_what_was_before_are_spans_too(life: Life) -> None:
    topic_s = ENVELOPE | {"Timestamp": "2018-01-02T12:45:07.000Z"}
    message = {"Records": [QUEUE["Records"][0] | {"body": json.dumps(topic_s)}]}
    life.init()
    life.lookout.invoked("r1")
    life.start(message)
    life.end()
    life.done("r1")
    ((span, queue, topic, cold),) = life.flush()
    assert [one.name for one in (span, queue, topic, cold)] == [
        "aws.lambda",
        "aws.sqs",
        "aws.sns",
        "aws.lambda.cold_start",
    ]
    assert {one.trace_id for one in (span, queue, topic, cold)} == {1234}
    assert (span.parent_id, queue.parent_id, topic.parent_id, cold.parent_id) == (
        *(queue.span_id, topic.span_id, 56, queue.span_id),
    )
    assert (queue.duration, topic.duration) == (span.start - queue.start, queue.start - topic.start)
    assert (queue.meta["peer.service"], topic.meta["peer.service"]) == ("shop", "my-queue")
    assert queue.meta["_inferred_span.synchronicity"] == "async"
    assert queue.meta["_inferred_span.tag_source"] == "self"
    assert span.meta["function_trigger.event_source"] == "sqs"
    assert topic.metrics[PRIORITY] == span.metrics[PRIORITY] == 1


def test_a_request_lasts_until_it_is_answered(life: Life) -> None:
    life.run("r0")
    event = HTTP_API | {"requestContext": HTTP_API["requestContext"] | {"timeEpoch": NOW * 1000 - 20}}  # type: ignore[operator]
    life.lookout.invoked("r1")
    life.start(event)
    life.end({"statusCode": 503})
    life.done("r1")
    ((span, api),) = life.flush()
    assert (api.start, api.duration) == (NOW * NS - 20_000_000, 120_250_000)
    assert (span.error, api.error) == (1, 1)
    assert span.meta["http.status_code"] == api.meta["http.status_code"] == "503"
    assert life.failures == 1


def test_a_clock_that_is_ahead_makes_no_negative_durations(life: Life) -> None:
    record = QUEUE["Records"][0] | {"attributes": {"SentTimestamp": str((NOW + 50) * 1000)}}
    life.lookout.invoked("r1")
    life.start({"Records": [record | {"body": json.dumps(ENVELOPE | {"Timestamp": None})}]})
    life.end()
    life.done("r1")
    ((_, queue, topic),) = life.flush()
    assert (queue.duration, topic.duration, topic.start) == (0, 0, queue.start)


# --- errors ---


@pytest.mark.parametrize("write", [lambda text: base64.b64encode(text.encode()).decode(), lambda text: text])
def test_errors_are_told_in_the_tracer_s_words(life: Life, write: Any) -> None:
    texts = {"msg": "it broke: now", "type": "java.lang.Error!", "stack": "at a\tb-c"}
    headers = {f"X-Datadog-Invocation-Error-{name}": write(text) for name, text in texts.items()}
    span = life.run("r1", ended=ENDED | {"x-datadog-invocation-error": "true"} | headers)
    assert span.error == 1
    assert {tag: span.meta[f"error.{tag}"] for tag in texts} == texts
    assert life.failures == 1


@pytest.mark.parametrize(
    ("answer", "failed"), [({"statusCode": 200}, 0), ({"statusCode": "500"}, 1), ({"statusCode": True}, 0), ([], 0)]
)
def test_an_answer_of_5xx_is_a_failure(life: Life, answer: Any, failed: int) -> None:
    assert life.run("r1", answer=answer).error == failed == life.failures


def test_a_run_that_is_cut_short_has_a_span_all_the_same(life: Life) -> None:
    life.lookout.invoked("r1")
    life.start({"headers": CARRIER})
    life.done("r1", status="timeout")
    ((span,),) = life.flush()
    assert (span.trace_id, span.parent_id, span.error) == (1234, 56, 1)
    assert span.span_id
    assert (span.meta["error.msg"], span.meta["error.type"]) == ("Datadog detected a Timeout", "Timeout")


def test_a_runtime_that_dies_says_of_what(life: Life) -> None:
    life.lookout.invoked("r1")
    life.start()
    life.done("r1", status="failure", errorType="Runtime.ExitError")
    ((span,),) = life.flush()
    assert (span.error, span.meta["error.type"], "error.msg" in span.meta) == (1, "Runtime.ExitError", False)
    assert span.trace_id and span.span_id


# --- which word is about which invocation ---


def test_a_tracer_may_be_quicker_than_the_platform(life: Life) -> None:
    life.start({"headers": CARRIER})
    life.end()
    life.lookout.invoked("r1")
    life.record("start", 0.25, requestId="r1")
    life.done("r1")
    ((span,),) = life.flush()
    assert (span.meta["request_id"], span.start) == ("r1", NOW * NS + NS // 4)


def test_who_misses_a_call_misses_one_invocation(life: Life) -> None:
    """There, all that follow are paired with the one before."""
    life.lookout.invoked("r1")
    life.done("r1")
    assert life.flush() == []
    assert life.run("r2").meta["request_id"] == "r2"
    life.lookout.invoked("r3")
    life.start()
    life.done("r3")
    assert life.flush() == []
    assert life.ledger.dropped("spans", "unfinished_invocation") == 1
    assert life.run("r4").meta["request_id"] == "r4"


def test_ids_tell_apart_what_runs_at_once(clock: MovedClock) -> None:
    life = Life(clock, OPTIONS._replace(managed=True))
    for number in (1, 2, 3):
        life.record("start", requestId=f"r{number}")
        life.start({"headers": CARRIER}, {"Lambda-Runtime-Aws-Request-Id": f"r{number}"})
    for number in (2, 3, 1):
        life.end(None, ENDED | {"lambda-runtime-aws-request-id": f"r{number}", "x-datadog-span-id": f"{number}"})
        life.record("report", 1, requestId=f"r{number}", status="success", metrics={"durationMs": number})
    spans = {chunk[0].meta["request_id"]: chunk[0] for chunk in life.flush()}
    assert {name: (span.span_id, span.duration) for name, span in spans.items()} == {
        f"r{number}": (number, number * 1_000_000) for number in (1, 2, 3)
    }
    assert "cold_start" not in spans["r1"].meta


def test_a_retry_has_the_id_of_what_it_tries_again(life: Life) -> None:
    assert [life.run("r1").meta["cold_start"] for _ in range(3)] == ["true", "false", "false"]


@pytest.mark.parametrize("order", [("invoked", "start"), ("start", "invoked")])
def test_two_say_that_it_began_and_it_began_once(life: Life, order: tuple[str, ...]) -> None:
    for who in order:
        if who == "invoked":
            life.lookout.invoked("r1")
        else:
            life.record("start", requestId="r1")
    life.start()
    life.end()
    life.done("r1")
    assert len(life.flush()) == 1
    assert life.run("r2").meta["cold_start"] == "false"


def test_invoke_may_come_when_all_is_over(life: Life) -> None:
    life.record("start", requestId="r1")
    life.start()
    life.end()
    life.done("r1")
    assert len(life.flush()) == 1
    life.lookout.invoked("r1")
    assert life.run("r2").meta["request_id"] == "r2"


def test_a_report_says_that_it_is_over_too(life: Life) -> None:
    life.lookout.invoked("r1")
    life.start()
    life.end()
    life.record("report", 2, requestId="r1", status="success")
    ((span,),) = life.flush()
    assert span.duration == 2 * NS
    life.done("r1")
    assert life.flush() == []


@pytest.mark.parametrize("header", [{}, {"lambda-runtime-aws-request-id": "r1"}])
def test_what_began_before_a_crash_may_end_after_it(life: Life, header: dict[str, str]) -> None:
    life.end(None, ENDED | header)
    life.done("r1")
    ((span,),) = life.flush()
    assert (span.meta["request_id"], span.span_id) == ("r1", 99)
    assert life.run("r2").meta["request_id"] == "r2"


def test_what_ended_before_the_next_begins_is_not_the_next(life: Life) -> None:
    life.end(None, {"x-datadog-trace-id": "5", "x-datadog-span-id": "6"})
    span = life.run("r2")
    assert (span.trace_id, span.meta["request_id"]) == (1234, "r2")
    assert life.ledger.dropped("spans") == 1


@pytest.mark.parametrize("header", [{}, {"lambda-runtime-aws-request-id": "r1"}])
@pytest.mark.parametrize("quicker", [True, False])
def test_a_start_that_is_told_twice_is_not_the_next_one_s(life: Life, quicker: bool, header: dict[str, str]) -> None:
    """A client that had no answer tells again. Were it another invocation, each that follows would be one too late."""
    if not quicker:
        life.lookout.invoked("r1")
    answers = [life.start({"headers": CARRIER}, header) for _ in range(3)]
    assert answers[0] == answers[1] == answers[2] is not None
    if quicker:
        life.lookout.invoked("r1")
    life.end(None, ENDED | header)
    life.done("r1")
    ((span,),) = life.flush()
    assert (span.meta["request_id"], span.trace_id) == ("r1", 1234)
    for number in (2, 3):
        assert life.run(f"r{number}", ended=ENDED | {"x-datadog-span-id": f"{number}"}).span_id == number
    assert life.ledger.dropped("spans") == 0


def test_an_end_that_is_told_twice_is_not_the_next_one_s(life: Life) -> None:
    life.run("r1")
    life.end(None, {"x-datadog-trace-id": "5", "x-datadog-span-id": "6"})
    assert life.run("r2").trace_id == 1234


def test_without_telemetry_the_tracer_s_word_counts(life: Life) -> None:
    life.lookout.invoked("r1")
    life.start()
    life.clock.advance(0.5)
    life.end()
    assert life.flush() == [], "the platform may still tell"
    life.lookout.invoked("r2")
    ((span,),) = life.flush()
    assert (span.meta["request_id"], span.duration) == ("r1", NS // 2)


# --- the span by which a tracer stands for the invocation ---


def own(request_id: str = "r1") -> Span:
    meta = {"request_id": request_id, "language": "java", "cold_start": "?"}
    return Span("s", "aws.lambda", OWN, 1234, 99, 56, meta=meta, metrics={"m": 1.5}, meta_struct={"a": b"\x80"})


def test_it_is_merged_and_not_sent(life: Life) -> None:
    life.lookout.invoked("r1")
    life.start()
    assert life.lookout.watch(own(), Tracer("java", computed_stats=True, computed_top_level=True))
    life.end()
    life.done("r1")
    assert list(life.lookout.seal()) == []
    (((span,), tracer),) = life.sent
    assert (span.name, span.resource, span.service) == ("aws.lambda", "orders", "shop")
    assert (span.meta["language"], span.meta["cold_start"]) == ("java", "true")
    assert (span.metrics, span.meta_struct) == ({"m": 1.5}, {"a": b"\x80"})
    assert tracer == Tracer("java", computed_stats=True), "what is a top level, it cannot know"


def test_it_stands_in_for_an_end_that_nobody_told(life: Life) -> None:
    life.lookout.invoked("r1")
    life.start()
    life.lookout.watch(own(""), Tracer())
    life.done("r1")
    ((span,),) = life.flush()
    assert (span.trace_id, span.span_id, span.parent_id) == (1234, 99, 56)


def test_it_may_begin_a_trace_of_its_own(life: Life) -> None:
    life.lookout.invoked("r1")
    life.start({"headers": CARRIER | {"x-datadog-trace-id": "5"}})
    life.lookout.watch(own(), Tracer())
    life.done("r1", status="error", errorType="Runtime.Unknown")
    ((span,),) = life.flush()
    assert (span.trace_id, span.span_id, span.parent_id, span.error) == (1234, 99, 56, 1)


def test_one_that_comes_late_is_not_the_next_one_s(life: Life) -> None:
    life.run("r1")
    life.lookout.invoked("r2")
    life.start()
    assert life.lookout.watch(own("r1"), Tracer())
    assert life.lookout.watch(own("r0"), Tracer())
    life.end()
    life.done("r2")
    ((span,),) = life.flush()
    assert "language" not in span.meta


@pytest.mark.parametrize("name", ["r1", ""])
def test_it_tells_of_what_began_before_a_crash(life: Life, name: str) -> None:
    life.lookout.watch(own(name), Tracer())
    life.done("r1")
    ((span,),) = life.flush()
    assert (span.trace_id, span.span_id) == (1234, 99)


def test_between_flushes_only_the_latest_waits(life: Life) -> None:
    for number in range(10):
        life.lookout.invoked(f"r{number}")
        life.start()
        life.end()
        life.done(f"r{number}")
    assert [chunk[0].meta["request_id"] for chunk, _ in life.sent] == [f"r{number}" for number in range(8)]
    assert len(life.flush()) == 10


def test_records_that_never_come_cost_no_more_memory_than_a_few_invocations(life: Life) -> None:
    life.init()
    for number in range(100):
        life.lookout.invoked(f"r{number}")
        life.start()
        life.end()
    assert len(life.sent) == 100 - MOST_IN_A_ROW


def test_a_pipeline_that_fails_costs_that_trace(life: Life, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    life.lookout.invoked("r1")
    life.start()
    life.end()
    life.done("r1")
    monkeypatch.setattr(life, "sent", None)
    assert list(life.lookout.seal()) == []
    assert "cannot be told of" in said[0]
    assert life.ledger.dropped("spans", "unfinished_invocation") == 1


# --- payloads ---


def test_payloads_are_told_if_that_is_wanted(clock: MovedClock) -> None:
    span = Life(clock, OPTIONS._replace(capture_depth=10)).run("r1", {"a": {"token": "t"}}, {"statusCode": 200})
    assert (span.meta["function.request.a.token"], span.meta["function.response.statusCode"]) == ("redacted", "200")
    assert not [name for name in Life(clock).run("r1", {"a": 1}, 2).meta if name.startswith("function.")]


# --- cold starts ---


def test_the_first_invocation_has_the_cold_start(life: Life) -> None:
    life.init()
    life.lookout.invoked("r1")
    life.start({"headers": CARRIER})
    life.end()
    life.done("r1")
    ((span, cold),) = life.flush()
    assert (cold.name, cold.type, cold.resource, cold.service) == (
        "aws.lambda.cold_start",
        "serverless",
        "orders",
        "shop",
    )
    assert (cold.start, cold.duration) == (NOW * NS - NS // 2, 400_500_000)
    assert (cold.trace_id, cold.parent_id) == (span.trace_id, 56)
    life.run("r2")


def test_a_restored_snapshot_has_a_restore_instead(life: Life) -> None:
    life.record("initStart", -900)
    life.record("initReport", -890, metrics={"durationMs": 9000})
    life.record("restoreStart", -0.5)
    life.record("restoreReport", -0.25, metrics={"durationMs": 250})
    life.lookout.invoked("r1")
    life.start()
    life.end()
    life.done("r1")
    ((span, restored),) = life.flush()
    assert (restored.name, restored.duration) == ("aws.lambda.snapstart_restore", 250_000_000)
    assert span.meta["cold_start"] == "true"


def test_an_environment_that_waited_was_initialised_ahead(life: Life) -> None:
    life.init()
    life.clock.advance(60)
    span = life.run("r1")
    assert (span.meta["cold_start"], span.meta["proactive_initialization"]) == ("false", "true")
    assert "proactive_initialization" not in life.run("r2").meta


def test_a_tracer_that_makes_its_own_spans_gets_the_cold_start_alone(life: Life) -> None:
    life.init()
    life.lookout.invoked("r1")
    load = Span(name=LOAD, trace_id=5, span_id=6, parent_id=7, meta={TID: "640cfd8d00000000"}, metrics={PRIORITY: 1})
    assert not life.lookout.watch(load, Tracer())
    assert not life.lookout.watch(Span(name="aws.lambda", trace_id=5, span_id=8), Tracer())
    life.done("r1")
    ((cold,),) = life.flush()
    assert (cold.trace_id, cold.parent_id, load.parent_id) == (5, 7, cold.span_id)
    assert (cold.meta, cold.metrics) == ({TID: "640cfd8d00000000"}, {PRIORITY: 1})
    again = Span(name=LOAD, trace_id=9, span_id=10, parent_id=11)
    life.lookout.watch(again, Tracer())
    assert (again.parent_id, life.flush(last=True)) == (11, [])


# --- costs ---


def test_nothing_is_made_before_a_tracer_tells(clock: MovedClock) -> None:
    def load(complete: bool) -> Invocations:
        raise AssertionError("nobody asked")

    lookout = Lookout(load, clock)
    for number in range(1000):
        lookout.invoked(f"r{number}")
        lookout.take(Record("platform.runtimeDone", 0, {"requestId": f"r{number}"}))
        lookout.take(Record("function", 0, "hello"))
        lookout.watch(Span(name="aws.lambda"), Tracer())
    assert len(lookout._runs) <= MOST_OF_RUNS


def test_who_tells_late_does_not_make_a_cold_start_of_it(life: Life) -> None:
    for number in range(MOST_OF_RUNS):
        life.lookout.invoked(f"q{number}")
        life.done(f"q{number}")
    assert life.run("r1").meta["cold_start"] == "false"


def test_what_never_ends_is_forgotten_and_counted(clock: MovedClock) -> None:
    life = Life(clock, OPTIONS._replace(managed=True))
    for number in range(MOST_KNOWN + 10):
        life.start({}, {"lambda-runtime-aws-request-id": f"r{number}"})
    assert len(life.lookout.invocations._known) == MOST_KNOWN
    assert life.ledger.dropped("spans", "unfinished_invocation") == 10
    assert life.flush(last=True) == []
    assert life.ledger.dropped("spans", "unfinished_invocation") == MOST_KNOWN + 10


def tell(life: Life, what: str, name: str, header: dict[str, str], number: int) -> None:
    match what:
        case "start":
            life.start(QUEUE, header)
        case "end":
            life.end({}, header | {"x-datadog-trace-id": f"{number + 1}", "x-datadog-span-id": f"{number + 1}"})
        case "platform":
            life.record("start", requestId=name)
        case "done":
            life.done(name)
        case "report":
            life.record("report", requestId=name)
        case "own":
            life.lookout.watch(own(name), Tracer())
        case "load":
            life.lookout.watch(Span(name=LOAD, trace_id=1, span_id=2), Tracer())
        case "init":
            life.init()
        case _:
            life.lookout.invoked(name)


words = st.sampled_from(("invoked", "start", "end", "platform", "done", "report", "own", "load", "init"))


@given(st.lists(st.tuples(words, st.sampled_from(("r1", "r2", "r3", "")), st.booleans()), max_size=40), st.booleans())
def test_in_any_order_each_is_told_once(told: list[tuple[str, str, bool]], managed: bool) -> None:
    life = Life(MovedClock(), OPTIONS._replace(managed=managed))
    chunks: list[Chunk] = []
    for number, (what, name, named) in enumerate(told):
        tell(life, what, name, {"lambda-runtime-aws-request-id": name} if named else {}, number)
        if named:
            chunks += life.flush()
    chunks += life.flush(last=True)
    spans = [span for chunk in chunks for span in chunk]
    assert all(span.trace_id and span.span_id and span.duration >= 0 for span in spans)
    made_here = [span.span_id for span in spans if span.name != "aws.lambda"]
    assert len(set(made_here)) == len(made_here)
    words = [what for what, _, _ in told]
    assert words.count("end") + words.count("own") >= len(spans) - len(made_here)
