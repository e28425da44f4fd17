"""The extension at work: one event loop, a few tasks, and the way of a record from socket to intake.

telemetry listener ─► inbox ─► reader ─┬─► logs pipeline ───┬─► outbox ─► intake
                                       └─► milestones ─► lifecycle ── when and how long ──┘
DogStatsD listener ─────────────────────► metrics pipeline ─┘
"""

import gc
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

import anyio

from fliptop import report
from fliptop.choices import dogstatsd_options, log_options, metric_options, on_managed, strategy
from fliptop.clock import Clock
from fliptop.enhanced.metrics import EnhancedMetrics, Machine
from fliptop.enhanced.proc import Proc
from fliptop.enhanced.usage import UsageSampler
from fliptop.events.pipeline import EventPipeline
from fliptop.flusher import TelemetryFlusher, log_ledger
from fliptop.identity import Identity
from fliptop.intake.api_key import ApiKey, KeyPlaces, WrittenKey
from fliptop.intake.client import IntakeClient
from fliptop.intake.connect import Connector, proxies
from fliptop.intake.tls import TlsOptions
from fliptop.lifecycle.deadline import cpu_share, invoke_margin, memory_mb
from fliptop.lifecycle.events import EventStream
from fliptop.lifecycle.loop import Lifecycle, Options
from fliptop.lifecycle.milestones import Milestones
from fliptop.listeners.dogstatsd import DogStatsDListener
from fliptop.listeners.http import serve as serve_http
from fliptop.listeners.inbox import Inbox
from fliptop.listeners.telemetry import telemetry_handler
from fliptop.logs.pipeline import LogPipeline
from fliptop.metrics.bookkeeping import Bookkeeping
from fliptop.metrics.dogstatsd import Event, Failure, ServiceCheck
from fliptop.metrics.pipeline import MetricPipeline
from fliptop.outbox.books import Books
from fliptop.outbox.ledger import Ledger
from fliptop.outbox.outbox import Outbox
from fliptop.phases import Phases
from fliptop.platform.ready import Handover
from fliptop.reader import TelemetryReader
from fliptop.settings.fields import Settings, effective
from fliptop.settings.load import load

if TYPE_CHECKING:
    from fliptop.outbox.copies import Copies

# A task that dies is started again; one that keeps dying is switched off, and the loop over /event/next goes on.
MAX_RESTARTS: Final = 5
RESTART_PAUSE_S: Final = 0.1
# What goes to which of the two hosts, and so to which additional endpoints.
LOGS_SIGNALS: Final = frozenset({"logs"})
METRICS_SIGNALS: Final = frozenset({"metrics", "events", "service_checks"})
# The guard looks every second and gives up after five.
BEAT_S: Final = 0.5


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


async def serve(handover: Handover, environ: Mapping[str, str], clock: Clock, phases: Phases) -> None:
    """Run until SHUTDOWN has been served."""
    settings = _settings(handover, environ)
    phases.reach("config_parse")
    books = Books(handover.books)
    identity = Identity(environ, handover.registration.account_id, settings.all_tags)
    here = Here(settings, environ, identity, Ledger(books), books, clock)
    milestones, inbox = Milestones(), Inbox(here.ledger)
    logs, metrics, events, enhanced = _signals(here)
    dogstatsd = _dogstatsd(here, handover, metrics)
    connector = _connector(here)
    client, copies = _client(here, connector), _copies(here, connector)
    collect = _collector(here, dogstatsd, metrics)
    flusher = TelemetryFlusher([logs, metrics, events], Outbox(here.ledger, clock), client, collect, copies)
    takers = [logs.take, *([enhanced.take] if enhanced else [])]
    reader = TelemetryReader(inbox, takers, milestones, identity, here.ledger)
    margin_s = invoke_margin(memory_mb(environ))
    options = Options(margin_s, handover.telemetry is not None, strategy(settings, managed=here.managed))
    lifecycle = Lifecycle(clock, identity, milestones, options, enhanced)
    async with anyio.create_task_group() as tasks:
        if (listening := handover.telemetry) is not None:
            handler = telemetry_handler(inbox)
            tasks.start_soon(supervise, "telemetry listener", lambda: serve_http(listening.dup(), handler))
        tasks.start_soon(supervise, "telemetry reader", reader.run)
        if dogstatsd is not None:
            tasks.start_soon(supervise, "DogStatsD listener", dogstatsd.run)
        if enhanced is not None:
            tasks.start_soon(supervise, "usage sampler", enhanced.sample)
        if handover.guarded:
            tasks.start_soon(_beat, books)
        gc.freeze()  # what has been loaded is no garbage: see `__main__`
        gc.enable()
        phases.reach("serving")
        phases.tell()
        await lifecycle.run(EventStream(handover), flusher)
        tasks.cancel_scope.cancel()
    inbox.give_up("shutdown")
    log_ledger(here.ledger)


async def _beat(books: Books) -> None:
    """Show the guard that the loop turns. While nothing runs in the environment it is frozen, and so is this."""
    while True:
        books.beat()
        await anyio.sleep(BEAT_S)


