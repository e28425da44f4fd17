"""The outbox, the verdicts, the breaker and the ledger."""

from __future__ import annotations

import gzip
import itertools
import json
import random

import anyio
import pytest
from backports.zstd import decompress
from hypothesis import given
from hypothesis import strategies as st

from fliptop.outbox.breaker import LONGEST_PAUSE_S, Breaker
from fliptop.outbox.ledger import Ledger
from fliptop.outbox.outbox import MOST_BREAKERS, MOST_PAYLOADS, MOST_SPLITS, Outbox
from fliptop.outbox.payload import JSON_ARRAY, Form, Payload, Sealer
from fliptop.outbox.verdict import Answer, fate
from tests.conftest import MovedClock

pytestmark = pytest.mark.anyio


class Intake:
    """Answers what it is told to, in order, and remembers what it was sent."""

    def __init__(self, *statuses: int | None) -> None:
        self.answers = [Answer(status, problem="" if status else "ConnectError") for status in statuses]
        self.sent: list[Payload] = []

    async def send(self, payload: Payload) -> Answer:
        self.sent.append(payload)
        return self.answers.pop(0)


@pytest.fixture
def breaker(clock: MovedClock) -> Breaker:
    return Breaker(clock, random.Random(7))


@pytest.fixture
def outbox(ledger: Ledger, clock: MovedClock) -> Outbox:
    return Outbox(ledger, clock, ceiling=100, jitter=random.Random(7))


def plenty(_failures: int) -> float:
    """A budget that no test uses up."""
    return 10


def put(outbox: Outbox, ledger: Ledger, *numbers: int, size: int = 10, host: str = "intake") -> list[Payload]:
    payloads = [Payload(number, "logs", 3, f"https://{host}/logs", (), b"x" * size) for number in numbers]
    for payload in payloads:
        ledger.accept("logs", 3)
        outbox.put(payload)
    return payloads


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, "delivered"),
        (202, "delivered"),
        (400, "dropped"),
        (401, "dropped"),
        (403, "dropped"),
        (404, "dropped"),
        (413, "dropped"),
        (408, "retry"),
        (429, "retry"),
        (500, "retry"),
        (503, "retry"),
        (None, "retry"),
        (301, "dropped"),
    ],
)
def test_the_fate_of_a_payload(status: int | None, expected: str) -> None:
    assert fate(Answer(status)) == expected


async def test_delivered_in_order_and_booked(outbox: Outbox, ledger: Ledger) -> None:
    payloads = put(outbox, ledger, 1, 2)
    intake = Intake(202, 200)
    await outbox.flush(intake.send, plenty)
    assert intake.sent == payloads
    assert (ledger.delivered("logs"), ledger.pending("logs"), outbox.items) == (6, 0, 0)


@pytest.mark.parametrize("status", [None, 408, 429, 500, 503])
async def test_a_failure_keeps_the_payload_and_the_retry_sends_the_same_bytes(
    outbox: Outbox, ledger: Ledger, clock: MovedClock, said: list[str], status: int | None
) -> None:
    (payload,) = put(outbox, ledger, 1)
    await outbox.flush(Intake(status).send, plenty)
    assert (ledger.pending("logs"), outbox.resting("intake")) == (3, True)
    await outbox.flush(Intake().send, plenty)
    clock.advance(1)
    working = Intake(202)
    await outbox.flush(working.send, plenty)
    assert working.sent[0] is payload
    assert (ledger.delivered("logs"), outbox.resting("intake")) == (3, False)
    assert len(said) == 1
    assert "kept for later" in said[0]


async def test_each_payload_gets_its_turn_whatever_happens_to_one(
    outbox: Outbox, ledger: Ledger, clock: MovedClock, said: list[str]
) -> None:
    first, second, third = put(outbox, ledger, 1, 2, 3)
    intake = Intake(500, 202, 202, 202)
    await outbox.flush(intake.send, plenty)
    await outbox.flush(intake.send, plenty)
    assert intake.sent == [first, second, third, first]
    assert ledger.delivered("logs") == 9


