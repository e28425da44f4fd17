"""The layer on AWS's own emulator of Lambda, in both its modes: on demand, and Lambda Managed Instances.

The emulator (RIE) has Lambda's own Runtime and Extensions API inside; on demand it answers 202 to a telemetry
subscription, as SAM does, on Managed Instances it delivers telemetry. It runs extensions as user 993, who can read a
frozen layer but perhaps not this checkout.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lifetimes import layer_under_test
from tests.unit.build import samples

smoke_layer, tools, unpack = (samples.load(name) for name in ("smoke_layer", "tools", "unpack"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
MANAGED = ("AWS_LAMBDA_INITIALIZATION_TYPE=lambda-managed-instances", "AWS_LAMBDA_MAX_CONCURRENCY=2")
PROGRAM = Path(__file__).with_name("emulated.py")


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layer under test, as a directory that anybody may read."""
    if not smoke_layer.may_unshare():
        pytest.skip("the emulator looks for extensions in /opt: this needs namespaces (run it as root)")
    under_test = layer_under_test()
    if under_test.is_dir():
        return under_test
    opened = tmp_path_factory.mktemp("emulated") / "opt"
    unpack.unpack(under_test, opened)
    return opened


def emulated(layer: Path, *variables: str) -> dict[str, Any]:
    command = [
        *smoke_layer.UNSHARE,
        "--mount-proc",
        sys.executable,
        str(PROGRAM),
        str(layer),
        str(tools.emulator()),
        *variables,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen


def ledger(said: list[str]) -> dict[str, dict[str, Any]]:
    [line] = [line for line in said if "LEDGER | " in line]
    summary: dict[str, dict[str, Any]] = json.loads(json.loads(line)["message"].split("LEDGER | ", 1)[1])
    return summary


def test_on_demand(layer: Path) -> None:
    seen = emulated(layer)
    assert seen["answers"] == [{"ok": True}] * 3
    assert any("Telemetry.NotSupported" in line for line in seen["said"])
    metrics = ledger(seen["said"])["metrics"]
    assert metrics["delivered"] == metrics["accepted"] > 0
    assert "aws.lambda.enhanced.invocations" in seen["metrics"]


def test_managed_instances(layer: Path) -> None:
    if layer_under_test().is_dir():
        pytest.skip("user 993 may not read this checkout: name a frozen layer by FLIPTOP_TEST_LAYER")
    seen = emulated(layer, *MANAGED)
    assert seen["answers"] == [{"ok": True}] * 3
    assert len([text for text in seen["logs"] if text.startswith("hello from C")]) == 3
    books = ledger(seen["said"])
    assert books["deliveries"]["delivered"] == books["deliveries"]["accepted"] > 0
    assert books["logs"]["delivered"] == books["logs"]["accepted"]