async def supervise(name: str, task: Callable[[], Awaitable[None]]) -> None:
    """Run `task` again whenever it dies, `MAX_RESTARTS` times at most. Only cancellation passes through."""
    for death in range(MAX_RESTARTS + 1):
        try:
            await task()
        except Exception as problem:  # noqa: BLE001 -- promise 1: whatever breaks is contained here
            report.error(f"the {name} died ({problem!r}), {MAX_RESTARTS - death} restarts left")
            await anyio.sleep(RESTART_PAUSE_S * 2**death)
        else:
            return
    report.error(f"the {name} is switched off: what it would have collected is lost")


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


def _signals(here: Here) -> tuple[LogPipeline, MetricPipeline, EventPipeline, EnhancedMetrics | None]:
    """The pipelines, and what adds to that of the metrics."""
    settings, _, identity, ledger, _, clock = here
    logs = LogPipeline(log_options(settings, managed=here.managed), identity, ledger, clock)
    events = EventPipeline(settings.metrics_url, identity, ledger, clock)

    def take_others(item: Event | ServiceCheck | Failure) -> None:
        if not isinstance(item, Failure):
            events.take(item)
        elif enhanced is not None:
            enhanced.library_failed()

    metrics = MetricPipeline(metric_options(settings), identity, ledger, clock, take_others)
    enhanced = _enhanced(here, metrics)
    return logs, metrics, events, enhanced


def _enhanced(here: Here, metrics: MetricPipeline) -> EnhancedMetrics | None:
    if not here.settings.enhanced_metrics:
        return None
    # What the machine does can be told of one invocation only where there is one at a time.
    reader = Proc() if here.settings.lambda_proc_enhanced_metrics and not here.managed else None
    sampler = UsageSampler(reader, cpu_share(memory_mb(here.environ))) if reader else None
    machine = Machine(os.uname().machine, reader, sampler, here.managed)
    return EnhancedMetrics(metrics.add, machine, here.clock, here.books)


def _dogstatsd(here: Here, handover: Handover, metrics: MetricPipeline) -> DogStatsDListener | None:
    if handover.dogstatsd is None:
        return None
    return DogStatsDListener(handover.dogstatsd, metrics.take, here.ledger, dogstatsd_options(here.settings))


def _collector(
    here: Here, dogstatsd: DogStatsDListener | None, metrics: MetricPipeline
) -> Callable[[bool], Awaitable[None]]:
    """What has arrived, or happened here, and is in no pipeline yet."""
    wanted = here.settings.enhanced_metrics
    bookkeeping = Bookkeeping(here.ledger, here.books, metrics.add, here.clock) if wanted else None

    async def collect(last: bool) -> None:
        if dogstatsd is not None:
            await dogstatsd.drain()
        if bookkeeping is not None:
            bookkeeping.tell(last=last)

    return collect


def _connector(here: Here) -> Connector:
    settings = here.settings
    tls = TlsOptions(settings.tls_cert_file, verify=not settings.skip_ssl_validation)
    found = proxies(here.environ, settings.proxy_https, settings.proxy_no_proxy)
    return Connector(settings.flush_timeout, tls, found)


def _client(here: Here, connector: Connector) -> IntakeClient | None:
    api_key = _api_key(here)
    if api_key is None:
        report.error(
            "no API key: telemetry is discarded. Set DD_API_KEY, DD_API_KEY_SECRET_ARN, DD_API_KEY_SSM_ARN or "
            "DD_KMS_API_KEY"
        )
        return None
    client = IntakeClient(connector, api_key, here.clock)
    client.prepare(here.settings.logs_url)
    return client


def _copies(here: Here, connector: Connector) -> "list[Copies]":
    """What goes to the additional endpoints, if there are any."""
    settings = here.settings
    if not (settings.additional_endpoints or settings.logs_config_additional_endpoints):
        return []
    from fliptop.outbox.copies import Copies, Place  # noqa: PLC0415 -- few have any
    from fliptop.settings.endpoints import logs_endpoints, metrics_endpoints  # noqa: PLC0415

    metrics, refused = metrics_endpoints(settings.additional_endpoints)
    logs, refused_too = logs_endpoints(settings.logs_config_additional_endpoints)
    for complaint in refused + refused_too:
        report.error(complaint)
    copies = []
    for signals, instead_of, endpoints in (
        (METRICS_SIGNALS, settings.metrics_url, metrics),
        (LOGS_SIGNALS, settings.logs_url, logs),
    ):
        for endpoint in endpoints:
            client = IntakeClient(connector, WrittenKey(endpoint.api_key), here.clock)
            client.prepare(endpoint.url)
            copies.append(Copies(Place(signals, instead_of, endpoint.url), here.ledger, here.clock, client.send))
    return copies


def _api_key(here: Here) -> ApiKey | None:
    """What gives the API key; None if nothing is configured that could."""
    settings, identity = here.settings, here.identity
    places = KeyPlaces(settings.kms_api_key, settings.api_key_secret_arn, settings.api_key_ssm_arn)
    if any(places):
        from fliptop.aws.api_key import KeptKey  # noqa: PLC0415 -- most keys stand in the configuration
        from fliptop.aws.secrets import sources  # noqa: PLC0415

        found = sources(places, region=identity.region, function_name=identity.function_name)
        return KeptKey(settings.api_key, found, here.environ, here.clock)
    return WrittenKey(settings.api_key) if settings.api_key else None
