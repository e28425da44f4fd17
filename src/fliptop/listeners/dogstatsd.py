"""The DogStatsD listener: datagrams on port 8125, from the kernel's buffer into a queue, and from there to a reader.

The kernel's buffer is small (some hundred datagrams by default) and what does not fit is lost, so emptying it comes
before anything else: datagrams are read between two small batches for the reader, too.
"""

import socket
from collections import deque
from collections.abc import Callable
from struct import unpack_from
from typing import Final, NamedTuple

import anyio
import anyio.lowlevel

from fliptop import report
from fliptop.outbox.ledger import Ledger

SIGNAL: Final = "dogstatsd"
FULL: Final = "socket_full"
BATCH: Final = 64
LONGEST_DATAGRAM: Final = 65_507
# A wake-up costs more than a datagram. What comes within this time waits in the kernel's buffer, which holds more than
# a fast client sends in it.
PAUSE_S: Final = 0.002
# What the kernel charges its buffer for the smallest datagram, less than that.
LEAST_TRUESIZE: Final = 512
# `getsockopt` of Linux: nine numbers, the last of which counts the datagrams for which there was no room.
SO_MEMINFO: Final = 55
DROPS_AT: Final = 32


class DogStatsDOptions(NamedTuple):
    """`receive_buffer` is the kernel's, in bytes (0: as large as it came); `datagram_bytes` is the longest datagram
    that is read whole; `queue` is how many may wait for the reader.
    """

    receive_buffer: int = 0
    datagram_bytes: int = 8192
    queue: int = 1024


class DogStatsDListener:
    """Takes datagrams from `bound`, a socket that is ours from here on, and passes them to `take` in batches.

    What the kernel had no room for, and what was cut off at `datagram_bytes`, is accounted for in `ledger`.
    """

    def __init__(
        self, bound: socket.socket, take: Callable[[list[bytes]], None], ledger: Ledger, options: DogStatsDOptions
    ) -> None:
        bound.setblocking(False)
        if options.receive_buffer:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, options.receive_buffer)
        self._socket = bound
        self._most_waiting = options.queue + bound.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // LEAST_TRUESIZE
        self._take = take
        self._ledger = ledger
        self._most = options.queue
        self._queue: deque[bytes] = deque()
        self._buffer = memoryview(bytearray(options.datagram_bytes))

    async def run(self) -> None:
        """Take datagrams until cancelled."""
        while True:
            await anyio.wait_readable(self._socket)
            while self._turn():
                await anyio.lowlevel.checkpoint()
            await anyio.sleep(PAUSE_S)

    async def drain(self) -> None:
        """Take what has arrived by now: what comes after this call sees all that was sent before it. What arrives
        meanwhile is not waited for: a function that goes on sending would keep a flush from ever beginning.
        """
        for _ in range(self._most_waiting // min(BATCH, self._most) + 1):
            if not self._turn():
                break
            await anyio.lowlevel.checkpoint()
        self._count_lost()

    def _turn(self) -> bool:
        """Read as much as the queue has room for, pass one batch on; False when nothing is left."""
        self._read()
        batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
        if batch:
            self._take(batch)
        return bool(batch)

    def _read(self) -> None:
        receive, buffer, put = self._socket.recv_into, self._buffer, self._queue.append
        try:
            for _ in range(self._most - len(self._queue)):
                size = receive(buffer, 0, socket.MSG_TRUNC)
                put(bytes(buffer[:size]) if size <= len(buffer) else self._cut())
        except OSError:  # nothing more, for now
            return

    def _cut(self) -> bytes:
        """The whole lines of a datagram that is longer than the buffer."""
        self._lose(1, "truncated")
        kept, _, rest = bytes(self._buffer).rpartition(b"\n")
        report.debug(f"a DogStatsD datagram is longer than {len(self._buffer)} bytes and was cut at {rest!r:.200}")
        return kept

    def _count_lost(self) -> None:
        # The socket may be older than this process, and the ledger with it.
        self._lose(max(0, self._lost_in_kernel() - self._ledger.dropped(SIGNAL, FULL)), FULL)

    def _lost_in_kernel(self) -> int:
        try:
            numbers = self._socket.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, DROPS_AT + 4)
        except OSError:  # older than Linux 4.12, or no Linux
            return 0
        # An emulated Linux (QEMU) answers with fewer.
        return int(unpack_from("=I", numbers, DROPS_AT)[0]) if len(numbers) >= DROPS_AT + 4 else 0

    def _lose(self, datagrams: int, reason: str) -> None:
        if datagrams:
            self._ledger.accept(SIGNAL, datagrams)
            self._ledger.drop(SIGNAL, datagrams, reason)
