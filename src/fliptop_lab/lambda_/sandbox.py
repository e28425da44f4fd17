"""One environment's place: directories, namespaces, processes. No protocol here.

`Sandbox` is the lab's side of `keeper.py`, which does the work inside. Calls to the keeper are short and synchronous
(well under a millisecond), so that a freeze or a socket never waits for the event loop.
"""

import asyncio
import contextlib
import errno
import fcntl
import itertools
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import fliptop_lab
from fliptop_lab.lambda_ import keeper, layers
from fliptop_lab.lambda_.cgroups import Cgroups, Limits
from fliptop_lab.lambda_.config import Function, Platform
from fliptop_lab.lambda_.launch import Launch, Program, Role

KEEPER_EXIT_S = 5.0
API_ADDRESS, API_PORT = "169.254.100.1", 9001
USER = "sbx_user1051:x:993:990::/home/sbx_user1051:/sbin/nologin\n"


class SandboxError(RuntimeError):
    """The environment cannot be made on this machine; the message says what was refused."""


class Link:
    """The keeper process and the two sockets to it."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.calls, calls = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.exits, exits = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with calls, exits:
            fds = [calls.fileno(), exits.fileno()]
            command = [sys.executable, "-I", "-S", keeper.__file__, *map(str, fds)]
            self.process = subprocess.Popen(command, pass_fds=fds, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            self.call(dict(config))
        except SandboxError:
            self.close()
            raise
        self.exits.setblocking(False)

    def call(self, message: dict[str, Any], fds: Sequence[int] = ()) -> tuple[dict[str, Any], list[int]]:
        try:
            keeper.send(self.calls, message, list(fds))
            reply, received = keeper.receive(self.calls)
        except (BrokenPipeError, ConnectionResetError):
            reply, received = None, []
        if reply is None:
            raise SandboxError("the environment's keeper process is gone")
        if "error" in reply:
            raise SandboxError(reply["error"])
        return reply, received

    def close(self) -> None:
        self.calls.close()
        self.exits.close()
        try:
            self.process.wait(KEEPER_EXIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Sandbox:
    """Makes, uses and removes one environment's place; `on_exit(id, exit code, ns)` tells of processes that ended.

    `opt`, `task` and `api` are what the processes inside see: `/opt`, `/var/task` and Lambda's own address with
    namespaces, real paths and a free local port without.
    """

    def __init__(self, function: Function, platform: Platform, on_exit: Callable[[int, int, int], None]) -> None:
        self._function, self._platform, self._on_exit = function, platform, on_exit
        self._lock: int | None = None
        self._link: Link | None = None
        self._task_root = function.task_root.resolve()
        self._spares: dict[Role, list[Launch]] = {}
        self.isolated = isolated(platform)
        self.opt = "/opt"
        self.opt_on_host = Path()
        self.task = "/var/task"
        self.address = API_ADDRESS if self.isolated else "127.0.0.1"
        self.folder = Path(tempfile.mkdtemp(prefix="fliptop-lab-"))
        self.folder.chmod(0o755)
        memory = function.memory_mb if platform.limit_memory else None
        self.cgroups = Cgroups(self.folder.name, Limits(memory, platform.limit_cpu))

    async def open(self, layer_paths: Sequence[Path]) -> None:
        """Merges the layers and starts the keeper; without namespaces, waits for its turn first."""
        if not self.isolated:
            await self._take_turns()
        for name in ("opt", "root", "tmp"):
            (self.folder / name).mkdir()
        (self.folder / "tmp").chmod(0o1777)
        opt = await asyncio.to_thread(layers.merge, layer_paths, self._function.task_root, self.folder / "opt")
        self.opt_on_host = opt
        self._task_root = await asyncio.to_thread(layers.presentable, self._task_root, self.folder / "task")
        if not self.isolated:
            self.opt, self.task = str(opt), str(self._task_root)
        self._link = Link(self._config(opt))
        asyncio.get_running_loop().add_reader(self._link.exits, self._read_exits)

    async def _take_turns(self) -> None:
        """Ports are fixed, so environments that share the host's network go one at a time, across processes too."""
        lock = os.open(Path(tempfile.gettempdir(), "fliptop-lab.lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
        self._lock = lock
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                await asyncio.sleep(0.05)
            else:
                return

    def _config(self, opt: Path) -> dict[str, Any]:
        binds = [(str(opt), "/opt"), (str(self._task_root), "/var/task"), *self._etc()]
        return {
            "isolated": self.isolated,
            "address": API_ADDRESS,
            "root": str(self.folder / "root"),
            "tmp": str(self.folder / "tmp"),
            "binds": binds,
            "visible": [str(path) for path in visible(self._function.command[0], self._platform.visible)],
        }

    def _etc(self) -> list[tuple[str, str]]:
        hosts = {"localhost": "127.0.0.1", "sandbox.localdomain sandbox": API_ADDRESS, **self._platform.hosts}
        group = "sbx_group1051:x:990:\n"
        texts = {"hosts": "".join(f"{address} {name}\n" for name, address in hosts.items())}
        if self._platform.name_server:
            texts["resolv.conf"] = f"nameserver {self._platform.name_server}\n"
        for name, line in (("passwd", USER), ("group", group)):
            texts[name] = Path("/etc", name).read_text() + line
        files = []
        for name, text in texts.items():
            (self.folder / name).write_text(text)
            (self.folder / name).chmod(0o644)
            if Path("/etc", name).exists():
                files.append((str(self.folder / name), f"/etc/{name}"))
        return files

    @property
    def link(self) -> Link:
        """The way to the keeper; raises `SandboxError` when the environment is not open."""
        if self._link is None:
            raise SandboxError("the environment is not open: use it in `async with`")
        return self._link

    def new_socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """A socket that lives in the environment's network, whoever uses it."""
        if not self.isolated:
            return socket.socket(family, kind)
        _, fds = self.link.call({"op": "socket", "family": int(family), "kind": int(kind)})
        return socket.socket(fileno=fds[0])

    def listen(self, host: str, port: int) -> socket.socket:
        """A listening TCP socket inside the environment's network. Raises OSError when the address is taken."""
        listening = self.new_socket()
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, port))
            listening.listen(128)
            listening.setblocking(False)
        except OSError:
            listening.close()
            raise
        return listening

    def real(self, path: str) -> str:
        """Where a program that Lambda has under /opt or /var/task is for the processes inside."""
        for known, here in (("/opt/", self.opt), ("/var/task/", self.task)):
            if path.startswith(known):
                return f"{here}/{path.removeprefix(known)}"
        return path

    def prepare(self, role: Role, count: int) -> None:
        """Makes ready for that many `spawn` calls, so that each takes no more than an execve."""
        spares = self._spares.setdefault(role, [])
        if count <= len(spares):
            return
        cgroups = self.cgroups.open(account=role == "extension")
        try:
            spares += [self._spare(cgroups) for _ in range(count - len(spares))]
        finally:
            for fd in cgroups:
                os.close(fd)

    def _spare(self, cgroups: Sequence[int]) -> Launch:
        reply, (fd,) = self.link.call({"op": "prepare"}, cgroups)
        channel = socket.socket(fileno=fd)
        told, ancillary, _, _ = channel.recvmsg(512, socket.CMSG_SPACE(struct.calcsize("3i")))
        if told != keeper.PREPARED:
            channel.close()
            raise SandboxError(f"a process could not be prepared: {told.decode()}")
        credentials = (data for _, kind, data in ancillary if kind == socket.SCM_CREDENTIALS)
        pid, _, _ = struct.unpack("3i", next(credentials))
        return Launch(reply["pid"], pid, channel)

    def spawn(self, program: Program, out: int, err: int) -> Launch:
        """Starts a program as the environment's user, in its own process group, without waiting for it."""
        launch = self._spares[program.role].pop(0)
        launch.go(program, out, err)
        return launch

    def pids(self) -> list[int]:
        """The host's pids of everything that runs in the environment."""
        if (members := self.cgroups.pids()) is not None:
            return members
        below = keeper.descendants(self.link.process.pid)
        return below[1:] if self.isolated else below

    def signal(self, number: int, group: int | None = None) -> None:
        """Sends a signal to one process group, or to every process of the environment."""
        if number == signal.SIGKILL and group is None:
            self._dismiss()
        self.link.call({"op": "signal", "signal": int(number), "group": group})

    def _dismiss(self) -> None:
        """Those that were prepared and never needed."""
        for launch in itertools.chain(*self._spares.values()):
            launch.close()
        self._spares.clear()

    def _read_exits(self) -> None:
        while True:
            try:
                message, _ = keeper.receive(self.link.exits)
            except BlockingIOError:
                return
            if message is None:
                asyncio.get_running_loop().remove_reader(self.link.exits)
                return
            self._on_exit(message["pid"], message["code"], message["ns"])

    def close(self) -> None:
        """Ends every process and removes everything; safe to call at any stage, and twice."""
        self._dismiss()
        if self._link is not None:
            asyncio.get_running_loop().remove_reader(self._link.exits)
            with contextlib.suppress(SandboxError):
                self.signal(signal.SIGKILL)
            self._link.close()
            self._link = None
        self.cgroups.remove()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def visible(command: str, more: Sequence[Path]) -> list[Path]:
    """Host directories that the environment's processes need in place: interpreters and this project's own sources.

    `more` come first: what is shown with them need not be shown again, but would stand in their place if shown before.
    """
    found = shutil.which(command)
    prefixes = [Path(sys.prefix), Path(sys.base_prefix), Path(fliptop_lab.__file__).parents[1]]
    if found is not None:
        path = Path(found).absolute()
        prefixes += [path.parents[1], path.resolve().parents[1]] if len(path.parents) > 2 else []
    return list(dict.fromkeys(path for path in (*more, *prefixes) if path != Path("/")))


@cache
def refusal() -> str | None:
    """Why this machine does not allow namespaces, or None when it does; found out once by making some."""
    with tempfile.TemporaryDirectory(prefix="fliptop-lab-") as folder:
        config = {"isolated": True, "address": API_ADDRESS, "root": folder, "tmp": folder, "binds": [], "visible": []}
        try:
            Link(config).close()
        except SandboxError as error:
            return str(error)
    return None


def isolated(platform: Platform) -> bool:
    """Whether an environment on this platform gets namespaces; `SandboxError` if they are demanded and refused."""
    if platform.isolation == "none" or (reason := refusal()) is None:
        return platform.isolation != "none"
    if platform.isolation == "namespaces":
        raise SandboxError(f"namespaces are not allowed here ({reason}); use isolation='none'")
    return False
