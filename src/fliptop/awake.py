"""Time that has passed awake. An environment may be frozen for hours between two instructions, which says nothing about
whoever we were waiting for.
"""

from __future__ import annotations

from typing import Final

import anyio

TICK_S: Final = 0.5
# No loop is late by so much unless it was frozen.
FROZEN_S: Final = 1.0


async def sleep_awake(seconds: float) -> None:
    """Sleep for `seconds`, not counting those of a freeze. What waited meanwhile gets a turn after a thaw."""
    end = anyio.current_time() + seconds
    while (left := end - anyio.current_time()) > 0:
        tick, before = min(left, TICK_S), anyio.current_time()
        await anyio.sleep(tick)
        late = anyio.current_time() - before - tick
        if late > FROZEN_S:
            end += late + tick
