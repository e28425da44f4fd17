"""Faults: what is injected happens, to the requests it was meant for, and the intake knows what it has accepted."""

import asyncio
import ssl
import time

import httpx
import pytest

from fliptop_lab.intake import Fault, Intake
from fliptop_lab.intake.server import AUTHORITY, KNOWN

pytestmark = pytest.mark.anyio
LOGS = "/api/v2/logs"
BODY = [{"message": "m"}]


async def test_a_status_for_the_next_requests(intake: Intake, client: httpx.AsyncClient) -> None:
    intake.faults.inject("429,times=2,retry-after=7,path=/api/v2/logs")
    other = await client.post("/api/v2/series", json={"series": []})
    answers = [await client.post(LOGS, json=BODY) for _ in range(3)]
    assert other.status_code == 202
    assert [answer.status_code for answer in answers] == [429, 429, 202]
    assert [answer.headers.get("retry-after") for answer in answers] == ["7", "7", None]
    assert len(intake.received.logs) == 1
    assert intake.faults.active == []
    assert [request.fault for request in intake.requests][1:] == [
        "429,path=/api/v2/logs,times=2,retry-after=7",
        "429,path=/api/v2/logs,times=1,retry-after=7",
        None,
    ]


async def test_a_success_with_the_wrong_status_keeps_the_payload(intake: Intake, client: httpx.AsyncClient) -> None:
    intake.faults.inject("200,times=1")
    assert (await client.post(LOGS, json=BODY)).status_code == 200
    assert len(intake.received.logs) == 1


async def test_delay(intake: Intake, client: httpx.AsyncClient) -> None:
    intake.faults.inject("delay=0.2")
    started = time.monotonic()
    assert (await client.post(LOGS, json=BODY)).status_code == 202
    assert time.monotonic() - started >= 0.2


@pytest.mark.parametrize("fault", [Fault(kind="delay", delay=0.3), Fault(kind="blackhole")], ids=str)
async def test_a_payload_whose_sender_gave_up_is_not_accepted(
    intake: Intake, client: httpx.AsyncClient, fault: Fault
) -> None:
    intake.faults.inject(fault)
    with pytest.raises(httpx.ReadTimeout):
        await client.post(LOGS, json=BODY, timeout=0.1)
    await client.aclose()
    await intake.wait_for(lambda: intake.requests[0].error is not None)
    assert (intake.requests[0].status, len(intake.received.logs)) == (None, 0)


async def test_black_hole_until_the_fault_is_cleared(intake: Intake, client: httpx.AsyncClient) -> None:
    intake.faults.inject("blackhole")
    pending = asyncio.create_task(client.post(LOGS, json=BODY))
    await intake.wait_for(lambda: bool(intake.requests and intake.requests[0].wire_bytes))
    intake.faults.clear()
    with pytest.raises(httpx.TransportError):
        await pending
    assert (await client.post(LOGS, json=BODY)).status_code == 202


@pytest.mark.parametrize(("kind", "kept"), [("reset-headers", 0), ("reset-body", 0), ("reset-response", 1)])
async def test_resets(intake: Intake, client: httpx.AsyncClient, kind: str, kept: int) -> None:
    intake.faults.inject(f"{kind},times=1")
    with pytest.raises(httpx.TransportError):
        await client.post(LOGS, json=[{"message": "m" * 100_000}])
    assert len(intake.received.logs) == kept
    assert (await client.post(LOGS, json=BODY)).status_code == 202


async def test_a_reset_after_acceptance_makes_the_retry_a_duplicate(intake: Intake, client: httpx.AsyncClient) -> None:
    intake.faults.inject("reset-response,times=1")
    with pytest.raises(httpx.TransportError):
        await client.post(LOGS, json=BODY)
    await client.post(LOGS, json=BODY)
    assert intake.duplicates == 1


async def test_trickle(intake: Intake, client: httpx.AsyncClient) -> None:
    intake.faults.inject("trickle,delay=0.01")
    started = time.monotonic()
    answer = await client.post(LOGS, json=BODY)
    assert (answer.status_code, answer.json()) == (202, {})
    assert time.monotonic() - started >= 0.3


