"""When to look at what is in use, so that looking stays affordable; and what the machine's counters say of a run.

Datadog's extension looks every 10 ms, whatever the function's memory. Here looking may take a hundredth of the CPU that
the function's memory buys: what one look has cost decides when the next one is due. docs/architecture.md has figures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from fliptop.enhanced.proc import Counters, Limits, Usage

MOST_OF_CPU: Final = 0.01
SHORTEST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 10.0


class Reader(Protocol):
    """What can be read: see `proc.Proc`."""

    def counters(self) -> Counters | None: ...

    def usage(self) -> Usage: ...

    def limits(self) -> Limits: ...


class UsageSampler:
    """The highest usage during each invocation. `share` is the share of a core that the function has; `cpu_s` and
    `now_s` tell CPU time spent and time passed, both in seconds.
    """

    def __init__(
        self,
        reader: Reader,
        share: float,
        cpu_s: Callable[[], float] = time.thread_time,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._share = share
        self._cpu_s = cpu_s
        self._now_s = now_s
        self._latest = Usage()
        self._peak = Usage()
        self._due_at = 0.0
        self.pause_s = SHORTEST_PAUSE_S

    def begin(self) -> None:
        """An invocation begins."""
        self.look()
        self._peak = self._latest

    def look(self) -> None:
        """Look, if that is due. A look a moment ago is as good as one now."""
        if self._now_s() < self._due_at:
            return
        began = self._cpu_s()
        self._latest = self._reader.usage()
        cost = self._cpu_s() - began
        self.pause_s = min(max(cost / self._share / MOST_OF_CPU, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)
        self._due_at = self._now_s() + self.pause_s
        self._peak = self._peak.peak(self._latest)

    def end(self) -> Usage:
        """The invocation ends: what it used at most."""
        self.look()
        return self._peak


def used_up(before: Counters, after: Counters) -> Iterator[tuple[str, float]]:
    """Names and values of what was used between two moments, whatever the time between them."""
    if before.network and after.network:
        received, sent = (max(0, new - old) for old, new in zip(before.network, after.network, strict=True))
        yield "rx_bytes", received
        yield "tx_bytes", sent
        yield "total_network", received + sent
    user, system = max(0.0, after.user_ms - before.user_ms), max(0.0, after.system_ms - before.system_ms)
    yield "cpu_user_time", user
    yield "cpu_system_time", system
    yield "cpu_total_time", user + system


def utilization(before: Counters, after: Counters) -> Iterator[tuple[str, float]]:
    """How busy the cores were. The kernel counts idle time in steps of 10 ms: over less than that it says nothing."""
    passed = after.uptime_ms - before.uptime_ms
    idle = [max(0.0, new - old) for old, new in zip(before.idle_ms, after.idle_ms, strict=False)]
    cores = len(idle)
    if passed < 10 or not cores:
        return
    busy = max(0.0, (passed * cores - sum(idle)) / (passed * cores))
    yield "cpu_total_utilization_pct", busy * 100
    yield "cpu_total_utilization", busy * cores
    yield "num_cores", cores
    yield "cpu_max_utilization", max(0.0, (passed - min(idle)) / passed * 100)
    yield "cpu_min_utilization", max(0.0, (passed - max(idle)) / passed * 100)
