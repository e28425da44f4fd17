"""The enhanced metrics: right on the first and the last invocation, each failure once, with its invocation's tags."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from fliptop.enhanced.metrics import REMEMBERED, EnhancedMetrics, Machine
from fliptop.enhanced.names import PREFIX, estimated_cost
from fliptop.enhanced.proc import Counters, Limits, Usage
from fliptop.enhanced.usage import UsageSampler
from fliptop.metrics.samples import Sample
from fliptop.outbox.books import Books
from fliptop.platform.telemetry import Record
from tests.conftest import MovedClock

COLD, WARM = ("cold_start:true",), ("cold_start:false",)
PROACTIVE = ("cold_start:false", "proactive_initialization:true")
NOW = 1_800_000_000
GOOD_REPORT = {
    "durationMs": 120.5,
    "billedDurationMs": 121,
    "memorySizeMB": 128,
    "maxMemoryUsedMB": 90,
}


class Reader:
    """A machine that is read by hand."""

    def __init__(self) -> None:
        self.now = Counters(1000.0, 50.0, 20.0, (100.0, 200.0), (10, 20))
        self.used = Usage()
        self.bounds = Limits(1000, 1024, 512)

    def counters(self) -> Counters | None:
        return self.now

    def usage(self) -> Usage:
        return self.used

    def limits(self) -> Limits:
        return self.bounds


class Life:
    """An environment, told by hand."""

    def __init__(
        self, clock: MovedClock, reader: Reader | None = None, books: Books | None = None, *, managed: bool = False
    ) -> None:
        self.clock, self.samples, self.reader = clock, list[Sample](), reader
        self.books = books or Books()
        self.cpu = 0.0
        sampler = UsageSampler(reader, 1.0, lambda: self.cpu, clock.wall) if reader else None
        self.enhanced = EnhancedMetrics(
            self.samples.append, Machine("x86_64", reader, sampler, managed), clock, self.books
        )

    def record(self, kind: str, request_id: str | None = None, **record: Any) -> None:
        content = {**record, **({"requestId": request_id} if request_id else {})}
        self.enhanced.take(Record(kind, round(self.clock.now * 1000), content))

    def init(self, milliseconds: float = 150.0) -> None:
        self.record("platform.initStart", initializationType="on-demand", runtimeVersion="python:3.13.v12")
        self.record("platform.initReport", phase="init", metrics={"durationMs": milliseconds})

    def invoke(self, request_id: str, status: str = "success", **done: Any) -> None:
        self.enhanced.invoked(request_id)
        self.record("platform.start", request_id)
        self.record("platform.runtimeDone", request_id, status=status, metrics={"durationMs": 100.25}, **done)

    def report(self, request_id: str, status: str = "success", **metrics: Any) -> None:
        self.record("platform.report", request_id, status=status, metrics={**GOOD_REPORT, **metrics})

    def told(self, name: str) -> list[tuple[float, tuple[str, ...]]]:
        """Values and tags of one metric, in order."""
        return [
            (float(sample.values[0]), sample.metric.context.tags)
            for sample in self.samples
            if sample.metric.context.name == PREFIX + name
        ]

    def names(self) -> set[str]:
        return {sample.metric.context.name.removeprefix(PREFIX) for sample in self.samples}


@pytest.fixture
def life(clock: MovedClock) -> Life:
    return Life(clock)


def test_a_life_of_two_invocations(life: Life) -> None:
    life.init()
    life.invoke("r1")
    life.enhanced.invoked("r2")
    life.report("r1")
    life.record("platform.runtimeDone", "r2", status="success", metrics={"durationMs": 7.5, "producedBytes": 11})
    life.report("r2")
    life.enhanced.shut_down()
    assert life.told("invocations") == [(1, COLD), (1, WARM)]
    assert life.told("init_duration") == [(0.15, COLD)]
    assert life.told("runtime_duration") == [(100.25, COLD), (7.5, WARM)]
    assert life.told("produced_bytes") == [(11, WARM)]
    assert life.told("duration") == [(0.1205, COLD), (0.1205, WARM)], "a report has the tags of its own invocation"
    assert life.told("billed_duration") == [(0.121, COLD), (0.121, WARM)]
    assert life.told("max_memory_used") == [(90, COLD), (90, WARM)]
    assert life.told("memorysize") == [(128, COLD), (128, WARM)]
    assert life.told("post_runtime_duration") == [(20.25, COLD), (113, WARM)]
    assert life.told("estimated_cost")[0] == (0.000000452084, COLD)
    assert life.told("shutdowns") == [(1, WARM)]
    assert not {"errors", "timeouts", "out_of_memory", "unused_init"} & life.names()
    assert all(sample.metric.time in {None, NOW} for sample in life.samples)
    assert all(sample.metric.context.kind == "d" for sample in life.samples)


@pytest.mark.parametrize(
    ("machine", "dollars"), [("x86_64", 0.0000502001), ("aarch64", 0.0000402002), ("riscv", 0.0000502001)]
)
def test_the_estimated_cost(machine: str, dollars: float) -> None:
    assert estimated_cost(3000, 1024, machine) == dollars


def test_many_requests_at_once_that_only_their_records_tell_of(clock: MovedClock) -> None:
    life = Life(clock, managed=True)
    life.init()
    for request_id in ("r1", "r2"):
        life.record("platform.start", request_id)
    for request_id, status in (("r2", "success"), ("r1", "error")):
        life.record("platform.report", request_id, status=status, metrics={"durationMs": 120.5})
    life.enhanced.shut_down()
    assert life.told("invocations") == [(1, COLD), (1, WARM)]
    assert life.told("runtime_duration") == [(120.5, WARM), (120.5, COLD)]
    assert life.told("duration") == [(0.1205, WARM), (0.1205, COLD)]
    assert life.told("errors") == [(1, COLD)]
    assert not {"billed_duration", "memorysize", "estimated_cost", "post_runtime_duration"} & life.names()


@pytest.mark.parametrize("status", ["success", "error", "timeout"])
@pytest.mark.parametrize("order", ["library first", "library last", "library twice"])
def test_a_failure_that_the_clients_library_tells_of_too_counts_once(life: Life, status: str, order: str) -> None:
    life.enhanced.invoked("r1")
    if order != "library last":
        life.enhanced.library_failed()
    life.record("platform.runtimeDone", "r1", status=status, metrics={"durationMs": 1.0})
    if order != "library first":
        life.enhanced.library_failed()
    life.report("r1", status)
    life.invoke("r2")
    assert life.told("errors") == [(1, COLD)]


def test_a_failure_of_one_among_many_is_believed_from_its_record_alone(clock: MovedClock) -> None:
    life = Life(clock, managed=True)
    life.record("platform.start", "r1")
    life.enhanced.library_failed()
    life.record("platform.report", "r1", status="success", metrics={"durationMs": 1.0})
    life.enhanced.library_failed()
    assert life.told("errors") == []


def test_a_failure_that_is_told_before_the_first_invocation_belongs_to_it(life: Life) -> None:
    life.enhanced.library_failed()
    assert life.samples == []
    for request_id in ("r1", "r2"):
        life.invoke(request_id)
    assert life.told("errors") == [(1, COLD)]


# --- cold starts ---


def test_the_second_invocation_is_warm_even_when_everything_of_the_first_is_over(life: Life) -> None:
    life.init()
    life.invoke("r1")
    life.report("r1")
    life.invoke("r2")
    assert life.told("invocations") == [(1, COLD), (1, WARM)]


def test_an_environment_that_waited_for_its_first_request(life: Life, clock: MovedClock) -> None:
    life.init()
    clock.advance(11)
    life.invoke("r1")
    life.report("r1")
    life.invoke("r2")
    assert life.told("invocations") == [(1, PROACTIVE), (1, WARM)]
    assert life.told("init_duration") == [(0.15, PROACTIVE)]
    assert life.told("duration") == [(0.1205, PROACTIVE)]


def test_a_long_init_is_no_waiting(life: Life, clock: MovedClock) -> None:
    clock.advance(12)
    life.enhanced.invoked("r1")
    life.init(11_900)
    life.record("platform.start", "r1")
    assert life.told("invocations") == [(1, COLD)]
    assert life.told("init_duration") == [(11.9, COLD)]


def test_a_restore_begins_anew(life: Life, clock: MovedClock) -> None:
    life.init()
    clock.advance(86_400)
    life.record("platform.restoreReport", status="success", metrics={"durationMs": 300})
    life.invoke("r1")
    assert life.told("invocations") == [(1, COLD)]
    assert life.told("snapstart_restore_duration") == [(0.3, COLD)]


def test_the_first_invocation_waits_for_what_init_says_of_it(life: Life) -> None:
    life.enhanced.invoked("r1")
    assert life.samples == []
    life.record("platform.initStart", runtimeVersion="python:DurableFunction.3.13")
    life.record("platform.start", "r1")
    assert life.told("invocations") == [(1, (*COLD, "durable_function:true"))]


@pytest.mark.parametrize("after", ["r2", None])
def test_without_telemetry_the_first_invocation_is_counted_too(life: Life, after: str | None) -> None:
    life.enhanced.invoked("r1")
    if after:
        life.enhanced.invoked(after)
    life.enhanced.shut_down()
    assert [tags for _, tags in life.told("invocations")] == [COLD, WARM][: 1 + bool(after)]


def test_an_environment_that_nobody_used(life: Life) -> None:
    life.init()
    life.enhanced.shut_down()
    assert {(name, life.told(name)[0]) for name in life.names()} == {
        ("unused_init", (1, ())),
        ("shutdowns", (1, ())),
        ("init_duration", (0.15, ())),
    }


def test_another_life_of_the_extension_in_the_same_environment(clock: MovedClock) -> None:
    first = Life(clock)
    first.invoke("r1")
    second = Life(clock, books=first.books)
    second.invoke("r2")
    second.enhanced.shut_down()
    assert second.told("invocations") == [(1, WARM)]
    assert not second.told("unused_init")


def test_the_report_of_an_invocation_that_an_earlier_life_has_counted(clock: MovedClock) -> None:
    first = Life(clock)
    first.invoke("r1")
    second = Life(clock, books=first.books)
    second.report("r1")
    assert second.told("invocations") == []
    assert second.told("billed_duration") == [(0.121, WARM)]


# --- counted once ---


def test_an_invocation_that_only_telemetry_tells_of(life: Life) -> None:
    life.init()
    for request in ("r1", "r2"):
        life.record("platform.start", request)
        life.record("platform.runtimeDone", request, status="success")
        life.report(request)
    assert life.told("invocations") == [(1, COLD), (1, WARM)]


def test_a_retry_has_the_same_id_and_is_another_invocation(life: Life) -> None:
    life.invoke("r1", "error")
    life.invoke("r1")
    life.report("r1")
    assert len(life.told("invocations")) == 2
    assert len(life.told("errors")) == 1


def test_telemetry_may_tell_of_an_invocation_before_its_event_comes(life: Life) -> None:
    life.record("platform.start", "r1")
    life.record("platform.runtimeDone", "r1", status="error", metrics={"durationMs": 1})
    life.report("r1", "error")
    life.enhanced.invoked("r1")
    assert (life.told("invocations"), len(life.told("errors"))) == ([(1, COLD)], 1)


def test_init_is_told_of_once(life: Life) -> None:
    life.init()
    life.invoke("r1")
    life.report("r1", initDurationMs=150.0)
    life.record("platform.initReport", phase="invoke", metrics={"durationMs": 99})
    assert life.told("init_duration") == [(0.15, COLD)]


def test_init_may_be_told_of_by_the_report_alone(life: Life) -> None:
    life.invoke("r1")
    life.report("r1", initDurationMs=250.0)
    assert life.told("init_duration") == [(0.25, COLD)]


@pytest.mark.parametrize(
    ("status", "expected"), [("error", {"errors"}), ("failure", {"errors"}), ("timeout", {"errors", "timeouts"})]
)
@pytest.mark.parametrize("metrics", [{}, {"metrics": {"durationMs": 1}}])
def test_failures_count_with_or_without_metrics(
    life: Life, status: str, expected: set[str], metrics: dict[str, Any]
) -> None:
    life.enhanced.invoked("r1")
    life.record("platform.runtimeDone", "r1", status=status, **metrics)
    life.report("r1", status)
    counted = {name for name in ("errors", "timeouts", "out_of_memory") if life.told(name)}
    assert counted == expected
    assert life.told("errors") == [(1, COLD)]


def test_a_failure_whose_record_is_lost_is_known_from_the_report(life: Life) -> None:
    life.enhanced.invoked("r1")
    life.report("r1", "timeout")
    assert (len(life.told("errors")), len(life.told("timeouts"))) == (1, 1)
    assert not life.told("post_runtime_duration")


# --- out of memory ---


def test_out_of_memory_is_counted_once_however_often_it_is_told(life: Life) -> None:
    life.enhanced.invoked("r1")
    life.record("platform.start", "r1")
    life.enhanced.take(Record("function", None, "MemoryError: no"))
    life.record("function", "r1", message="MemoryError")
    life.record("platform.runtimeDone", "r1", status="error", errorType="Runtime.OutOfMemory")
    life.report("r1", "error", maxMemoryUsedMB=128)
    assert life.told("out_of_memory") == [(1, COLD)]


@pytest.mark.parametrize(
    ("line", "status", "error_type", "used", "expected"),
    [
        ("java.lang.OutOfMemoryError: heap", "error", None, 90, 1),
        ("we do not like a MemoryError", "success", None, 90, 0),
        ("hello", "error", "Runtime.OutOfMemory", 90, 1),
        ("hello", "error", "Runtime.ExitError", 90, 0),
        ("hello", "success", None, 128, 1),
    ],
)
def test_how_out_of_memory_is_recognised(
    life: Life, line: str, status: str, error_type: str | None, used: int, expected: int
) -> None:
    life.enhanced.invoked("r1")
    life.record("platform.start", "r1")
    life.enhanced.take(Record("function", None, line))
    life.record("platform.runtimeDone", "r1", status=status, **({"errorType": error_type} if error_type else {}))
    life.report("r1", status, maxMemoryUsedMB=used)
    assert len(life.told("out_of_memory")) == expected


# --- whatever comes ---


@pytest.mark.parametrize("record", [None, "text", 7, [], {}, {"requestId": 5}, {"metrics": "no", "status": []}])
def test_records_of_any_shape_are_survived(life: Life, record: Any) -> None:
    for kind in ("initStart", "initReport", "restoreReport", "start", "runtimeDone", "report", "unheardOf"):
        life.enhanced.take(Record(f"platform.{kind}", None, record))
    for kind in ("function", "extension"):
        life.enhanced.take(Record(kind, None, record))
    assert life.names() <= {"invocations", "errors"}


def test_what_is_remembered_is_bounded(life: Life) -> None:
    for number in range(100):
        life.enhanced.invoked(f"r{number}")
    assert len(life.enhanced._invocations) == REMEMBERED


# --- the machine ---


def test_what_the_machine_did_during_an_invocation(clock: MovedClock) -> None:
    reader = Reader()
    life = Life(clock, reader)
    reader.used = Usage(100, 7, 3)
    life.enhanced.invoked("r1")
    clock.advance(1)
    reader.used = Usage(300, 5, 9)
    life.record("platform.start", "r1")
    reader.now = Counters(1100.0, 80.0, 30.0, (110.0, 290.0), (1010, 2020))
    life.record("platform.runtimeDone", "r1", status="success")
    expected = {
        "rx_bytes": 1000,
        "tx_bytes": 2000,
        "total_network": 3000,
        "cpu_user_time": 30,
        "cpu_system_time": 10,
        "cpu_total_time": 40,
        "cpu_total_utilization_pct": 50,
        "cpu_total_utilization": 1,
        "num_cores": 2,
        "cpu_max_utilization": 90,
        "cpu_min_utilization": 10,
        "fd_max": 1024,
        "threads_max": 512,
        "tmp_used": 300,
        "tmp_max": 1000,
        "tmp_free": 700,
        "fd_use": 7,
        "threads_use": 9,
    }
    assert {name: life.told(name) for name in expected} == {name: [(value, COLD)] for name, value in expected.items()}


def test_each_invocation_has_a_peak_of_its_own(clock: MovedClock) -> None:
    reader = Reader()
    life = Life(clock, reader)
    for files in (9, 4):
        reader.used = Usage(0, files, 1)
        clock.advance(60)
        life.invoke(f"r{files}")
    assert [value for value, _ in life.told("fd_use")] == [9, 4]
    assert "tmp_used" not in life.names(), "nothing is in use there"


def test_a_run_shorter_than_the_kernels_step_says_nothing_of_utilization(clock: MovedClock) -> None:
    life = Life(clock, Reader())
    life.invoke("r1")
    assert "cpu_total_time" in life.names()
    assert "cpu_total_utilization" not in life.names()


def test_without_network_limits_or_counters(clock: MovedClock) -> None:
    reader = Reader()
    reader.now = reader.now._replace(network=None)
    reader.bounds = Limits(0, None, None)
    life = Life(clock, reader)
    life.invoke("r1")
    assert not {"rx_bytes", "fd_max", "threads_max"} & life.names()


def test_looking_takes_a_hundredth_of_the_cpu(clock: MovedClock) -> None:
    looks = 0
    cpu = 0.0

    class Costly(Reader):
        def usage(self) -> Usage:
            nonlocal looks, cpu
            looks += 1
            cpu += 0.001
            return Usage()

    for share, expected in ((1.0, 0.1), (0.1, 1.0), (0.0001, 10.0)):
        looks = 0
        sampler = UsageSampler(Costly(), share, lambda: cpu, clock.wall)
        sampler.begin()
        assert sampler.pause_s == pytest.approx(expected)
        sampler.look()
        sampler.end()
        assert looks == 1, "it is not due"
        clock.advance(expected + 0.01)
        sampler.look()
        assert looks == 2
        clock.advance(60)


def test_the_time_of_a_record_is_the_time_of_its_metrics(life: Life) -> None:
    moment = datetime(2027, 1, 2, tzinfo=UTC).timestamp()
    record = Record("platform.runtimeDone", round(moment * 1000), {"requestId": "r", "status": "error"})
    life.enhanced.take(record)
    assert [sample.metric.time for sample in life.samples] == [int(moment)]
