"""What the intake makes of payloads that an extension passes on unread."""

import gzip
import json
from typing import Any

import httpx
import msgpack
import pytest

from fliptop_lab.intake import Intake

pytestmark = pytest.mark.anyio
EVENT = {"family": "python", "start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:01:00Z", "attachments": ["a.pprof"]}
SNAPSHOT = {"service": "shop", "ddsource": "dd_debugger", "timestamp": 1, "debugger": {"snapshot": {"id": "7"}}}


def telemetry(kind: str, payload: Any) -> dict[str, Any]:
    return {"api_version": "v2", "request_type": kind, "payload": payload, "application": {"service_name": "shop"}}


EVALUATION = {"data": {"attributes": {"metrics": [{"label": "taste"}, {"label": "truth"}]}}}
JSON = {
    "llm spans": ("/api/v2/llmobs", [{"spans": [{"name": "ask"}]}, {"spans": [{"name": "answer"}]}], "ask, answer"),
    "one llm span": ("/api/v2/llmobs", {"spans": [{"name": "ask"}]}, "ask"),
    "evaluations": ("/api/intake/llm-obs/v1/eval-metric", EVALUATION, "taste, truth"),
    "evaluations, 2": ("/api/intake/llm-obs/v2/eval-metric", EVALUATION, "taste, truth"),
    "debugger": ("/api/v2/debugger", [SNAPSHOT], "snapshot of shop"),
    "telemetry": ("/api/v2/apmtelemetry", telemetry("app-started", {}), "app-started from shop"),
    "telemetry in a batch": (
        "/api/v2/apmtelemetry",
        telemetry("message-batch", [{"request_type": "logs"}, {"request_type": "distributions"}]),
        "message-batch (logs, distributions) from shop",
    ),
}


@pytest.mark.parametrize(("path", "document", "told"), JSON.values(), ids=JSON)
async def test_json_is_told_in_a_line(
    intake: Intake, http1: httpx.AsyncClient, path: str, document: Any, told: str
) -> None:
    headers = {"content-encoding": "gzip", "x-datadog-additional-tags": "_dd.origin:lambda"}
    content = gzip.compress(json.dumps(document).encode())
    answer = await http1.post(f"{path}?ddtags=a:b,c:d", content=content, headers=headers)
    assert answer.status_code == 202
    (payload,) = intake.received.proxied
    assert (payload.path, payload.told, payload.document) == (path, told, document)
    assert payload.query == "ddtags=a:b,c:d"
    assert payload.headers["x-datadog-additional-tags"] == "_dd.origin:lambda"
    state = (await http1.get("/lab/state")).json()
    assert (state["proxied"][0]["told"], state["counts"]["proxied"]) == (told, 1)


async def test_a_profile_is_a_form(intake: Intake, client: httpx.AsyncClient) -> None:
    binary = bytes(range(256)) + b"\r\n--not the boundary\r\n"
    event = json.dumps(EVENT).encode()
    files = {"event": ("event.json", event, "application/json"), "a.pprof": ("a.pprof", binary, None)}
    async with httpx.AsyncClient(base_url=str(client.base_url), headers={"dd-api-key": "good"}) as plain:
        assert (await plain.post("/api/v2/profile", files=files)).status_code == 202
    (payload,) = intake.received.proxied
    assert (payload.product, payload.document) == ("profiling", EVENT)
    assert payload.told == "python, 2026-01-01T00:00:00Z to 2026-01-01T00:01:00Z"
    assert payload.attachments == {"a.pprof": len(binary)}


async def test_data_streams_are_msgpack(intake: Intake, http1: httpx.AsyncClient) -> None:
    body = gzip.compress(msgpack.packb({"Env": "demo", "Service": "shop", "Stats": [{"Start": 1}]}))
    headers = {"content-encoding": "gzip", "content-type": "application/msgpack"}
    assert (await http1.post("/api/v0.1/pipeline_stats", content=body, headers=headers)).status_code == 202
    assert [payload.told for payload in intake.received.proxied] == ["1 buckets from shop"]


FORM = {"content-type": 'multipart/form-data; boundary="x"'}
BAD: dict[str, tuple[str, bytes, dict[str, str], int]] = {
    "no form": ("/api/v2/profile", b"{}", {}, 415),
    "no boundary": ("/api/v2/profile", b"--x--", {"content-type": "multipart/form-data"}, 400),
    "another boundary": ("/api/v2/profile", b"--y--\r\n", FORM, 400),
    "no end": ("/api/v2/profile", b'--x\r\ncontent-disposition: form-data; name="event"\r\n\r\n{}', FORM, 400),
    "no event": ("/api/v2/profile", b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\n{}\r\n--x--', FORM, 400),
    "no name": ("/api/v2/profile", b"--x\r\ncontent-type: text/plain\r\n\r\n{}\r\n--x--", FORM, 400),
    "no json": ("/api/v2/llmobs", b"{", {}, 400),
    "no spans": ("/api/v2/llmobs", b"[{}]", {}, 400),
    "no list": ("/api/v2/debugger", b'{"debugger": {}}', {}, 400),
    "no type": ("/api/v2/apmtelemetry", b'{"payload": {}}', {}, 400),
    "no msgpack": ("/api/v0.1/pipeline_stats", b"\xc1", {}, 400),
    "no map": ("/api/v0.1/pipeline_stats", b"\x01", {}, 400),
}


@pytest.mark.parametrize(("path", "body", "headers", "status"), BAD.values(), ids=BAD)
async def test_payloads_of_another_shape_are_refused(
    intake: Intake, http1: httpx.AsyncClient, path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    assert (await http1.post(path, content=body, headers=headers)).status_code == status
    assert not intake.received.proxied
