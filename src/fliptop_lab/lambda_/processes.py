"""The runtime and the extensions as processes: output by lines, exit, and how much memory they have used."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from fliptop_lab.lambda_.launch import Launch, Program, Role, Started
from fliptop_lab.lambda_.sandbox import Sandbox

LINE_BYTES = 256 * 1024


class Lines:
    """Reads one pipe; gives `tell` a text for every line, the newline included, and the rest at the end."""

    def __init__(self, fd: int, tell: Callable[[str], None]) -> None:
        self._fd, self._tell = fd, tell
        self._rest = bytearray()
        self._open = True
        os.set_blocking(fd, False)
        asyncio.get_running_loop().add_reader(fd, self._read)

    def _read(self) -> bool:
        """True while there may be more."""
        try:
            data = os.read(self._fd, 65_536)
        except BlockingIOError:
            return False
        self._rest += data
        *lines, rest = self._rest.split(b"\n")
        for line in lines:
            self._tell(line.decode(errors="replace") + "\n")
        self._rest = bytearray(rest)
        if not data or len(rest) >= LINE_BYTES:
            self.flush()
        if not data:
            self.close()
        return bool(data)

    def drain(self) -> None:
        """At exit: takes what the pipe still holds."""
        while self._open and self._read():
            pass
        self.flush()

    def flush(self) -> None:
        """A partial line counts as one."""
        if self._rest:
            self._tell(self._rest.decode(errors="replace"))
            self._rest.clear()

    def close(self) -> None:
        """Stops to read."""
        if self._open:
            self._open = False
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)


class Process:
    """A process from the moment it is started.

    `code` is its exit code once it has one: negative for a signal, as in `subprocess`.
    """

    def __init__(self, name: str, sandbox: Sandbox, program: Program) -> None:
        self.name, self._sandbox = name, sandbox
        self.role: Role = program.role
        self.argv = program.argv
        self.code: int | None = None
        self.lines: list[Lines] = []
        pipes = [os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)]
        try:
            self._launch: Launch = sandbox.spawn(program, pipes[0][1], pipes[1][1])
        except BaseException:
            for reading, _ in pipes:
                os.close(reading)
            raise
        finally:
            for _, writing in pipes:
                os.close(writing)
        self._reading = [reading for reading, _ in pipes]

    def listen(self, tell: Callable[[str], None]) -> None:
        """Begins to read stdout and stderr."""
        self.lines = [Lines(fd, tell) for fd in self._reading]

    @property
    def id(self) -> int:
        """The keeper's pid for it."""
        return self._launch.id

    @property
    def pid(self) -> int:
        """The host's pid for it."""
        return self._launch.pid

    @property
    def started(self) -> Started | None:
        """The moment of its execve, if it has come."""
        return self._launch.started

    @property
    def refused(self) -> bool:
        """Whether it could not be executed."""
        return self._launch.refused

    async def executed(self) -> Started:
        """Waits for the execve. Raises `LaunchError`."""
        return await self._launch.executed()

    @property
    def alive(self) -> bool:
        """Whether it has not been seen to exit."""
        return self.code is None

    def signal(self, number: int) -> None:
        """Signals the process's group."""
        self._sandbox.signal(number, self.id)

    def ended(self, code: int) -> None:
        """Called once, when it has exited."""
        self.code = code
        for lines in self.lines:
            lines.drain()

    def close(self) -> None:
        """Stops to read, though a child of its may still hold the pipe."""
        self._launch.close()
        for lines in self.lines:
            lines.close()


def peak_memory_mb(pids: Iterable[int]) -> int:
    """Sum of the processes' peak resident sets (VmHWM), in MiB."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    total += int(line.split()[1])
    return -(-total // 1024)
