"""Promises 3, 4 and 5 in every state that accepting, sending, failing, freezing and dying can lead to."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections import Counter
from collections.abc import Awaitable
from typing import Any, cast

import anyio
import pytest
from backports.zstd import decompress
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fliptop import report
from fliptop.events.pipeline import EventPipeline
from fliptop.flusher import TelemetryFlusher
from fliptop.identity import Identity
from fliptop.intake.client import IntakeClient
from fliptop.logs.pipeline import LogOptions, LogPipeline
from fliptop.metrics.dogstatsd import Event, Failure, ServiceCheck
from fliptop.metrics.pipeline import MetricOptions, MetricPipeline
from fliptop.outbox import outbox as outbox_module
from fliptop.outbox.books import Books
from fliptop.outbox.copies import Copies, Place
from fliptop.outbox.ledger import DIED, Ledger
from fliptop.outbox.outbox import Outbox
from fliptop.outbox.payload import Payload
from fliptop.outbox.verdict import Answer
from fliptop.platform.telemetry import Record
from tests.conftest import MovedClock

CEILING = 1500
ORIGINALS = ("logs", "metrics", "events", "service_checks")
SIGNALS = (*ORIGINALS, *(f"{signal}_copies" for signal in ORIGINALS))
LOGS, METRICS = frozenset({"logs"}), frozenset({"metrics", "events"})
ANSWERS = {"400": 400, "401": 401, "403": 403, "413": 413, "408": 408, "429": 429, "500": 500, "503": 503}
# Some things have to happen more than once in a row to lead anywhere.
OUTCOMES = st.sampled_from(["ok", "ok", "send lost", "answer lost", "no answer", "413", "413", *ANSWERS])


class Intake:
    """Plays the intake, and remembers what it was sent."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []
        self.bodies: dict[tuple[str, int], bytes] = {}
        self.answered: set[tuple[str, int]] = set()
        self.taken: Counter[str] = Counter()
        self.entries: set[tuple[str, str]] = set()
        self.time_is_up = anyio.Event()

    async def send(self, payload: Payload) -> Answer:
        name = (payload.signal, payload.number)
        assert self.bodies.setdefault(name, payload.body) == payload.body, "promise 4: the same bytes on retry"
        assert name not in self.answered, "promise 4: what was accepted is not sent again"
        entries = {(payload.signal, text) for text in texts(payload)}
        assert not entries & self.entries, "nor is it in another payload, halves or not"
        outcome = self.outcomes.pop(0) if self.outcomes else "ok"
        if outcome in {"ok", "answer lost"}:
            self.taken[payload.signal] += payload.items
        if outcome == "no answer":
            self.time_is_up.set()
            await anyio.sleep_forever()
        if outcome == "ok":
            self.answered.add(name)
            self.entries |= entries
            return Answer(202)
        if outcome in ANSWERS:
            return Answer(ANSWERS[outcome], retry_after_s=7.0 if outcome == "429" else None)
        return Answer(None, "ConnectError")


def texts(payload: Payload) -> list[str]:
    """The logs in a payload, each of which is unique."""
    if not payload.signal.startswith("logs"):
        return []
    return [entry["message"]["message"] for entry in json.loads(decompress(payload.body))]


