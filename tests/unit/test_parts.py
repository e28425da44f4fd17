"""The part of tracers, on a real socket: each request finds its pipeline, which is made for the first one."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator

import anyio
import httpx
import msgpack
import pytest

from fliptop import parts
from fliptop.identity import Identity
from fliptop.outbox.books import Books
from fliptop.outbox.ledger import Ledger
from fliptop.parts import Here
from fliptop.service import supervise
from fliptop.settings.fields import Settings
from fliptop.traces.span import Span, Tracer
from tests.conftest import MovedClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def here(ledger: Ledger, clock: MovedClock) -> Here:
    environ = {"AWS_LAMBDA_FUNCTION_NAME": "shop", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128"}
    return Here(Settings(), environ, Identity(environ, None, {}), ledger, Books(), clock)


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener


async def test_each_request_finds_its_pipeline(here: Here, listening: socket.socket) -> None:
    part = parts.apm(here, listening, parts.traces(here))
    span = {"trace_id": 1, "span_id": 2, "name": "order", "start": time.time_ns(), "duration": 1}
    bucket = {"Start": int(here.clock.wall() * 1e9), "Duration": 10**10, "Stats": []}
    requests = {
        "/v0.4/traces": msgpack.packb([[span]]),
        "/v0.6/stats": msgpack.packb({"Stats": [bucket]}),
        "/profiling/v1/input": b"profile",
    }
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    async with anyio.create_task_group() as tasks, httpx.AsyncClient() as tracer:
        for task in part.tasks:
            tasks.start_soon(supervise, task)
        for path, body in requests.items():
            assert (await tracer.post(url + path, content=body)).is_success
        assert part.collect is not None
        await part.collect(last=False)
        sealed = [payload.signal for pipeline in part.pipelines for payload in pipeline.seal()]
        tasks.cancel_scope.cancel()
    assert sealed == ["spans", "stats", "proxied"]
    assert here.ledger.delivered("tracer_requests") == 3
    for signal in sealed:
        here.ledger.drop(signal, 1, "shutdown")


async def test_what_nobody_reads_any_more_is_counted(here: Here, listening: socket.socket) -> None:
    part = parts.apm(here, listening, parts.traces(here))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/v0.4/traces"
    async with anyio.create_task_group() as tasks, httpx.AsyncClient() as tracer:
        tasks.start_soon(supervise, part.tasks[0])
        assert (await tracer.post(url, content=msgpack.packb([]))).is_success
        tasks.cancel_scope.cancel()
    part.give_up("shutdown")
    part.give_up("shutdown")
    assert here.ledger.summary() == {
        "tracer_requests": {"accepted": 1, "delivered": 0, "pending": 0, "dropped": {"shutdown": 1}}
    }


def test_without_a_port_there_are_only_spans_made_here(here: Here) -> None:
    spans = parts.traces(here)
    part = parts.apm(here, None, spans)
    assert (part.pipelines, part.tasks, part.collect, part.inbox) == ((spans,), (), None, None)


def test_on_a_small_function_less_may_wait(here: Here) -> None:
    spans = parts.traces(here)()
    dropped = 0
    for number in range(1, 200):
        spans.add([Span(trace_id=number, span_id=1, meta={"text": "x" * 100_000})], Tracer())
        dropped = here.ledger.dropped("spans", "buffer_full")
    assert 100 < dropped < 120, "9 MiB of nearly 20"
    spans.give_up("shutdown")


@pytest.mark.parametrize(
    ("name", "value", "loads"),
    [
        ("DD_UNIVERSAL_INSTRUMENTATION", " True", True),
        ("DD_UNIVERSAL_INSTRUMENTATION", "1", True),
        ("DD_UNIVERSAL_INSTRUMENTATION", "false", False),
        ("AWS_LAMBDA_EXEC_WRAPPER", "/opt/datadog_wrapper", True),
        ("AWS_LAMBDA_EXEC_WRAPPER", "/opt/wrapper", False),
    ],
)
def test_for_a_tracer_that_will_tell_of_invocations_all_is_loaded(
    here: Here, name: str, value: str, loads: bool
) -> None:
    here = here._replace(environ={**here.environ, name: value})
    made: list[object] = []
    spans = parts.traces(here)
    spans.when_made(made.append)
    (lookout,) = parts.invocations(here, None, spans, None).pipelines
    assert (len(made), vars(lookout)["_loaded"] is not None) == (loads, loads)
    assert not loads or spans().watch is not None


def test_what_cannot_be_prepared_costs_nothing_else(
    here: Here, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = here._replace(environ={**here.environ, "DD_UNIVERSAL_INSTRUMENTATION": "true"})
    monkeypatch.setitem(sys.modules, "fliptop.invocations.tracing", None)
    assert parts.invocations(here, None, parts.traces(here), None).pipelines
    assert "cannot be prepared" in said[0]
