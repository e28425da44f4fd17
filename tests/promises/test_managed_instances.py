"""Lambda Managed Instances: no INVOKE, many requests at once, and telemetry all the same."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from fliptop_lab.intake import Intake
from tests.scripted_api import REGISTERED, SHUTDOWN_EVENT, SUBSCRIBED, ScriptedApi, http

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
KEY = "0" * 32
PATIENCE_S = 60.0
# The ports of the extension are fixed; on this machine others may have taken them.
ELSEWHERE = """\
import sys
from fliptop.platform import ready
vars(ready).update(TELEMETRY_PORT=int(sys.argv[1]), DOGSTATSD_PORT=int(sys.argv[2]))
vars(ready).update(LIFECYCLE_PORT=0, TRACE_AGENT_PORT=0)
from fliptop import boot
sys.exit(boot.main())
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def record(kind: str, record: Any) -> dict[str, Any]:
    return {"time": "2026-01-01T00:00:00Z", "type": kind, "record": record}


async def deliver(port: int, *records: dict[str, Any]) -> None:
    """What the Telemetry API does, once the extension listens."""
    transport = httpx.AsyncHTTPTransport(retries=10)
    async with httpx.AsyncClient(transport=transport, trust_env=False, timeout=PATIENCE_S) as client:
        assert (await client.post(f"http://127.0.0.1:{port}/", json=records)).status_code == 200


def counted(intake: Intake) -> Counter[str]:
    """How many values of each enhanced metric have arrived."""
    found: Counter[str] = Counter()
    for sketch in intake.received.sketches:
        found[sketch.metric.rpartition(".")[2]] += sketch.count
    return found


async def test_telemetry_is_sent_from_time_to_time_and_belongs_to_whom_it_names(tmp_path: Path) -> None:
    over, telemetry = threading.Event(), free_port()
    with ScriptedApi([REGISTERED, SUBSCRIBED, [over.wait, *http(200, SHUTDOWN_EVENT)]]) as api:
        async with Intake(key=KEY) as intake:
            environment = {
                "AWS_LAMBDA_RUNTIME_API": api.address,
                "AWS_LAMBDA_INITIALIZATION_TYPE": "lambda-managed-instances",
                "AWS_LAMBDA_FUNCTION_NAME": "f",
                "LAMBDA_TASK_ROOT": str(tmp_path),
                "DD_API_KEY": KEY,
                "DD_LOGS_CONFIG_LOGS_DD_URL": intake.url,
                "DD_DD_URL": intake.url,
                "DD_SERVERLESS_FLUSH_STRATEGY": "continuously,1000",
            }
            command = [sys.executable, "-c", ELSEWHERE, str(telemetry), str(free_port())]
            process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
            try:
                while len(api.requests) < 3:
                    assert process.returncode is None
                    await asyncio.sleep(0.01)
                await deliver(
                    telemetry,
                    record("platform.start", {"requestId": "r1"}),
                    record("platform.start", {"requestId": "r2"}),
                    record("function", "whose?"),
                )
                await intake.store.wait_for(lambda: len(intake.received.logs) == 3, PATIENCE_S)
                metrics = {"durationMs": 12.5}
                await deliver(telemetry, record("platform.report", {"requestId": "r1", "metrics": metrics}))
                await intake.store.wait_for(lambda: len(intake.received.logs) == 4, PATIENCE_S)
                # SHUTDOWN leaves no time here: what has not been sent by then is dropped.
                await intake.store.wait_for(lambda: "runtime_duration" in counted(intake), PATIENCE_S)
            finally:
                over.set()
                said, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode == 0
    assert json.loads(api.requests[0].body) == {"events": ["SHUTDOWN"]}
    assert [entry.request_id for entry in intake.received.logs] == ["r1", "r2", None, "r1"]
    assert counted(intake)["runtime_duration"] == 1
    assert counted(intake)["invocations"] == 2
    assert b'"pending\\":0' in said
