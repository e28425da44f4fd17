"""The DogStatsD listener and the kernel: nothing that fits into the socket's buffer is lost, the rest is counted."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio
import pytest

from fliptop.listeners.dogstatsd import BATCH, DogStatsDListener, DogStatsDOptions
from fliptop.outbox.ledger import Ledger

pytestmark = pytest.mark.anyio
SO_RCVBUFFORCE = 33
# What the kernel charges for a small datagram.
TRUESIZE = 1024
BURST = 100_000


class Listening:
    """A listener whose reader keeps everything, and a client of it."""

    def __init__(self, ledger: Ledger, options: DogStatsDOptions, buffer: int = 0) -> None:
        self.ledger, self.options = ledger, options
        self.bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.bound.bind(("127.0.0.1", 0))
        if buffer:
            force_buffer(self.bound, buffer)
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.client.connect(self.bound.getsockname())
        self.taken: list[bytes] = []
        self.batches: list[int] = []
        self.arrived = anyio.Event()
        self.wanted = 1
        self.listener = DogStatsDListener(self.bound, self.take, ledger, options)

    def take(self, batch: list[bytes]) -> None:
        self.taken += batch
        self.batches.append(len(batch))
        if len(self.taken) >= self.wanted:
            self.arrived.set()

    def send(self, *datagrams: bytes) -> None:
        for datagram in datagrams:
            self.client.send(datagram)

    async def until(self, number: int) -> None:
        self.wanted, self.arrived = number, anyio.Event()
        if len(self.taken) < number:
            with anyio.fail_after(30):
                await self.arrived.wait()

    def losses(self) -> dict[str, int]:
        summary = self.ledger.summary()
        losses: dict[str, int] = summary["dogstatsd"]["dropped"] if "dogstatsd" in summary else {}
        return losses

    def close(self) -> None:
        self.bound.close()
        self.client.close()


def force_buffer(bound: socket.socket, size: int) -> None:
    """Let the kernel keep `size` bytes for this socket, whatever its limits are."""
    try:
        bound.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
    except PermissionError:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    if bound.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < size:
        pytest.skip(f"the kernel does not allow a socket buffer of {size} bytes (net.core.rmem_max)")


Listen = Callable[..., Listening]


@pytest.fixture
def listen(ledger: Ledger) -> Iterator[Listen]:
    made: list[Listening] = []

    def new(buffer: int = 0, **options: int) -> Listening:
        made.append(Listening(ledger, DogStatsDOptions(**options), buffer))
        return made[-1]

    yield new
    for listening in made:
        listening.close()


@contextmanager
def sending(listening: Listening, datagrams: list[bytes]) -> Iterator[None]:
    """Send from a thread, as fast as that can."""
    thread = threading.Thread(target=listening.send, args=datagrams)
    thread.start()
    yield
    thread.join()


async def test_a_burst_that_the_socket_buffer_holds_arrives_whole(listen: Listen) -> None:
    listening = listen(buffer=BURST * TRUESIZE)
    burst = [b"m:%d|c" % number for number in range(BURST)]
    listening.send(*burst)
    while len(listening.taken) < BURST:
        before = len(listening.taken)
        await listening.listener.drain()
        assert len(listening.taken) > before
    assert listening.taken == burst
    assert max(listening.batches) <= BATCH
    assert listening.losses() == {}


async def test_a_burst_arrives_whole_while_others_use_the_loop(listen: Listen) -> None:
    listening = listen(buffer=BURST * TRUESIZE)
    burst = [b"m:%d|c" % number for number in range(BURST)]
    turns = 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listening.listener.run)
        with sending(listening, burst):
            while len(listening.taken) < BURST:
                await anyio.lowlevel.checkpoint()
                turns += 1
        tasks.cancel_scope.cancel()
    assert listening.taken == burst
    assert turns > 100, "the loop was not held up"
    assert listening.losses() == {}


async def test_what_the_kernel_had_no_room_for_is_counted_once(listen: Listen) -> None:
    listening = listen(receive_buffer=4096)
    sent = 1000
    listening.send(*[b"m:1|c"] * sent)
    for _ in range(2):
        await listening.listener.drain()
    lost = listening.losses()["socket_full"]
    assert 0 < lost < sent
    assert len(listening.taken) + lost == sent


async def test_a_new_life_counts_what_was_lost_before_it(listen: Listen, ledger: Ledger) -> None:
    listening = listen(receive_buffer=4096)
    listening.send(*[b"m:1|c"] * 1000)
    await DogStatsDListener(listening.bound, listening.take, ledger, DogStatsDOptions()).drain()
    once = listening.losses()
    await DogStatsDListener(listening.bound, listening.take, ledger, DogStatsDOptions()).drain()
    assert listening.losses() == once
    assert once["socket_full"] > 0


async def test_the_kernel_keeps_what_comes_before_the_listener_runs(listen: Listen) -> None:
    listening = listen()
    listening.send(b"early:1|c")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listening.listener.run)
        await listening.until(1)
        listening.send(b"late:1|c")
        await listening.until(2)
        tasks.cancel_scope.cancel()
    assert listening.taken == [b"early:1|c", b"late:1|c"]


async def test_no_more_wait_for_the_reader_than_were_asked_for(listen: Listen) -> None:
    listening = listen(queue=5)
    listening.send(*[b"m:1|c"] * 40)
    await listening.listener.drain()
    assert len(listening.taken) == 40
    assert max(listening.batches) == 5


async def test_a_datagram_over_the_limit_loses_its_last_line_alone(listen: Listen) -> None:
    listening = listen(datagram_bytes=20)
    listening.send(b"first:1|c\nsecond:2|c\nthird:3|c", b"x" * 20, b"y" * 21)
    await listening.listener.drain()
    assert listening.taken == [b"first:1|c", b"x" * 20, b""]
    assert listening.losses() == {"truncated": 2}


async def test_draining_nothing_costs_nothing(listen: Listen) -> None:
    listening = listen()
    await listening.listener.drain()
    assert (listening.taken, listening.ledger.summary()) == ([], {})


async def test_draining_ends_though_new_datagrams_never_do(listen: Listen) -> None:
    listening = listen(buffer=1 << 20, queue=100)
    listening.send(*[b"before"] * 1000)
    take = listening.listener._take

    def take_and_send(batch: list[bytes]) -> None:
        take(batch)
        listening.send(*[b"later"] * len(batch))

    listening.listener._take = take_and_send
    await listening.listener.drain()
    assert listening.taken.count(b"before") == 1000
    assert listening.taken.count(b"later") < (2 << 20) / 512, "no more than could have waited"


async def test_the_longest_datagram_there_can_be(listen: Listen) -> None:
    listening = listen(datagram_bytes=65535)
    listening.send(b"z" * 65507, b"")
    await listening.listener.drain()
    assert [len(datagram) for datagram in listening.taken] == [65507, 0]


class Emulated(socket.socket):
    """A socket of QEMU's Linux, which knows no answer of SO_MEMINFO that is longer than one number."""

    def getsockopt(self, level: int, name: int, size: int = 0) -> bytes:  # type: ignore[override]
        return super().getsockopt(level, name, min(size, 4))


async def test_a_kernel_that_cannot_tell_what_it_lost_costs_nothing_else(listen: Listen, ledger: Ledger) -> None:
    listening = listen()
    listening.send(b"m:1|c")
    with Emulated(fileno=listening.bound.detach()) as bound:
        await DogStatsDListener(bound, listening.take, ledger, DogStatsDOptions()).drain()
    assert listening.taken == [b"m:1|c"]
    assert listening.losses() == {}
