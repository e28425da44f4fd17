"""What each signal adds to the service: a pipeline, the tasks that fill it, and what it wants to hear of.

A new signal is a new function here, and a line in `service.serve`.
"""

import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

from fliptop import report
from fliptop.choices import (
    dogstatsd_options,
    invocation_options,
    log_options,
    metric_options,
    on_managed,
    places,
    tracer_limits,
)
from fliptop.clock import Clock
from fliptop.enhanced.metrics import INVOCATIONS, EnhancedMetrics, Machine
from fliptop.enhanced.proc import Proc
from fliptop.enhanced.usage import UsageSampler
from fliptop.events.pipeline import EventPipeline
from fliptop.flusher import Pipeline
from fliptop.http1 import Request
from fliptop.identity import Identity
from fliptop.invocations.lookout import Lookout, is_told
from fliptop.late import Late
from fliptop.lifecycle.deadline import cpu_share, memory_mb
from fliptop.lifecycle.loop import Observer
from fliptop.listeners import lifecycle, trace_agent
from fliptop.listeners.dogstatsd import DogStatsDListener
from fliptop.listeners.http import serve
from fliptop.listeners.inbox import Inbox
from fliptop.logs.pipeline import LogPipeline
from fliptop.metrics.bookkeeping import Bookkeeping
from fliptop.metrics.dogstatsd import Event, Failure, ServiceCheck
from fliptop.metrics.pipeline import MetricPipeline
from fliptop.outbox.books import Books
from fliptop.outbox.ledger import Ledger
from fliptop.reader import Taker
from fliptop.settings.fields import Settings
from fliptop.traces.reader import TakeRequest, TracerReader

if TYPE_CHECKING:
    from fliptop.invocations.tracing import Invocations
    from fliptop.proxied.pipeline import ProxiedPipeline
    from fliptop.stats.pipeline import StatsPipeline
    from fliptop.traces.pipeline import TracePipeline
    from fliptop.traces.span import Chunk, Tracer


class Here(NamedTuple):
    """What nearly every part of the extension needs."""

    settings: Settings
    environ: Mapping[str, str]
    identity: Identity
    ledger: Ledger
    books: Books
    clock: Clock

    @property
    def managed(self) -> bool:
        """True on Lambda Managed Instances."""
        return on_managed(self.environ)


class Task(NamedTuple):
    """What runs as long as the service does; `name` is for messages about its death. With the task goes the port that
    it serves: `listening`.
    """

    name: str
    run: Callable[[], Awaitable[None]]
    listening: socket.socket | None = None


class Collect(Protocol):
    """Fetch what has arrived, or happened here, and is in no pipeline yet. `last`: there is no later."""

    def __call__(self, *, last: bool) -> Awaitable[None]: ...


class Part(NamedTuple):
    """One signal, or several that belong together. `takers` are given every telemetry record, `collect` is called
    before each flush, `observer` is told of events, `inbox` holds what has been accepted and is in no pipeline yet.
    `failed` is told when a tracer has seen the invocation fail.
    """

    pipelines: tuple[Pipeline, ...] = ()
    tasks: tuple[Task, ...] = ()
    takers: tuple[Taker, ...] = ()
    collect: Collect | None = None
    observer: Observer | None = None
    inbox: Inbox[Request] | None = None
    failed: Callable[[], None] | None = None

    def give_up(self, reason: str) -> None:
        """Drop everything that waits, counted: nobody takes anything any more."""
        if self.inbox is not None:
            self.inbox.give_up(reason)
        for pipeline in self.pipelines:
            pipeline.give_up(reason)


def logs(here: Here) -> Part:
    """What the function writes."""
    pipeline = LogPipeline(log_options(here.settings, managed=here.managed), here.identity, here.ledger, here.clock)
    return Part((pipeline,), takers=(pipeline.take,))


def metrics(here: Here, datagrams: socket.socket | None) -> Part:
    """What DogStatsD clients send to `datagrams`, events and service checks included, and what is measured here."""
    settings, _, identity, ledger, _, clock = here
    events = EventPipeline(settings.metrics_url, identity, ledger, clock)

    def take_others(item: Event | ServiceCheck | Failure) -> None:
        if not isinstance(item, Failure):
            events.take(item)
        elif enhanced is not None:
            enhanced.library_failed()

    pipeline = MetricPipeline(metric_options(settings), identity, ledger, clock, take_others)
    enhanced = _enhanced(here, pipeline)
    listener = None
    if datagrams is not None:
        listener = DogStatsDListener(datagrams, pipeline.take, ledger, dogstatsd_options(settings))
    tasks = [Task("DogStatsD listener", listener.run)] if listener else []
    if enhanced is not None:
        tasks.append(Task("usage sampler", enhanced.sample))
    takers = (enhanced.take,) if enhanced else ()
    collect = _collector(here, listener, pipeline)
    failed = enhanced.library_failed if enhanced else None
    return Part((pipeline, events), tuple(tasks), takers, collect, enhanced, failed=failed)


def _enhanced(here: Here, pipeline: MetricPipeline) -> EnhancedMetrics | None:
    if not here.settings.enhanced_metrics:
        return None
    # What the machine does can be told of one invocation only where there is one at a time.
    reader = Proc() if here.settings.lambda_proc_enhanced_metrics and not here.managed else None
    sampler = UsageSampler(reader, cpu_share(memory_mb(here.environ))) if reader else None
    machine = Machine(os.uname().machine, reader, sampler, here.managed)
    return EnhancedMetrics(pipeline.add, machine, here.clock, here.books)


