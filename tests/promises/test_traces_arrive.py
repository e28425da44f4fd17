"""Promise 3 for traces, and what else tracers send: it arrives, or is counted as lost, whatever happens on the way."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgpack
import pytest

from fliptop_lab.intake.body import decompress
from fliptop_lab.intake.traces import decode_traces
from fliptop_lab.intake.trees import traces
from tests import agent_payload
from tests.deaths import extension, kill_before_the_second
from tests.lifetimes import Life, Plan, live

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
NAMES = ["aws.lambda", "shop.order", "shop.query"]
TAGS = {"functionname": "lab-function", "region": "eu-west-1", "_dd.origin": "lambda", "language": "python"}


def sent(life: Life) -> list[str]:
    """The names of the function's spans that the intake has; not those that the extension has made itself."""
    return [span.name for span in life.intake.received.spans if span.name in {*NAMES, "shop.item"}]


def balanced(life: Life, signal: str = "spans") -> dict[str, int]:
    """Assert the equation and return the ledger's drops."""
    entry = life.ledger().get(signal, {"accepted": 0, "delivered": 0, "pending": 0, "dropped": {}})
    drops: dict[str, int] = entry["dropped"]
    assert entry["accepted"] == entry["delivered"] + sum(drops.values())
    assert entry["pending"] == 0
    return drops


async def test_what_an_invocation_traces_arrives_with_it(tmp_path: Path) -> None:
    async def arrived(life: Life, number: int) -> None:
        if number:
            assert Counter(sent(life)) == dict.fromkeys(NAMES, number)

    life = await live(Plan(function="python", meanwhile=arrived), tmp_path)
    assert Counter(sent(life)) == dict.fromkeys(NAMES, 3)
    assert balanced(life) == balanced(life, "tracer_requests") == {}
    found = [[row for row in trace.rows if row.span.name in NAMES] for trace in traces(life.intake.received.spans)]
    assert [[row.span.name for row in rows] for rows in found] == [NAMES] * 3
    assert [rows[1].span.parent_id for rows in found] == [rows[0].span.span_id for rows in found]
    requests = [each.request_id for each in life.invocations]
    assert [rows[0].span.meta["request_id"] for rows in found] == requests
    for span in life.intake.received.spans:
        assert TAGS.items() <= span.meta.items() or span.name not in NAMES
        assert span.chunk.priority == 1
    assert life.intake.store.refused == life.intake.duplicates == 0
    google_reads_the_same(life)


def google_reads_the_same(life: Life) -> None:
    """The bytes that came over the wire, as read by somebody who knows neither the extension nor the lab."""
    requests = [request for request in life.intake.requests if request.path == "/api/v0.2/traces"]
    assert requests
    for request in requests:
        body = decompress(request.body, request.encoding, 1 << 24)
        for span, other in zip(decode_traces(body), agent_payload.spans(body), strict=True):
            assert (span.service, span.name, span.resource) == (other.service, other.name, other.resource)
            assert (span.trace_id, span.span_id, span.parent_id) == (other.traceID, other.spanID, other.parentID)
            assert (span.start, span.duration, span.error) == (other.start, other.duration, other.error)
            assert (span.meta, span.metrics) == (dict(other.meta), dict(other.metrics))


async def test_a_flood_is_delivered_or_counted(tmp_path: Path) -> None:
    payload = b'{"spans": 10000}'
    life = await live(Plan(function="python", payloads=[b"{}", payload, b"{}"], timeout_s=20), tmp_path)
    dropped = balanced(life)
    assert 9 + 10_000 - len(sent(life)) == sum(dropped.values())
    assert set(dropped) <= {"buffer_full", "too_large"}
    assert balanced(life, "tracer_requests") == {}


async def test_an_intake_that_is_away_costs_counted_spans(tmp_path: Path) -> None:
    life = await live(Plan(function="python", faults=["503,path=/api/v0.2/traces"]), tmp_path)
    assert [each.status for each in life.invocations] == ["success"] * 3
    assert sent(life) == []
    assert sum(balanced(life).values()) == 9


async def test_an_intake_that_says_no_once_gets_the_same_bytes_again(tmp_path: Path) -> None:
    life = await live(Plan(function="python", faults=["503,path=/api/v0.2/traces,times=1"]), tmp_path)
    refused, again, *_ = [request for request in life.intake.requests if request.path == "/api/v0.2/traces"]
    assert (refused.status, again.status) == (503, 202)
    assert refused.body == again.body
    assert balanced(life) == {}
    assert Counter(sent(life)) == dict.fromkeys(NAMES, 3)


async def test_a_crash_costs_only_what_was_not_delivered(tmp_path: Path) -> None:
    life = await live(Plan(function="python", meanwhile=kill_before_the_second), tmp_path)
    assert [each.status for each in life.invocations] == ["success"] * 3
    assert Counter(sent(life)) == dict.fromkeys(NAMES, 3)
    assert set(balanced(life)) <= {"extension_died"}


SEND = """
import http.client
agents = []
for method, path, headers, body in {requests!r}:
    agents.append(http.client.HTTPConnection("127.0.0.1", 8126, timeout=30))
    agents[-1].request(method, path, body, headers)
for agent in agents:
    print(agent.getresponse().status)
"""


