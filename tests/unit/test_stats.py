"""APM statistics: from what a tracer sends to what Datadog gets."""

from __future__ import annotations

import gzip
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fliptop.http1 import Request
from fliptop.outbox.ledger import Ledger
from fliptop.outbox.payload import Payload
from fliptop.stats.pipeline import (
    AHEAD_NS,
    BUCKET_NS,
    LIMITS,
    MOST_PARTS,
    OLDEST_NS,
    SIGNAL,
    StatsOptions,
    StatsPipeline,
)
from tests.conftest import MovedClock

pytestmark = pytest.mark.anyio
NOW_NS = 1_800_000_000_000_000_000
GROUP = {
    "Service": "shop",
    "Name": "http.request",
    "Resource": "GET /",
    "Hits": 3,
    "Duration": 2**40,
    "OkSummary": bytes(range(256)),
    "ErrorSummary": b"",
    "IsTraceRoot": 1,
    "srv_src": "m",
}


def client(start: int = NOW_NS, **fields: Any) -> dict[str, Any]:
    bucket = {"Start": start, "Duration": BUCKET_NS, "Stats": [GROUP]}
    return {"Hostname": "h", "Env": "prod", "Lang": "python", "Sequence": 1, "Stats": [bucket], **fields}


def request(document: Any) -> Request:
    return Request("POST", "/v0.6/stats", body=msgpack.packb(document))


def read(payload: Payload) -> dict[str, Any]:
    document = msgpack.unpackb(gzip.decompress(payload.body))
    assert isinstance(document, dict)
    return document


@pytest.fixture
def pipeline(ledger: Ledger, clock: MovedClock) -> StatsPipeline:
    return StatsPipeline(StatsOptions("https://trace.agent.datadoghq.com", "staging"), ledger, clock)


async def test_what_tracers_have_counted_goes_in_one_envelope(pipeline: StatsPipeline, ledger: Ledger) -> None:
    for number in range(3):
        await pipeline.take(request(client(Sequence=number)))
    (payload,) = pipeline.seal()
    assert (payload.signal, payload.items) == ("stats", 3)
    assert payload.url == "https://trace.agent.datadoghq.com/api/v0.2/stats"
    assert payload.headers == (("Content-Type", "application/msgpack"), ("Content-Encoding", "gzip"))
    document = read(payload)
    stats = document.pop("Stats")
    assert document == {
        "AgentHostname": "",
        "AgentEnv": "",
        "AgentVersion": "",
        "ClientComputed": True,
        "SplitPayload": False,
    }
    assert stats == [client(Sequence=number, Hostname="") for number in range(3)]
    assert ledger.pending(SIGNAL) == 3
    assert not list(pipeline.seal())


async def test_a_payload_comes_apart_into_halves(pipeline: StatsPipeline) -> None:
    for number in range(5):
        await pipeline.take(request(client(Sequence=number)))
    (payload,) = pipeline.seal()
    halves = payload.halves()
    assert [half.items for half in halves] == [2, 3]
    assert [stats["Sequence"] for half in halves for stats in read(half)["Stats"]] == [0, 1, 2, 3, 4]
    assert read(halves[0]) == {**read(payload), "Stats": read(payload)["Stats"][:2]}


@pytest.mark.parametrize("fields", [{"Env": ""}, {"Env": None}])
async def test_a_tracer_that_names_no_environment_is_in_the_functions(
    pipeline: StatsPipeline, fields: dict[str, Any]
) -> None:
    await pipeline.take(request(client(**fields)))
    (payload,) = pipeline.seal()
    assert read(payload)["Stats"][0]["Env"] == "staging"


@pytest.mark.parametrize("start", [NOW_NS, NOW_NS - OLDEST_NS, NOW_NS + AHEAD_NS, NOW_NS - 12345])
async def test_recent_buckets_stay_where_they_are(pipeline: StatsPipeline, start: int) -> None:
    await pipeline.take(request(client(start)))
    (payload,) = pipeline.seal()
    assert read(payload)["Stats"][0]["Stats"] == [{"Start": start, "Duration": BUCKET_NS, "Stats": [GROUP]}]


