"""What each signal adds to the service: a pipeline, the tasks that fill it, and what it wants to hear of.

A new signal is a new function here, and a line in `service.serve`.
"""

import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, Protocol

from fliptop.choices import dogstatsd_options, log_options, metric_options, on_managed
from fliptop.clock import Clock
from fliptop.enhanced.metrics import EnhancedMetrics, Machine
from fliptop.enhanced.proc import Proc
from fliptop.enhanced.usage import UsageSampler
from fliptop.events.pipeline import EventPipeline
from fliptop.flusher import Pipeline
from fliptop.identity import Identity
from fliptop.lifecycle.deadline import cpu_share, memory_mb
from fliptop.lifecycle.loop import Observer
from fliptop.listeners.dogstatsd import DogStatsDListener
from fliptop.logs.pipeline import LogPipeline
from fliptop.metrics.bookkeeping import Bookkeeping
from fliptop.metrics.dogstatsd import Event, Failure, ServiceCheck
from fliptop.metrics.pipeline import MetricPipeline
from fliptop.outbox.books import Books
from fliptop.outbox.ledger import Ledger
from fliptop.reader import Taker
from fliptop.settings.fields import Settings


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
    """What runs as long as the service does; `name` is for messages about its death."""

    name: str
    run: Callable[[], Awaitable[None]]


class Collect(Protocol):
    """Fetch what has arrived, or happened here, and is in no pipeline yet. `last`: there is no later."""

    def __call__(self, *, last: bool) -> Awaitable[None]: ...


class Part(NamedTuple):
    """One signal, or several that belong together. `takers` are given every telemetry record, `collect` is called
    before each flush, `observer` is told of events.
    """

    pipelines: tuple[Pipeline, ...] = ()
    tasks: tuple[Task, ...] = ()
    takers: tuple[Taker, ...] = ()
    collect: Collect | None = None
    observer: Observer | None = None


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
    return Part((pipeline, events), tuple(tasks), takers, _collector(here, listener, pipeline), enhanced)


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