class Extension(RuleBasedStateMachine):
    """The way from pipeline to intake, driven at random."""

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.books = MovedClock(), Books()
        self.patched = contextlib.ExitStack()
        patch = self.patched.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(outbox_module, "sleep_awake", lambda _seconds: self.intake.time_is_up.wait())
        patch.setattr(report, "line", lambda _text: None)
        self.over = False
        self.numbers = itertools.count()
        self.lived: Counter[str] = Counter()
        self.begin()

    def teardown(self) -> None:
        self.patched.close()

    def begin(self) -> None:
        """A process begins, perhaps after another one has died."""
        identity = Identity({}, None, {})
        self.intake = Intake()
        self.ledger = Ledger(self.books)
        self.logs = LogPipeline(LogOptions(True, "", "http://logs/x", 1), identity, self.ledger, self.clock)
        self.events = EventPipeline("http://metrics", identity, self.ledger, self.clock)
        options = MetricOptions("http://metrics", 1)
        self.metrics = MetricPipeline(options, identity, self.ledger, self.clock, self.take_other)
        self.pipelines = (self.logs, self.metrics, self.events)
        self.outbox = Outbox(self.ledger, self.clock, CEILING)
        client = cast("IntakeClient", self.intake)
        places = Place(LOGS, "http://logs", "http://other"), Place(METRICS, "http://metrics", "http://third")
        self.copies = [Copies(place, self.ledger, self.clock, self.intake.send) for place in places]
        self.flusher = TelemetryFlusher(self.pipelines, self.outbox, client, collect_nothing, self.copies)

    def take_other(self, item: Event | ServiceCheck | Failure) -> None:
        if not isinstance(item, Failure):
            self.events.take(item)

    def run(self, coroutine: Awaitable[Any]) -> None:
        async def alone() -> None:
            self.intake.time_is_up = anyio.Event()
            await coroutine

        anyio.run(alone)

    @precondition(lambda self: not self.over)
    @rule(texts=st.lists(st.text(max_size=300), max_size=5), request=st.sampled_from(["r1", None]))
    def accept_logs(self, texts: list[str], request: str | None) -> None:
        for text in texts:
            unique = f"{next(self.numbers)} {text}"
            self.logs.take(Record("function", 1, {"requestId": request, "message": unique} if request else unique))

    @precondition(lambda self: not self.over)
    @rule(
        datagrams=st.lists(
            st.sampled_from([b"a:1|c", b"b:2:3|d", b"c:1|g\nd:x|s", b"broken", b"e:1|h|@0.5", b"_e{1,1}:a|b\n_sc|c|1"])
        )
    )
    def accept_metrics(self, datagrams: list[bytes]) -> None:
        self.metrics.take(datagrams)

    @precondition(lambda self: not self.over)
    @rule(outcomes=st.lists(OUTCOMES, max_size=12), left_s=st.sampled_from([30.0, 30.0, 0.05, 0.0]))
    def flush(self, outcomes: list[str], left_s: float) -> None:
        self.intake.outcomes = outcomes
        self.run(self.flusher.flush(left_s))

    @precondition(lambda self: not self.over)
    @rule()
    def seal(self) -> None:
        for pipeline in self.pipelines:
            for payload in pipeline.seal():
                self.outbox.put(payload)
                for copies in self.copies:
                    copies.take(payload)

    @rule(seconds=st.sampled_from([0.1, 2.0, 90.0, 40_000.0, -5.0]))
    def freeze(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: not self.over)
    @rule()
    def die(self) -> None:
        pending = {signal: self.ledger.pending(signal) for signal in SIGNALS}
        died = {signal: self.ledger.dropped(signal, DIED) for signal in SIGNALS}
        self.lived += self.intake.taken
        self.begin()
        for signal in SIGNALS:
            assert self.ledger.dropped(signal, DIED) == died[signal] + pending[signal]

    @precondition(lambda self: not self.over)
    @rule(outcomes=st.lists(OUTCOMES, max_size=6))
    def shut_down(self, outcomes: list[str]) -> None:
        self.intake.outcomes = outcomes
        self.run(self.flusher.finish(2.0))
        self.over = True
        assert [self.ledger.pending(signal) for signal in SIGNALS] == [0] * len(SIGNALS)

    @invariant()
    def nothing_is_lost_silently(self) -> None:
        for signal in SIGNALS:
            settled = self.ledger.delivered(signal) + self.ledger.dropped(signal)
            assert self.ledger.accepted(signal) == settled + self.ledger.pending(signal)
            assert self.ledger.delivered(signal) <= (self.lived + self.intake.taken)[signal]
        waiting = sum(pipeline.waiting for pipeline in self.pipelines) + self.outbox.items
        waiting += sum(copies.items for copies in self.copies)
        assert sum(map(self.ledger.pending, SIGNALS)) == waiting

    @invariant()
    def nothing_grows_without_bounds(self) -> None:
        assert self.outbox.size <= CEILING


async def collect_nothing(_last: bool) -> None:
    """Everything is in the pipelines already."""


TestInvariants = Extension.TestCase
TestInvariants.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
