"""Flush control: asks `strategy.decide` with what it has seen, and carries out what goes on beside the run."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
from anyio.abc import TaskGroup

from fliptop import report
from fliptop.clock import Clock
from fliptop.lifecycle.strategy import LOOK_BACK, Decision, History, Strategy, decide

# What an overlapping flush may take, while the process is awake.
OVERLAP_S: Final = 10.0
# However short the interval, what goes on beside the run shall not take its CPU.
SHORTEST_RACE_S: Final = 1.0


class FlushControl:
    """What has been seen of invocations and flushes, and what follows from it for the next one."""

    def __init__(self, strategy: Strategy, clock: Clock) -> None:
        self._strategy = strategy
        self._clock = clock
        self._invocations: deque[float] = deque(maxlen=LOOK_BACK)
        self._runs: deque[float] = deque(maxlen=LOOK_BACK)
        self._flushes: deque[float] = deque(maxlen=LOOK_BACK)
        self._flushed_at = clock.wall()

    @property
    def strategy(self) -> Strategy:
        """What the user chose."""
        return self._strategy

    def begin(self) -> Decision:
        """An invocation begins: when to flush."""
        now = self._clock.wall()
        self._invocations.append(now)
        history = History(tuple(self._invocations), self._flushed_at, _mean(self._runs), _mean(self._flushes))
        decision = decide(self._strategy, history, now)
        report.debug(f"Flush strategy: {self._strategy.kind}, this invocation: {decision}")
        return decision

    def ran(self, seconds: float) -> None:
        """A run of the function has taken so long."""
        self._runs.append(seconds)

    def flushing(self) -> None:
        """A flush begins."""
        self._flushed_at = self._clock.wall()

    def flushed(self, seconds: float) -> None:
        """A flush that nothing interrupted has taken so long."""
        self._flushes.append(seconds)

    @property
    def race_is_due(self) -> bool:
        """True when the invocation that runs has gone without a flush for long enough."""
        return not 0 <= self._clock.wall() - self._flushed_at < self._strategy.race_s


def _mean(values: deque[float]) -> float:
    return sum(values) / len(values) if values else 0.0


class Overlap:
    """At most one flush beside everything else, in `tasks`."""

    def __init__(self, flush: Callable[[float], Awaitable[None]], control: FlushControl, tasks: TaskGroup) -> None:
        self._flush = flush
        self._control = control
        self._tasks = tasks
        self._scope = anyio.CancelScope()
        self._done = anyio.Event()
        self._done.set()

    def start(self) -> None:
        """Begin a flush, unless one is under way."""
        if self._done.is_set():
            self._done = anyio.Event()
            self._control.flushing()
            self._tasks.start_soon(self._run, self._done)

    async def settled(self) -> None:
        """Wait until none is under way."""
        await self._done.wait()

    async def race(self) -> None:
        """Begin a flush whenever one is due, until cancelled. On Managed Instances, nothing else begins any."""
        while True:
            await anyio.sleep(max(self._control.strategy.race_s, SHORTEST_RACE_S))
            if self._control.race_is_due:
                self.start()

    async def stop(self) -> None:
        """Cut short what is under way: nothing of it is lost."""
        self._scope.cancel()
        await self._done.wait()

    async def _run(self, done: anyio.Event) -> None:
        with anyio.CancelScope() as self._scope:
            try:
                await self._flush(OVERLAP_S)
            except Exception as problem:  # noqa: BLE001 -- promise 1: nor may it end the loop
                report.error(f"a flush failed ({problem!r}): telemetry is kept for later")
        done.set()