@pytest.mark.parametrize(("answers", "sent"), [((500, 500, 500), 3), ((None,), 1)])
async def test_a_host_that_keeps_failing_has_had_its_chance(
    outbox: Outbox, ledger: Ledger, clock: MovedClock, answers: tuple[int | None, ...], sent: int
) -> None:
    put(outbox, ledger, 1, 2, 3, 4, 5)
    intake = Intake(*answers)
    await outbox.flush(intake.send, plenty)
    assert len(intake.sent) == sent
    clock.advance(60)
    probe = Intake(500)
    await outbox.flush(probe.send, plenty)
    assert len(probe.sent) == 1, "one that failed before is asked once"


async def test_a_host_that_asks_to_be_left_alone_is_left_alone(
    outbox: Outbox, ledger: Ledger, clock: MovedClock
) -> None:
    put(outbox, ledger, 1, 2)
    intake = Intake(429, 202, 202)
    intake.answers[0] = Answer(429, retry_after_s=20)
    await outbox.flush(intake.send, plenty)
    clock.advance(19)
    await outbox.flush(intake.send, plenty)
    assert len(intake.sent) == 1
    clock.advance(2)
    await outbox.flush(intake.send, plenty)
    assert ledger.delivered("logs") == 6


async def test_one_host_that_does_not_answer_costs_the_others_nothing(outbox: Outbox, ledger: Ledger) -> None:
    (lost,) = put(outbox, ledger, 1, host="dead")
    (arrives,) = put(outbox, ledger, 2, host="alive")
    sent = []

    async def send(payload: Payload) -> Answer:
        if payload is lost:
            await anyio.sleep_forever()
        sent.append(payload)
        return Answer(202)

    await outbox.flush(send, lambda _failures: 0.11)
    assert sent == [arrives]
    assert (outbox.resting("dead"), outbox.resting("alive"), ledger.pending("logs")) == (True, False, 3)


async def test_the_last_flush_asks_even_who_rests(outbox: Outbox, ledger: Ledger) -> None:
    put(outbox, ledger, 1)
    await outbox.flush(Intake(None).send, plenty)
    await outbox.flush(Intake(202).send, plenty, last=True)
    assert ledger.delivered("logs") == 3


async def test_a_refused_payload_costs_no_other(outbox: Outbox, ledger: Ledger, said: list[str]) -> None:
    put(outbox, ledger, 1, 2)
    await outbox.flush(Intake(413, 202).send, plenty)
    assert ledger.summary()["logs"] == {"accepted": 6, "delivered": 3, "pending": 0, "dropped": {"http_413": 3}}
    assert "HTTP 413" in said[0]


