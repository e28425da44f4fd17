"""One invocation, from the caller's request to the report: barriers, deadlines, and what is told of them."""

import asyncio
import json
import math
import time
from dataclasses import dataclass
from typing import Any

from fliptop_lab.lambda_.config import Function, InitResult, Invocation, Status
from fliptop_lab.lambda_.events import iso, ms, outcome, span, tracing
from fliptop_lab.lambda_.extensions_api import Extension
from fliptop_lab.lambda_.life import Life
from fliptop_lab.lambda_.processes import peak_memory_mb
from fliptop_lab.lambda_.runtime_api import Request
from fliptop_lab.lambda_.transcript import Transcript


@dataclass
class Call:
    """What the caller asked for, and the future of what it gets."""

    id: str
    payload: bytes
    response: asyncio.Future[bytes]
    trace_header: str | None = None
    client_context: str | None = None
    received_ns: int = 0


class Invoke:
    """The platform's view of one invocation. Times are CLOCK_MONOTONIC nanoseconds, 0 when it did not come to that."""

    def __init__(self, call: Call, function: Function, transcript: Transcript) -> None:
        self.call, self.function, self._transcript = call, function, transcript
        self.status: Status = "success"
        self.error_type: str | None = None
        self.began_ns = self.dispatched_ns = self.responded_ns = 0
        self.runtime_done_ns = self.extensions_done_ns = self.ended_ns = 0
        self.deadline_ms = 0
        self._woken: list[Extension] = []
        self._anchor = 0.0
        self._init: InitResult | None = None
        self._life: Life | None = None
        self._memory_mb = 0
        self._own_answer = False

    def begin(self, init: InitResult | None) -> None:
        """The clock of the function's timeout starts, before a suppressed init. `init` is a cold start's own."""
        self._init = init
        self.began_ns = time.monotonic_ns()
        self.deadline_ms = round((time.time() + self.function.timeout_s) * 1000)

    @property
    def left_s(self) -> float:
        """Seconds until the function's timeout."""
        return max(0.0, self.function.timeout_s - (time.monotonic_ns() - self.began_ns) / 1e9)

    async def run(self, life: Life) -> None:
        """From `platform.start` to the last extension's `/event/next`, or to whatever went wrong first."""
        self._life = life
        start = {"requestId": self.call.id, "version": self.function.version, **tracing(self.call.trace_header)}
        life.emit("platform.start", start)
        if not life.broken and life.runtime.state == "Ready" and life.extensions_ready():
            self._dispatch(life)
            await self._until_done(life)
        self.ended_ns = time.monotonic_ns()
        if life.broken:
            self._fail("error", life.first_error or "Sandbox.Failure", f"Error: {life.broken}")
        elif not self.extensions_done_ns:
            seconds = self.function.timeout_s
            self._transcript.say(f"{iso(time.time())} {self.call.id} Task timed out after {seconds:.2f} seconds")
            self._fail("timeout", "Sandbox.Timedout", f"Error: Task timed out after {seconds:.2f} seconds")
        self._memory_mb = peak_memory_mb(life.setting.sandbox.pids())

    def _dispatch(self, life: Life) -> None:
        self._woken = [extension for extension in life.extensions.registered if extension.wants("INVOKE")]
        event = {
            "eventType": "INVOKE",
            "deadlineMs": self.deadline_ms,
            "requestId": self.call.id,
            "invokedFunctionArn": self.function.arn,
            **tracing(self.call.trace_header),
        }
        for extension in self._woken:
            life.extensions.deliver(extension, event)
            self._transcript.note("event", "INVOKE", {"extension": extension.name, "requestId": self.call.id})
        call = self.call
        self.dispatched_ns = time.monotonic_ns()
        traced = (self.function.arn, call.trace_header, call.client_context)
        life.runtime.dispatch(Request(call.id, call.payload, self.deadline_ms, *traced))

    async def _until_done(self, life: Life) -> None:
        runtime = life.runtime
        if not await self._reached(life, lambda: runtime.response is not None):
            return
        assert runtime.response is not None
        self._answer(runtime.response.payload, own=True)
        if runtime.response.error_type is not None:
            self.status, self.error_type = "error", runtime.response.error_type
        if not await self._reached(life, lambda: runtime.state == "Ready"):
            return
        self.runtime_done_ns = runtime.ready_ns
        life.emit("platform.runtimeDone", self._runtime_done(life))
        if await self._reached(life, lambda: all(_waits(extension) for extension in self._woken)):
            self.extensions_done_ns = time.monotonic_ns()

    async def _reached(self, life: Life, condition: Any) -> bool:
        return await life.changes.until(lambda: bool(life.broken) or condition(), self.left_s) and not life.broken

    def _answer(self, payload: bytes, *, own: bool) -> None:
        if not self.call.response.done():
            self.responded_ns, self._own_answer = time.monotonic_ns(), own
            self.call.response.set_result(payload)

    def _fail(self, status: Status, error_type: str, message: str) -> None:
        """The environment will be reset; what the runtime was doing counts as done."""
        assert self._life is not None
        self.status, self.error_type = status, error_type
        if error_type.startswith("Sandbox.") and status != "timeout":
            self.status = "failure"
        told = None if status == "timeout" else error_type
        done_ns = self.ended_ns - (self.dispatched_ns or self.began_ns)
        metrics = {"metrics": {"durationMs": self._limited(done_ns)}}
        record = {"requestId": self.call.id, **outcome(self.status, told), **metrics, **tracing(self.call.trace_header)}
        self._life.emit("platform.runtimeDone", record)
        body = self._life.runtime.init_error_body
        full = {"errorType": error_type, "errorMessage": f"RequestId: {self.call.id} {message}"}
        self._answer(body or json.dumps(full).encode(), own=False)

    def _runtime_done(self, life: Life) -> dict[str, Any]:
        response = life.runtime.response
        assert response is not None
        self._anchor = time.time() - time.monotonic_ns() / 1e9
        marks = (
            ("responseLatency", self.dispatched_ns, response.first_ns),
            ("responseDuration", response.first_ns, response.last_ns),
            ("runtimeOverhead", response.last_ns, self.runtime_done_ns),
        )
        metrics = {
            "durationMs": ms(self.runtime_done_ns - self.dispatched_ns),
            "producedBytes": len(response.payload),
        }
        return {
            "requestId": self.call.id,
            **outcome(self.status, self.error_type),
            "metrics": metrics,
            "spans": [span(name, self._anchor + start / 1e9, end - start) for name, start, end in marks],
            **tracing(self.call.trace_header),
        }

    def _limited(self, ns: int) -> float:
        """Milliseconds, never more than the function's timeout."""
        return min(ms(ns), self.function.timeout_s * 1000)

    @property
    def _duration_ms(self) -> float:
        return self._limited(self.ended_ns - (self.began_ns if self._suppressed else self.dispatched_ns))

    @property
    def _suppressed(self) -> bool:
        return self._init is None or not self.dispatched_ns

    def report(self) -> None:
        """`platform.report`: after the extensions are done, just before the freeze."""
        assert self._life is not None
        duration_ms = self._duration_ms
        metrics: dict[str, float] = {
            "durationMs": duration_ms,
            "billedDurationMs": math.ceil(duration_ms),
            "memorySizeMB": self.function.memory_mb,
            "maxMemoryUsedMB": self._memory_mb,
        }
        if self._init is not None:
            metrics["initDurationMs"] = self._init.duration_ms
        overhead = self.extensions_done_ns - self.runtime_done_ns
        spans = {}
        if self.extensions_done_ns and self._woken:
            spans = {"spans": [span("extensionOverhead", self._anchor + self.runtime_done_ns / 1e9, overhead)]}
        record = {"requestId": self.call.id, **outcome(self.status, self.error_type), "metrics": metrics}
        self._life.emit("platform.report", {**record, **spans, **tracing(self.call.trace_header)})

    def result(self, *, cold: bool) -> Invocation:
        """What `invoke` returns."""
        init_ms = self._init.duration_ms if self._init is not None else None
        after = max(0, self.extensions_done_ns - self.runtime_done_ns) if self.extensions_done_ns else 0
        return Invocation(
            request_id=self.call.id,
            payload=self.call.response.result(),
            status=self.status,
            error_type=self.error_type,
            cold=cold,
            init_ms=init_ms,
            latency_ms=ms(self.responded_ns - self.call.received_ns),
            duration_ms=self._duration_ms,
            billed_ms=math.ceil(self._duration_ms),
            post_runtime_ms=ms(after),
            max_memory_mb=self._memory_mb,
            responded=self._own_answer,
        )


def _waits(extension: Extension) -> bool:
    return extension.state == "Ready"
