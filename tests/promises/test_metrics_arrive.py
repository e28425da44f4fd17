"""Promise 3 for metrics: what a function counts arrives, or is counted as lost, whatever happens on the way."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.deaths import extension, kill_before_the_second
from tests.lifetimes import Life, Plan, live

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
CLIENTS = Path(__file__).parent / "clients"


def balanced(life: Life) -> dict[str, int]:
    """Assert the equation for metrics and return the ledger's drops."""
    metrics = life.ledger()["metrics"]
    assert metrics["accepted"] == metrics["delivered"] + metrics["pending"] + sum(metrics["dropped"].values())
    assert metrics["pending"] == 0
    drops: dict[str, int] = metrics["dropped"]
    return drops


def counted(life: Life, metric: str) -> float:
    """The sum of a count over all payloads."""
    return sum(value for item in life.intake.received.series if item.metric == metric for _, value in item.points)


def distributed(life: Life, metric: str) -> int:
    """The number of values of a distribution over all payloads."""
    return sum(item.count for item in life.intake.received.sketches if item.metric == metric)


async def test_what_an_invocation_counts_arrives_with_it(tmp_path: Path) -> None:
    async def arrived(life: Life, number: int) -> None:
        if number:
            assert counted(life, "shop.orders") == number
            assert distributed(life, "shop.price") == 3 * number

    life = await live(Plan(function="python", meanwhile=arrived), tmp_path)
    assert counted(life, "shop.orders") == 3
    assert balanced(life) == {}
    (tags,) = {item.tags for item in life.intake.received.series if item.metric == "shop.orders"}
    assert {"kind:book", "functionname:lab-function", "region:eu-west-1"} <= set(tags)
    times = [time for item in life.intake.received.series if item.metric == "shop.orders" for time, _ in item.points]
    assert len(times) == len(set(times)), "of two counts at one time the intake believes one"


async def test_datadogs_own_client(tmp_path: Path) -> None:
    plan = Plan(function=str(CLIENTS / "datadog"), payloads=[b'{"orders": 3000}'] * 2)
    life = await live(plan, tmp_path)
    assert [invocation.payload for invocation in life.invocations] == [b"null"] * 2
    assert counted(life, "real.orders") == 6002
    assert distributed(life, "real.price") == 6000
    assert counted(life, "real.balance") == -4
    series = {(item.metric, item.type): item for item in life.intake.received.series}
    assert series["real.stock", "gauge"].points[0][1] == 42.5
    assert series["real.customer", "gauge"].points[0][1] == 1
    assert series["real.size.max", "gauge"].points[0][1] == 7
    assert series["real.took.95percentile", "gauge"].points[0][1] == 120
    assert counted(life, "real.took.count") == 2
    assert {"client:datadog", "kind:book"} <= set(series["real.orders", "count"].tags)
    assert balanced(life) == {}
    first, second = life.intake.received.events
    assert (first.title, first.text, first.alert_type) == ("shipped", "to\nwhom it may concern", "info")
    assert {"client:datadog", "kind:book", "functionname:lab-function"} <= set(first.tags)
    assert second.time is not None
    checks = life.intake.received.service_checks
    assert [(check.check, check.status, check.message) for check in checks] == [("real.check", "ok", "fine")] * 2
    ledger = life.ledger()
    assert ledger["events"] == ledger["service_checks"] == {"accepted": 2, "delivered": 2, "pending": 0, "dropped": {}}
    assert "dogstatsd" not in ledger


async def test_a_flood_is_delivered_or_counted(tmp_path: Path) -> None:
    sent = 20_000
    payload = b'{"metrics": %d}' % sent
    life = await live(Plan(function="python", payloads=[b"{}", payload], timeout_s=20), tmp_path)
    assert balanced(life) == {}
    lost = life.ledger().get("dogstatsd", {"dropped": {}})["dropped"].get("socket_full", 0)
    arrived = distributed(life, "shop.load")
    assert sent - 6 <= arrived + lost <= sent + 6, "the other six datagrams may have been lost instead"
    assert arrived > sent / 10


async def test_malformed_datagrams_cost_nothing_but_themselves(tmp_path: Path) -> None:
    junk = [
        b"",
        b"\n\n",
        b"\xff\xfe\x00",
        b":|c",
        b"x:nan|c",
        b"x:1|c|@0",
        b"_e{9,9}:a|b",
        b"x" * 9000,
        b"ok.one:1|c\nbad",
    ]

    async def send(life: Life, number: int) -> None:
        if number == 1:
            pid = extension(life)
            script = f"import socket\nfor d in {junk!r}: socket.socket(2,2).sendto(d, ('127.0.0.1', 8125))"
            run_beside(pid, script)

    life = await live(Plan(function="python", meanwhile=send), tmp_path)
    assert counted(life, "ok.one") == 1
    assert counted(life, "shop.orders") == 3
    drops = Counter(life.ledger()["dogstatsd"]["dropped"])
    assert drops == {"malformed": 3, "not_finite": 1, "bad_rate": 1, "bad_event": 1, "truncated": 1}


async def test_a_crash_costs_only_what_was_not_delivered(tmp_path: Path) -> None:
    life = await live(Plan(function="python", meanwhile=kill_before_the_second), tmp_path)
    assert counted(life, "shop.orders") == 3
    assert set(balanced(life)) <= {"extension_died"}
    assert counted(life, "fliptop.extension.deaths") == 1


def run_beside(pid: int | None, script: str) -> None:
    """Run Python code in the network of process `pid`."""
    import subprocess
    import sys

    command = ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-c", script]
    subprocess.run(command, check=True, timeout=30)
