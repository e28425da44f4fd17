"""The settings, declared once: name, type, default, how a written value is read, its place in `datadog.yaml`.

Names are those of Datadog's documents without the `DD_` prefix, in lower case. From this declaration both readers
derive: the quick one (`settings.load`), and the model (`settings.model`) that judges what the quick one doubts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from fliptop.lifecycle.strategy import Strategy
from fliptop.settings import values

_DEFAULT_COMPRESSION: Final = 3

LogLevel = Literal["error", "warn", "info", "debug", "trace"]


class Setting:
    """One field of `Settings`. `read` makes a value of what was written, or raises `ValueError` saying what it expects.

    `path` is the dotted place in `datadog.yaml`, the field's own name if not given. `masked`: never shown to anyone.
    """

    def __init__(self, read: Callable[[Any], Any], default: Any, path: str = "", *, masked: bool = False) -> None:
        self.read = read
        self.default = default
        self.path = path
        self.masked = masked
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self.path = self.path or name

    def __get__(self, settings: Settings | None, owner: type) -> Any:
        return self if settings is None else settings.given.get(self.name, self.default)

    def __set__(self, settings: Settings, value: object) -> None:
        raise AttributeError(f"{self.name}: settings do not change")


def _setting(read: Callable[[Any], Any], default: Any, path: str = "", *, masked: bool = False) -> Any:
    """A `Setting`, for type checkers the value that it stands for."""
    return Setting(read, default, path, masked=masked)


class Settings:
    """What the user configured, as far as this version reads it; defaults for all that is not `given`."""

    site: str = _setting(values.site, "datadoghq.com")
    api_key: str = _setting(values.api_key, "", masked=True)
    api_key_secret_arn: str = _setting(values.text, "")
    api_key_ssm_arn: str = _setting(values.text, "")
    kms_api_key: str = _setting(values.text, "", masked=True)
    log_level: LogLevel = _setting(values.log_level, "info")
    serverless_flush_strategy: Strategy = _setting(values.flush_strategy, Strategy())
    flush_timeout: float = _setting(values.seconds, 30.0)
    env: str = _setting(values.text, "")
    service: str = _setting(values.text, "")
    version: str = _setting(values.text, "")
    tags: dict[str, str] = _setting(values.tags, {})
    logs_enabled: bool | None = _setting(values.boolean, None)
    serverless_logs_enabled: bool | None = _setting(values.boolean, None)
    # Masked, because people write passwords in URLs.
    logs_config_logs_dd_url: str | None = _setting(values.base_url, None, "logs_config.logs_dd_url", masked=True)
    # Masked for the keys in it.
    logs_config_additional_endpoints: list[Any] = _setting(
        values.json_list, [], "logs_config.additional_endpoints", masked=True
    )
    observability_pipelines_worker_logs_enabled: bool = _setting(values.boolean, False)
    observability_pipelines_worker_logs_url: str | None = _setting(values.base_url, None, masked=True)
    logs_config_processing_rules: list[Any] = _setting(values.json_list, [], "logs_config.processing_rules")
    logs_config_use_compression: bool = _setting(values.boolean, True, "logs_config.use_compression")
    logs_config_compression_level: int | None = _setting(
        values.compression_level, None, "logs_config.compression_level"
    )
    compression_level: int | None = _setting(values.compression_level, None)
    # Masked, because people write passwords in URLs.
    dd_url: str | None = _setting(values.base_url, None, masked=True)
    url: str | None = _setting(values.base_url, None, masked=True)
    # Masked for the keys in it.
    additional_endpoints: dict[str, Any] = _setting(values.json_map, {}, masked=True)
    metrics_config_compression_level: int | None = _setting(
        values.compression_level, None, "metrics_config.compression_level"
    )
    # Masked, because people write passwords in URLs.
    apm_dd_url: str | None = _setting(values.base_url, None, "apm_config.apm_dd_url", masked=True)
    apm_profiling_dd_url: str | None = _setting(values.base_url, None, "apm_config.profiling_dd_url", masked=True)
    apm_debugger_dd_url: str | None = _setting(values.base_url, None, "apm_config.debugger_dd_url", masked=True)
    apm_debugger_diagnostics_dd_url: str | None = _setting(
        values.base_url, None, "apm_config.debugger_diagnostics_dd_url", masked=True
    )
    apm_telemetry_dd_url: str | None = _setting(values.base_url, None, "apm_config.telemetry.dd_url", masked=True)
    evp_proxy_config_dd_url: str | None = _setting(values.base_url, None, "evp_proxy_config.dd_url", masked=True)
    # Masked for the keys in it.
    apm_additional_endpoints: dict[str, Any] = _setting(
        values.json_map, {}, "apm_config.additional_endpoints", masked=True
    )
    apm_config_compression_level: int | None = _setting(values.compression_level, None, "apm_config.compression_level")
    apm_replace_tags: list[Any] = _setting(values.json_list, [], "apm_config.replace_tags")
    apm_config_obfuscation_http_remove_query_string: bool = _setting(
        values.boolean, False, "apm_config.obfuscation.http.remove_query_string"
    )
    apm_config_obfuscation_http_remove_paths_with_digits: bool = _setting(
        values.boolean, False, "apm_config.obfuscation.http.remove_paths_with_digits"
    )
    apm_filter_tags_require: tuple[str, ...] = _setting(values.tokens, (), "apm_config.filter_tags.require")
    apm_filter_tags_reject: tuple[str, ...] = _setting(values.tokens, (), "apm_config.filter_tags.reject")
    apm_filter_tags_regex_require: tuple[str, ...] = _setting(values.tokens, (), "apm_config.filter_tags_regex.require")
    apm_filter_tags_regex_reject: tuple[str, ...] = _setting(values.tokens, (), "apm_config.filter_tags_regex.reject")
    enhanced_metrics: bool = _setting(values.boolean, True)
    lambda_proc_enhanced_metrics: bool = _setting(values.boolean, True)
    statsd_metric_namespace: str = _setting(values.text, "")
    dogstatsd_so_rcvbuf: int = _setting(values.size, 0)
    dogstatsd_buffer_size: int = _setting(values.size, 0)
    dogstatsd_queue_size: int = _setting(values.size, 0)
    lambda_customer_metrics_exclude_tags: tuple[str, ...] = _setting(values.words, ())
    histogram_aggregates: tuple[str, ...] = _setting(values.aggregates, ("max", "median", "avg", "count"))
    histogram_percentiles: tuple[int, ...] = _setting(values.percentiles, (95,))
    proxy_https: str | None = _setting(values.proxy_url, None, "proxy.https", masked=True)
    proxy_no_proxy: tuple[str, ...] = _setting(values.words, (), "proxy.no_proxy")
    tls_cert_file: str = _setting(values.text, "")
    skip_ssl_validation: bool = _setting(values.boolean, False)

    # Invocations
    service_mapping: dict[str, str] = _setting(values.mapping, {})
    trace_aws_service_representation_enabled: bool = _setting(values.boolean, True)
    trace_propagation_style: tuple[str, ...] = _setting(values.propagation_styles, ("datadog", "tracecontext"))
    trace_propagation_style_extract: tuple[str, ...] = _setting(values.propagation_styles, ())
    trace_propagation_extract_first: bool = _setting(values.boolean, False)
    trace_propagation_http_baggage_enabled: bool = _setting(values.boolean, False)
    capture_lambda_payload: bool = _setting(values.boolean, False)
    capture_lambda_payload_max_depth: int = _setting(values.size, 10)

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        self.given: Final = given or {}

    def __repr__(self) -> str:
        return f"Settings({effective(self)})"

    @property
    def logs_wanted(self) -> bool:
        """Logs are shipped unless a switch is set and none of those that are set says yes. What is meant for a worker
        that is not named is not sent to Datadog in its place.
        """
        if self.observability_pipelines_worker_logs_enabled and not self.logs_worker:
            return False
        switches = [switch for switch in (self.logs_enabled, self.serverless_logs_enabled) if switch is not None]
        return any(switches) if switches else True

    @property
    def logs_worker(self) -> str | None:
        """The URL of an Observability Pipelines worker that takes the logs in Datadog's place, as it was written."""
        return (
            self.observability_pipelines_worker_logs_url if self.observability_pipelines_worker_logs_enabled else None
        )

    @property
    def logs_url(self) -> str:
        """Where logs go, complete."""
        if self.logs_worker:
            return self.logs_worker
        return (self.logs_config_logs_dd_url or f"https://http-intake.logs.{self.site}") + "/api/v2/logs"

    @property
    def logs_compression(self) -> int | None:
        """The zstd level for logs, None for no compression. The level for logs beats the global one."""
        if not self.logs_config_use_compression or self.logs_worker:
            return None
        return self.logs_config_compression_level or self.compression_level or _DEFAULT_COMPRESSION

    @property
    def metrics_url(self) -> str:
        """Where metrics go, without a path."""
        return self.dd_url or self.url or f"https://api.{self.site}"

    @property
    def metrics_compression(self) -> int:
        """The zstd level for metrics. The level for metrics beats the global one."""
        return self.metrics_config_compression_level or self.compression_level or _DEFAULT_COMPRESSION

    @property
    def apm_url(self) -> str:
        """Where traces and their statistics go, without a path."""
        return self.apm_dd_url or f"https://trace.agent.{self.site}"

    @property
    def apm_compression(self) -> int:
        """The zstd level for traces. The level for traces beats the global one."""
        return self.apm_config_compression_level or self.compression_level or _DEFAULT_COMPRESSION

    @property
    def all_tags(self) -> dict[str, str]:
        """Unified service tags and the user's own, which win."""
        unified = {"env": self.env, "service": self.service.lower(), "version": self.version}
        return {**{key: value for key, value in unified.items() if value}, **self.tags}


FIELDS: Final = {name: field for name, field in vars(Settings).items() if isinstance(field, Setting)}


def effective(settings: Settings) -> dict[str, Any]:
    """The settings as they are in force, secrets masked, for `DD_LOG_LEVEL=debug`."""
    shown = {name: getattr(settings, name) for name in FIELDS}
    return {name: "(set)" if FIELDS[name].masked and value else value for name, value in shown.items()}
