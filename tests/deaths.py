"""Ways to kill the extension in the middle of a life, and to wait for what another process does."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import anyio

from tests.lifetimes import Life


def extension(life: Life) -> int | None:
    """The pid of the extension's process, the guard's child."""
    guard = life.environment.pids().get("datadog-agent")
    try:
        children = Path(f"/proc/{guard}/task/{guard}/children").read_text().split()
    except OSError:
        return None
    return int(children[0]) if children else None


async def kill_before_the_second(life: Life, invocation: int) -> None:
    """A `meanwhile`: the extension dies between the first invocation and the second."""
    if invocation == 1:
        pid = extension(life)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)


async def kill_three(life: Life) -> None:
    """Kill the extension as soon as there is one, and the next two that the guard starts."""
    killed: list[int | None] = [None]
    for _ in range(3):
        await until(lambda: extension(life) not in killed)
        killed.append(extension(life))
        os.kill(killed[-1] or 0, signal.SIGKILL)


async def until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds. `TimeoutError` after half a minute."""
    with anyio.fail_after(30):
        while not condition():  # noqa: ASYNC110 -- other processes make it true
            await asyncio.sleep(0.002)