class Beside:
    """A `meanwhile` that sends requests to the trace agent's port before the second invocation. They are answered in
    it: until then, everything is frozen.
    """

    def __init__(self, *requests: tuple[str, str, dict[str, str], bytes]) -> None:
        self._script = SEND.format(requests=requests)
        self._process: subprocess.Popen[str] | None = None

    async def __call__(self, life: Life, number: int) -> None:
        if number == 1:
            command = ["nsenter", f"--net=/proc/{extension(life)}/ns/net", sys.executable, "-c", self._script]
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220 -- no wait

    def statuses(self) -> list[int]:
        """What was answered, in the order of the requests."""
        assert self._process is not None
        return [int(line) for line in self._process.communicate(timeout=40)[0].splitlines()]


async def test_requests_that_cannot_be_used_cost_nothing_but_themselves(tmp_path: Path) -> None:
    span = {"service": "s", "name": "shop.item", "resource": "r", "trace_id": 5, "span_id": 6, "start": time.time_ns()}
    good = msgpack.packb([[span]])
    junk = [
        good[:-3],
        b"",
        b"\xc1",
        b"[]",
        msgpack.packb({"a": 1}),
        msgpack.packb([[1]]),
        msgpack.packb([[{"trace_id": "x"}]]),
    ]
    bad_ids = [msgpack.packb([[{**span, "trace_id": 0}]]), msgpack.packb([[{**span, "span_id": 0}]])]
    send = Beside(*(("PUT", "/v0.4/traces", {}, body) for body in [*junk, *bad_ids, good]))
    life = await live(Plan(function="python", meanwhile=send), tmp_path)
    assert send.statuses() == [200] * (len(junk) + len(bad_ids) + 1)
    assert Counter(sent(life)) == {**dict.fromkeys(NAMES, 3), "shop.item": 1}
    assert sum(balanced(life).values()) >= len(bad_ids)
    balanced(life, "tracer_requests")


def stats() -> dict[str, Any]:
    """What a tracer has counted in this moment's ten seconds."""
    group = {"Service": "shop", "Name": "shop.order", "Resource": "POST /", "Hits": 5, "Errors": 1, "Duration": 9}
    bucket = {"Start": time.time_ns() // 10**10 * 10**10, "Duration": 10**10, "Stats": [group]}
    return {"Hostname": "", "Env": "demo", "Stats": [bucket]}


EVENT = {"family": "python", "start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:01:00Z"}
PROFILE = b'--x\r\nContent-Disposition: form-data; name="event"; filename="event.json"\r\n\r\n%s\r\n--x--\r\n'
TELEMETRY = {"request_type": "app-started", "payload": {}, "application": {"service_name": "shop"}}
EVALUATIONS = {"data": {"attributes": {"metrics": [{"label": "taste"}]}}}
DEBUGGER = [{"service": "shop", "ddsource": "dd_debugger", "debugger": {"diagnostics": {"status": "RECEIVED"}}}]
JSON = {"content-type": "application/json"}
OTHERS: dict[str, tuple[dict[str, str], Any]] = {
    "/profiling/v1/input": (
        {"content-type": "multipart/form-data; boundary=x"},
        PROFILE % json.dumps(EVENT).encode(),
    ),
    "/telemetry/proxy/api/v2/apmtelemetry": (JSON, TELEMETRY),
    "/evp_proxy/v2/api/v2/llmobs": (JSON, [{"spans": [{"name": "ask"}]}]),
    "/evp_proxy/v2/api/intake/llm-obs/v1/eval-metric": (JSON, EVALUATIONS),
    "/evp_proxy/v2/api/intake/llm-obs/v2/eval-metric": (JSON, EVALUATIONS),
    "/debugger/v2/input?ddtags=a:b": (JSON, DEBUGGER),
    "/debugger/v1/diagnostics": (JSON, DEBUGGER),
    "/v0.1/pipeline_stats": ({"content-type": "application/msgpack"}, msgpack.packb({"Service": "shop", "Stats": []})),
}


async def test_what_else_tracers_send_arrives(tmp_path: Path) -> None:
    requests = [
        ("POST", path, headers, body if isinstance(body, bytes) else json.dumps(body).encode())
        for path, (headers, body) in OTHERS.items()
    ]
    send = Beside(("POST", "/v0.6/stats", {}, msgpack.packb(stats())), *requests)
    life = await live(Plan(function="python", meanwhile=send), tmp_path)
    assert set(send.statuses()) <= {200, 202}
    (group,) = life.intake.received.stats
    assert (group.service, group.name, group.resource, group.hits, group.errors) == (
        "shop",
        "shop.order",
        "POST /",
        5,
        1,
    )
    assert (group.client["Env"], group.payload["ClientComputed"]) == ("demo", True)
    found = life.intake.received.proxied
    assert Counter(each.product for each in found) == {
        "profiling": 1,
        "telemetry": 1,
        "llm spans": 1,
        "llm evaluations": 2,
        "debugger": 2,
        "data streams": 1,
    }
    assert {each.headers["x-datadog-additional-tags"] for each in found} == {
        "_dd.origin:lambda,functionname:lab-function"
    }
    assert sorted(each.query for each in found if each.product == "debugger") == ["", "ddtags=a:b"]
    assert balanced(life, "stats") == balanced(life, "proxied") == balanced(life, "tracer_requests") == {}
    assert life.intake.store.refused == 0
