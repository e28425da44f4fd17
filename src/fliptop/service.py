"""The extension at work: one event loop, a few tasks, and the way of a record from socket to intake.

telemetry listener ─► inbox ─► reader ─┬─► logs pipeline ───┬─► outbox ─► intake
                                       └─► milestones ─► lifecycle ── when and how long ──┘
DogStatsD listener ─────────────────────► metrics pipeline ─┘
"""

from __future__ import annotations

import gc
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import anyio

from fliptop import report
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
from fliptop.lifecycle.strategy import Strategy, on_managed_instances
from fliptop.listeners.dogstatsd import LONGEST_DATAGRAM, DogStatsDListener, DogStatsDOptions
from fliptop.listeners.http import serve as serve_http
from fliptop.listeners.inbox import Inbox
from fliptop.listeners.telemetry import telemetry_handler
from fliptop.logs.pipeline import AGENT_JSON, LogOptions, LogPipeline
from fliptop.logs.rules import Rule, compile_rule
from fliptop.metrics.bookkeeping import Bookkeeping
from fliptop.metrics.pipeline import MetricOptions, MetricPipeline
from fliptop.metrics.points import HistogramOptions
from fliptop.outbox.books import Books
from fliptop.outbox.copies import Copies, Place
from fliptop.outbox.ledger import Ledger
from fliptop.outbox.outbox import Outbox
from fliptop.outbox.payload import JSON_ARRAY
from fliptop.phases import Phases
from fliptop.platform.ready import MANAGED_INSTANCES, Handover
from fliptop.reader import TelemetryReader
from fliptop.settings.fields import Settings, effective
from fliptop.settings.load import load

# A task that dies is started again; one that keeps dying is switched off, and the loop over /event/next goes on.
MAX_RESTARTS: Final = 5
RESTART_PAUSE_S: Final = 0.1
# What goes to which of the two hosts, and so to which additional endpoints.
LOGS_SIGNALS: Final = frozenset({"logs"})
METRICS_SIGNALS: Final = frozenset({"metrics", "events", "service_checks"})
# The guard looks every second and gives up after five.
BEAT_S: Final = 0.5


async def serve(handover: Handover, environ: Mapping[str, str], clock: Clock, phases: Phases) -> None:
    """Run until SHUTDOWN has been served."""
    settings = _settings(handover, environ)
    phases.reach("config_parse")
    books = Books(handover.books)
    ledger, milestones = Ledger(books), Milestones()
    inbox = Inbox(ledger)
    identity = Identity(environ, handover.registration.account_id, settings.all_tags)
    managed = environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == MANAGED_INSTANCES
    logs = LogPipeline(_log_options(settings, managed=managed), identity, ledger, clock)
    events = EventPipeline(settings.metrics_url, identity, ledger, clock)
    metrics = MetricPipeline(_metric_options(settings), identity, ledger, clock, events.take)
    dogstatsd = _dogstatsd(handover, settings, metrics, ledger)
    connector = _connector(settings, environ)
    client = _client(settings, _api_key(settings, identity, environ, clock), connector, clock)
    bookkeeping = Bookkeeping(ledger, books, metrics.add, clock) if settings.enhanced_metrics else None

    async def collect(last: bool) -> None:
        if dogstatsd is not None:
            await dogstatsd.drain()
        if bookkeeping is not None:
            bookkeeping.tell(last=last)

    copies = _copies(settings, ledger, connector, clock)
    flusher = TelemetryFlusher([logs, metrics, events], Outbox(ledger, clock), client, collect, copies)
    enhanced = _enhanced(settings, environ, metrics, clock, books)
    takers = [logs.take, *([enhanced.take] if enhanced else [])]
    reader = TelemetryReader(inbox, takers, milestones, identity, ledger)
    margin_s = invoke_margin(memory_mb(environ))
    options = Options(margin_s, handover.telemetry is not None, _strategy(settings, managed=managed))
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
    log_ledger(ledger)


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


def _strategy(settings: Settings, *, managed: bool) -> Strategy:
    chosen = settings.serverless_flush_strategy
    if not managed:
        return chosen
    strategy = on_managed_instances(chosen)
    if chosen.kind not in {"default", strategy.kind}:
        report.warn(
            f"DD_SERVERLESS_FLUSH_STRATEGY={chosen.kind} has no meaning on Lambda Managed Instances: "
            f"telemetry is sent every {strategy.interval_s:g} s"
        )
    return strategy


