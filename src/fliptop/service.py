"""The extension at work: one event loop, a few tasks, and the way of a record from socket to intake.

telemetry listener ─► inbox ─► reader ─┬─► logs pipeline ───┬─► outbox ─► intake
                                       └─► milestones ─► lifecycle ── when and how long ──┘
DogStatsD listener ─────────────────────► metrics pipeline ─┤
trace agent listener ─► inbox ─► reader ─► traces, stats, proxied ─┘
"""

import gc
from collections.abc import Mapping
from typing import Final

import anyio

from fliptop import parts, report, shipping
from fliptop.choices import strategy
from fliptop.clock import Clock
from fliptop.flusher import log_ledger
from fliptop.identity import Identity
from fliptop.lifecycle.deadline import invoke_margin, memory_mb
from fliptop.lifecycle.events import EventStream
from fliptop.lifecycle.loop import Lifecycle, Options
from fliptop.lifecycle.milestones import Milestones
from fliptop.listeners.http import serve as serve_http
from fliptop.listeners.inbox import Inbox
from fliptop.listeners.telemetry import telemetry_handler
from fliptop.outbox.books import Books
from fliptop.outbox.ledger import Ledger
from fliptop.parts import Here, Task
from fliptop.phases import Phases
from fliptop.platform.ready import Handover, refuse
from fliptop.reader import TelemetryReader
from fliptop.settings.fields import Settings, effective
from fliptop.settings.load import load

# A task that dies is started again; one that keeps dying is switched off, and the loop over /event/next goes on.
MAX_RESTARTS: Final = 5
RESTART_PAUSE_S: Final = 0.1
# The guard looks every second and gives up after five.
BEAT_S: Final = 0.5


async def serve(handover: Handover, environ: Mapping[str, str], clock: Clock, phases: Phases) -> None:
    """Run until SHUTDOWN has been served."""
    settings = _settings(handover, environ)
    phases.reach("config_parse")
    books = Books(handover.books)
    identity = Identity(environ, handover.registration.account_id, settings.all_tags)
    here = Here(settings, environ, identity, Ledger(books), books, clock)
    spans, metrics = parts.traces(here), parts.metrics(here, handover.dogstatsd)
    signals = (
        parts.logs(here),
        metrics,
        parts.invocations(here, handover.lifecycle, spans, metrics.failed),
        parts.apm(here, handover.trace_agent, spans),
    )
    flusher = shipping.flusher(here, signals)
    milestones, inbox = Milestones(), Inbox[bytes](here.ledger)
    takers = [take for signal in signals for take in signal.takers]
    reader = TelemetryReader(inbox, takers, milestones, identity, here.ledger)
    observers = [signal.observer for signal in signals if signal.observer]
    options = Options(
        invoke_margin(memory_mb(environ)), handover.telemetry is not None, strategy(settings, managed=here.managed)
    )
    lifecycle = Lifecycle(clock, identity, milestones, options, observers)
    tasks = [
        *_telemetry(handover, inbox),
        Task("telemetry reader", reader.run),
        *(task for signal in signals for task in signal.tasks),
    ]
    async with anyio.create_task_group() as running:
        for task in tasks:
            running.start_soon(supervise, task)
        if handover.guarded:
            running.start_soon(_beat, books)
        gc.freeze()  # what has been loaded is no garbage: see `__main__`
        gc.enable()
        phases.reach("serving")
        phases.tell()
        await lifecycle.run(EventStream(handover), flusher)
        running.cancel_scope.cancel()
    inbox.give_up("shutdown")
    for signal in signals:  # what has come while the last flush came to its end
        signal.give_up("shutdown")
    log_ledger(here.ledger)


def _telemetry(handover: Handover, inbox: Inbox[bytes]) -> list[Task]:
    listening = handover.telemetry
    if listening is None:
        return []
    handler = telemetry_handler(inbox)
    return [Task("telemetry listener", lambda: serve_http(listening.dup(), handler), listening)]


async def _beat(books: Books) -> None:
    """Show the guard that the loop turns. While nothing runs in the environment it is frozen, and so is this."""
    while True:
        books.beat()
        await anyio.sleep(BEAT_S)


async def supervise(task: Task) -> None:
    """Run `task` again whenever it dies, `MAX_RESTARTS` times at most. Only cancellation passes through. A port that
    will not be served again is closed, for good: its clients are better refused than left waiting.
    """
    for death in range(MAX_RESTARTS + 1):
        try:
            await task.run()
        except Exception as problem:  # noqa: BLE001 -- promise 1: whatever breaks is contained here
            report.error(f"the {task.name} died ({problem!r}), {MAX_RESTARTS - death} restarts left")
            await anyio.sleep(RESTART_PAUSE_S * 2**death)
        else:
            return
    report.error(f"the {task.name} is switched off: what it would have collected is lost")
    if task.listening is not None:
        refuse(task.listening)


def _settings(handover: Handover, environ: Mapping[str, str]) -> Settings:
    try:
        settings, complaints = load(environ)
    except Exception as problem:  # noqa: BLE001 -- whatever a value can do, the rest of the extension must run
        settings, complaints = Settings(), [f"the settings cannot be read ({problem!r:.200}): the defaults are used"]
    report.set_level(settings.log_level)
    for complaint in (*handover.warnings, *complaints):
        report.warn(complaint)
    if settings.log_level in {"debug", "trace"}:
        report.debug(f"effective configuration: {effective(settings)}")
    return settings
