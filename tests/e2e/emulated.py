"""One life under AWS's Runtime Interface Emulator, in namespaces of its own; what was seen, as JSON on the last line.

    unshare … python tests/e2e/emulated.py LAYER EMULATOR [NAME=VALUE…]

The layer (a directory) becomes /opt and the C function /var/task, which is where the emulator looks. Three invocations,
then SIGTERM, on which the emulator ends the environment as Lambda does. Arguments after the second are variables.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from build.smoke_layer import bring_loopback_up  # noqa: E402

from fliptop_lab.functions import find  # noqa: E402
from fliptop_lab.intake import Intake  # noqa: E402

KEY = "0" * 32
INVOKE = "http://127.0.0.1:8080/2015-03-31/functions/function/invocations"
INVOCATIONS = 3
PATIENCE_S = 20.0


def main(layer: Path, emulator: Path, variables: list[str]) -> None:
    """Set the scene and play it."""
    bring_loopback_up()
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for place in ("/opt", "/var/task"):
        Path(place).mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "none", place], check=True)
    shutil.copytree(layer, "/opt", dirs_exist_ok=True)
    shutil.copy(find("c").task_root / "bootstrap", "/var/task/bootstrap")
    shutil.copy(emulator, "/opt/aws-lambda-rie")
    seen = asyncio.run(play(dict(variable.split("=", 1) for variable in variables)))
    sys.stdout.write(json.dumps(seen) + "\n")


async def play(variables: dict[str, str]) -> dict[str, Any]:
    """Run the emulator with a local intake beside it."""
    with tempfile.TemporaryFile() as output:
        async with Intake(key=KEY) as intake:
            environment = {**surroundings(intake.url), **variables}
            command = ["/opt/aws-lambda-rie", "./bootstrap"]
            emulator = await asyncio.create_subprocess_exec(
                *command, cwd="/var/task", env=environment, stdout=output, stderr=output
            )
            try:
                answers = [await invoke() for _ in range(INVOCATIONS)]
                emulator.terminate()
                await asyncio.wait_for(emulator.wait(), PATIENCE_S)
            finally:
                if emulator.returncode is None:
                    emulator.kill()
            logs = [entry.text for entry in intake.received.logs]
            metrics = {sketch.metric for sketch in intake.received.sketches}
        output.seek(0)
        said = output.read().decode(errors="replace").splitlines()
    return {"answers": answers, "logs": logs, "metrics": sorted(metrics), "said": said}


def surroundings(url: str) -> dict[str, str]:
    """The environment of the emulator, which passes all of it on."""
    return {
        "PATH": os.environ["PATH"],
        "AWS_LAMBDA_FUNCTION_NAME": "emulated",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
        "AWS_LAMBDA_FUNCTION_TIMEOUT": "10",
        "AWS_REGION": "us-east-1",
        "LAMBDA_TASK_ROOT": "/var/task",
        "DD_API_KEY": KEY,
        "DD_LOG_LEVEL": "debug",
        "DD_LOGS_CONFIG_LOGS_DD_URL": url,
        "DD_DD_URL": url,
    }


async def invoke() -> Any:
    """One invocation, as soon as the emulator listens and the runtime has asked for one."""
    until = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        try:
            with await asyncio.to_thread(urllib.request.urlopen, INVOKE, b"{}", PATIENCE_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as problem:
            body = problem.read()
            if b"Runtime.Unavailable" not in body or asyncio.get_running_loop().time() > until:
                raise RuntimeError(f"HTTP {problem.code}: {body!r}") from problem
        except urllib.error.URLError as problem:
            if not isinstance(problem.reason, ConnectionRefusedError) or asyncio.get_running_loop().time() > until:
                raise
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
