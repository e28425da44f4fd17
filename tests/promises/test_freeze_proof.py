"""Promise 6: the process may be frozen at every await, from the first turn of the event loop to the last."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import pytest

from tests.lifetimes import Plan, layer_under_test, live
from tests.promises.stopping import STOPPED

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(600)]
STOPPING = Path(__file__).with_name("stopping.py")


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


async def lived(layer: Path, turn: int, tmp_path: Path) -> bool:
    """One life, stopped before that turn: nothing is lost, nobody notices. False if there is no such turn."""
    plan = Plan(payloads=(b"{}", b"{}"), layers=[layer], environment={"FLIPTOP_TEST_STOP_AT": str(turn)})
    life = await live(plan, tmp_path)
    told = f"stopped before turn {turn}: {life.said('extension')}"
    assert [invocation.status for invocation in life.invocations] == ["success"] * 2, told
    assert [exited.get("code") for exited in life.exits()] == [0], told
    assert set(life.said("function")) <= set(life.received()), told
    assert len(life.ledgers()) == 1, told
    dropped = life.ledger()["logs"]["dropped"]
    assert dropped.keys() <= {"shutdown"}, told  # of what is said here at SHUTDOWN nobody sends the echo
    return STOPPED in life.said("extension")


async def test_a_freeze_before_any_turn_of_the_loop_loses_nothing(layer: Path, tmp_path: Path) -> None:
    turns = 0
    while await lived(layer, turns + 1, tmp_path):
        turns += 1
    assert turns > 30  # otherwise it was not the loop of the extension
