"""What ``GET /lab/state`` says: the store in a form a page, or a person with curl, can read."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict
from itertools import islice
from typing import Any, TypeVar

from fliptop_lab.intake.faults import KINDS, Faults
from fliptop_lab.intake.logs import LogEntry
from fliptop_lab.intake.metrics import Series, Sketch
from fliptop_lab.intake.proxied import Proxied
from fliptop_lab.intake.stats import StatsGroup
from fliptop_lab.intake.store import SIGNALS, Request, Store
from fliptop_lab.intake.trees import Row, Trace, traces

_T = TypeVar("_T")

SHOWN = 200
"""Latest items of each kind in the answer."""


def state(store: Store, faults: Faults) -> dict[str, Any]:
    """Counts, the latest items and requests (newest first) and the faults in force."""
    return {
        "counts": {signal: store.counts[signal] for signal in SIGNALS},
        "requests_seen": store.requests[-1].number if store.requests else 0,
        "refused": store.refused,
        "duplicates": store.duplicates,
        "logs": [_log(entry) for entry in _latest(store.received.logs)],
        "series": [_series(item) for item in _latest(store.received.series)],
        "sketches": [_sketch(item) for item in _latest(store.received.sketches)],
        "events": [asdict(event) for event in _latest(store.received.events)],
        "service_checks": [asdict(check) for check in _latest(store.received.service_checks)],
        "traces": [_trace(trace) for trace in reversed(traces(_latest(store.received.spans)))],
        "stats": [_stats(group) for group in _latest(store.received.stats)],
        "proxied": [_proxied(payload) for payload in _latest(store.received.proxied)],
        "requests": [_request(request) for request in _latest(store.requests)],
        "faults": [str(fault) for fault in faults.active],
        "fault_kinds": KINDS,
    }


def _latest(items: deque[_T]) -> list[_T]:
    return list(islice(reversed(items), SHOWN))


def _log(entry: LogEntry) -> dict[str, Any]:
    return {
        "text": entry.text[:4000],
        "status": entry.status,
        "service": entry.service,
        "source": entry.source,
        "tags": entry.tags,
        "request_id": entry.request_id,
        "timestamp": entry.timestamp,
        "shape": entry.shape,
        "notes": entry.notes,
    }


def _series(item: Series) -> dict[str, Any]:
    return {"metric": item.metric, "type": item.type, "points": item.points, "tags": item.tags}


def _sketch(item: Sketch) -> dict[str, Any]:
    names = ("metric", "time", "count", "sum", "min", "max", "tags")
    return {name: getattr(item, name) for name in names}


def _trace(trace: Trace) -> dict[str, Any]:
    """A page cannot hold numbers of 64 bits: ids are text, times in ms."""
    return {
        "trace_id": trace.trace_id,
        "start": trace.start / 1e6,
        "duration": trace.duration / 1e6,
        "spans": [_span(row, trace.start) for row in trace.rows],
    }


def _span(row: Row, origin: int) -> dict[str, Any]:
    span, depth = row
    return {
        **{name: getattr(span, name) for name in ("service", "name", "resource", "type", "error", "meta", "metrics")},
        "depth": depth,
        "span_id": f"{span.span_id:016x}",
        "after": (span.start - origin) / 1e6,
        "duration": span.duration / 1e6,
        "priority": span.chunk.priority,
        "links": len(span.links),
        "events": len(span.events),
    }


def _stats(group: StatsGroup) -> dict[str, Any]:
    names = ("service", "name", "resource", "hits", "errors", "start")
    quantiles = {f"p{share}": group.ok.quantile(share / 100) for share in (50, 99)}
    return {**{name: getattr(group, name) for name in names}, **quantiles}


def _proxied(payload: Proxied) -> dict[str, Any]:
    return {name: getattr(payload, name) for name in ("product", "told", "attachments", "path", "query")}


def _request(request: Request) -> dict[str, Any]:
    return {
        "number": request.number,
        "at": request.at,
        "method": request.method,
        "path": request.path,
        "http_version": request.http_version,
        "encoding": request.encoding,
        "wire_bytes": request.wire_bytes,
        "body_bytes": request.body_bytes,
        "status": request.status,
        "items": request.items,
        "duplicate": request.duplicate,
        "fault": request.fault,
        "error": request.error,
        "key": "…" + request.headers.get("dd-api-key", "")[-5:],
    }
