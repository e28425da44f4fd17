"""All seven promises in every cell of the failure matrix: see `matrix.py`."""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter, defaultdict
from typing import Any

import orjson
import pytest

from fliptop_lab.intake.body import decompress
from fliptop_lab.intake.traces import decode_traces
from fliptop_lab.lambda_ import Invocation
from tests.lifetimes import Life
from tests.promises.matrix import Cell, Seen, cells, run_all
from tests.promises.test_in_time import spare_seconds

pytestmark = pytest.mark.timeout(1500)

# What the extension may have at any moment, all of its processes together: twice what has been seen of memory and open
# files; of threads the guard's, the loop's, and those in which asyncio looks names up.
MOST_MB, MOST_FILES, MOST_THREADS = 100, 64, 2 + min(32, (os.cpu_count() or 1) + 4)
PORTS = {8124, 8125, 8126, 8999}
OURS = {"aws.lambda", "shop.order", "shop.query"}
FINAL = {"403": "http_403", "413": "http_413"}
QUICK = ("ok", "429", "500", "black-hole", "reset-body", "untrusted", "dead-dns", "proxy-down")


def quick() -> set[Cell]:
    """A few for `make test`: these faults, in turns with different levels of everything else, and no long waits."""
    swift = [cell for cell in cells() if cell.when != "frozen" and cell.function != "times-out"]
    of_each = [[cell for cell in swift if cell.fault == fault] for fault in QUICK]
    return {found[number % len(found)] for number, found in enumerate(of_each)}


def table() -> list[Any]:
    """All cells as parameters."""
    soon = quick()
    return [pytest.param(each, id=str(each), marks=[pytest.mark.slow] * (each not in soon)) for each in cells()]


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> dict[Cell, Seen | BaseException]:
    """What was seen of all cells that this session is about."""
    items = (item for item in request.session.items if isinstance(item, pytest.Function) and hasattr(item, "callspec"))
    chosen = [cell for item in items if isinstance(cell := item.callspec.params.get("cell"), Cell)]
    return asyncio.run(run_all(list(dict.fromkeys(chosen))))


@pytest.mark.parametrize("cell", table())
def test_all_promises_hold(cell: Cell, outcomes: dict[Cell, Seen | BaseException]) -> None:
    seen = outcomes[cell]
    if isinstance(seen, BaseException):
        raise seen
    does_no_harm(seen)
    is_in_time(seen)
    loses_nothing_silently(seen)
    sends_the_same_bytes(seen)
    is_bounded(seen)
    survives_a_freeze(seen)
    was_ready_first(seen)


def does_no_harm(seen: Seen) -> None:
    """Promise 1: the caller gets what it would get without the extension, which ends once, after SHUTDOWN."""
    assert [answer(each) for each in seen.life.invocations] == [answer(each) for each in seen.without]
    assert {exited.get("code") for exited in seen.life.exits()} == {0}


def answer(invocation: Invocation) -> tuple[str, str | None, bool, str]:
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "<id>", invocation.payload.decode())
    return invocation.status, invocation.error_type, invocation.responded, text


def is_in_time(seen: Seen) -> None:
    """Promise 2. Where the function itself is too late or dies, nobody may be left to ask."""
    survived = [each for each in seen.life.invocations if each.status == "success"]
    spare = spare_seconds(seen.life, seen.cell.timeout_s)
    assert len(survived) <= len(spare) <= len(seen.life.invocations)
    assert min(spare) > 0


def total(life: Life, signal: str) -> tuple[int, Counter[str]]:
    """Delivered, and dropped for which reasons, over all lives."""
    entries = [ledger[signal] for ledger in life.ledgers() if signal in ledger]
    return sum(entry["delivered"] for entry in entries), sum((Counter(each["dropped"]) for each in entries), Counter())


def loses_nothing_silently(seen: Seen) -> None:
    """Promise 3: the equation, in each life and for each signal; and the intake has what the ledger says."""
    life = seen.life
    assert len(life.ledgers()) == len(life.exits())
    for ledger in life.ledgers():
        for signal, entry in ledger.items():
            assert entry["accepted"] == entry["delivered"] + sum(entry["dropped"].values()), signal
            assert entry["pending"] == 0, signal
    delivered, dropped = total(life, "logs")
    assert delivered <= len(life.intake.received.logs) <= delivered + unanswered(dropped)
    missing = Counter(life.said("function")) - Counter(life.received())
    assert missing.total() <= dropped.total()
    assert dropped.keys() <= {"shutdown", FINAL.get(seen.cell.fault, "shutdown")}
    if seen.cell.fault == "ok":
        assert dropped == {}
    metrics_agree(seen)
    spans_agree(seen)


