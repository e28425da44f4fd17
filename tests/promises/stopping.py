"""The extension from its sources; before a chosen turn of its event loop it stops, as a freeze would stop it.

FLIPTOP_TEST_STOP_AT names the turn, counted from 1. Whoever watches it has to continue it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from fliptop.__main__ import main

turns = 0


def stop_at(turn: int) -> None:
    """Stop this process when the event loop has had so many turns less one."""
    run_once = asyncio.BaseEventLoop._run_once  # type: ignore[attr-defined]

    def counted(loop: asyncio.BaseEventLoop) -> None:
        global turns  # noqa: PLW0603 -- one loop, one count
        turns += 1
        if turns == turn:
            os.kill(os.getpid(), signal.SIGSTOP)
        run_once(loop)

    asyncio.BaseEventLoop._run_once = counted  # type: ignore[attr-defined]


if __name__ == "__main__":
    if sys.argv[1:] != ["--settle"]:
        stop_at(int(os.environ["FLIPTOP_TEST_STOP_AT"]))
    sys.exit(main())
