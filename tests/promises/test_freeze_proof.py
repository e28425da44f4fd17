"""Promise 6: the process may be frozen at every await, from the first turn of the event loop to the last."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.deaths import extension
from tests.lifetimes import Life, Plan, layer_under_test, live

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(600)]
STOPPING = Path(__file__).with_name("stopping.py")
STOPPED_S = 0.05


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    """The source layer, with an extension that stops where it is told to."""
    if not layer_under_test().is_dir():
        pytest.skip("a frozen extension has no event loop that could be told where to stop")
    layer = tmp_path / "layer"
    shutil.copytree(layer_under_test(), layer)
    words = [sys.executable, "-I", str(STOPPING)]
    (layer / "fliptop" / "fliptop").write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    return layer


def is_stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


async def keep_going(life: Life, continued: list[int]) -> None:
    """Continue the extension some moments after it has stopped, whoever has stopped it."""
    while True:
        pid = extension(life)
        if pid is not None and is_stopped(pid):
            await asyncio.sleep(STOPPED_S)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
            continued.append(pid)
        await asyncio.sleep(0.005)


async def lived(layer: Path, turn: int, tmp_path: Path) -> int:
    """One life, stopped before that turn: nothing is lost, nobody notices. Return how often it was continued."""
    continued: list[int] = []
    watchers: list[asyncio.Task[None]] = []

    async def watch(life: Life, invocation: int) -> None:
        if not invocation:
            watchers.append(asyncio.create_task(keep_going(life, continued)))

    environment = {"FLIPTOP_TEST_STOP_AT": str(turn)}
    life = await live(Plan(payloads=(b"{}", b"{}"), layers=[layer], environment=environment, meanwhile=watch), tmp_path)
    watchers[0].cancel()
    told = f"stopped before turn {turn}: {life.said('extension')}"
    assert [invocation.status for invocation in life.invocations] == ["success"] * 2, told
    assert [exited.get("code") for exited in life.exits()] == [0], told
    assert set(life.said("function")) <= set(life.received()), told
    assert life.ledger()["logs"]["dropped"] == {}, told
    return len(continued)


async def test_a_freeze_before_any_turn_of_the_loop_loses_nothing(layer: Path, tmp_path: Path) -> None:
    turn = 1
    while await lived(layer, turn, tmp_path):
        turn += 1
    assert turn > 30  # otherwise it was not the loop of the extension
