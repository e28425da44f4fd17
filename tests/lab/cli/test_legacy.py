"""The legacy stand-in: registers under the right name, delivers logs and counters, leaves at SHUTDOWN."""

import asyncio
import json
import os
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from fliptop_lab import legacy
from fliptop_lab.intake import Intake
from fliptop_lab.legacy import standin

pytestmark = pytest.mark.anyio


def post_telemetry(records: list[dict[str, Any]]) -> None:
    body = json.dumps([{"time": "2026-11-22T06:35:18.106Z", **record} for record in records]).encode()
    urllib.request.urlopen(f"http://127.0.0.1:{standin.TELEMETRY_PORT}/", body, timeout=5).close()


async def test_one_invocation_and_shutdown(fake_lambda: Any, tmp_path: Path) -> None:
    program = legacy.install(tmp_path)
    async with Intake(key="k") as intake:
        environ = {
            **os.environ,
            "AWS_LAMBDA_RUNTIME_API": fake_lambda.address,
            "AWS_LAMBDA_FUNCTION_NAME": "f",
            "DD_API_KEY": "k",
            "DD_LOGS_CONFIG_LOGS_DD_URL": intake.url,
            "DD_DD_URL": intake.url,
        }
        process = subprocess.Popen([program], env=environ, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
        _, headers, registered = await asyncio.to_thread(fake_lambda.calls.get, timeout=30)
        _, _, subscribed = await asyncio.to_thread(fake_lambda.calls.get, timeout=30)
        assert headers["Lambda-Extension-Name"] == "datadog-agent"
        assert registered == {"events": ["INVOKE", "SHUTDOWN"]}
        assert subscribed["destination"]["URI"].startswith("http://sandbox.localdomain:")

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd:
            for _ in range(2):
                statsd.sendto(b"fliptop.fallback:1|c|#reason:x", ("127.0.0.1", standin.STATSD_PORT))
        fake_lambda.events.put({"eventType": "INVOKE", "requestId": "r-9", "deadlineMs": (time.time() + 20) * 1000})
        start = {"type": "platform.start", "record": {"requestId": "r-9"}}
        lines = [{"type": "function", "record": text} for text in ("one\n", {"message": "two"})]
        done = {"type": "platform.runtimeDone", "record": {"requestId": "r-9"}}
        await asyncio.to_thread(post_telemetry, [start, *lines, done])
        await intake.wait_for(2)
        fake_lambda.events.put({"eventType": "SHUTDOWN"})
        output, _ = await asyncio.to_thread(process.communicate, timeout=30)

        assert process.returncode == 0
        assert [entry.text for entry in intake.received.logs] == ["one\n", '{"message": "two"}']
        assert {entry.request_id for entry in intake.received.logs} == {"r-9"}
        assert {entry.tag("extension") for entry in intake.received.logs} == {"legacy-stand-in"}
        (series,) = intake.received.series
        assert (series.metric, series.points[0][1], series.tags) == ("fliptop.fallback", 2.0, ("reason:x", legacy.TAG))
        assert all(line.startswith("legacy stand-in | ") for line in output.splitlines())


def test_the_name_is_that_of_the_file_lambda_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/opt/datadog-agent-go"])
    assert standin.own_name() == "datadog-agent"
    monkeypatch.setattr("sys.argv", ["/opt/extensions/other"])
    assert standin.own_name() == "other"
