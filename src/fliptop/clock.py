"""Time, injected. Deadlines come from Lambda as wall-clock epoch milliseconds, and a frozen environment may stop the
monotonic clock for hours; so what must survive a freeze is compared on the wall clock.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the extension knows about time. Tests pass one that they move by hand."""

    def wall(self) -> float:
        """Seconds since the epoch. Jumps forward over a freeze."""
        ...


class SystemClock:
    """The real clock."""

    def wall(self) -> float:
        """See `Clock.wall`."""
        return time.time()
