"""The way out: from sealed payloads to Datadog's intake and to additional endpoints, as the settings say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from fliptop import report
from fliptop.flusher import TelemetryFlusher
from fliptop.intake.api_key import ApiKey, KeyPlaces, WrittenKey
from fliptop.intake.client import IntakeClient
from fliptop.intake.connect import Connector, proxies
from fliptop.intake.tls import TlsOptions
from fliptop.outbox.outbox import Outbox
from fliptop.parts import Here, Part

if TYPE_CHECKING:
    from fliptop.outbox.copies import Copies

# What goes to which of the hosts, and so to which additional endpoints.
LOGS_SIGNALS: Final = frozenset({"logs"})
METRICS_SIGNALS: Final = frozenset({"metrics", "events", "service_checks"})
APM_SIGNALS: Final = frozenset({"spans", "stats"})


def flusher(here: Here, parts: Sequence[Part]) -> TelemetryFlusher:
    """What sends all that `parts` hold."""
    connector = _connector(here)
    collectors = [part.collect for part in parts if part.collect]

    async def collect(last: bool) -> None:
        for one in collectors:
            await one(last=last)

    pipelines = [pipeline for part in parts for pipeline in part.pipelines]
    outbox, client = Outbox(here.ledger, here.clock), _client(here, connector)
    return TelemetryFlusher(pipelines, outbox, client, collect, _copies(here, connector))


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


def _copies(here: Here, connector: Connector) -> list[Copies]:
    """What goes to the additional endpoints, if there are any."""
    settings = here.settings
    logs, metrics, apm = (
        settings.logs_config_additional_endpoints,
        settings.additional_endpoints,
        settings.apm_additional_endpoints,
    )
    if not (logs or metrics or apm):
        return []
    from fliptop.outbox.copies import Copies, Place  # noqa: PLC0415 -- few have any
    from fliptop.settings.endpoints import apm_endpoints, logs_endpoints, metrics_endpoints  # noqa: PLC0415

    copies = []
    for signals, instead_of, (endpoints, refused) in (
        (METRICS_SIGNALS, settings.metrics_url, metrics_endpoints(metrics)),
        (LOGS_SIGNALS, settings.logs_url, logs_endpoints(logs)),
        (APM_SIGNALS, settings.apm_url, apm_endpoints(apm)),
    ):
        for complaint in refused:
            report.error(complaint)
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