async def test_refuse_and_come_back_on_the_same_address(intake: Intake) -> None:
    headers = {"dd-api-key": "good"}
    for _ in range(2):
        intake.faults.inject("refuse")
        async with httpx.AsyncClient() as client:
            await asyncio.sleep(0)
            with pytest.raises(httpx.ConnectError):
                await client.post(intake.url + LOGS, json=BODY, headers=headers)
        intake.faults.clear()
        await asyncio.sleep(0)
        async with httpx.AsyncClient() as client:
            assert (await client.post(intake.url + LOGS, json=[], headers=headers)).status_code == 202


async def test_garbage_ends_connections_and_meets_new_ones(intake: Intake, http1: httpx.AsyncClient) -> None:
    assert (await http1.post(LOGS, json=BODY)).status_code == 202
    intake.faults.inject("garbage")
    for _ in range(2):  # the connection there was, and a new one
        with pytest.raises(httpx.TransportError):
            await http1.post(LOGS, json=BODY)
    intake.faults.clear()
    assert (await http1.post(LOGS, json=BODY)).status_code == 202


async def test_a_certificate_that_nobody_vouches_for() -> None:
    trust = ssl.create_default_context(cafile=str(AUTHORITY))
    headers = {"dd-api-key": "any"}
    async with Intake(certificate=KNOWN) as intake, httpx.AsyncClient(verify=trust, headers=headers) as client:
        assert (await client.post(intake.url + LOGS, json=BODY)).status_code == 202
        intake.faults.inject("untrusted")
        with pytest.raises(httpx.TransportError):  # the connection there was has ended
            await client.post(intake.url + LOGS, json=BODY)
        with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
            await client.post(intake.url + LOGS, json=BODY)
        intake.faults.clear()
        assert (await client.post(intake.url + LOGS, json=BODY)).status_code == 202


async def test_a_forgotten_connection_leads_to_nothing(intake: Intake, http1: httpx.AsyncClient) -> None:
    assert (await http1.post(LOGS, json=BODY)).status_code == 202
    intake.forget_connections()
    with pytest.raises(httpx.ReadTimeout):
        await http1.post(LOGS, json=BODY, timeout=0.2)
    assert (await http1.post(LOGS, json=BODY)).status_code == 202, "a new one is fine"
    assert len(intake.received.logs) == 2


async def test_faults_over_http(intake: Intake, http1: httpx.AsyncClient) -> None:
    assert (await http1.post("/lab/faults", json={"spec": "503,times=1"})).json() == ["503,times=1"]
    assert (await http1.post("/lab/faults", json={"kind": "status", "status": 500})).status_code == 200
    assert (await http1.get("/lab/faults")).json() == ["503,times=1", "500"]
    assert (await http1.post(LOGS, json=BODY)).status_code == 503
    assert (await http1.post(LOGS, json=BODY)).status_code == 500
    assert (await http1.delete("/lab/faults")).json() == []
    assert (await http1.post(LOGS, json=BODY)).status_code == 202
    for wrong in (b'{"spec": "nonsense"}', b'{"kind": "nonsense"}', b"[", b'"x"'):
        assert (await http1.post("/lab/faults", content=wrong)).status_code == 400


@pytest.mark.parametrize(
    "spec", ["503", "429,times=3,retry-after=2", "blackhole,path=/api/v2/logs", "delay,delay=2.5", "trickle,delay=0.1"]
)
def test_a_fault_reads_back_as_written(spec: str) -> None:
    assert Fault.parse(str(Fault.parse(spec))) == Fault.parse(spec)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("nonsense", "begin with an HTTP status or one of status, delay, blackhole"),
        ("99", "status"),
        ("503,times=0", "times"),
        ("503,times", "'times' is not key=value"),
        ("503,colour=red", "colour"),
        ("503,path=logs", "path"),
        ("refuse,times=2", "refuse"),
        ("no-dns,path=/api/v2/logs", "no-dns is for all paths"),
        ("delay", "delay=SECONDS"),
    ],
)
def test_a_wrong_fault_says_what_is_wrong(spec: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Fault.parse(spec)
