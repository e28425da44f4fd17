"""From events and telemetry records to the enhanced metrics. No I/O but what the machine's reader does.

Source: extension-behaviour, 3.7 and 5. Unlike there, a metric carries the tags of the invocation that it is about, even
when it comes after the next one has begun; each failure counts once; nothing depends on the optional parts of a record.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Final, NamedTuple

import anyio

from fliptop.clock import Clock
from fliptop.enhanced.names import PREFIX, estimated_cost
from fliptop.enhanced.proc import Counters, Limits, Usage
from fliptop.enhanced.usage import Reader, UsageSampler, used_up, utilization
from fliptop.metrics.samples import Sample, distribution
from fliptop.outbox.books import Books
from fliptop.platform.telemetry import Record

# An environment that waited this long for its first request was initialised before anybody asked (there, too).
PROACTIVE_S: Final = 10.0
# When nobody waits for the end of a run, its record may come after a freeze.
LATE_S: Final = 1.0
# Invocations that are remembered: the one that runs, and those whose reports are on their way.
REMEMBERED: Final = 16
INVOCATIONS: Final = "invocations"
# What runtimes and languages say when memory runs out.
OUT_OF_MEMORY: Final = (
    "fatal error: runtime: out of memory",
    "java.lang.OutOfMemoryError",
    "JavaScript heap out of memory",
    "Runtime exited with error: signal: killed",
    "MemoryError",
    "failed to allocate memory (NoMemoryError)",
    "OutOfMemoryException",
)


class Machine(NamedTuple):
    """Where the function runs: its architecture as uname calls it; what reads `/proc`, and when it does. Both are None
    where the user does not want that. `managed`: on Lambda Managed Instances, where the report says what elsewhere
    `platform.runtimeDone` does.
    """

    architecture: str
    reader: Reader | None = None
    sampler: UsageSampler | None = None
    managed: bool = False


class Invocation:
    """What is known about one request."""

    def __init__(self, began_s: float, *, cold: bool) -> None:
        self.began_s = began_s
        self.cold = cold
        self.proactive = False
        self.told_by: set[str] = set()
        self.done = False
        self.runtime_ms: float | None = None
        self.failed = False
        self.said_failed = False
        self.said_out_of_memory = False
        self.out_of_memory = False
        self.before: Counters | None = None


class EnhancedMetrics:
    """Tells `add` of each sample. `books` know whether there have been invocations in this environment, should another
    process have served them.
    """

    def __init__(self, add: Callable[[Sample], None], machine: Machine, clock: Clock, books: Books) -> None:
        self._add = add
        self._machine = machine
        self._clock = clock
        self._books = books
        self._first = not books[INVOCATIONS]
        self._ready_s = clock.wall()
        self._invocations: dict[str, Invocation] = {}
        self._running: str | None = None
        self._untold: Invocation | None = None
        # What init has said, and the invocation whose tags that carries.
        self._of_init: list[tuple[str, float, float | None]] = []
        self._after_init: Invocation | None = None
        self._latest: Invocation | None = None
        self._failed_early = False
        self._durable = False
        self._init_told = False
        self._limits: Limits | None = None

    # --- events ---

    def invoked(self, request_id: str) -> None:
        """INVOKE says that a request has begun."""
        self._begin(request_id, "INVOKE")

    def _begin(self, request_id: str, told_by: str) -> None:
        """A request has begun. INVOKE and `platform.start` say so, in any order; that counts once. Who says so twice
        means a retry, which has the id of what it tries again.
        """
        self._tell_first()
        known = self._invocations.pop(request_id, None)
        if known is not None and told_by not in known.told_by:
            known.told_by.add(told_by)
            self._invocations[request_id] = known
            return
        if (previous := self._invocations.get(self._running or "")) is not None:
            self._tell_machine(previous, late=True)
        invocation = Invocation(self._clock.wall(), cold=self._first)
        invocation.told_by.add(told_by)
        invocation.said_failed, self._failed_early = self._failed_early, False
        self._invocations[request_id] = self._latest = invocation
        self._running = request_id
        self._books.add(INVOCATIONS, 1)
        while len(self._invocations) > REMEMBERED:
            del self._invocations[next(iter(self._invocations))]
        if self._machine.reader is not None:
            invocation.before = self._machine.reader.counters()
        if self._machine.sampler is not None:
            self._machine.sampler.begin()
        if self._first:  # the records of init say what this invocation is, and may come after it
            self._first, self._untold, self._after_init = False, invocation, invocation
        else:
            self._tell("invocations", 1, invocation, invocation.began_s)

    def library_failed(self) -> None:
        """A client library says that the latest invocation has failed. So may the runtime, before or after; that counts
        once. Where many run at once, nobody knows which one is meant, and only the runtime's word counts.
        """
        invocation = self._latest
        if self._machine.managed:
            return
        if invocation is None:  # the first one, which has been quicker than its INVOKE
            self._failed_early = True
            return
        invocation.said_failed = True
        if invocation.done:
            self._tell_error(invocation, None)

    def _tell_error(self, invocation: Invocation, at: float | None) -> None:
        if not invocation.failed:
            invocation.failed = True
            self._tell("errors", 1, invocation, at)

    def shut_down(self) -> None:
        """The environment ends."""
        self._tell_first()
        self._tell_init()
        if self._first:
            self._tell("unused_init", 1)
        self._tell("shutdowns", 1, self._latest)

    def _tell_first(self) -> None:
        """The first invocation can be told of now: all records of init have come, or will not come any more."""
        first, self._untold = self._untold, None
        if first is not None:
            first.proactive = first.began_s - self._ready_s > PROACTIVE_S
            first.cold = not first.proactive
            self._tell("invocations", 1, first, first.began_s)
            self._tell_init()

    def _tell_init(self) -> None:
        of_init, self._of_init = self._of_init, []
        for name, value, at in of_init:
            self._tell(name, value, self._after_init, at)

    def _keep_of_init(self, name: str, milliseconds: float | None, record: Record) -> None:
        """Tell of init, in seconds: with the first invocation, if that is still to be told."""
        if milliseconds is None:
            return
        self._of_init.append((name, milliseconds / 1000, _seconds(record)))
        if self._after_init is not None and self._untold is None:
            self._tell_init()

    # --- records ---

    def take(self, record: Record) -> None:
        """Take what a telemetry record tells."""
        what = self._OF.get(record.type)
        if what is not None:
            what(self, record)

    def _init_started(self, record: Record) -> None:
        self._durable |= "DurableFunction" in (record.text("runtimeVersion") or "")

    def _init_reported(self, record: Record) -> None:
        self._became_ready(record)
        self._init_lasted(record.number("metrics", "durationMs"), record)

    def _restored(self, record: Record) -> None:
        self._became_ready(record)
        self._keep_of_init("snapstart_restore_duration", record.number("metrics", "durationMs"), record)

    def _became_ready(self, record: Record) -> None:
        self._ready_s = max(self._ready_s, _seconds(record) or 0)

    def _init_lasted(self, milliseconds: float | None, record: Record) -> None:
        if milliseconds is not None and not self._init_told:
            self._init_told = True
            self._keep_of_init("init_duration", milliseconds, record)

    def _started(self, record: Record) -> None:
        self._begin(record.text("requestId") or "", "platform.start")

    def _logged(self, record: Record) -> None:
        text = record.record if isinstance(record.record, str) else str(record.record)
        for words in OUT_OF_MEMORY:
            if words in text:
                self._ran_out_of_memory(record)
                return

    def _ran_out_of_memory(self, record: Record) -> None:
        """A line says so. It may be about anything: only an invocation that fails is believed to have done that."""
        named = record.text("requestId") or record.text("AWSRequestId") or self._running or ""
        if named in self._invocations:
            self._invocations[named].said_out_of_memory = True

    def _runtime_done(self, record: Record) -> None:
        invocation = self._invocation(record)
        self._tell_first()
        at = _seconds(record)
        invocation.done = True
        invocation.runtime_ms = record.number("metrics", "durationMs")
        if invocation.runtime_ms is not None:
            self._tell("runtime_duration", invocation.runtime_ms, invocation, at)
        if (produced := record.number("metrics", "producedBytes")) is not None:
            self._tell("produced_bytes", produced, invocation, at)
        self._tell_failure(record, invocation)
        if record.text("requestId") == self._running:
            self._tell_machine(invocation, late=at is not None and self._clock.wall() - at > LATE_S)

    def _tell_failure(self, record: Record, invocation: Invocation) -> None:
        status, at = record.text("status"), _seconds(record)
        if status is None or status == "success":
            if invocation.said_failed:
                self._tell_error(invocation, at)
            return
        self._tell_error(invocation, at)
        if status == "timeout":
            self._tell("timeouts", 1, invocation, at)
        if invocation.said_out_of_memory or record.text("errorType") == "Runtime.OutOfMemory":
            self._tell_out_of_memory(invocation, at)

    def _tell_out_of_memory(self, invocation: Invocation, at: float | None) -> None:
        if not invocation.out_of_memory:
            invocation.out_of_memory = True
            self._tell("out_of_memory", 1, invocation, at)

    def _reported(self, record: Record) -> None:
        invocation = self._invocation(record)
        self._tell_first()
        at = _seconds(record)
        if not invocation.done:  # the record that should have said so is lost
            invocation.done = True
            self._tell_failure(record, invocation)
            if self._machine.managed and (duration := record.number("metrics", "durationMs")) is not None:
                self._tell("runtime_duration", duration, invocation, at)
        for name, value in self._report(record, invocation):
            self._tell(name, value, invocation, at)
        used, size = record.number("metrics", "maxMemoryUsedMB"), record.number("metrics", "memorySizeMB")
        if used is not None and used == size:
            self._tell_out_of_memory(invocation, at)
        self._init_lasted(record.number("metrics", "initDurationMs"), record)
        if self._running == record.text("requestId"):
            self._running = None

    def _report(self, record: Record, invocation: Invocation) -> Iterator[tuple[str, float]]:
        duration, billed, used, size = (
            record.number("metrics", name)
            for name in ("durationMs", "billedDurationMs", "maxMemoryUsedMB", "memorySizeMB")
        )
        if duration is not None:
            yield "duration", duration / 1000
            if invocation.runtime_ms is not None:
                yield "post_runtime_duration", max(0.0, duration - invocation.runtime_ms)
        if billed is not None:
            yield "billed_duration", billed / 1000
        if used is not None:
            yield "max_memory_used", used
        if size is not None:
            yield "memorysize", size
            if billed is not None:
                yield "estimated_cost", estimated_cost(billed, size, self._machine.architecture)

    def _invocation(self, record: Record) -> Invocation:
        """The invocation that `record` is about; one that nobody has seen begin is not counted, but told about."""
        request_id = record.text("requestId") or ""
        return self._invocations.get(request_id) or Invocation(self._clock.wall(), cold=False)

    # --- the machine ---

    def _tell_machine(self, invocation: Invocation, *, late: bool) -> None:
        """The run has ended, `late` long before we hear of it: the environment was frozen meanwhile."""
        reader, sampler = self._machine.reader, self._machine.sampler
        self._running = None
        if reader is None:
            return
        after = reader.counters()
        if invocation.before is not None and after is not None:
            told = used_up(invocation.before, after), () if late else utilization(invocation.before, after)
            for name, value in chain(*told):
                self._tell(name, value, invocation)
        self._limits = self._limits or reader.limits()
        for name, limit in (("fd_max", self._limits.files), ("threads_max", self._limits.threads)):
            if limit is not None:
                self._tell(name, limit, invocation)
        if sampler is not None:
            self._tell_usage(sampler.end(), self._limits.tmp_bytes, invocation)

    def _tell_usage(self, peak: Usage, tmp_max: int, invocation: Invocation) -> None:
        if peak.tmp_bytes:
            self._tell("tmp_used", peak.tmp_bytes, invocation)
            self._tell("tmp_max", tmp_max, invocation)
            self._tell("tmp_free", max(0, tmp_max - peak.tmp_bytes), invocation)
        for name, used in (("fd_use", peak.files), ("threads_use", peak.threads)):
            if used:
                self._tell(name, used, invocation)

    async def sample(self) -> None:
        """Look at what is in use while requests run, until cancelled."""
        sampler = self._machine.sampler
        while sampler is not None:
            await anyio.sleep(sampler.pause_s)
            if self._running is not None:
                sampler.look()

    # --- out ---

    def _tell(self, name: str, value: float, invocation: Invocation | None = None, at: float | None = None) -> None:
        tags = [f"cold_start:{str(invocation.cold).lower()}"] if invocation else []
        if invocation and invocation.proactive:
            tags.append("proactive_initialization:true")
        if self._durable:
            tags.append("durable_function:true")
        self._add(distribution(PREFIX + name, float(value), tuple(tags), None if at is None else int(at)))

    _OF: Final = {
        "function": _logged,
        "extension": _logged,
        "platform.initStart": _init_started,
        "platform.initReport": _init_reported,
        "platform.restoreReport": _restored,
        "platform.start": _started,
        "platform.runtimeDone": _runtime_done,
        "platform.report": _reported,
    }


def _seconds(record: Record) -> float | None:
    return None if record.time_ms is None else record.time_ms / 1000
