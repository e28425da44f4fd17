"""Promise 3 for what tracers send beside traces: it arrives as it should, or is refused and counted."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import msgpack
import pytest

from fliptop_lab.intake.trees import traces as trees
from tests.lifetimes import Life, Plan, live
from tests.promises.test_metrics_arrive import CLIENTS

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
MSGPACK = {"Content-Type": "application/msgpack"}
JSON = {"Content-Type": "application/json"}


def asked(path: str, body: bytes = b"", headers: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    return {"path": path, "body": body.hex(), "headers": headers or {}, **more}


async def agent(tmp_path: Path, *invocations: list[dict[str, Any]], **more: Any) -> tuple[Life, list[list[Any]]]:
    """The life of a function that sends these requests, and the answers to all of them."""
    payloads = [json.dumps(requests).encode() for requests in invocations]
    life = await live(Plan(function=str(CLIENTS / "agent"), payloads=payloads, timeout_s=30, **more), tmp_path)
    return life, [answer for invocation in life.invocations for answer in json.loads(invocation.payload)]


def span(number: int, **fields: Any) -> dict[str, Any]:
    now = time.time_ns()
    named = {"service": "shop", "name": "order", "resource": "POST /", "start": now, "duration": 1000}
    return {**named, "trace_id": 7, "span_id": number, "parent_id": 0, **fields}


def statistics(start: int, sequence: int = 1) -> bytes:
    group = {"Service": "shop", "Name": "order", "Resource": "POST /", "Hits": 3, "TopLevelHits": 3, "Duration": 3000}
    bucket = {"Start": start, "Duration": 10_000_000_000, "Stats": [group]}
    return bytes(msgpack.packb({"Hostname": "h", "Env": "e", "Lang": "go", "Sequence": sequence, "Stats": [bucket]}))


async def test_statistics_keep_their_time(tmp_path: Path) -> None:
    now = time.time_ns() // 10_000_000_000 * 10_000_000_000
    requests = [asked("/v0.6/stats", statistics(start, n), MSGPACK) for n, start in enumerate((now, now - 6 * 10**11))]
    stale = asked("/v0.6/stats", statistics(now - 10**14, 3), MSGPACK, method="PUT")
    life, answers = await agent(tmp_path, [*requests, requests[0]], [stale, asked("/v0.6/stats", b"\xc1")])
    assert [status for status, _ in answers] == [202] * 5
    assert sum(group.hits for group in life.intake.received.stats) == 9
    ledger = life.ledger()
    assert ledger["stats"] == {"accepted": 4, "delivered": 3, "pending": 0, "dropped": {"unreadable": 1}}
    assert ledger["tracer_requests"] == {"accepted": 4, "delivered": 4, "pending": 0, "dropped": {}}
    starts = [group.start for group in life.intake.received.stats]
    assert starts[:2] == [now, now - 6 * 10**11]
    assert starts[2] > now - 10**10


async def test_products_get_what_is_theirs(tmp_path: Path) -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="event"; filename="event.json"\r\n\r\n%s\r\n--b--\r\n'
    about = {"attachments": [], "tags_profiler": "a:b", "family": "python", "version": "4", "start": "", "end": ""}
    profile = form % json.dumps(about).encode()
    library = {"request_type": "app-heartbeat", "application": {"service_name": "s", "language_name": "python"}}
    telemetry = json.dumps({"api_version": "v2", "payload": {}, **library}).encode()
    snapshot = json.dumps([{"service": "s", "ddsource": "dd_debugger", "debugger": {"diagnostics": {}}}]).encode()
    spans = json.dumps([{"event_type": "span", "spans": [{"name": "n"}]}]).encode()
    subdomain = {"X-Datadog-EVP-Subdomain": "llmobs-intake", **JSON}
    requests = [
        asked("/profiling/v1/input", profile, {"Content-Type": "multipart/form-data; boundary=b"}, chunked=True),
        asked("/telemetry/proxy/api/v2/apmtelemetry", telemetry, {**JSON, "DD-API-KEY": "none"}),
        asked("/debugger/v1/diagnostics?ddtags=env%3Ae,host:h", snapshot, JSON),
        asked("/evp_proxy/v2/api/v2/llmobs", spans, subdomain),
        asked("/evp_proxy/v4/api/v2/llmobs?n=2", spans, subdomain),
        asked("/evp_proxy/v4/api/v2/llmobs", spans, JSON),
    ]
    life, answers = await agent(tmp_path, requests)
    assert [status for status, _ in answers] == [200] * 5 + [400]
    received = {(payload.path, payload.query): payload for payload in life.intake.received.proxied}
    assert set(received) == {
        ("/api/v2/profile", ""),
        ("/api/v2/apmtelemetry", ""),
        ("/api/v2/debugger", "ddtags=env%3Ae,host:h"),
        ("/api/v2/llmobs", ""),
        ("/api/v2/llmobs", "n=2"),
    }
    for payload in received.values():
        assert payload.headers["x-datadog-additional-tags"] == "_dd.origin:lambda,functionname:lab-function"
        assert "transfer-encoding" not in payload.headers
    ledger = life.ledger()
    assert ledger["proxied"] == {"accepted": 5, "delivered": 5, "pending": 0, "dropped": {}}
    assert ledger["tracer_requests"]["dropped"] == {}


async def test_what_is_refused_is_counted_and_costs_nothing_else(tmp_path: Path) -> None:
    requests = [
        asked("/v0.4/traces", zeros=30_000_000, method="PUT"),
        asked("/v0.4/traces", zeros=30_000_000, chunked=True),
        asked("/v0.4/traces", msgpack.packb([[span(1)]]), MSGPACK, method="PUT"),
        asked("/v0.9/traces"),
        asked("/info", method="GET"),
        asked("/v0.4/traces", method="DELETE"),
    ]
    life, answers = await agent(tmp_path, requests)
    assert [status for status, _ in answers] == [413, 413, 200, 404, 200, 405]
    assert answers[2][1] == '{"rate_by_service":{}}'
    assert "/v0.4/traces" in json.loads(answers[4][1])["endpoints"]
    assert len(trees(life.intake.received.spans)) == 1
    ledger = life.ledger()
    assert ledger["tracer_requests"]["dropped"] == {"too_large": 2}
    assert ledger["spans"]["delivered"] == 1


async def test_without_a_key_everything_is_counted(tmp_path: Path) -> None:
    requests = [
        asked("/v0.4/traces", msgpack.packb([[span(1), span(2)]]), MSGPACK),
        asked("/v0.6/stats", statistics(time.time_ns()), MSGPACK),
        asked("/telemetry/proxy/api/v2/apmtelemetry", b"{}", JSON),
    ]
    life, answers = await agent(tmp_path, requests, key=None)
    assert [status for status, _ in answers] == [200, 202, 200]
    ledger = life.ledger()
    dropped = {signal: ledger[signal]["dropped"] for signal in ("spans", "stats", "proxied")}
    assert dropped == {"spans": {"no_api_key": 2}, "stats": {"no_api_key": 1}, "proxied": {"no_api_key": 1}}


async def test_one_product_that_datadog_refuses_costs_no_other(tmp_path: Path) -> None:
    requests = [
        asked("/v0.1/pipeline_stats", msgpack.packb({"Env": "e", "Service": "s", "Stats": []}), MSGPACK),
        asked("/v0.4/traces", msgpack.packb([[span(1)]]), MSGPACK),
    ]
    life, _ = await agent(tmp_path, requests, faults=["403,path=/api/v0.1/pipeline_stats"])
    ledger = life.ledger()
    assert ledger["proxied"]["dropped"] == {"http_403": 1}
    assert ledger["spans"] == {"accepted": 1, "delivered": 1, "pending": 0, "dropped": {}}
