"""The extension from its sources, stopped once before a chosen turn of its event loop, as a freeze would stop it.

FLIPTOP_TEST_STOP_AT names the turn, counted from 1. A process of its own does it and continues it after a moment, and
says so on stdout: if it does not, the loop never came that far.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

from fliptop.__main__ import main

STOPPED = "stopped, and continued"
STOPPED_S = 0.05
turns = 0


def be_stopped() -> None:
    """Fork what stops this process and continues it, and wait for that."""
    stopped = os.getpid()
    over, done = os.pipe()
    if not os.fork():
        os.kill(stopped, signal.SIGSTOP)
        time.sleep(STOPPED_S)
        os.write(1, f"{STOPPED}\n".encode())
        os.kill(stopped, signal.SIGCONT)
        os._exit(0)
    os.close(done)
    os.read(over, 1)
    os.close(over)


def stop_at(turn: int) -> None:
    """Let the event loop stop this process before its turn of this number."""
    run_once = asyncio.BaseEventLoop._run_once  # type: ignore[attr-defined]

    def counted(loop: asyncio.BaseEventLoop) -> None:
        global turns  # noqa: PLW0603 -- one loop, one count
        turns += 1
        if turns == turn:
            be_stopped()
        run_once(loop)

    asyncio.BaseEventLoop._run_once = counted  # type: ignore[attr-defined]


if __name__ == "__main__":
    if sys.argv[1:] != ["--settle"]:
        stop_at(int(os.environ["FLIPTOP_TEST_STOP_AT"]))
    sys.exit(main())
