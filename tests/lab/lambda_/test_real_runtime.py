"""The real Python runtime client under the simulated Lambda."""

import asyncio
import json
import sys
from pathlib import Path

from fliptop_lab.lambda_ import ExecutionEnvironment, Function, Invocation

from .harness import QUICK, layer, records

HANDLER = """


def handler(event, context):
    print("hello from", context.function_name)
    if event.get("fail"):
        raise ValueError("as asked")
    left = context.get_remaining_time_in_millis()
    return {"request": context.aws_request_id, "left": left, "size": "x" * event["size"]}
"""


def test_awslambdaric_answers_fails_and_answers_again(tmp_path: Path) -> None:
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "handler.py").write_text(HANDLER)
    command = [sys.executable, "-m", "awslambdaric", "handler.handler"]
    function = Function(command=command, task_root=tmp_path / "task")
    payloads = ({"size": 1}, {"fail": True}, {"size": 2_000_000}, {"size": 7_000_000}, {"size": 1})

    async def run() -> tuple[ExecutionEnvironment, list[Invocation]]:
        folder = layer(tmp_path / "layer", {"one": {}})
        async with ExecutionEnvironment(function, [folder], QUICK) as environment:
            return environment, [await environment.invoke(json.dumps(payload).encode()) for payload in payloads]

    environment, (first, failed, big, too_big, last) = asyncio.run(run())
    answer = json.loads(first.payload)
    assert answer["request"] == first.request_id
    assert 0 < answer["left"] <= 3000
    assert (failed.status, json.loads(failed.payload)["errorType"]) == ("error", "ValueError")
    assert (big.status, len(json.loads(big.payload)["size"])) == ("success", 2_000_000)
    assert too_big.status == "error"
    assert last.status == "success"
    lines = [record.data["line"] for record in records(environment, "telemetry", "function")]
    assert lines[0] == "hello from lab-function\n"
    assert any(line.startswith("REPORT RequestId") for line in environment.log)
