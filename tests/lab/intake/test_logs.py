"""What the intake makes of ``/api/v2/logs``: the protocol, both shapes, encodings and refusals."""

import gzip
import sys
import time
import zlib
from typing import Any

import httpx
import orjson
import pytest

from fliptop_lab.intake import Intake
from fliptop_lab.intake.body import decompress
from fliptop_lab.intake.logs import MAX_ENTRY_BYTES
from fliptop_lab.intake.refusals import Refusal

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

pytestmark = pytest.mark.anyio
LOGS = "/api/v2/logs"
MIB = 1 << 20


def nested(text: str, **inner: Any) -> dict[str, Any]:
    message = {"message": text, "lambda": {"arn": "arn:x", "request_id": "r-1"}, "status": "warn", **inner}
    return {
        "message": message,
        "hostname": "arn:x",
        "service": "s",
        "ddtags": "env:test,version:1",
        "ddsource": "lambda",
    }


async def test_accepts_logs_as_datadog_does(intake: Intake, client: httpx.AsyncClient) -> None:
    answer = await client.post(LOGS, json=[nested("hello")])
    assert (answer.status_code, answer.json()) == (202, {})
    assert answer.http_version == f"HTTP/{intake.requests[0].http_version}"
    assert [entry.text for entry in intake.received.logs] == ["hello"]


async def test_decodes_the_nested_shape(intake: Intake, http1: httpx.AsyncClient) -> None:
    now = int(time.time() * 1000)
    await http1.post(LOGS, json=[nested("hello", timestamp=now)])
    (entry,) = intake.received.logs
    assert (entry.shape, entry.status, entry.service, entry.source) == ("nested", "warn", "s", "lambda")
    assert (entry.request_id, entry.arn, entry.timestamp, entry.hostname) == ("r-1", "arn:x", now, "arn:x")
    assert entry.tags == ("env:test", "version:1")
    assert entry.tag("version") == "1"
    assert entry.notes == ()


async def test_decodes_the_flat_shape(intake: Intake, http1: httpx.AsyncClient) -> None:
    await http1.post(LOGS, json=[{"message": "flat", "status": "error", "ddtags": "a:b"}])
    (entry,) = intake.received.logs
    assert (entry.shape, entry.text, entry.status, entry.request_id) == ("flat", "flat", "error", None)


async def test_an_object_is_one_log_and_an_empty_one_a_connectivity_check(
    intake: Intake, http1: httpx.AsyncClient
) -> None:
    assert (await http1.post(LOGS, json={})).status_code == 202
    assert (await http1.post(LOGS, json={"message": "one"})).status_code == 202
    assert [entry.text for entry in intake.received.logs] == ["one"]


STREAMED = zstd.ZstdCompressor()
BODY = orjson.dumps([{"message": "x" * 200_000}])


@pytest.mark.parametrize(
    ("encoding", "wire"),
    [
        ("zstd", zstd.compress(BODY)),
        ("zstd", STREAMED.compress(BODY) + STREAMED.flush()),
        ("zstd", zstd.compress(BODY[:1000]) + zstd.compress(BODY[1000:])),
        ("gzip", gzip.compress(BODY)),
        ("gzip", gzip.compress(BODY[:7]) + gzip.compress(BODY[7:])),
        ("deflate", zlib.compress(BODY)),
        ("deflate", zlib.compress(BODY, wbits=-15)),
        ("identity", BODY),
        ("", BODY),
    ],
)
async def test_decodes_every_encoding(intake: Intake, http1: httpx.AsyncClient, encoding: str, wire: bytes) -> None:
    headers = {"content-encoding": encoding} if encoding else {}
    answer = await http1.post(LOGS, content=wire, headers=headers)
    assert answer.status_code == 202, answer.text
    assert len(intake.received.logs[0].text) == 200_000
    assert (intake.requests[0].wire_bytes, intake.requests[0].body_bytes) == (len(wire), len(BODY))


def test_a_frame_that_stops_in_the_middle_is_an_error_not_a_short_body() -> None:
    for encoding, wire in (
        ("zstd", zstd.compress(BODY)),
        ("gzip", gzip.compress(BODY)),
        ("deflate", zlib.compress(BODY)),
    ):
        with pytest.raises(Refusal, match=f"not valid {encoding}") as refusal:
            decompress(wire[:-6], encoding, 1 << 20)
        assert refusal.value.status == 400


