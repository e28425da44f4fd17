"""The trace agent's listener: what tracers, profilers and their like send to port 8126. It routes and parses nothing.

Source: extension-behaviour, 2.3; intake-wire, 7 to 9. An answer of 200 or 202 means that the request is ours now. Few
clients send again what was refused, so what is not taken over is counted.

A client that had to wait too long for an answer sends the same bytes again. Each payload carries ids or times, so bytes
that were seen a moment ago are the same request, and it is here, for all kinds of requests, that they are recognised:
whoever reads the inbox sees each once.
"""

from collections import deque
from hashlib import blake2b
from typing import Final, Literal, NamedTuple

import orjson

from fliptop import report
from fliptop.http1 import MAX_HEADER_BYTES, Refusal, Request, Response
from fliptop.listeners.http import Handler
from fliptop.listeners.inbox import Inbox

SIGNAL: Final = "tracer_requests"
REMEMBERED: Final = 32
# What a request takes in memory beside its bytes.
OVERHEAD: Final = 1024
LONGEST_HEAD: Final = MAX_HEADER_BYTES + OVERHEAD

Kind = Literal["traces", "stats", "proxied"]


class Route(NamedTuple):
    """Who reads requests to a path, the methods that it takes, and the answer that says so."""

    kind: Kind
    methods: tuple[str, ...]
    taken: Response


TEXT: Final = ("Content-Type", "text/plain; charset=utf-8")
JSON: Final = ("Content-Type", "application/json")
# No rates: tracers go on with the one that they have (by default, everything is kept).
_TRACES: Final = Route("traces", ("POST", "PUT"), Response(200, b'{"rate_by_service":{}}', (JSON,)))
_STATS: Final = Route(
    "stats", ("POST", "PUT"), Response(202, b"Successfully buffered stats to be aggregated.", (TEXT,))
)


def _proxied(product: str) -> Route:
    return Route("proxied", ("POST",), Response(200, f"Acknowledged request for {product}".encode(), (TEXT,)))


ROUTES: Final = {
    "/v0.3/traces": _TRACES,
    "/v0.4/traces": _TRACES,
    "/v0.5/traces": _TRACES,
    "/v0.7/traces": _TRACES,
    "/v0.6/stats": _STATS,
    "/v0.1/pipeline_stats": _proxied("DSM"),
    "/profiling/v1/input": _proxied("profiling"),
    "/evp_proxy/v2/api/intake/llm-obs/v1/eval-metric": _proxied("llm_obs_eval_metric"),
    "/evp_proxy/v2/api/intake/llm-obs/v2/eval-metric": _proxied("llm_obs_eval_metric"),
    "/evp_proxy/v2/api/v2/llmobs": _proxied("llm_obs_spans"),
    "/debugger/v1/input": _proxied("debugger_logs"),
    "/debugger/v2/input": _proxied("debugger"),
    "/debugger/v1/diagnostics": _proxied("debugger"),
}
"""Paths that are served as they are. Beside them are two with anything below them: `TELEMETRY` and `EVP`."""

TELEMETRY: Final = "/telemetry/proxy/"
EVP: Final = ("/evp_proxy/v1/", "/evp_proxy/v2/", "/evp_proxy/v3/", "/evp_proxy/v4/")
SUBDOMAIN: Final = "X-Datadog-EVP-Subdomain"
_TELEMETRY: Final = _proxied("instrumentation")
_EVP: Final = _proxied("evp_proxy")
_INFO: Final = "/info"
# What is below a path is listed as the path alone, as Datadog's agent does.
_LISTED: Final = (*ROUTES, _INFO, *EVP, TELEMETRY)
# Tracers must not leave out what they think nobody wants: Datadog computes the statistics from all there is.
_ABOUT_US: Final = Response(200, orjson.dumps({"endpoints": _LISTED, "client_drop_p0s": False}), (JSON,))


def route(path: str) -> Route | None:
    """The route of `path` (without its query string), None if it leads nowhere."""
    if found := ROUTES.get(path):
        return found
    if _climbs(path) or path in {TELEMETRY, *EVP}:
        return None
    if path.startswith(TELEMETRY):
        return _TELEMETRY
    return _EVP if path.startswith(EVP) else None


def _climbs(path: str) -> bool:
    """True for a path with `.` or `..` in it, which could leave what it seems to be below."""
    return any(part.lower().replace("%2e", ".") in {".", ".."} for part in path.replace("\\", "/").split("/"))


def subdomain(request: Request) -> str | None:
    """Whom of Datadog's site an EVP request is meant for; None if it does not say so in a way that can be believed."""
    named = request.header(SUBDOMAIN) or ""
    labels = named.replace("-", "0").split(".")
    return named if named.isascii() and all(label.isalnum() for label in labels) else None


def trace_agent_handler(inbox: Inbox[Request]) -> Handler:
    """The handler that puts tracers' requests into `inbox`, each once."""
    seen: deque[bytes] = deque(maxlen=REMEMBERED)
    told: set[str] = set()

    def refuse(request: Request, refusal: Refusal) -> Response:
        reason = "too_large" if refusal == "too_large" else "inbox_full"
        inbox.refuse(reason)
        if reason not in told:
            told.add(reason)
            report.warn(f"a tracer's request to {request.path} was refused: {reason}")
        return Response(413 if reason == "too_large" else 429)

    def handle(request: Request) -> Response:
        found = route(request.path)
        if found is None:
            return _other(request)
        if request.method not in found.methods:
            return Response(405, headers=(("Allow", ", ".join(found.methods)),))
        if found is _EVP and subdomain(request) is None:
            return Response(400, f"{SUBDOMAIN} is missing, or no name of a host".encode(), (TEXT,))
        if request.refused:
            return refuse(request, request.refused)
        digest = _digest(request)
        if digest not in seen:
            if not inbox.put(request, _size(request)):
                return refuse(request, "no_room")
            seen.append(digest)
        return found.taken

    return handle


def _other(request: Request) -> Response:
    if request.path != _INFO:
        return Response(404, b"Not Found", (TEXT,))
    return Response(405, headers=(("Allow", "GET"),)) if request.method == "CONNECT" else _ABOUT_US


def _digest(request: Request) -> bytes:
    """What is the same for the same bytes to the same path and host."""
    digest = blake2b(f"{request.target}\n{request.header(SUBDOMAIN)}\n".encode(), digest_size=16)
    digest.update(request.body)
    return digest.digest()


def _size(request: Request) -> int:
    """The bytes that `request` takes while it waits."""
    headers = sum(len(name) + len(value) for name, value in request.headers)
    return OVERHEAD + len(request.target) + headers + len(request.body)
