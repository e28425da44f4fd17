"""The other endpoints, the lab's own API, more listeners and TLS."""

import socket
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from fliptop_lab.intake import Event, Intake, Series, Sketch

pytestmark = pytest.mark.anyio
POINT = {"metric": "m", "type": 1, "points": [{"timestamp": 1700000000, "value": 2.5}], "tags": ["a:b"]}
PROTOBUF = {"content-type": "application/x-protobuf"}


async def test_series_in_json_are_decoded(intake: Intake, client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v2/series", json={"series": [POINT]})
    assert (answer.status_code, answer.json()) == (202, {"errors": []})
    assert list(intake.received.series) == [Series("m", "count", ((1700000000, 2.5),), ("a:b",))]


@pytest.mark.parametrize("body", [[], {}, {"series": [{}]}, {"series": [{**POINT, "type": 9}]}])
async def test_series_of_another_shape_are_refused(intake: Intake, http1: httpx.AsyncClient, body: object) -> None:
    assert (await http1.post("/api/v2/series", json=body)).status_code == 400
    assert not intake.received.series


# Written by hand after the public definitions: metric "m", tag "a:b", one point of 2.5 at 1700000000, count.
SERIES = bytes.fromhex("0a1d12016d1a03613a62220f0900000000000004401080e2cfaa0628014000")
# Metric "m", tag "a:b"; at 1700000000 two values, 1.0 and 3.0, in the bins -2 and 1.
SKETCHES = bytes.fromhex(
    "0a420a016d2203613a623a380880e2cfaa06100219000000000000f03f2100000000000008402900000000000000403100000000000010403a0203024202010142000a00"
)


async def test_series_in_protobuf_are_decoded(intake: Intake, http1: httpx.AsyncClient) -> None:
    answer = await http1.post("/api/v2/series", content=SERIES, headers=PROTOBUF)
    assert (answer.status_code, answer.json()) == (202, {"errors": []})
    assert list(intake.received.series) == [Series("m", "count", ((1700000000, 2.5),), ("a:b",))]


async def test_sketches_are_decoded(intake: Intake, http1: httpx.AsyncClient) -> None:
    assert (await http1.post("/api/beta/sketches", content=SKETCHES, headers=PROTOBUF)).status_code == 202
    assert list(intake.received.sketches) == [Sketch("m", 1700000000, 2, 4.0, 1.0, 3.0, ("a:b",), {-2: 1, 1: 1})]


@pytest.mark.parametrize("path", ["/api/v2/series", "/api/beta/sketches"])
@pytest.mark.parametrize(
    "body", [b"\x0a", b"\x0a\x05ab", b"\x0a\x00", b"\x0f\x01", b"\x0a\x02\x08\x80", b"\x0a\x01", b"{}"]
)
async def test_metrics_of_another_shape_are_refused(http1: httpx.AsyncClient, path: str, body: bytes) -> None:
    assert (await http1.post(path, content=body, headers=PROTOBUF)).status_code == 400


EVENT = {"title": "t", "text": "x", "date_happened": 1700000000, "alert_type": "error", "tags": ["a:b"]}
CHECK = {"check": "c", "host_name": "h", "status": 2, "timestamp": 1700000000, "message": "m", "tags": ["a:b"]}


async def test_events_and_service_checks_are_decoded(intake: Intake, http1: httpx.AsyncClient) -> None:
    for _ in range(2):
        answer = await http1.post("/api/v1/events", json=EVENT)
        assert (answer.status_code, answer.json()) == (202, {"status": "ok"})
    assert list(intake.received.events) == [Event("t", "x", 1700000000, "normal", "error", ("a:b",))] * 2
    assert (await http1.post("/api/v1/check_run", json=[CHECK, {**CHECK, "status": 0}])).status_code == 202
    assert [check.status for check in intake.received.service_checks] == ["critical", "ok"]
    assert intake.store.duplicates == 0, "the same may happen twice"
    state = (await http1.get("/lab/state")).json()
    assert (state["events"][0]["title"], state["service_checks"][0]["check"]) == ("t", "c")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/events", [EVENT]),
        ("/api/v1/events", {**EVENT, "title": ""}),
        ("/api/v1/events", {**EVENT, "text": None}),
        ("/api/v1/events", {**EVENT, "priority": "high"}),
        ("/api/v1/events", {**EVENT, "date_happened": "now"}),
        ("/api/v1/events", {**EVENT, "tags": "a:b"}),
        ("/api/v1/check_run", CHECK),
        ("/api/v1/check_run", [{**CHECK, "status": 4}]),
        ("/api/v1/check_run", [{**CHECK, "status": True}]),
        ("/api/v1/check_run", [{**CHECK, "check": 1}]),
    ],
)
async def test_events_and_service_checks_of_another_shape_are_refused(
    intake: Intake, http1: httpx.AsyncClient, path: str, body: object
) -> None:
    assert (await http1.post(path, json=body)).status_code == 400
    assert not (intake.received.events or intake.received.service_checks)


async def test_other_paths_and_methods_are_refused(intake: Intake, http1: httpx.AsyncClient) -> None:
    assert (await http1.post("/api/v9/logs", json=[])).status_code == 404
    assert (await http1.get("/api/v2/logs")).status_code == 405
    assert (await http1.post("/api/v2/series", json={}, headers={"dd-api-key": ""})).status_code == 403
    assert (await http1.get("/api/v1/validate")).json() == {"valid": True}
    assert (await http1.get("/api/v1/validate", headers={"dd-api-key": "bad"})).status_code == 403


async def test_state_and_page(intake: Intake, client: httpx.AsyncClient) -> None:
    await client.post("/api/v2/logs", json=[{"message": "<b>look</b>", "status": "error", "ddtags": "a:b"}])
    await client.post("/api/v2/series", json={"series": [POINT]})
    state = (await client.get("/lab/state")).json()
    assert (state["counts"]["logs"], state["counts"]["series"], state["refused"]) == (1, 1, 0)
    assert state["logs"][0]["text"] == "<b>look</b>"
    assert [request["path"] for request in state["requests"]] == ["/api/v2/series", "/api/v2/logs"]
    assert state["requests"][0]["key"] != "good"
    page = await client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "/lab/state" in page.text
    assert "https://" not in page.text


async def test_one_more_listener_serves_the_same_intake(intake: Intake, http1: httpx.AsyncClient) -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    intake.add_listener(sock)
    assert (await http1.post(f"http://127.0.0.1:{port}/api/v2/logs", json=[{"message": "m"}])).status_code == 202
    assert len(intake.received.logs) == 1


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    pem, public = tmp_path / "both.pem", tmp_path / "public.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    extra = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(pem), "-out", str(public)]
    subprocess.run([*command.split(), *extra], check=True, capture_output=True)
    pem.write_text(pem.read_text() + public.read_text())
    return pem


async def test_tls_with_a_given_certificate(certificate: Path) -> None:
    trust = ssl.create_default_context(cafile=str(certificate))
    async with Intake(certificate=certificate) as intake, httpx.AsyncClient(verify=trust, http2=True) as client:
        answer = await client.post(f"{intake.url}/api/v2/logs", json=[{"message": "m"}], headers={"dd-api-key": "any"})
        assert (answer.status_code, answer.http_version) == (202, "HTTP/2")
        assert intake.url.startswith("https://")
