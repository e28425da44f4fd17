"""Promise 1: whatever breaks inside the extension or beyond it, the function's invocations succeed as without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.lifetimes import Life, Plan, live

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

FAULTS: list[Any] = ["refuse", "blackhole", "500", "403", "413", "429,retry-after=5", "reset-headers", "reset-body"]
FAULTS.append(pytest.param("delay=1", marks=pytest.mark.slow))


def unharmed(life: Life) -> None:
    assert [invocation.status for invocation in life.invocations] == ["success"] * len(life.invocations)
    assert [exited.get("code") for exited in life.exits()] == [0], "the extension ends once, after SHUTDOWN"


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_function_does_not_notice_what_the_intake_does(fault: str, tmp_path: Path) -> None:
    life = await live(Plan(faults=[fault]), tmp_path)
    unharmed(life)
    # The function takes well under a millisecond; what the caller sees must not contain any flush.
    assert max(invocation.latency_ms for invocation in life.invocations[1:]) < 900


async def test_without_an_api_key_it_drains_and_discards_and_says_so_once(tmp_path: Path) -> None:
    life = await live(Plan(key=None), tmp_path)
    unharmed(life)
    assert life.intake.requests == []
    assert len([line for line in life.said("extension") if "no API key" in line]) == 1
    logs = life.ledger()["logs"]
    assert logs["dropped"] == {"no_api_key": logs["accepted"]}


async def test_a_refused_key_is_said_once(tmp_path: Path) -> None:
    life = await live(Plan(key="f" * 32), tmp_path)
    unharmed(life)
    assert len([line for line in life.said("extension") if "verify that your API key is valid" in line]) == 1
    assert life.ledger()["logs"]["dropped"].keys() == {"http_403"}


async def test_nonsense_in_every_setting_costs_only_those_settings(tmp_path: Path) -> None:
    nonsense = {
        "DD_SITE": "not a site",
        "DD_FLUSH_TIMEOUT": "soon",
        "DD_TAGS": "::,,:",
        "DD_LOGS_CONFIG_PROCESSING_RULES": '[{"type":"mask_sequences","name":"n","pattern":"("}]',
        "DD_COMPRESSION_LEVEL": "99",
        "DD_LOG_LEVEL": "loud",
    }
    life = await live(Plan(environment=nonsense), tmp_path)
    unharmed(life)
    assert life.received(), "the intake's address was fine, and so logs arrive"
    for name in ("DD_SITE", "DD_FLUSH_TIMEOUT", "DD_COMPRESSION_LEVEL", "DD_LOG_LEVEL"):
        assert any(name in line and "is ignored" in line for line in life.said("extension")), name


@pytest.mark.parametrize(
    ("payload", "status"),
    [(b'{"raise": "no luck"}', "error"), (b'{"exit": 3}', "failure"), (b'{"sleep": 30}', "timeout")],
    ids=["throws", "exits", "times-out"],
)
async def test_a_function_that_fails_fails_as_it_would_without_the_extension(
    payload: bytes, status: str, tmp_path: Path
) -> None:
    plan = Plan(function="python", payloads=[b"{}", payload, b"{}"], timeout_s=2)
    bare = await live(Plan(function="python", payloads=plan.payloads, timeout_s=2, layers=[]), tmp_path)
    life = await live(plan, tmp_path)
    expected = [(invocation.status, invocation.error_type) for invocation in bare.invocations]
    assert [(invocation.status, invocation.error_type) for invocation in life.invocations] == expected
    assert expected[1][0] in {status, "error", "failure"}