@pytest.mark.parametrize("encoding", ["zstd", "gzip"])
def test_a_bomb_is_stopped_at_the_ceiling(encoding: str) -> None:
    bomb = bytes(50 * MIB)
    wire = zstd.compress(bomb) if encoding == "zstd" else gzip.compress(bomb)
    with pytest.raises(Refusal) as refusal:
        decompress(wire, encoding, 5 * MIB)
    assert refusal.value.status == 413


@pytest.mark.parametrize(
    ("status", "headers", "content"),
    [
        pytest.param(401, {"dd-api-key": ""}, b"[]", id="missing key"),
        pytest.param(403, {"dd-api-key": "bad"}, b"[]", id="wrong key"),
        pytest.param(415, {"content-encoding": "br"}, b"[]", id="unknown encoding"),
        pytest.param(400, {"content-encoding": "zstd"}, b"[]", id="not what the encoding says"),
        pytest.param(415, {"content-type": "text/plain"}, b"[]", id="wrong content type"),
        pytest.param(400, {}, b"[", id="bad json"),
        pytest.param(400, {}, b"", id="empty"),
        pytest.param(400, {}, b'"text"', id="a string"),
        pytest.param(400, {}, b"[[]]", id="entry that is a list"),
        pytest.param(400, {}, b'[{"message":"","ddtags":["a:b"]}]', id="tags in a list"),
        pytest.param(413, {}, orjson.dumps([{"message": "m"}] * 1001), id="too many entries"),
        pytest.param(413, {}, b"[" + b" " * (5 * MIB) + b"]", id="too large"),
    ],
)
async def test_refuses_what_datadog_refuses(
    intake: Intake, client: httpx.AsyncClient, status: int, headers: dict[str, str], content: bytes
) -> None:
    answer = await client.post(LOGS, content=content, headers=headers)
    assert answer.status_code == status
    assert answer.json()["errors"][0]["status"] == str(status)
    assert (intake.requests[0].status, len(intake.received.logs)) == (status, 0)
    assert intake.requests[0].error
    assert intake.store.refused == 1


async def test_the_limits_themselves_are_allowed(intake: Intake, http1: httpx.AsyncClient) -> None:
    assert (await http1.post(LOGS, json=[{"message": "m"}] * 1000)).status_code == 202
    exactly = b"[" + b" " * (5 * MIB - 2) + b"]"
    assert (await http1.post(LOGS, content=exactly)).status_code == 202


async def test_a_long_entry_is_cut_and_marked(intake: Intake, http1: httpx.AsyncClient) -> None:
    await http1.post(LOGS, json=[{"message": "é" * MAX_ENTRY_BYTES}])
    (entry,) = intake.received.logs
    assert entry.notes[0].startswith("truncated")
    assert 0 < len(entry.text.encode()) <= MAX_ENTRY_BYTES


async def test_an_old_entry_is_noted(intake: Intake, http1: httpx.AsyncClient) -> None:
    old = int((time.time() - 19 * 3600) * 1000)
    await http1.post(LOGS, json=[nested("old", timestamp=old), nested("new", timestamp=int(time.time() * 1000))])
    assert [bool(entry.notes) for entry in intake.received.logs] == [True, False]


async def test_the_same_payload_twice_is_a_duplicate(intake: Intake, client: httpx.AsyncClient) -> None:
    for body in ([nested("a")], [nested("b")], [nested("a")]):
        await client.post(LOGS, json=body)
    assert intake.duplicates == 1
    assert [request.duplicate for request in intake.requests] == [False, False, True]


async def test_a_refused_payload_sent_again_is_not_a_duplicate(intake: Intake, http1: httpx.AsyncClient) -> None:
    intake.faults.inject("503,times=1")
    answers = [await http1.post(LOGS, json=[nested("a")]) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [503, 202]
    assert (intake.duplicates, len(intake.received.logs)) == (0, 1)


async def test_wait_for_says_what_did_arrive(intake: Intake, http1: httpx.AsyncClient) -> None:
    await http1.post(LOGS, json=[nested("a")])
    await intake.wait_for(1, timeout=5)
    await intake.wait_for(lambda: len(intake.requests) == 1, timeout=5)
    with pytest.raises(TimeoutError, match="'logs': 1"):
        await intake.wait_for(2, timeout=0.01)