def _collector(here: Here, listener: DogStatsDListener | None, pipeline: MetricPipeline) -> Collect:
    wanted = here.settings.enhanced_metrics
    bookkeeping = Bookkeeping(here.ledger, here.books, pipeline.add, here.clock) if wanted else None

    async def collect(*, last: bool) -> None:
        if listener is not None:
            await listener.drain()
        if bookkeeping is not None:
            bookkeeping.tell(last=last)

    return collect


def traces(here: Here) -> "Late[TracePipeline]":
    """The pipeline of spans, for all who have any."""

    def make() -> "TracePipeline":
        from fliptop.traces.options import trace_options  # noqa: PLC0415 -- only functions with a tracer need it
        from fliptop.traces.payloads import CEILING_BYTES  # noqa: PLC0415 -- likewise
        from fliptop.traces.pipeline import TracePipeline  # noqa: PLC0415 -- likewise

        options = trace_options(here.settings, here.environ)
        # No more may wait than may come: on the smallest functions all ceilings together come close to their memory.
        ceiling = min(CEILING_BYTES, tracer_limits(memory_mb(here.environ)).body_bytes)
        return TracePipeline(options, here.identity, here.ledger, here.clock, ceiling)

    return Late(make)


def apm(here: Here, listening: socket.socket | None, spans: "Late[TracePipeline]") -> Part:
    """What tracers, profilers and their like send to `listening`: spans to `spans`, statistics, and what goes on as it
    is.
    """
    if listening is None:
        return Part((spans,))
    limits = tracer_limits(memory_mb(here.environ))
    inbox = Inbox[Request](here.ledger, limits.body_bytes + trace_agent.LONGEST_HEAD, trace_agent.SIGNAL)
    handler = trace_agent.trace_agent_handler(inbox)
    stats, proxied = _stats(here), _proxied(here)

    def taker(path: str) -> TakeRequest:
        route = trace_agent.route(path)
        if route is not None and route.kind == "traces":
            return spans().take
        return stats().take if route is not None and route.kind == "stats" else proxied().take

    reader = TracerReader(inbox, taker)

    async def collect(*, last: bool) -> None:
        await reader.drain()

    tasks = (
        Task("trace agent listener", lambda: serve(listening.dup(), handler, limits), listening),
        Task("reader of tracers' requests", reader.run),
    )
    return Part((spans, stats, proxied), tasks, collect=collect, inbox=inbox)


def _stats(here: Here) -> "Late[StatsPipeline]":
    def make() -> "StatsPipeline":
        from fliptop.stats.pipeline import StatsOptions, StatsPipeline  # noqa: PLC0415 -- few tracers compute any

        return StatsPipeline(StatsOptions(here.settings.apm_url, here.settings.env), here.ledger, here.clock)

    return Late(make)


def _proxied(here: Here) -> "Late[ProxiedPipeline]":
    def make() -> "ProxiedPipeline":
        from fliptop.proxied.destinations import Places  # noqa: PLC0415 -- few functions send any
        from fliptop.proxied.pipeline import ProxiedPipeline  # noqa: PLC0415 -- likewise

        return ProxiedPipeline(Places(here.settings.site, places(here.settings)), here.identity, here.ledger)

    return Late(make)


def invocations(
    here: Here,
    listening: socket.socket | None,
    spans: "Late[TracePipeline]",
    failed: Callable[[], None] | None,
) -> Part:
    """The traces of invocations: what tracers tell at `listening` of their beginning and their end, and in some of
    their `spans`. Sealed before those, because what it makes goes to them. Next to nothing is loaded before a tracer
    tells anything. `failed` is told of invocations that a tracer has seen fail.
    """
    first = not here.books[INVOCATIONS]

    def load(complete: bool) -> "Invocations":
        from fliptop.invocations.tracing import Invocations, Outlets  # noqa: PLC0415 -- only where there is a tracer

        def add(chunk: "Chunk", tracer: "Tracer") -> None:
            spans().add(chunk, tracer)  # not loaded sooner: the function waits while the first invocation is told of

        outlets = Outlets(add, failed or (lambda: None), here.ledger, first and complete)
        options = invocation_options(here.settings, here.identity, managed=here.managed)
        return Invocations(options, outlets, here.clock)

    lookout = Lookout(load, here.clock)

    def watch(pipeline: "TracePipeline") -> None:
        pipeline.watch = lookout.watch

    spans.when_made(watch)
    if is_told(here.environ):
        _prepare(lookout, spans)
    tasks = []
    if listening is not None:
        handler = lifecycle.lifecycle_handler(lambda: lookout.invocations)
        limits = lifecycle.LIMITS_AT_ONCE if here.managed else lifecycle.LIMITS
        tasks.append(Task("lifecycle listener", lambda: serve(listening.dup(), handler, limits), listening))
    return Part((lookout,), tuple(tasks), takers=(lookout.take,), observer=lookout)


def _prepare(lookout: Lookout, spans: "Late[TracePipeline]") -> None:
    """Load now, while the function initialises, what it would wait for in its first invocation."""
    try:
        _ = lookout.invocations, spans()
    except Exception as problem:  # noqa: BLE001 -- promise 1: the first request meets it again, and costs itself alone
        report.error(f"traces cannot be prepared for: {problem!r}")
