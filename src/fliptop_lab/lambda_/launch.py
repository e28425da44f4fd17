"""Starting a program in an environment: orders to a process that the keeper has forked, and how its execve went."""

import asyncio
import errno
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fliptop_lab.lambda_ import keeper

Role = Literal["extension", "runtime"]


@dataclass(frozen=True)
class Started:
    """A process at its execve, `ns` by CLOCK_MONOTONIC, and what it had used before it became the program.

    `cpu_ns` is all its CPU time, `joined_cpu_ns` the part that its cgroups know nothing of.
    """

    ns: int
    cpu_ns: int
    joined_cpu_ns: int
    faults: int


@dataclass(frozen=True)
class Program:
    """What to start: `search` is the PATH for a command without a slash."""

    role: Role
    argv: Sequence[str]
    environment: Mapping[str, str]
    cwd: str
    search: str = os.defpath


class LaunchError(OSError):
    """execve refused the program; `errno` says why."""


class Launch:
    """A program that is being started: `id` is the keeper's pid for it, `pid` the host's.

    A forked process waits already; it needs its orders and no more than an execve. Its messages are read when the event
    loop comes to it, or when somebody asks, so that whatever the program does is never seen before its start.
    """

    def __init__(self, id_: int, pid: int, channel: socket.socket) -> None:
        self.id, self.pid, self._channel = id_, pid, channel
        self._started: Started | None = None
        self._end: asyncio.Future[None] | None = None

    def go(self, program: Program, out: int, err: int) -> None:
        """Gives the orders."""
        message = {
            "argv": list(program.argv),
            "env": dict(program.environment),
            "cwd": program.cwd,
            "search": program.search,
        }
        loop = asyncio.get_running_loop()
        self._end = loop.create_future()
        keeper.send(self._channel, message, [out, err])
        self._channel.setblocking(False)
        loop.add_reader(self._channel, self._read)

    async def executed(self) -> Started:
        """Waits for the execve. Raises `LaunchError`."""
        assert self._end is not None
        await self._end
        assert self._started is not None
        return self._started

    @property
    def started(self) -> Started | None:
        """The moment of the execve, if it has come."""
        self._read()
        return self._started

    @property
    def refused(self) -> bool:
        """Whether execve has refused."""
        self._read()
        return self._end is not None and self._end.done() and self._end.exception() is not None

    def _read(self) -> None:
        """First message: the state before execve. Then the end of file, or execve's errno."""
        while self._end is not None and not self._end.done():
            try:
                told = self._channel.recv(64)
            except BlockingIOError:
                return
            except ConnectionResetError:
                told = b""
            if len(told) == keeper.EXECUTES.size:
                self._started = Started(*keeper.EXECUTES.unpack(told))
            else:
                self._finish(self._end, told)

    def _finish(self, end: asyncio.Future[None], told: bytes) -> None:
        self.close()
        if len(told) == keeper.REFUSED.size:
            (code,) = keeper.REFUSED.unpack(told)
            end.set_exception(LaunchError(code, os.strerror(code)))
        elif self._started is None:
            end.set_exception(LaunchError(errno.EIO, "the process ended before exec"))
        else:
            end.set_result(None)

    def close(self) -> None:
        """Listens no more; a process that has no orders yet ends."""
        if self._end is not None and self._channel.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._channel)
        self._channel.close()
