"""The extension from its sources, stopped once before a chosen turn of its event loop, as a freeze would stop it.

FLIPTOP_TEST_STOP_AT names the turn, counted from 1. A process that holds nothing of the extension's but its stdout
continues it after a moment, and says so there: if it does not, the loop never came that far.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from fliptop.__main__ import main

STOPPED = "stopped, and continued"
STOPPED_S = 0.05
turns = 0


def continue_later() -> int:
    """Fork what continues this process after it has stopped; return the descriptor that starts it when closed."""
    stopped = os.getpid()
    told, tell = os.pipe()
    if os.fork():
        os.close(told)
        return tell
    os.close(tell)
    os.read(told, 1)
    os.closerange(2, 64)
    # The state is the field behind the name, which stands in parentheses.
    while Path(f"/proc/{stopped}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.001)
    time.sleep(STOPPED_S)
    os.write(1, f"{STOPPED}\n".encode())
    os.kill(stopped, signal.SIGCONT)
    os._exit(0)


def stop_at(turn: int) -> None:
    """Let the event loop stop this process before its turn of this number."""
    run_once = asyncio.BaseEventLoop._run_once  # type: ignore[attr-defined]

    def counted(loop: asyncio.BaseEventLoop) -> None:
        global turns  # noqa: PLW0603 -- one loop, one count
        turns += 1
        if turns == turn:
            os.close(continue_later())
            os.kill(os.getpid(), signal.SIGSTOP)
        run_once(loop)

    asyncio.BaseEventLoop._run_once = counted  # type: ignore[attr-defined]


if __name__ == "__main__":
    if sys.argv[1:] != ["--settle"]:
        stop_at(int(os.environ["FLIPTOP_TEST_STOP_AT"]))
    sys.exit(main())
