"""Notes what the trace of an invocation would take, until somebody wants one: no tracer, no trace, no costs.

The rest of the package is loaded when a tracer first tells of an invocation; then it hears what has been noted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from fliptop.clock import Clock
from fliptop.outbox.payload import Payload
from fliptop.platform.telemetry import Record

if TYPE_CHECKING:
    from fliptop.invocations.tracing import Invocations
    from fliptop.traces.span import Span, Tracer

OF_INIT: Final = frozenset(f"platform.{name}" for name in ("initStart", "initReport", "restoreStart", "restoreReport"))
OF_RUNS: Final = frozenset(f"platform.{name}" for name in ("start", "runtimeDone", "report"))
LOAD: Final = "aws.lambda.load"
OWN: Final = "dd-tracer-serverless-span"
WRAPPER: Final = "/opt/datadog_wrapper"
# Of init there are four records, of each invocation an event and three records. What is older concerns no tracer.
MOST_OF_INIT: Final = 8
MOST_OF_RUNS: Final = 32


def is_told(environ: Mapping[str, str]) -> bool:
    """True where the environment says that a tracer will tell of invocations, and the function wait for our answer. The
    launcher goes by the same words, and lets the function be invoked when all is loaded (`launcher/handover.c`).
    """
    if environ.get("AWS_LAMBDA_EXEC_WRAPPER") == WRAPPER:
        return True
    return environ.get("DD_UNIVERSAL_INSTRUMENTATION", "").strip().lower() in {"true", "t", "1"}


class Lookout:
    """Hears of events, telemetry records and tracers' spans from the beginning; `load` makes what cares for them; it
    is told whether all that there was has been noted.
    """

    def __init__(self, load: Callable[[bool], Invocations], clock: Clock) -> None:
        self._load = load
        self._clock = clock
        self._init: deque[Record] = deque(maxlen=MOST_OF_INIT)
        self._runs: deque[Record | tuple[str, float]] = deque(maxlen=MOST_OF_RUNS)
        self._loaded: Invocations | None = None

    @property
    def invocations(self) -> Invocations:
        """What cares for invocations, loaded if it is not there yet."""
        if self._loaded is None:
            loaded = self._load(len(self._runs) < MOST_OF_RUNS)
            for noted in (*self._init, *self._runs):
                if isinstance(noted, Record):
                    loaded.take(noted)
                else:
                    loaded.invoked(*noted)
            self._init.clear()
            self._runs.clear()
            self._loaded = loaded
        return self._loaded

    def take(self, record: Record) -> None:
        """Take what a telemetry record tells."""
        if record.type not in OF_INIT and record.type not in OF_RUNS:
            return
        if self._loaded is not None:
            self._loaded.take(record)
        else:
            (self._init if record.type in OF_INIT else self._runs).append(record)

    def invoked(self, request_id: str) -> None:
        """INVOKE says that a request has begun."""
        at_s = self._clock.wall()
        if self._loaded is not None:
            self._loaded.invoked(request_id, at_s)
        else:
            self._runs.append((request_id, at_s))

    def shut_down(self) -> None:
        """The environment ends: the last `seal` tells of what is left."""

    def watch(self, span: Span, tracer: Tracer) -> bool:
        """Look at a span that a tracer sent. True: it has been made use of, and goes no further."""
        if span.resource == OWN:
            self.invocations.stand_in(span, tracer)
            return True
        if span.name == LOAD:
            self.invocations.loaded(span)
        return False

    def seal(self, *, last: bool = False) -> Iterator[Payload]:
        """Pass on what is complete to the pipeline of spans, whose turn is next; when it is the `last` time, also what
        never will be. See `flusher.Pipeline`.
        """
        if self._loaded is not None:
            self._loaded.collect(last=last)
        return iter(())

    def give_up(self, reason: str) -> None:
        """See `flusher.Pipeline`."""
        if self._loaded is not None:
            self._loaded.give_up(reason)