def _log_options(settings: Settings, *, managed: bool) -> LogOptions:
    if settings.observability_pipelines_worker_logs_enabled and not settings.logs_worker:
        report.error(
            "logs are discarded: they are meant for an Observability Pipelines worker, but "
            "DD_OBSERVABILITY_PIPELINES_WORKER_LOGS_URL is not set"
        )
    rules: list[Rule] = []
    for definition in settings.logs_config_processing_rules:
        try:
            rules.append(compile_rule(definition))
        except ValueError as problem:
            report.error(f"{problem}: the rule is ignored")
    return LogOptions(
        settings.logs_wanted,
        settings.service.lower(),
        settings.logs_url,
        settings.logs_compression,
        tuple(rules),
        JSON_ARRAY if settings.logs_worker else AGENT_JSON,
        concurrent=managed,
    )


def _metric_options(settings: Settings) -> MetricOptions:
    return MetricOptions(
        settings.metrics_url,
        settings.metrics_compression,
        settings.statsd_metric_namespace,
        frozenset(settings.lambda_customer_metrics_exclude_tags),
        HistogramOptions(settings.histogram_aggregates, settings.histogram_percentiles),
    )


def _dogstatsd(
    handover: Handover, settings: Settings, metrics: MetricPipeline, ledger: Ledger
) -> DogStatsDListener | None:
    if handover.dogstatsd is None:
        return None
    defaults = DogStatsDOptions()
    options = DogStatsDOptions(
        settings.dogstatsd_so_rcvbuf,
        min(settings.dogstatsd_buffer_size or defaults.datagram_bytes, LONGEST_DATAGRAM),
        settings.dogstatsd_queue_size or defaults.queue,
    )
    return DogStatsDListener(handover.dogstatsd, metrics.take, ledger, options)


def _enhanced(
    settings: Settings, environ: Mapping[str, str], metrics: MetricPipeline, clock: Clock, books: Books
) -> EnhancedMetrics | None:
    if not settings.enhanced_metrics:
        return None
    managed = environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == MANAGED_INSTANCES
    # What the machine does can be told of one invocation only where there is one at a time.
    reader = Proc() if settings.lambda_proc_enhanced_metrics and not managed else None
    sampler = UsageSampler(reader, cpu_share(memory_mb(environ))) if reader else None
    return EnhancedMetrics(metrics.add, Machine(os.uname().machine, reader, sampler, managed), clock, books)


def _connector(settings: Settings, environ: Mapping[str, str]) -> Connector:
    tls = TlsOptions(settings.tls_cert_file, verify=not settings.skip_ssl_validation)
    return Connector(settings.flush_timeout, tls, proxies(environ, settings.proxy_https, settings.proxy_no_proxy))


def _client(settings: Settings, api_key: ApiKey | None, connector: Connector, clock: Clock) -> IntakeClient | None:
    if api_key is None:
        report.error(
            "no API key: telemetry is discarded. Set DD_API_KEY, DD_API_KEY_SECRET_ARN, DD_API_KEY_SSM_ARN or "
            "DD_KMS_API_KEY"
        )
        return None
    client = IntakeClient(connector, api_key, clock)
    client.prepare(settings.logs_url)
    return client


def _copies(settings: Settings, ledger: Ledger, connector: Connector, clock: Clock) -> list[Copies]:
    """What goes to the additional endpoints, if there are any."""
    if not (settings.additional_endpoints or settings.logs_config_additional_endpoints):
        return []
    from fliptop.settings.endpoints import logs_endpoints, metrics_endpoints  # noqa: PLC0415 -- few have any

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
            client = IntakeClient(connector, WrittenKey(endpoint.api_key), clock)
            client.prepare(endpoint.url)
            copies.append(Copies(Place(signals, instead_of, endpoint.url), ledger, clock, client.send))
    return copies


def _api_key(settings: Settings, identity: Identity, environ: Mapping[str, str], clock: Clock) -> ApiKey | None:
    """What gives the API key; None if nothing is configured that could."""
    places = KeyPlaces(settings.kms_api_key, settings.api_key_secret_arn, settings.api_key_ssm_arn)
    if any(places):
        from fliptop.aws.api_key import KeptKey  # noqa: PLC0415 -- most keys stand in the configuration
        from fliptop.aws.secrets import sources  # noqa: PLC0415

        found = sources(places, region=identity.region, function_name=identity.function_name)
        return KeptKey(settings.api_key, found, environ, clock)
    return WrittenKey(settings.api_key) if settings.api_key else None
