"""What telemetry says about the life of an invocation: its runtime is done, its report has come."""

from __future__ import annotations

from collections import deque

import anyio

from fliptop.platform.telemetry import Record

# Enough to tell a milestone that came before we asked for it; an environment runs one request at a time.
REMEMBERED = 16
FAILED = "runtime failed"
_RUNTIME_IS_GONE = frozenset({"Runtime.ExitError", "Runtime.OutOfMemory", "Runtime.Unavailable"})
# How long a platform that has dropped records must be silent until the runtime is taken to be done.
SILENCE_S = 0.5


class Milestones:
    """Remembers the milestones of the latest requests and lets one task wait for them.

    `proven` turns true with the first record of any kind: until then nobody knows whether this platform delivers
    telemetry at all (some emulators accept the subscription and never do).
    """

    def __init__(self) -> None:
        self.proven = False
        self._reached: deque[tuple[str, str | None]] = deque(maxlen=REMEMBERED)
        self._changed = anyio.Event()
        self._incomplete = False

    def take(self, record: Record) -> None:
        """Note what `record` tells, if it is a milestone."""
        self.proven = True
        if record.type in {"platform.runtimeDone", "platform.report"}:
            self._reached.append((record.type, record.text("requestId")))
            if _failed(record):
                self._reached.append((FAILED, record.text("requestId")))
        self._incomplete |= record.type == "platform.logsDropped"
        self._changed.set()
        self._changed = anyio.Event()

    async def runtime_done(self, request_id: str) -> None:
        """Wait until the runtime is done with `request_id`, successfully or not."""
        # A report says so too, should the record before it have been lost.
        milestones = {("platform.runtimeDone", request_id), ("platform.report", request_id)}
        with anyio.CancelScope() as given_up:
            await self._wait(milestones, given_up)
        self._incomplete = False

    async def reported(self, request_id: str) -> None:
        """Wait until the platform has reported on `request_id`."""
        await self._wait({("platform.report", request_id)})

    async def failed(self, request_id: str) -> None:
        """Wait until it is known that the runtime, not just the function's code, has failed with `request_id`."""
        await self._wait({(FAILED, request_id)})

    async def any_record(self) -> None:
        """Wait for the first record of any kind."""
        while not self.proven:
            await self._changed.wait()

    async def _wait(self, milestones: set[tuple[str, str]], given_up: anyio.CancelScope | None = None) -> None:
        while milestones.isdisjoint(self._reached):
            if given_up is not None and self._incomplete:
                # Lambda has dropped records: the one that is waited for may be among them. Silence then says as much.
                given_up.deadline = anyio.current_time() + SILENCE_S
            await self._changed.wait()


def _failed(record: Record) -> bool:
    """Whether Lambda is going to reset the environment. Source: lambda-platform, 2: an error that the function's code
    has raised is `Runtime.Unknown` or has a type of its own, and leaves the environment as it is.
    """
    kind = record.text("errorType") or ""
    broken = kind in _RUNTIME_IS_GONE or kind.startswith(("Extension.", "Sandbox."))
    return broken or record.text("status") in {"failure", "timeout"}
