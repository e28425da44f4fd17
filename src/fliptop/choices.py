"""From the settings to what each part of the extension is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from fliptop import report
from fliptop.identity import Identity
from fliptop.lifecycle.strategy import Strategy, on_managed_instances
from fliptop.listeners.dogstatsd import LONGEST_DATAGRAM, DogStatsDOptions
from fliptop.listeners.http import Limits
from fliptop.logs.pipeline import AGENT_JSON, LogOptions
from fliptop.logs.rules import Rule, compile_rule
from fliptop.metrics.pipeline import MetricOptions
from fliptop.metrics.points import HistogramOptions
from fliptop.outbox.payload import JSON_ARRAY
from fliptop.platform.ready import MANAGED_INSTANCES
from fliptop.settings.fields import Settings

if TYPE_CHECKING:
    from fliptop.invocations.options import InvocationOptions

# Bytes. The smallest is what Node.js' tracer collects before it sends, and then some; the largest what Python's does.
SMALLEST_TRACES: Final = 9 * 1024 * 1024
LARGEST_TRACES: Final = 24 * 1024 * 1024


def on_managed(environ: Mapping[str, str]) -> bool:
    """True on Lambda Managed Instances, where many invocations run at once."""
    return environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == MANAGED_INSTANCES


def strategy(settings: Settings, *, managed: bool) -> Strategy:
    """When to flush."""
    chosen = settings.serverless_flush_strategy
    if not managed:
        return chosen
    instead = on_managed_instances(chosen)
    if chosen.kind not in {"default", instead.kind}:
        report.warn(
            f"DD_SERVERLESS_FLUSH_STRATEGY={chosen.kind} has no meaning on Lambda Managed Instances: "
            f"telemetry is sent every {instead.interval_s:g} s"
        )
    return instead


def log_options(settings: Settings, *, managed: bool) -> LogOptions:
    """How logs are made, and where they go. A rule that cannot be used is named and left out."""
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


def metric_options(settings: Settings) -> MetricOptions:
    """How metrics are made, and where they go."""
    return MetricOptions(
        settings.metrics_url,
        settings.metrics_compression,
        settings.statsd_metric_namespace,
        frozenset(settings.lambda_customer_metrics_exclude_tags),
        HistogramOptions(settings.histogram_aggregates, settings.histogram_percentiles),
    )


def invocation_options(settings: Settings, identity: Identity, *, managed: bool) -> InvocationOptions:
    """How invocations become traces."""
    from fliptop.invocations.options import (  # noqa: PLC0415 -- only functions with a tracer need it
        InvocationOptions,
        Naming,
        Propagation,
    )

    by_instance = settings.trace_aws_service_representation_enabled
    own = (settings.service or identity.function_name).lower() if by_instance else ""
    return InvocationOptions(
        Naming(
            own or "aws.lambda",
            identity.function_name,
            identity.region,
            settings.service_mapping,
            by_instance=by_instance,
        ),
        Propagation(
            settings.trace_propagation_style_extract or settings.trace_propagation_style,
            settings.trace_propagation_extract_first,
            settings.trace_propagation_http_baggage_enabled,
        ),
        settings.capture_lambda_payload_max_depth if settings.capture_lambda_payload else None,
        managed,
    )


def dogstatsd_options(settings: Settings) -> DogStatsDOptions:
    """How DogStatsD listens."""
    defaults = DogStatsDOptions()
    return DogStatsDOptions(
        settings.dogstatsd_so_rcvbuf,
        min(settings.dogstatsd_buffer_size or defaults.datagram_bytes, LONGEST_DATAGRAM),
        settings.dogstatsd_queue_size or defaults.queue,
    )


def tracer_limits(memory_mb: float) -> Limits:
    """What tracers may send at once, and how much of it may wait to be read (as much as one request's body): a
    sixteenth of the function's memory, within bounds. Each process of a function may keep connections of its own.
    """
    most = round(min(max(memory_mb * 1024 * 1024 / 16, SMALLEST_TRACES), LARGEST_TRACES))
    return Limits(connections=64, body_bytes=most, bodies_bytes=most * 3 // 2)


def places(settings: Settings) -> dict[str, str]:
    """The products that the user wants to go elsewhere than to Datadog's site: see `proxied.destinations`."""
    wanted = {
        "dsm": settings.apm_dd_url,
        "profiling": settings.apm_profiling_dd_url,
        "debugger": settings.apm_debugger_dd_url,
        "diagnostics": settings.apm_debugger_diagnostics_dd_url,
        "telemetry": settings.apm_telemetry_dd_url,
        "evp": settings.evp_proxy_config_dd_url,
    }
    return {product: url for product, url in wanted.items() if url}
