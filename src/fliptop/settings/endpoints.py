"""Additional endpoints, as people write them. Loaded only where there are any.

`DD_ADDITIONAL_ENDPOINTS` and `DD_APM_ADDITIONAL_ENDPOINTS` map URLs to API keys: `{"https://api.datadoghq.eu": ["key",
…], …}`.
`DD_LOGS_CONFIG_ADDITIONAL_ENDPOINTS` lists endpoints: `[{"api_key": …, "Host": …, "Port": 443, "is_reliable": true}]`.
Source: extension-behaviour, 1.3; intake-wire, 2 and 3.6. `use_ssl` is known to Datadog's agent only. An endpoint that
cannot be used is named, without its key, and costs no other.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from fliptop.settings import values

LOGS_PATH: Final = "/api/v2/logs"
HTTPS_PORT: Final = 443


class Endpoint(NamedTuple):
    """Where copies go, and the key to use there. `url`: for logs complete, else without a path."""

    url: str
    api_key: str


Read = Callable[[Any], Endpoint]


def metrics_endpoints(written: Mapping[str, Any]) -> tuple[list[Endpoint], list[str]]:
    """The endpoints in `DD_ADDITIONAL_ENDPOINTS`, each once, and a sentence for each that cannot be used."""
    return _by_url(written, "DD_ADDITIONAL_ENDPOINTS")


def apm_endpoints(written: Mapping[str, Any]) -> tuple[list[Endpoint], list[str]]:
    """The same for `DD_APM_ADDITIONAL_ENDPOINTS`."""
    return _by_url(written, "DD_APM_ADDITIONAL_ENDPOINTS")


def _by_url(written: Mapping[str, Any], name: str) -> tuple[list[Endpoint], list[str]]:
    pairs = [(url, key) for url, keys in written.items() for key in (keys if isinstance(keys, list) else [keys])]
    return _read(pairs, lambda pair: Endpoint(values.base_url(pair[0]), _key(pair[1])), name)


def logs_endpoints(written: list[Any]) -> tuple[list[Endpoint], list[str]]:
    """The same for `DD_LOGS_CONFIG_ADDITIONAL_ENDPOINTS`."""
    return _read(written, _logs_endpoint, "DD_LOGS_CONFIG_ADDITIONAL_ENDPOINTS")


def _read(written: Iterable[Any], read: Read, name: str) -> tuple[list[Endpoint], list[str]]:
    found: dict[Endpoint, None] = {}
    complaints = []
    for number, one in enumerate(written, 1):
        try:
            found[read(one)] = None
        except ValueError as problem:
            complaints.append(f"{name}: endpoint {number} is ignored: {problem}")
    return list(found), complaints


def _logs_endpoint(written: Any) -> Endpoint:
    if not isinstance(written, Mapping):
        raise ValueError("expected a mapping with Host, Port and api_key")
    fields = {str(key).lower(): value for key, value in written.items()}
    host, port = values.text(fields.get("host", "")), values.size(fields.get("port", HTTPS_PORT)) or HTTPS_PORT
    if not host or "/" in host or port > 65535:
        raise ValueError("expected a Host such as agent-http-intake.logs.datadoghq.eu and a Port")
    scheme = "https" if values.boolean(fields.get("use_ssl", True)) else "http"
    return Endpoint(values.base_url(f"{scheme}://{host}:{port}") + LOGS_PATH, _key(fields.get("api_key")))


def _key(written: Any) -> str:
    key = values.api_key(written) if isinstance(written, str | int) and not isinstance(written, bool) else ""
    if not key:
        raise ValueError("its API key is missing")
    return key
