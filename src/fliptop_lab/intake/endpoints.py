"""Datadog's endpoints: which paths exist, what they take, and what they say when all is well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fliptop_lab.intake.body import load_json
from fliptop_lab.intake.events import decode_event, decode_service_checks
from fliptop_lab.intake.logs import decode_logs
from fliptop_lab.intake.metrics import decode_series, decode_series_protobuf, decode_sketches
from fliptop_lab.intake.refusals import Refusal
from fliptop_lab.intake.store import RawPayload

MIB = 1 << 20
JSON = "application/json"
PROTOBUF = "application/x-protobuf"
MSGPACK = "application/msgpack"

Decoder = Callable[[str, str, bytes], Sequence[Any]]
"""(path, content type, body) to items; raises ``Refusal``."""


def _raw(path: str, content_type: str, body: bytes) -> Sequence[Any]:
    return [RawPayload(path, content_type, body)]


def _logs(_path: str, _content_type: str, body: bytes) -> Sequence[Any]:
    return decode_logs(load_json(body))


def _series(_path: str, content_type: str, body: bytes) -> Sequence[Any]:
    return decode_series(load_json(body)) if content_type == JSON else decode_series_protobuf(body)


def _sketches(_path: str, _content_type: str, body: bytes) -> Sequence[Any]:
    return decode_sketches(body)


def _event(_path: str, _content_type: str, body: bytes) -> Sequence[Any]:
    return decode_event(load_json(body))


def _service_checks(_path: str, _content_type: str, body: bytes) -> Sequence[Any]:
    return decode_service_checks(load_json(body))


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
    decode: Decoder = _raw

    def check_content_type(self, header: str) -> str:
        """The media type without its parameters; ``Refusal`` 415 when it is not one of ``content_types``."""
        media_type = header.partition(";")[0].strip().lower()
        if self.content_types and media_type not in self.content_types:
            wanted = " or ".join(self.content_types)
            raise Refusal(415, f"content type must be {wanted}, not {header or 'absent'!r}")
        return media_type


_METRICS_ANSWER: dict[str, Any] = {"errors": []}
_PROXIED = Endpoint("proxied", ceiling=64 * MIB)

ENDPOINTS: dict[str, Endpoint] = {
    # The public logs API also takes text/plain and logplex; no extension sends those, so here they are a mistake.
    "/api/v2/logs": Endpoint("logs", (JSON,), keyless=401, decode=_logs),
    "/api/v2/series": Endpoint("series", (JSON, PROTOBUF), answer=_METRICS_ANSWER, decode=_series),
    "/api/beta/sketches": Endpoint("sketches", (PROTOBUF,), ceiling=62 * MIB, answer=_METRICS_ANSWER, decode=_sketches),
    "/api/v1/events": Endpoint("events", (JSON,), answer={"status": "ok"}, decode=_event),
    "/api/v1/check_run": Endpoint("service_checks", (JSON,), answer={"status": "ok"}, decode=_service_checks),
    "/api/v0.2/traces": Endpoint("traces", (PROTOBUF,), ceiling=50 * MIB),
    "/api/v0.2/stats": Endpoint("stats", (MSGPACK,), ceiling=50 * MIB),
    "/api/v0.1/pipeline_stats": _PROXIED,
    "/api/v2/profile": _PROXIED,
    "/api/v2/llmobs": _PROXIED,
    "/api/intake/llm-obs/v1/eval-metric": _PROXIED,
    "/api/intake/llm-obs/v2/eval-metric": _PROXIED,
    "/api/v2/debugger": _PROXIED,
    "/api/v2/apmtelemetry": _PROXIED,
}
"""Every path the intake takes payloads on (by POST); success is 202 for all of them."""
