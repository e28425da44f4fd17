"""What the intake makes of `/api/v0.2/stats`."""

import math
import struct
from typing import Any

import httpx
import msgpack
import pytest

from fliptop_lab.intake import Intake
from fliptop_lab.intake.refusals import Refusal
from fliptop_lab.intake.stats import decode_stats

MSGPACK = {"content-type": "application/msgpack"}
GAMMA, OFFSET = 1.015625, 1338.5
"""Those of Datadog's extension."""


def double(number: int, value: float) -> bytes:
    return bytes([number << 3 | 1]) + struct.pack("<d", value)


def message(number: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


def varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


def sketch(*store: bytes, zeros: float = 0.0) -> bytes:
    """A DDSketch as the extension writes it: with an empty store for negative values."""
    mapping = message(1, double(1, GAMMA) + double(2, OFFSET))
    return mapping + message(2, b"".join(store)) + message(3, b"") + double(4, zeros)


def sparse(key: int, count: float) -> bytes:
    """One entry of `binCounts`; keys are folded."""
    return message(1, b"\x08" + varint(key * 2) + double(2, count))


def contiguous(first: int, *counts: float) -> bytes:
    return message(2, struct.pack(f"<{len(counts)}d", *counts)) + b"\x18" + varint(first * 2)


GROUP: dict[str, Any] = {
    "Service": "shop",
    "Name": "aws.lambda",
    "Resource": "lab",
    "HTTPStatusCode": 200,
    "Type": "serverless",
    "Hits": 3,
    "Errors": 1,
    "Duration": 12,
    "OkSummary": sketch(sparse(1635, 2.0)),
    "ErrorSummary": sketch(),
    "TopLevelHits": 3,
    "PeerTags": [],
    "IsTraceRoot": 1,
    "srv_src": "",
}
START = 1_700_000_000 * 10**9


def payload(group: dict[str, Any], **client: Any) -> dict[str, Any]:
    bucket = {"Start": START, "Duration": 10**10, "Stats": [group], "AgentTimeShift": 0}
    return {
        "AgentHostname": "",
        "AgentEnv": "",
        "Stats": [{"Hostname": "", "Env": "demo", "Stats": [bucket], "Sequence": 1, "Tags": None, **client}],
        "ClientComputed": True,
        "SplitPayload": False,
    }


@pytest.mark.anyio
async def test_stats_are_decoded(intake: Intake, client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v0.2/stats", content=msgpack.packb(payload(GROUP)), headers=MSGPACK)
    assert answer.status_code == 202
    (group,) = intake.received.stats
    assert (group.service, group.name, group.resource) == ("shop", "aws.lambda", "lab")
    assert (group.hits, group.errors, group.top_level, group.duration) == (3, 1, 3, 12)
    assert (group.start, group.length) == (START, 10**10)
    assert group.key == {
        "HTTPStatusCode": 200,
        "Type": "serverless",
        "PeerTags": [],
        "IsTraceRoot": 1,
        "srv_src": "",
    }
    assert group.client == {"Hostname": "", "Env": "demo", "Sequence": 1, "Tags": None}
    assert group.payload["ClientComputed"] is True
    assert (group.ok.count, group.error.count) == (2, 0)
    state = (await client.get("/lab/state")).json()
    assert (state["counts"]["stats"], state["stats"][0]["hits"]) == (1, 3)
    assert state["stats"][0]["p50"] == pytest.approx(99.954, abs=0.001)


def summary(packed: bytes) -> Any:
    (group,) = decode_stats(msgpack.packb(payload({**GROUP, "OkSummary": packed})))
    return group.ok


def test_a_bin_stands_for_what_datadog_counts_into_it() -> None:
    """The bin of v is ⌊log v / log gamma + offset⌋; libraries that round up would read 98.4 for 100."""
    for value in (100.0, 1e6, 3e9):
        key = math.floor(math.log(value) / math.log(GAMMA) + OFFSET)
        assert summary(sketch(sparse(key, 1.0))).quantile(0.5) == pytest.approx(value, rel=1 / 128)
    assert summary(sketch(sparse(1635, 1.0))).quantile(0.5) == pytest.approx(99.954, abs=0.001)


def test_quantiles_go_through_all_bins() -> None:
    found = summary(sketch(sparse(1635, 1.0), contiguous(1635, 1.0, 0.0, 8.0), zeros=1.0))
    assert (found.bins, found.zeros, found.count) == ({1635: 2.0, 1637: 8.0}, 1.0, 11.0)
    low, high = found.quantile(0.1), found.quantile(0.5)
    assert found.quantile(0) == 0
    assert low == pytest.approx(99.954, abs=0.001)
    assert high == pytest.approx(low * GAMMA**2) == found.quantile(1)
    assert summary(sketch()).quantile(0.5) is None
    assert summary(b"").count == 0


@pytest.mark.parametrize(
    ("why", "group"),
    [
        (
            "OkSummary is not a DDSketch: positiveValues.binCounts",
            {"OkSummary": sketch(message(1, b"\x08\x02\x10\x01"))},
        ),
        ("OkSummary is not a DDSketch: field 5", {"OkSummary": b"\x28\x01"}),
        ("ErrorSummary: gamma is 0.0", {"ErrorSummary": message(1, b"")}),
        ("OkSummary has negative", {"OkSummary": message(1, double(1, GAMMA)) + message(3, sparse(1, 1.0))}),
        ("a key 'service', which", {"service": "shop"}),
        ("a key 'SrvSrc', which", {"SrvSrc": "shop"}),
        ("Hits is 1.5", {"Hits": 1.5}),
        ("Errors is True", {"Errors": True}),
        ("OkSummary is 'text'", {"OkSummary": "text"}),
        ("no more errors than hits", {"Errors": 4}),
        ("needs a service", {"Service": ""}),
        ("needs a service", {"Hits": 0, "Errors": 0}),
    ],
)
def test_what_datadog_would_drop_is_refused_by_name(why: str, group: dict[str, Any]) -> None:
    with pytest.raises(Refusal, match=why.replace("(", r"\(")) as refusal:
        decode_stats(msgpack.packb(payload({**GROUP, **group})))
    assert "Stats[0].Stats[0].Stats[0]" in str(refusal.value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x81",
        msgpack.packb([]),
        msgpack.packb({"Stats": [1]}),
        msgpack.packb({"Stats": [{"Stats": [{"Duration": 1, "Stats": []}]}]}),
        msgpack.packb({"Stats": [{"Stats": [{"Start": 1, "Stats": []}]}]}),
        msgpack.packb(payload(GROUP, Env=b"\xff")),
        b"\x81\xa8AgentEnv\xa1\xff",
        msgpack.packb(payload(GROUP)) + b"\x00",
    ],
)
def test_stats_of_another_shape_are_refused(body: bytes) -> None:
    with pytest.raises(Refusal) as refusal:
        decode_stats(body)
    assert refusal.value.status == 400
