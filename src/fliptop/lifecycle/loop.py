"""The loop over `/event/next`. Nothing but SHUTDOWN ends it.

INVOKE: ask `flushing` when to flush, and do so: at the start, beside the function's run, when the runtime is done, or
not this time; then ask for the next event. All of it within the invocation's deadline, on the wall clock. SHUTDOWN:
take the last records, flush once more, settle the ledger.
"""

from collections.abc import Awaitable, Sequence
from typing import Final, NamedTuple, Protocol

import anyio

from fliptop import report
from fliptop.clock import Clock
from fliptop.identity import Identity
from fliptop.lifecycle.deadline import time_left
from fliptop.lifecycle.flushing import FlushControl, Overlap
from fliptop.lifecycle.milestones import Milestones
from fliptop.lifecycle.strategy import Strategy
from fliptop.platform.extensions_api import Event, Invoke, Shutdown

# The report of the last invocation comes within 40 ms of SHUTDOWN; without one, this is how long we listen for it.
LAST_RECORDS_S: Final = 0.3
# A platform that has sent no telemetry at all by the first INVOKE gets this long to begin; then we stop expecting it.
PROOF_S: Final = 1.0
# When the runtime has failed, the environment is reset: SHUTDOWN's two seconds have begun, and we hear of it only when
# we ask. So much of them a flush may take.
RESET_FLUSH_S: Final = 0.7


class Events(Protocol):
    """Where events come from."""

    def next(self) -> Awaitable[Event]:
        """The next event; asking for it tells the platform that the extension is done with the one before."""
        ...


class Flusher(Protocol):
    """What sends telemetry. `flush` and `finish` take the seconds they may last, and do not raise."""

    def flush(self, left_s: float) -> Awaitable[None]:
        """Send what waits, within `left_s`."""
        ...

    def wind_down(self) -> None:
        """Let a flush that is under way end when what it has sent is answered: `finish` is next."""
        ...

    def finish(self, left_s: float) -> Awaitable[None]:
        """Send what waits, whatever happened before: there is no later. What is left then is dropped, counted."""
        ...


class Options(NamedTuple):
    """What does not change during a life: see `Lifecycle`."""

    margin_s: float
    telemetry: bool
    strategy: Strategy = Strategy()


class Observer(Protocol):
    """Who wants to know of events."""

    def invoked(self, request_id: str) -> None:
        """A request has begun."""
        ...

    def shut_down(self) -> None:
        """The environment ends."""
        ...


class Lifecycle:
    """One execution environment's life, from the first event to SHUTDOWN. `margin_s` is kept free before the deadline
    of each event; `telemetry` False: no records will come. `observers` are told of each event;
    `strategy` is what the user chose.
    """

    def __init__(
        self,
        clock: Clock,
        identity: Identity,
        milestones: Milestones,
        options: Options,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._clock = clock
        self._margin_s, self._telemetry, _ = options
        self._identity = identity
        self._milestones = milestones
        self._observers = observers
        self._control = FlushControl(options.strategy, clock)
        self._last_request: str | None = None

    async def run(self, events: Events, flusher: Flusher) -> None:
        """Serve events until SHUTDOWN has been served."""
        async with anyio.create_task_group() as tasks:
            overlap = Overlap(flusher.flush, self._control, tasks)
            tasks.start_soon(overlap.race)
            while True:
                event = await events.next()
                try:
                    if isinstance(event, Shutdown):
                        await self._shut_down(event, flusher, overlap)
                    else:
                        await self._invocation(event, flusher, overlap)
                except Exception as problem:  # noqa: BLE001 -- promise 1: a defect here must not cost an invocation
                    name = type(event).__name__
                    report.error(f"{name} could not be served ({problem!r}): telemetry is kept for later")
                if isinstance(event, Shutdown):
                    break
            tasks.cancel_scope.cancel()

    async def _invocation(self, event: Invoke, flusher: Flusher, overlap: Overlap) -> None:
        report.debug(f"Invoke event {event.request_id}; deadline: {event.deadline_ms}")
        self._last_request = event.request_id
        self._tell_observers(event)
        self._identity.learn_arn(event.function_arn)
        match self._control.begin():
            case "overlap":
                overlap.start()
            case "start":
                await self._flush(event, flusher, overlap)
            case "end":
                began = anyio.current_time()
                with anyio.move_on_after(self._left(event.deadline_ms, self._margin_s)):
                    await self._runtime_done(event.request_id)
                self._control.ran(anyio.current_time() - began)
                await self._flush(event, flusher, overlap)

    async def _flush(self, event: Invoke, flusher: Flusher, overlap: Overlap) -> None:
        """Flush, with nothing beside it, within the time that `event` leaves."""
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._make_haste, event.request_id, tasks.cancel_scope)
            with anyio.move_on_after(self._left(event.deadline_ms, self._margin_s)):
                await overlap.settled()
            self._control.flushing()
            await flusher.flush(self._left(event.deadline_ms, self._margin_s))
            self._control.flushed(anyio.current_time() - began)
            tasks.cancel_scope.cancel()

    async def _make_haste(self, request_id: str, flush: anyio.CancelScope) -> None:
        """End `flush` in time for SHUTDOWN if the runtime fails. Nothing of it is lost."""
        await self._milestones.failed(request_id)
        await anyio.sleep(RESET_FLUSH_S)
        flush.cancel()

    async def _runtime_done(self, request_id: str) -> None:
        if self._telemetry and not self._milestones.proven:
            with anyio.move_on_after(PROOF_S):
                await self._milestones.any_record()
            if not self._milestones.proven:
                self._telemetry = False
                report.warn("the platform accepted the telemetry subscription but delivers nothing")
        # Records prove themselves: a platform that begins to deliver later is believed from then on.
        if self._telemetry or self._milestones.proven:
            await self._milestones.runtime_done(request_id)

    async def _shut_down(self, event: Shutdown, flusher: Flusher, overlap: Overlap) -> None:
        report.debug(f"Exiting: {event.reason}, deadline: {event.deadline_ms}")
        left = self._left(event.deadline_ms, self._margin_s)
        if self._last_request is not None and self._milestones.proven:
            with anyio.move_on_after(min(left, LAST_RECORDS_S)):
                await self._milestones.reported(self._last_request)
        self._tell_observers(event)
        flusher.wind_down()
        with anyio.move_on_after(self._left(event.deadline_ms, self._margin_s) / 2):
            await overlap.settled()
        await overlap.stop()
        await flusher.finish(self._left(event.deadline_ms, self._margin_s))

    def _tell_observers(self, event: Event) -> None:
        for observer in self._observers:
            try:
                if isinstance(event, Invoke):
                    observer.invoked(event.request_id)
                else:
                    observer.shut_down()
            except Exception as problem:  # noqa: BLE001 -- promise 1: nor may it cost the flush
                report.error(f"{type(event).__name__} could not be measured ({problem!r})")

    def _left(self, deadline_ms: int, margin_s: float) -> float:
        return time_left(deadline_ms, self._clock.wall(), margin_s)
