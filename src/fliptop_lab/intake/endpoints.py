"""Datadog's endpoints: which paths exist, what they take, and what they say when all is well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fliptop_lab.intake.body import load_json
from fliptop_lab.intake.events import decode_event, decode_service_checks
from fliptop_lab.intake.logs import decode_logs
from fliptop_lab.intake.metrics import decode_series, decode_series_protobuf, decode_sketches
from fliptop_lab.intake.proxied import PRODUCTS, decode_proxied
from fliptop_lab.intake.refusals import Refusal
from fliptop_lab.intake.stats import decode_stats
from fliptop_lab.intake.store import Request
from fliptop_lab.intake.traces import decode_traces

MIB = 1 << 20
JSON = "application/json"
PROTOBUF = "application/x-protobuf"
MSGPACK = "application/msgpack"

Decoder = Callable[[Request, bytes], Sequence[Any]]
"""(request, body without its content encoding) to items; raises ``Refusal``."""


def _logs(_request: Request, body: bytes) -> Sequence[Any]:
    return decode_logs(load_json(body))


def _series(request: Request, body: bytes) -> Sequence[Any]:
    return decode_series(load_json(body)) if media_type(request) == JSON else decode_series_protobuf(body)


def _sketches(_request: Request, body: bytes) -> Sequence[Any]:
    return decode_sketches(body)


def _event(_request: Request, body: bytes) -> Sequence[Any]:
    return decode_event(load_json(body))


def _service_checks(_request: Request, body: bytes) -> Sequence[Any]:
    return decode_service_checks(load_json(body))


def _traces(_request: Request, body: bytes) -> Sequence[Any]:
    return decode_traces(body)


def _stats(_request: Request, body: bytes) -> Sequence[Any]:
    return decode_stats(body)


def _proxied(request: Request, body: bytes) -> Sequence[Any]:
    return decode_proxied(request.path, request.query, request.headers, body)


def media_type(request: Request) -> str:
    """The content type without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True)
class Endpoint:
    """One intake endpoint.

    ``content_types`` empty means any. ``ceiling`` is in bytes after decompression. ``keyless`` is the status for a
    request without an API key (a wrong key is 403 everywhere).
    """

    signal: str
    content_types: tuple[str, ...] = ()
    ceiling: int = 5 * MIB
    keyless: int = 403
    answer: dict[str, Any] = field(default_factory=dict)
    decode: Decoder = _proxied

    def check_content_type(self, request: Request) -> None:
        """``Refusal`` 415 when it is not one of ``content_types``."""
        if self.content_types and media_type(request) not in self.content_types:
            wanted = " or ".join(self.content_types)
            raise Refusal(415, f"content type must be {wanted}, not {request.headers.get('content-type', 'absent')!r}")


_METRICS_ANSWER: dict[str, Any] = {"errors": []}

ENDPOINTS: dict[str, Endpoint] = {
    # The public logs API also takes text/plain and logplex; no extension sends those, so here they are a mistake.
    "/api/v2/logs": Endpoint("logs", (JSON,), keyless=401, decode=_logs),
    "/api/v2/series": Endpoint("series", (JSON, PROTOBUF), answer=_METRICS_ANSWER, decode=_series),
    "/api/beta/sketches": Endpoint("sketches", (PROTOBUF,), ceiling=62 * MIB, answer=_METRICS_ANSWER, decode=_sketches),
    "/api/v1/events": Endpoint("events", (JSON,), answer={"status": "ok"}, decode=_event),
    "/api/v1/check_run": Endpoint("service_checks", (JSON,), answer={"status": "ok"}, decode=_service_checks),
    "/api/v0.2/traces": Endpoint("spans", (PROTOBUF,), ceiling=15_000_000, decode=_traces),
    "/api/v0.2/stats": Endpoint("stats", (MSGPACK,), ceiling=15_000_000, decode=_stats),
    **dict.fromkeys(PRODUCTS, Endpoint("proxied", ceiling=64 * MIB)),
}
"""Every path the intake takes payloads on (by POST); success is 202 for all of them."""