@given(st.integers(0, 2**63 - 1), st.integers(0, 10**9))
@example(0, 0)
async def test_every_bucket_ends_up_where_datadog_takes_it(start: int, later: int) -> None:
    clock = MovedClock(1_800_000_000.0 + later)
    pipeline = StatsPipeline(StatsOptions("https://trace.agent.datadoghq.com"), Ledger(), clock)
    await pipeline.take(request(client(start)))
    (payload,) = pipeline.seal()
    (bucket,) = read(payload)["Stats"][0]["Stats"]
    assert bucket["Start"] - bucket.get("AgentTimeShift", 0) == start
    assert -OLDEST_NS <= bucket["Start"] - clock.wall() * 1e9 <= AHEAD_NS
    assert start == bucket["Start"] or bucket["Start"] % BUCKET_NS == 0


@pytest.mark.parametrize("start", [2**64 - 1, -(2**63)])
async def test_a_time_beyond_all_times_does_not_matter(pipeline: StatsPipeline, start: int) -> None:
    await pipeline.take(request(client(start)))
    (payload,) = pipeline.seal()
    (bucket,) = read(payload)["Stats"][0]["Stats"]
    assert (bucket["Start"], abs(bucket["AgentTimeShift"])) == (NOW_NS, 2**63 - 1)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x81",
        b"\x93\x01",
        msgpack.packb([1]),
        msgpack.packb({"Stats": 1}),
        msgpack.packb({"Stats": [1]}),
        msgpack.packb({"Stats": [{}]}),
        msgpack.packb({"Stats": [{"Start": None}]}),
        b"\x81\x91\x01\x02",
        msgpack.packb({}) + b"x",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 10_000,
    ],
)
async def test_what_cannot_be_read_is_counted(
    pipeline: StatsPipeline, ledger: Ledger, said: list[str], body: bytes
) -> None:
    for _ in range(2):
        await pipeline.take(Request("POST", "/v0.6/stats", body=body))
    assert ledger.dropped(SIGNAL, "unreadable") == 2
    assert not list(pipeline.seal())
    assert len(said) == 1


@given(st.binary())
async def test_no_bytes_break_it(body: bytes) -> None:
    pipeline = StatsPipeline(StatsOptions("https://trace.agent.datadoghq.com"), Ledger(), MovedClock())
    await pipeline.take(Request("POST", "/v0.6/stats", body=body))


@pytest.mark.parametrize("stats", [[], None])
async def test_nothing_is_no_item(pipeline: StatsPipeline, ledger: Ledger, stats: Any) -> None:
    await pipeline.take(request(client(Stats=stats)))
    assert ledger.accepted(SIGNAL) == 0
    assert not list(pipeline.seal())


async def test_broken_text_is_repaired(pipeline: StatsPipeline) -> None:
    body = msgpack.packb(client(Service="caf~")).replace(b"caf~", b"caf\xe9")
    await pipeline.take(Request("POST", "/v0.6/stats", body=body))
    (payload,) = pipeline.seal()
    assert read(payload)["Stats"][0]["Service"] == "caf\ufffd"


async def test_what_waits_is_bounded_and_given_up_counted(pipeline: StatsPipeline, ledger: Ledger) -> None:
    large = client(Tags=["x" * 1_000_000])
    for number in range(10):
        await pipeline.take(request({**large, "Sequence": number}))
    assert ledger.dropped(SIGNAL, "buffer_full") == 6
    pipeline.give_up("no_api_key")
    assert ledger.dropped(SIGNAL, "no_api_key") == 4
    assert not list(pipeline.seal())


@pytest.mark.parametrize("part", [b"\x90", b"\x80", b"\xdd" + MOST_PARTS.to_bytes(4)])
async def test_few_bytes_cannot_become_much_memory(pipeline: StatsPipeline, ledger: Ledger, part: bytes) -> None:
    bomb = b"\xdd" + MOST_PARTS.to_bytes(4) + part * MOST_PARTS
    await pipeline.take(Request("POST", "/v0.6/stats", body=b"\x81\xa5Stats" + bomb))
    assert ledger.summary()[SIGNAL]["dropped"] == {"unreadable": 1}


async def test_what_fits_into_no_payload_is_not_even_read(pipeline: StatsPipeline, ledger: Ledger) -> None:
    await pipeline.take(Request("POST", "/v0.6/stats", body=b"\xff" * (LIMITS.size + 1)))
    assert ledger.summary()[SIGNAL]["dropped"] == {"too_large": 1}
