"""How a life ends: SIGTERM to the runtime, SHUTDOWN to the extensions, SIGKILL to the rest, all within the budget.

Source: Lambda guide, "Shutdown phase"; the runtime's 30 % of the budget is the emulator's (the guide says 300 ms).
"""

import signal
import time
from collections.abc import Callable
from typing import Literal

from fliptop_lab.lambda_.extensions_api import Extension
from fliptop_lab.lambda_.life import Life, void
from fliptop_lab.lambda_.processes import Process

Reason = Literal["spindown", "timeout", "failure"]
MAX_PROCESS_EXIT_WAIT_S = 2.0


async def shut_down(life: Life, reason: Reason, released: Callable[[], object] = lambda: None) -> None:
    """The whole sequence. `released` is called when SHUTDOWN has been handed out and extensions may still listen."""
    life.closing = True
    platform = life.setting.platform
    begun, wall = time.monotonic(), time.time()
    external = [extension for extension in life.extensions.registered if extension.external]
    internal = len(life.extensions.registered) > len(external)
    budget = platform.shutdown_budget_s if external else platform.shutdown_budget_internal_s if internal else 0.0
    share = platform.runtime_shutdown_share if external else 1.0
    await _end_runtime(life, budget * share)
    await life.hub.flush()
    _release(life, external, {"deadlineMs": round((wall + budget) * 1000), "shutdownReason": reason})
    released()
    await life.changes.until(lambda: not _running(life), max(0.0, begun + budget - time.monotonic()))
    await kill(life)


async def _end_runtime(life: Life, grace_s: float) -> None:
    runtime = life.runtime_process
    if runtime is None or not runtime.alive:
        return
    if grace_s > 0:
        _signal(life, runtime, signal.SIGTERM)
        if await life.changes.until(lambda: not runtime.alive, grace_s):
            return
    _signal(life, runtime, signal.SIGKILL)
    await life.changes.until(lambda: not runtime.alive, MAX_PROCESS_EXIT_WAIT_S)


def _release(life: Life, external: list[Extension], event: dict[str, object]) -> None:
    for extension in external:
        process = life.process_of(extension)
        if process is None or not process.alive:
            continue
        if extension.wants("SHUTDOWN"):
            life.extensions.deliver(extension, {"eventType": "SHUTDOWN", **event})
            life.setting.transcript.note("event", "SHUTDOWN", {"extension": extension.name, **event})
        else:
            _signal(life, process, signal.SIGKILL)
    for process in _running(life):
        if process.name not in {extension.name for extension in external}:
            _signal(life, process, signal.SIGKILL)


def _running(life: Life) -> list[Process]:
    return [process for process in life.processes if process.alive]


def _signal(life: Life, process: Process, number: signal.Signals) -> None:
    data = {"name": process.name, "role": process.role, "signal": number.name}
    life.setting.transcript.note("phase", "signal", data)
    process.signal(number)


async def kill(life: Life) -> None:
    """SIGKILL to whatever still runs, in each process group and then everywhere, and the end of this life."""
    life.closing = True
    for process in _running(life):
        _signal(life, process, signal.SIGKILL)
    life.setting.sandbox.signal(signal.SIGKILL)
    void(await life.changes.until(lambda: not _running(life), MAX_PROCESS_EXIT_WAIT_S))
    await life.close()
