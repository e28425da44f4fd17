"""One environment's whole life, for end-to-end tests: a layer, a function, an intake, some invocations, SHUTDOWN.

The layer is the source layer, or the one that FLIPTOP_TEST_LAYER names (a zip or a directory), so that the same tests
hold the frozen build.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from fliptop_lab.functions import find
from fliptop_lab.intake import Intake
from fliptop_lab.lambda_ import ExecutionEnvironment, Function, Invocation, Platform
from fliptop_lab.lambda_.events import Record
from fliptop_lab.routes import pointers
from tests.ledgers import assert_adds_up

ROOT = Path(__file__).resolve().parent.parent
INTAKE_PORT = 9180
KEY = "0123456789abcdef0123456789abcdef"
POINTED_AT_INTAKE = pointers(f"http://127.0.0.1:{INTAKE_PORT}")


@cache
def layer_under_test() -> Path:
    """The layer that the environment names, or the source layer, composed once."""
    named = os.environ.get("FLIPTOP_TEST_LAYER")
    if named:
        return Path(named)
    layer = ROOT / "dist" / "source-layer"
    command = [sys.executable, str(ROOT / "build" / "layer.py"), "--source", "--out", str(layer)]
    subprocess.run(command, check=True, capture_output=True)
    return layer


@dataclass(kw_only=True)
class Plan:
    """What to run. `key` None leaves DD_API_KEY out; `meanwhile` is called with the life before each invocation."""

    function: str = "c"
    payloads: Sequence[bytes] = (b"{}", b"{}", b"{}")
    environment: Mapping[str, str] = field(default_factory=dict)
    key: str | None = KEY
    memory_mb: int = 1769
    timeout_s: float = 3.0
    layers: Sequence[Path] | None = None
    faults: Sequence[str] = ()
    yaml: str | None = None
    meanwhile: Callable[[Life, int], Awaitable[None]] | None = None
    platform: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Life:
    """What was seen of it."""

    intake: Intake
    environment: ExecutionEnvironment
    invocations: list[Invocation] = field(default_factory=list)

    @property
    def records(self) -> list[Record]:
        """Everything the platform emitted or saw, in order."""
        return self.environment.records

    def said(self, kind: str) -> list[str]:
        """Lines that a function (`function`) or the extensions (`extension`) wrote, without line ends."""
        found = (record for record in self.records if record.kind == "telemetry" and record.name == kind)
        return [str(record.data["line"]).rstrip("\n") for record in found]

    def received(self) -> list[str]:
        """The texts of the logs that the intake has, without line ends."""
        return [entry.text.rstrip("\n") for entry in self.intake.received.logs]

    def ledger(self) -> dict[str, Any]:
        """The ledger that the extension logged at SHUTDOWN."""
        (summary,) = self.ledgers()
        return summary

    def ledgers(self) -> list[dict[str, Any]]:
        """The same, of each extension that got as far: after a reset there is another one."""
        lines = (line for line in self.said("extension") if line.startswith("{") and "LEDGER | " in line)
        return [json.loads(json.loads(line)["message"].split("LEDGER | ", 1)[1]) for line in lines]

    def exits(self, name: str = "datadog-agent") -> list[Mapping[str, Any]]:
        """How processes called `name` ended."""
        return [
            record.data
            for record in self.records
            if record.kind == "process" and record.name == "exit" and record.data.get("name") == name
        ]


async def live(plan: Plan, tmp_path: Path) -> Life:
    """Run `plan` from init to SHUTDOWN and return what was seen."""
    async with Intake(key=KEY) as intake:
        for fault in plan.faults:
            intake.faults.inject(fault)
        environment = ExecutionEnvironment(_function(plan, tmp_path), _layers(plan), _platform(plan))
        async with environment:
            life = Life(intake, environment)
            intake.add_listener(environment.listen("127.0.0.1", INTAKE_PORT))
            for number, payload in enumerate(plan.payloads):
                if plan.meanwhile:
                    await plan.meanwhile(life, number)
                life.invocations.append(await environment.invoke(payload))
            await environment.shutdown()
        for summary in life.ledgers():
            assert_adds_up(summary)
        return life


def _function(plan: Plan, tmp_path: Path) -> Function:
    prepared = find(plan.function)
    task_root = prepared.task_root
    if plan.yaml is not None:
        task_root = tmp_path / "task"
        task_root.mkdir()
        for file in prepared.task_root.iterdir():
            if file.is_file():
                (task_root / file.name).write_bytes(file.read_bytes())
                (task_root / file.name).chmod(file.stat().st_mode)
        (task_root / "datadog.yaml").write_text(plan.yaml)
    key = {"DD_API_KEY": plan.key} if plan.key else {}
    return Function(
        command=prepared.command,
        task_root=task_root,
        handler=prepared.handler,
        memory_mb=plan.memory_mb,
        timeout_s=plan.timeout_s,
        environment={**POINTED_AT_INTAKE, **key, **plan.environment},
    )


def _layers(plan: Plan) -> list[Path]:
    return [layer_under_test()] if plan.layers is None else list(plan.layers)


def _platform(plan: Plan) -> Platform:
    return Platform(visible=[ROOT], **plan.platform)
