"""Promise 3 for additional endpoints: they get what the main one gets, and a dead one costs the others nothing."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from fliptop_lab.intake import Intake
from tests.lifetimes import KEY, Life, Plan, live

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
OTHER_KEY = "fedcba9876543210fedcba9876543210"
PORT, DEAD_PORT = 9181, 9182


def to(*ports: int) -> dict[str, str]:
    """Settings for additional endpoints on these ports."""
    logs = [{"api_key": OTHER_KEY, "Host": "127.0.0.1", "Port": port, "use_ssl": False} for port in ports]
    return {
        "DD_ADDITIONAL_ENDPOINTS": json.dumps({f"http://127.0.0.1:{port}": [OTHER_KEY] for port in ports}),
        "DD_LOGS_CONFIG_ADDITIONAL_ENDPOINTS": json.dumps(logs),
    }


def texts(intake: Intake) -> Counter[str]:
    """Every log that arrived, and how often."""
    return Counter(entry.text for entry in intake.received.logs)


async def test_every_endpoint_gets_everything_with_its_own_key(tmp_path: Path) -> None:
    async with Intake(key=OTHER_KEY) as other:

        async def connect(life: Life, number: int) -> None:
            if number == 0:
                other.add_listener(life.environment.listen("127.0.0.1", PORT))

        plan = Plan(function="python", environment=to(PORT, DEAD_PORT), meanwhile=connect)
        life = await live(plan, tmp_path)
    assert [invocation.payload for invocation in life.invocations]
    assert {request.headers["dd-api-key"] for request in life.intake.requests} == {KEY}
    assert texts(other) == texts(life.intake)
    assert Counter(other.received.series) == Counter(life.intake.received.series)
    assert len(other.received.sketches) == len(life.intake.received.sketches) > 0
    ledger = life.ledger()
    for signal in ("logs", "metrics"):
        original, copies = ledger[signal], ledger[f"{signal}_copies"]
        assert (original["delivered"], original["dropped"]) == (original["accepted"], {})
        assert copies["accepted"] == 2 * original["accepted"]
        assert copies["delivered"] == original["delivered"]
        assert copies["dropped"] == {"shutdown": original["accepted"]}, "of the endpoint that is dead"
    (complaint,) = {line for line in life.said("extension") if f"127.0.0.1:{DEAD_PORT}/" in line}
    assert "kept for later" in complaint
