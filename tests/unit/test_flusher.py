"""Flush: seal, send, and what time does to it; against a real HTTP client whose server the test plays."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import anyio
import httpx
import pytest

from fliptop.flusher import TelemetryFlusher
from fliptop.identity import Identity
from fliptop.intake.api_key import WrittenKey
from fliptop.intake.client import IntakeClient
from fliptop.intake.connect import Connector
from fliptop.intake.tls import TlsOptions
from fliptop.logs.pipeline import LogOptions, LogPipeline
from fliptop.outbox.ledger import Ledger
from fliptop.outbox.outbox import Outbox
from fliptop.outbox.payload import Payload
from fliptop.platform.telemetry import Record
from tests.conftest import MovedClock

pytestmark = pytest.mark.anyio
Answer = Callable[[httpx.Request], httpx.Response]


async def collect_nothing(_last: bool) -> None:
    """Nothing waits outside of the pipelines."""


class Flush:
    """A flusher with all its parts, and an intake that is a function."""

    def __init__(self, ledger: Ledger, clock: MovedClock, ca_file: str = "") -> None:
        self.clock, self.ledger = clock, ledger
        self.logs = LogPipeline(LogOptions(True, "", "http://intake/logs", 3), Identity({}, None, {}), ledger, clock)
        self.outbox = Outbox(ledger, clock)
        self.client = IntakeClient(Connector(30, TlsOptions(ca_file)), WrittenKey("key"), clock)
        self.flusher = TelemetryFlusher([self.logs], self.outbox, self.client, collect_nothing)

    def log(self, lines: int = 1) -> None:
        for _ in range(lines):
            self.logs.take(Record("function", 1, {"requestId": "r", "message": "hello"}))


@pytest.fixture
def flush(ledger: Ledger, clock: MovedClock) -> Flush:
    return Flush(ledger, clock)


@pytest.fixture
def intake(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], list[httpx.Request]]:
    def answer_with(answer: Answer) -> list[httpx.Request]:
        requests: list[httpx.Request] = []

        def handle(request: httpx.Request) -> httpx.Response:
            requests.append(request)
            return answer(request)

        monkeypatch.setattr(Connector, "client", lambda *_: httpx.AsyncClient(transport=httpx.MockTransport(handle)))
        return requests

    return answer_with


Answering = Callable[[Answer], list[httpx.Request]]


class Body(httpx.AsyncByteStream):
    """A response body that never ends, or breaks."""

    def __init__(self, breaks: bool) -> None:
        self.breaks = breaks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"{"
        if self.breaks:
            raise httpx.ReadError("reset")
        await anyio.sleep_forever()


@pytest.mark.parametrize("breaks", [True, False])
async def test_the_status_decides_whatever_becomes_of_the_body(flush: Flush, intake: Answering, breaks: bool) -> None:
    requests = intake(lambda _: httpx.Response(202, stream=Body(breaks)))
    flush.log()
    with anyio.fail_after(5):
        await flush.flusher.flush(3)
        await flush.flusher.flush(3)
    assert len(requests) == 1
    assert flush.ledger.delivered("logs") == 1


async def test_what_was_accepted_as_time_ran_out_is_not_sent_again(flush: Flush, intake: Answering) -> None:
    requests = intake(lambda _: httpx.Response(202, stream=Body(breaks=False)))
    flush.log()
    await flush.flusher.flush(0.12)
    await flush.flusher.finish(1)
    assert len(requests) == 1
    assert flush.ledger.summary()["logs"]["delivered"] == 1


@pytest.mark.parametrize(
    "problem", [httpx.ConnectError("refused"), OverflowError("port"), ImportError("socksio"), ValueError("URL")]
)
async def test_whatever_goes_wrong_is_an_answer(
    flush: Flush, intake: Answering, problem: Exception, said: list[str]
) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise problem

    intake(fail)
    flush.log()
    await flush.flusher.flush(3)
    assert (flush.ledger.pending("logs"), flush.outbox.resting("intake")) == (1, True)
    assert str(problem) in said[0]
    await flush.flusher.finish(1)
    assert flush.ledger.summary()["logs"]["dropped"] == {"shutdown": 1}


async def test_a_ca_file_that_is_missing_is_named(ledger: Ledger, clock: MovedClock, said: list[str]) -> None:
    flush = Flush(ledger, clock, "/nowhere.pem")
    flush.client.prepare("https://intake/logs")
    assert "DD_TLS_CERT_FILE=/nowhere.pem" in said[0]


async def test_a_flush_without_time_says_nothing_about_the_intake(flush: Flush, intake: Answering) -> None:
    requests = intake(lambda _: httpx.Response(202))
    flush.log()
    await flush.flusher.flush(0.0)
    assert (requests, flush.outbox.resting("intake"), flush.ledger.pending("logs")) == ([], False, 1)
    await flush.flusher.flush(3.0)
    assert flush.ledger.delivered("logs") == 1


async def test_while_the_intake_is_dead_nothing_is_sent_until_the_pause_is_over(
    flush: Flush, intake: Answering, said: list[str]
) -> None:
    requests = intake(lambda _: httpx.Response(500))
    for _ in range(3):
        flush.log()
        await flush.flusher.flush(3)
    assert len(requests) == 1
    flush.clock.advance(2)
    await flush.flusher.flush(3)
    assert len(requests) == 2
    assert len(said) == 1


async def test_without_a_key_nothing_is_sealed_and_everything_is_counted(ledger: Ledger, clock: MovedClock) -> None:
    flush = Flush(ledger, clock)
    keyless = TelemetryFlusher([flush.logs], flush.outbox, None, collect_nothing)
    flush.log(3)
    flush.logs.take(Record("function", 1, "an orphan"))
    await keyless.flush(3)
    assert ledger.summary()["logs"]["dropped"] == {"no_api_key": 4}
    assert flush.logs.waiting == 0
    assert list(flush.logs.seal(last=True)) == []


async def test_a_record_that_comes_while_the_last_flush_runs_is_counted_too(flush: Flush, intake: Answering) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        flush.log()
        return httpx.Response(202)

    intake(answer)
    flush.log()
    await flush.flusher.finish(2)
    logs = flush.ledger.summary()["logs"]
    assert (logs["accepted"], logs["delivered"], logs["pending"], logs["dropped"]) == (2, 1, 0, {"shutdown": 1})


async def test_what_takes_long_to_collect_keeps_nothing_else_from_being_sent(
    ledger: Ledger, clock: MovedClock, intake: Answering
) -> None:
    requests = intake(lambda _: httpx.Response(202))
    flush = Flush(ledger, clock)
    flush.log()

    async def collect(_last: bool) -> None:
        await anyio.sleep_forever()

    await TelemetryFlusher([flush.logs], flush.outbox, flush.client, collect).finish(0.3)
    assert len(requests) == 1
    assert ledger.delivered("logs") == 1


async def test_who_made_a_payload_may_say_so_in_any_bytes(flush: Flush, intake: Answering) -> None:
    requests = intake(lambda _: httpx.Response(202))
    headers = (("user-agent", "DDProf"), ("X-Tag", "caf\u00e9"))
    flush.ledger.accept("proxied")
    flush.outbox.put(Payload(1, "proxied", 1, "http://intake/profile?a=b%2Cc", headers, b"x"))
    await flush.flusher.flush(3)
    (request,) = requests
    assert request.headers.get_list("User-Agent") == ["DDProf"]
    assert (b"X-Tag", b"caf\xe9") in request.headers.raw
    assert str(request.url) == "http://intake/profile?a=b%2Cc"
