"""Promise 3: accepted = delivered + pending + dropped-with-a-reason, and promise 4: the same bytes on retry."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import orjson
import pytest

from fliptop_lab.intake.body import decompress
from tests.lifetimes import Life, Plan, live

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


def balanced(life: Life) -> dict[str, int]:
    """Assert the equation for logs and return the ledger's drops."""
    logs = life.ledger()["logs"]
    assert logs["accepted"] == logs["delivered"] + logs["pending"] + sum(logs["dropped"].values())
    assert logs["pending"] == 0
    assert logs["delivered"] <= len(life.intake.received.logs)
    drops: dict[str, int] = logs["dropped"]
    return drops


def missing(life: Life) -> Counter[str]:
    return Counter(life.said("function")) - Counter(life.received())


NODE = pytest.param("node", marks=pytest.mark.skipif(not shutil.which("node"), reason="Node is not installed"))


@pytest.mark.parametrize("function", ["c", "python", NODE])
async def test_every_line_of_a_real_function_arrives_once(function: str, tmp_path: Path) -> None:
    life = await live(Plan(function=function), tmp_path)
    assert life.said("function")
    assert missing(life) == Counter()
    assert balanced(life) == {}
    assert life.intake.duplicates == 0
    assert Counter(life.received()) - Counter(life.said("function") + life.said("extension")) == Counter(
        text for text in life.received() if text.startswith(("INIT_START ", "START ", "END ", "REPORT "))
    )


@pytest.mark.parametrize("fault", ["500,times=1", "429,times=1,retry-after=1", "reset-headers,times=1"])
async def test_what_the_intake_did_not_take_arrives_later(fault: str, tmp_path: Path) -> None:
    life = await live(Plan(faults=[fault]), tmp_path)
    assert missing(life) == Counter()
    assert balanced(life) == {}
    assert life.intake.duplicates == 0


async def test_a_retry_sends_the_same_bytes(tmp_path: Path) -> None:
    life = await live(Plan(faults=["503,times=1"]), tmp_path)
    refused, *others = life.intake.requests
    (again,) = (other for other in others if (other.path, other.body) == (refused.path, refused.body))
    assert (refused.status, again.status) == (503, 202)


@pytest.mark.parametrize("fault", ["reset-response,times=1", "trickle,delay=0.3,times=1"])
async def test_what_the_intake_has_accepted_is_not_sent_again(fault: str, tmp_path: Path) -> None:
    life = await live(Plan(faults=[fault]), tmp_path)
    assert missing(life) == Counter()
    assert balanced(life) == {}
    assert life.intake.duplicates == 0


async def test_what_is_too_large_for_the_intake_arrives_in_halves(tmp_path: Path) -> None:
    life = await live(Plan(function="python", faults=["413,path=/api/v2/logs,times=1"]), tmp_path)
    assert missing(life) == Counter()
    assert balanced(life) == {}
    assert life.intake.duplicates == 0
    refused, first, second, *_ = (request for request in life.intake.requests if request.path == "/api/v2/logs")
    assert (refused.status, first.status, second.status) == (413, 202, 202)
    assert abs(first.items - second.items) <= 1
    entries = orjson.loads(decompress(refused.body, refused.encoding, 8 << 20))
    assert [entry.raw for entry in life.intake.received.logs][: len(entries)] == entries


@pytest.mark.parametrize(("fault", "reason"), [("413", "http_413"), ("403", "http_403"), ("400", "http_400")])
async def test_what_the_intake_refuses_for_good_is_counted(fault: str, reason: str, tmp_path: Path) -> None:
    life = await live(Plan(faults=[fault]), tmp_path)
    drops = balanced(life)
    assert drops.keys() == {reason}
    assert drops[reason] >= len(life.said("function"))


async def test_what_shutdown_cannot_send_is_counted(tmp_path: Path) -> None:
    life = await live(Plan(faults=["refuse"]), tmp_path)
    assert balanced(life).keys() == {"shutdown"}


async def test_lines_of_the_initialisation_carry_the_first_requests_id(tmp_path: Path) -> None:
    life = await live(Plan(function="python", payloads=[b"{}"]), tmp_path)
    (entry,) = (entry for entry in life.intake.received.logs if entry.text.startswith("function is initialising"))
    assert entry.request_id == life.invocations[0].request_id