def unanswered(dropped: Counter[str]) -> int:
    """What the intake may have beyond what the ledger knows: its answer came too late for SHUTDOWN."""
    return dropped["shutdown"]


def metrics_agree(seen: Seen) -> None:
    """One order for each invocation, and three prices: there, or dropped."""
    intake = seen.life.intake
    delivered, dropped = total(seen.life, "metrics")
    orders = sum(value for item in intake.received.series if item.metric == "shop.orders" for _, value in item.points)
    sketched = sum(item.count for item in intake.received.sketches)
    prices = sum(item.count for item in intake.received.sketches if item.metric == "shop.price")
    invoked = len(seen.life.invocations)
    assert sketched + orders <= delivered + unanswered(dropped)
    assert orders <= invoked
    assert prices <= 3 * invoked
    assert 4 * invoked - orders - prices <= dropped.total()


def spans_agree(seen: Seen) -> None:
    """Three spans for each invocation that gets as far as to send them: there, or dropped."""
    delivered, dropped = total(seen.life, "spans")
    requests = total(seen.life, "tracer_requests")[1].total()
    spans = seen.life.intake.received.spans
    assert delivered <= len(spans) <= delivered + unanswered(dropped)
    ours = Counter(span.name for span in spans if span.name in OURS)
    sent = len(seen.life.invocations) - (seen.cell.function in {"times-out", "out-of-memory"})
    assert max(ours.values(), default=0) <= sent
    assert len(OURS) * (sent - requests) - ours.total() <= dropped.total()
    if seen.cell.fault == "ok":
        assert dropped == {}


def sends_the_same_bytes(seen: Seen) -> None:
    """Promise 4: nothing that was accepted comes again, and no entry and no span is ever sent in two different
    payloads, unless the intake found the first one too large: its halves are new payloads.
    """
    intake = seen.life.intake
    assert repeated(seen.life) == {}
    payloads: defaultdict[bytes, set[bytes]] = defaultdict(set)
    for request in intake.requests:
        if request.path == "/api/v2/logs" and request.body and request.status != 413:
            for entry in orjson.loads(decompress(request.body, request.encoding, 8 << 20)):
                payloads[orjson.dumps(entry)].add(request.body)
        if request.path == "/api/v0.2/traces" and request.body and request.status != 413:
            for span in decode_traces(decompress(request.body, request.encoding, 16 << 20)):
                payloads[span.span_id.to_bytes(8)].add(request.body)
    assert {len(bodies) for bodies in payloads.values()} <= {1}


def repeated(life: Life) -> Counter[tuple[int, str, bytes]]:
    """Payloads that the intake took more than once from one life of the extension; two lives may well count alike."""
    ends = [record.wall for record in life.records if (record.kind, record.name) == ("process", "exit")]
    taken = Counter(
        (sum(end < request.at for end in ends), request.path, request.body)
        for request in life.intake.requests
        if request.status == 202 and request.path != "/api/beta/sketches"
    )
    return Counter({payload: count for payload, count in taken.items() if count > 1})


def is_bounded(seen: Seen) -> None:
    """Promise 5."""
    assert seen.used.rss_mb < MOST_MB
    assert seen.used.files < MOST_FILES
    assert seen.used.threads < MOST_THREADS


def survives_a_freeze(seen: Seen) -> None:
    """Promise 6: once nothing is wrong any more, what waited arrives, whatever was frozen or forgotten before."""
    survives = seen.cell.function in {"ok", "throws"}
    if seen.cell.passes and survives and seen.cell.fault not in FINAL:
        assert total(seen.life, "logs")[1] == {}
        assert total(seen.life, "metrics")[1] == {}
        assert total(seen.life, "spans")[1] == {}


def was_ready_first(seen: Seen) -> None:
    """Promise 7: what a function may call listens before the extension is ready."""
    assert len(seen.listening) == len(seen.life.exits())
    assert all(ports >= PORTS for ports in seen.listening)