class SmallIntake:
    """Takes bodies of up to `most` bytes."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.sent: list[Payload] = []
        self.taken: list[int] = []

    async def send(self, payload: Payload) -> Answer:
        self.sent.append(payload)
        if len(payload.body) > self.most:
            return Answer(413)
        self.taken += json.loads(payload.body)
        return Answer(202)


def put_large(outbox: Outbox, ledger: Ledger, *sizes: int) -> None:
    """Payloads of so many entries, which are numbers that go on from one payload to the next."""
    sealer, numbers = Sealer("logs", "https://intake/logs", JSON_ARRAY, None, itertools.count(1)), itertools.count(10)
    for size in sizes:
        ledger.accept("logs", size)
        outbox.put(sealer.seal([b"%d" % next(numbers) for _ in range(size)], [1] * size))


async def test_what_is_too_large_is_sent_in_halves_in_its_place(outbox: Outbox, ledger: Ledger) -> None:
    put_large(outbox, ledger, 8, 2)
    intake = SmallIntake(8)
    await outbox.flush(intake.send, plenty)
    assert [len(json.loads(payload.body)) for payload in intake.sent] == [8, 4, 2, 2, 4, 2, 2, 2]
    assert intake.taken == list(range(10, 20))
    assert len({payload.number for payload in intake.sent}) == len(intake.sent)
    assert ledger.summary()["logs"] == {"accepted": 10, "delivered": 10, "pending": 0, "dropped": {}}


async def test_a_single_piece_that_is_too_large_is_dropped_alone(
    outbox: Outbox, ledger: Ledger, said: list[str]
) -> None:
    sealer = Sealer("logs", "https://intake/logs", JSON_ARRAY, None, itertools.count(1))
    ledger.accept("logs", 9)
    outbox.put(sealer.seal([b"11", b"1" * 20, b"12"], [2, 3, 4]))
    intake = SmallIntake(10)
    await outbox.flush(intake.send, plenty)
    assert intake.taken == [11, 12]
    assert ledger.summary()["logs"] == {"accepted": 9, "delivered": 6, "pending": 0, "dropped": {"http_413": 3}}
    assert len(said) == 1


async def test_a_half_is_kept_like_any_other_payload(outbox: Outbox, ledger: Ledger, clock: MovedClock) -> None:
    put_large(outbox, ledger, 2)
    intake = Intake(413, 202, 500, 202)
    await outbox.flush(intake.send, plenty)
    assert (ledger.delivered("logs"), ledger.pending("logs")) == (1, 1)
    clock.advance(60)
    await outbox.flush(intake.send, plenty)
    _, _, failed, again = intake.sent
    assert again is failed
    assert ledger.delivered("logs") == 2


async def test_who_refuses_everything_as_too_large_does_not_take_all_the_time(
    ledger: Ledger, clock: MovedClock
) -> None:
    outbox = Outbox(ledger, clock)
    put_large(outbox, ledger, 64, 3)
    intake = SmallIntake(0)
    await outbox.flush(intake.send, plenty)
    assert len(intake.sent) <= 2 * MOST_SPLITS + 2
    assert 20 in json.loads(intake.sent[0].body)
    assert 74 in json.loads(intake.sent[-1].body), "the other payload had its turn"
    for _ in range(10):
        await outbox.flush(intake.send, plenty)
    assert ledger.summary()["logs"]["dropped"] == {"http_413": 67}


async def test_halves_that_are_more_than_fits_push_out_the_oldest(
    outbox: Outbox, ledger: Ledger, said: list[str]
) -> None:
    sealer = Sealer("logs", "https://intake/logs", JSON_ARRAY, None, itertools.count(1))
    ledger.accept("logs", 2)
    outbox.put(sealer.seal([b"1" * 48, b"2" * 49], [1, 1]))
    assert outbox.size == 100
    await outbox.flush(Intake(413, 202).send, plenty)
    assert ledger.summary()["logs"] == {"accepted": 2, "delivered": 1, "pending": 0, "dropped": {"outbox_full": 1}}


async def test_what_was_given_up_while_it_was_refused_stays_given_up(outbox: Outbox, ledger: Ledger) -> None:
    put_large(outbox, ledger, 2)

    async def send(_: Payload) -> Answer:
        outbox.drop_all("shutdown")
        return Answer(413)

    await outbox.flush(send, plenty)
    assert (outbox.items, ledger.summary()["logs"]["dropped"]) == (0, {"shutdown": 2})


def singles(payload: Payload) -> list[Payload]:
    """What `payload` comes to when no part of it is ever taken."""
    halves = payload.halves()
    return [single for half in halves for single in singles(half)] if halves else [payload]


@given(
    pieces=st.lists(st.tuples(st.binary(max_size=40), st.integers(0, 9)), min_size=1, max_size=30),
    form=st.sampled_from(
        [
            *(JSON_ARRAY, Form(()), Form((), b"<<", b"", b">")),
            Form((), b"<", b"", b">", number=lambda pieces: bytes([pieces]), coding="gzip"),
        ]
    ),
    level=st.sampled_from([None, 1, 3]),
)
def test_halves_hold_the_same_pieces_in_order(pieces: list[tuple[bytes, int]], form: Form, level: int | None) -> None:
    sealer = Sealer("logs", "https://one/logs", form, level, itertools.count(1))
    whole = sealer.seal([piece for piece, _ in pieces], [items for _, items in pieces])
    found = singles(whole._replace(url="https://other/logs", signal="copies"))
    assert [payload.items for payload in found] == [items for _, items in pieces]
    unpack = decompress if form.coding == "zstd" else gzip.decompress
    bodies = [payload.body if level is None else unpack(payload.body) for payload in found]
    number = form.number(1) if form.number else b""
    assert bodies == [form.opening + number + piece + form.closing for piece, _ in pieces]
    assert ("Content-Encoding", form.coding) in whole.headers or level is None
    assert {(payload.url, payload.signal) for payload in found} == {("https://other/logs", "copies")}
    assert {payload.headers for payload in found} == {whole.headers}
    assert len({payload.number for payload in found}) == len(found)


async def test_a_refused_key_costs_other_hosts_nothing(outbox: Outbox, ledger: Ledger, said: list[str]) -> None:
    put(outbox, ledger, 1, 2, host="one")
    put(outbox, ledger, 3, host="other")

    async def send(payload: Payload) -> Answer:
        return Answer(403 if "one" in payload.url else 202)

    await outbox.flush(send, plenty)
    assert ledger.summary()["logs"] == {"accepted": 9, "delivered": 3, "pending": 0, "dropped": {"http_403": 6}}


async def test_what_one_product_refuses_another_on_its_host_may_take(
    outbox: Outbox, ledger: Ledger, said: list[str]
) -> None:
    """Datadog answers 403, too, where an account has not booked a product."""
    put(outbox, ledger, 1)
    for number in (2, 3):
        ledger.accept("proxied")
        outbox.put(Payload(number, "proxied", 1, "https://intake/api", (), b"x"))

    async def send(payload: Payload) -> Answer:
        return Answer(403 if payload.signal == "proxied" else 202)

    await outbox.flush(send, plenty)
    assert ledger.summary()["proxied"]["dropped"] == {"http_403": 2}
    assert ledger.delivered("logs") == 3


async def test_a_refused_key_is_said_once_and_everything_is_drained(
    outbox: Outbox, ledger: Ledger, said: list[str]
) -> None:
    for number in (1, 3):
        put(outbox, ledger, number, number + 1)
        intake = Intake(403)
        await outbox.flush(intake.send, plenty)
        assert len(intake.sent) == 1
    assert ledger.summary()["logs"]["dropped"] == {"http_403": 12}
    assert len(said) == 1
    assert "Please verify that your API key is valid" in said[0]


async def test_over_the_ceiling_the_oldest_are_dropped_and_counted(outbox: Outbox, ledger: Ledger) -> None:
    put(outbox, ledger, 1, 2, 3, size=40)
    assert outbox.size == 80
    assert ledger.summary()["logs"]["dropped"] == {"outbox_full": 3}
    intake = Intake(202, 202)
    await outbox.flush(intake.send, plenty)
    assert [payload.number for payload in intake.sent] == [2, 3]


async def test_a_flush_that_is_cut_short_loses_nothing(
    outbox: Outbox, ledger: Ledger, clock: MovedClock, said: list[str]
) -> None:
    (payload,) = put(outbox, ledger, 1)

    async def black_hole(_: Payload) -> Answer:
        await anyio.sleep_forever()
        raise AssertionError("unreachable")

    await outbox.flush(black_hole, lambda _failures: 0.11)
    assert "did not answer within" in said[0]
    assert (ledger.pending("logs"), outbox.resting("intake")) == (3, True)
    clock.advance(1)
    intake = Intake(202)
    await outbox.flush(intake.send, plenty)
    assert intake.sent == [payload]


async def test_before_the_last_flush_one_that_is_under_way_sends_nothing_more(outbox: Outbox, ledger: Ledger) -> None:
    put(outbox, ledger, 1, 2, 3)
    intake, answer = Intake(202, 202, 202), anyio.Event()

    async def slowly(payload: Payload) -> Answer:
        await answer.wait()
        return await intake.send(payload)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outbox.flush, slowly, plenty)
        await anyio.wait_all_tasks_blocked()
        outbox.wind_down()
        answer.set()
    assert [payload.number for payload in intake.sent] == [1], "what was sent is answered, and the rest waits"
    await outbox.flush(intake.send, plenty, last=True)
    assert [payload.number for payload in intake.sent] == [1, 2, 3], "each once"


async def test_without_time_nobody_is_asked_and_nobody_is_to_blame(outbox: Outbox, ledger: Ledger) -> None:
    put(outbox, ledger, 1)
    await outbox.flush(Intake().send, lambda _failures: 0.05)
    assert (ledger.pending("logs"), outbox.resting("intake")) == (3, False)


def test_what_shutdown_leaves_is_counted(outbox: Outbox, ledger: Ledger) -> None:
    put(outbox, ledger, 1, 2)
    outbox.drop_all("shutdown")
    assert ledger.summary()["logs"]["dropped"] == {"shutdown": 6}


def test_dropping_nothing_leaves_no_trace(ledger: Ledger) -> None:
    ledger.drop("logs", 0, "shutdown")
    assert ledger.summary() == {}


def test_the_ledger_refuses_to_settle_what_was_never_accepted(ledger: Ledger) -> None:
    ledger.accept("logs", 2)
    with pytest.raises(ValueError, match="only 2 are pending"):
        ledger.deliver("logs", 3)
    with pytest.raises(ValueError, match="only 2 are pending"):
        ledger.drop("logs", 3, "why")


def test_the_breaker_waits_longer_each_time_and_forgets_at_the_first_success(
    breaker: Breaker, clock: MovedClock
) -> None:
    pauses = []
    for _ in range(9):
        breaker.failed()
        began = clock.now
        while breaker.open:
            clock.advance(0.25)
        assert breaker.failures > 0
        pauses.append(clock.now - began)
    assert pauses[0] <= 1.25
    assert all(later >= earlier * 0.99 for earlier, later in zip(pauses[::2], pauses[2::2], strict=False))
    assert LONGEST_PAUSE_S / 2 <= pauses[-1] <= LONGEST_PAUSE_S + 0.25
    breaker.succeeded()
    assert not breaker.open
    assert breaker.failures == 0


def test_retry_after_is_honoured_up_to_a_minute(breaker: Breaker, clock: MovedClock) -> None:
    breaker.failed(retry_after_s=30)
    clock.advance(29)
    assert breaker.open
    clock.advance(2)
    assert not breaker.open
    breaker.failed(retry_after_s=86400)
    clock.advance(61)
    assert not breaker.open


def test_a_freeze_counts_as_waiting(breaker: Breaker, clock: MovedClock) -> None:
    breaker.failed()
    clock.advance(3600)
    assert (breaker.open, breaker.failures) == (False, 1)


async def test_payloads_without_bytes_are_bounded_too(outbox: Outbox, ledger: Ledger) -> None:
    put(outbox, ledger, *range(MOST_PAYLOADS + 10), size=0)
    assert outbox.items == 3 * MOST_PAYLOADS
    assert ledger.dropped("logs", "outbox_full") == 30


async def test_hosts_that_nothing_waits_for_are_forgotten(outbox: Outbox, ledger: Ledger) -> None:
    hosts = [f"h{number}" for number in range(3 * MOST_BREAKERS)]
    for number, host in enumerate(hosts):
        put(outbox, ledger, number, host=host, size=60)  # there is room for one
        await outbox.flush(Intake(None).send, plenty)
    assert 0 < sum(outbox.resting(host) for host in hosts) <= MOST_BREAKERS + 1
