"""Where proxied requests go. Source: intake-wire, 7.1 and 7.2."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from fliptop.http1 import Request
from fliptop.listeners.trace_agent import EVP, TELEMETRY, subdomain


class Destination(NamedTuple):
    """`host` is a part of Datadog's site; `product` is what users know it by when they want it to go elsewhere."""

    product: str
    host: str
    path: str


KNOWN: Final = {
    "/v0.1/pipeline_stats": Destination("dsm", "trace.agent", "/api/v0.1/pipeline_stats"),
    "/profiling/v1/input": Destination("profiling", "intake.profile", "/api/v2/profile"),
    "/evp_proxy/v2/api/intake/llm-obs/v1/eval-metric": Destination("evp", "api", "/api/intake/llm-obs/v1/eval-metric"),
    "/evp_proxy/v2/api/intake/llm-obs/v2/eval-metric": Destination("evp", "api", "/api/intake/llm-obs/v2/eval-metric"),
    "/evp_proxy/v2/api/v2/llmobs": Destination("evp", "llmobs-intake", "/api/v2/llmobs"),
    "/debugger/v1/input": Destination("debugger", "http-intake.logs", "/api/v2/logs"),
    "/debugger/v2/input": Destination("diagnostics", "debugger-intake", "/api/v2/debugger"),
    "/debugger/v1/diagnostics": Destination("diagnostics", "debugger-intake", "/api/v2/debugger"),
}
COMPLETE: Final = frozenset({"profiling", "debugger", "diagnostics"})
"""Products for which users write a URL with its path, as for Datadog's agent."""


class Places(NamedTuple):
    """Datadog's site, and for each product that the user wants to go elsewhere a URL: with a path for those in
    `COMPLETE`, without one for the others.
    """

    site: str
    instead: Mapping[str, str] = {}


def url(request: Request, places: Places) -> str | None:
    """The URL that `request` goes to, its query string included; None if it does not say."""
    found = destination(request)
    if found is None:
        return None
    instead = places.instead.get(found.product)
    whole = instead if found.product in COMPLETE else None
    _, question, query = request.target.partition("?")
    return (whole or (instead or f"https://{found.host}.{places.site}") + found.path) + question + query


def destination(request: Request) -> Destination | None:
    """Whom `request` is for."""
    path = request.path
    if path in KNOWN:
        return KNOWN[path]
    if path.startswith(TELEMETRY):
        return Destination("telemetry", "instrumentation-telemetry-intake", "/" + path.removeprefix(TELEMETRY))
    host = subdomain(request)
    return Destination("evp", host, path[len(EVP[0]) - 1 :]) if path.startswith(EVP) and host else None
