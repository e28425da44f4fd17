"""The sandbox's first process: it builds the environment's namespaces, then starts, stops and reaps processes in them.

Run as a script with nothing but the standard library, never imported by the lab. It speaks JSON over two
SOCK_SEQPACKET sockets inherited from the lab: *calls* (request, reply, file descriptors both ways) and *exits*
(one message for each process that ended). When the lab goes away, the sockets close, the keeper ends, and the
kernel ends everything in its PID namespace.
"""

import array
import contextlib
import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import socket
import stat
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x0002_0000, 0x0400_0000, 0x0800_0000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x1000_0000, 0x2000_0000, 0x4000_0000
MS_NOSUID, MS_NODEV, MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE = 2, 4, 4096, 8192, 16384, 1 << 18
AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY, SYS_MOUNT_SETATTR = -100, 0x8000, 1, 442
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38
SIOCSIFADDR, SIOCSIFFLAGS, IFF_UP = 0x8916, 0x8914, 1
MESSAGE_BYTES, MESSAGE_FDS = 1 << 18, 8
PREPARED = b"."
# What a process says just before its execve (CLOCK_MONOTONIC, its CPU time so far, that when it joined its cgroups, its
# page faults so far), and what it says when execve refuses (errno).
EXECUTES, REFUSED = struct.Struct("qqqq"), struct.Struct("i")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
MASKED = {"dev", "home", "lost+found", "opt", "proc", "root", "tmp", "var"}

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def mount(source: str, target: Path, kind: str | None, flags: int, options: str = "") -> None:
    encoded = kind.encode() if kind else None
    result = libc.mount(source.encode(), os.fsencode(target), encoded, ctypes.c_ulong(flags), options.encode())
    check(result, f"mount {source} on {target}")


def bind(source: Path, target: Path) -> None:
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    elif not target.exists():
        target.touch()
    mount(str(source), target, None, MS_BIND | MS_REC)


def unshare(with_user: bool) -> None:
    """A user namespace comes first where the lab is not root: it grants the rights that the others need."""
    if with_user:
        uid, gid = os.geteuid(), os.getegid()
        check(libc.unshare(CLONE_NEWUSER), "unshare user namespace")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"993 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"990 {gid} 1")
    check(libc.unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET), "unshare namespaces")


class NewRoot:
    """The file system that processes in the environment see, assembled from binds of the host's."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.root = Path(config["root"])

    def build(self) -> None:
        mount("none", Path("/"), None, MS_REC | MS_PRIVATE)
        mount("tmpfs", self.root, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
        self._mirror(Path("/"), MASKED)
        self._mirror(Path("/var"), {"task", "tmp"})
        self._devices()
        for name in ("home", "proc", "tmp"):
            (self.root / name).mkdir()
        for source, target in self.config["binds"]:
            bind(Path(source), self.root / target.lstrip("/"))
        mount(self.config["tmp"], self.root / "tmp", None, MS_BIND)
        for path in self.config["visible"]:
            self._expose(Path(path))
        self._read_only(self.root, yes=True, flags=AT_RECURSIVE)
        self._read_only(self.root / "tmp", yes=False, flags=0)
        self._proc()
        os.chdir(self.root)
        mount(".", Path("/"), None, MS_MOVE)
        os.chroot(".")
        os.chdir("/")

    def _mirror(self, folder: Path, leave_out: set[str]) -> None:
        for entry in sorted(folder.iterdir()):
            target = self.root / entry.relative_to("/")
            if entry.name in leave_out:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if entry.is_symlink():
                target.symlink_to(entry.readlink())
            elif entry.is_dir():
                bind(entry, target)

    def _devices(self) -> None:
        folder = self.root / "dev"
        folder.mkdir()
        for name in DEVICES:
            if Path("/dev", name).exists():
                bind(Path("/dev", name), folder / name)
        for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
            (folder / name).symlink_to(f"/proc/self/fd{target}")

    def _expose(self, path: Path) -> None:
        """Interpreters may live where another user cannot go (/root, a home): show just them, at their own path."""
        if self._reachable(path):
            return
        for ancestor in reversed(path.parents[:-1]):
            target = self.root / ancestor.relative_to("/")
            if not target.exists():
                target.mkdir(mode=0o755)
            elif not target.stat().st_mode & stat.S_IXOTH:
                mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
        bind(path, self.root / path.relative_to("/"))

    def _reachable(self, path: Path) -> bool:
        for part in reversed((path, *path.parents)):
            target = self.root / part.relative_to("/")
            if not target.exists() or not target.stat().st_mode & stat.S_IXOTH:
                return False
        return True

    def _read_only(self, path: Path, *, yes: bool, flags: int) -> None:
        to_set, to_clear = (MOUNT_ATTR_RDONLY, 0) if yes else (0, MOUNT_ATTR_RDONLY)
        attributes = struct.pack("QQQQ", to_set, to_clear, 0, 0)
        encoded = os.fsencode(path)
        result = libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, encoded, flags, attributes, len(attributes))
        check(result, f"make {path} read-only: {yes}")

    def _proc(self) -> None:
        try:
            mount("proc", self.root / "proc", "proc", MS_NOSUID | MS_NODEV)
        except OSError:
            bind(Path("/proc"), self.root / "proc")  # containers mask parts of /proc and then refuse a fresh one


def loopback(address: str) -> None:
    """Brings lo up with 127.0.0.1 and the address of Lambda's own API."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
        packed = struct.pack("16sHH4s8x", b"lo:1", socket.AF_INET, 0, socket.inet_aton(address))
        fcntl.ioctl(probe, SIOCSIFADDR, packed)


def descendants(of: int) -> list[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])

    def below(pid: int) -> Iterator[int]:
        for child, parent in parents.items():
            if parent == pid:
                yield child
                yield from below(child)

    return list(below(of))


class Keeper:
    def __init__(self, calls: socket.socket, exits: socket.socket, config: dict[str, Any]) -> None:
        self.calls, self.exits, self.config = calls, exits, config
        self.isolated: bool = config["isolated"]
        self.handlers: dict[str, Callable[[dict[str, Any], list[int]], tuple[dict[str, Any], list[int]]]] = {
            "prepare": self.prepare,
            "signal": self.send_signal,
            "socket": self.new_socket,
        }

    def serve(self) -> None:
        waking, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        poll = select.poll()
        for fd in (self.calls.fileno(), waking):
            poll.register(fd, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if waking in ready:
                os.read(waking, 4096)
                self.reap()
            if self.calls.fileno() in ready and not self.answer():
                return

    def answer(self) -> bool:
        message, fds = receive(self.calls)
        if message is None:
            return False
        try:
            reply, out = self.handlers[message["op"]](message, fds)
        except OSError as error:
            reply, out = {"error": str(error)}, []
        for fd in fds:
            os.close(fd)
        send(self.calls, reply, out)
        for fd in out:
            os.close(fd)
        return True

    def new_socket(self, message: dict[str, Any], _fds: list[int]) -> tuple[dict[str, Any], list[int]]:
        return {}, [socket.socket(message["family"], message["kind"]).detach()]

    def prepare(self, _message: dict[str, Any], fds: list[int]) -> tuple[dict[str, Any], list[int]]:
        """Forks what a program will be: joining cgroups takes milliseconds that no one should wait for.

        The socket that is handed out says when it is ready, takes its orders, and says how the execve went.
        """
        lab, mine = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        lab.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        pid = os.fork()
        if pid == 0:
            lab.close()
            self.become(mine, fds)
        mine.close()
        return {"pid": pid}, [lab.detach()]

    def become(self, orders: socket.socket, cgroups: list[int]) -> NoReturn:
        """In the child: confined, waits for its orders, says that it execs, or why not."""
        try:
            joined_cpu_ns = self.confine(cgroups)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            orders.send(PREPARED)
            message, fds = receive(orders)
            if message is not None:
                os.dup2(fds[0], 1)
                os.dup2(fds[1], 2)
                execute(message, orders, joined_cpu_ns)
        except OSError as error:
            orders.send(str(error).encode())
        finally:
            os._exit(127)

    def confine(self, cgroups: list[int]) -> int:
        """Gives the CPU time (ns) that this process had used when it joined, which its cgroups know nothing of."""
        for fd in cgroups:
            os.write(fd, b"0")
        joined_cpu_ns = time.process_time_ns()
        os.setpgid(0, 0)
        for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
        if self.isolated and os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(990, 990, 990)
            os.setresuid(993, 993, 993)
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return joined_cpu_ns

    def send_signal(self, message: dict[str, Any], _fds: list[int]) -> tuple[dict[str, Any], list[int]]:
        number, group = message["signal"], message.get("group")
        with contextlib.suppress(ProcessLookupError):
            if group is not None:
                os.killpg(group, number)
            elif self.isolated:
                os.kill(-1, number)
            else:
                self.signal_descendants(number)
        return {}, []

    def signal_descendants(self, number: int) -> None:
        """Until a pass finds no one new: a process may fork while the list is being read."""
        done: set[int] = set()
        while todo := [pid for pid in descendants(os.getpid()) if pid not in done]:
            for pid in todo:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            done.update(todo)

    def reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            with contextlib.suppress(OSError):
                send(self.exits, {"pid": pid, "code": os.waitstatus_to_exitcode(status), "ns": time.monotonic_ns()}, [])


def execute(message: dict[str, Any], told: socket.socket, joined_cpu_ns: int) -> None:
    try:
        os.chdir(message["cwd"])
        environment = {name.encode(): value.encode() for name, value in message["env"].items()}
        argv = [part.encode() for part in message["argv"]]
        path = argv[0] if b"/" in argv[0] else find(argv[0], message["search"].encode())
        used = resource.getrusage(resource.RUSAGE_SELF)
        faults = used.ru_minflt + used.ru_majflt
        told.send(EXECUTES.pack(time.monotonic_ns(), time.process_time_ns(), joined_cpu_ns, faults))
        os.execve(path, argv, environment)  # noqa: S606 (no shell is the point)
    except OSError as error:
        told.send(REFUSED.pack(error.errno or 0))


def find(name: bytes, search: bytes) -> bytes:
    for folder in search.split(b":"):
        if os.access(candidate := folder + b"/" + name, os.X_OK):
            return candidate
    return name


def send(to: socket.socket, message: dict[str, Any], fds: list[int]) -> None:
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    to.sendmsg([json.dumps(message).encode()], ancillary)


def receive(source: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    space = socket.CMSG_SPACE(MESSAGE_FDS * 4)
    data, ancillary, _, _ = source.recvmsg(MESSAGE_BYTES, space, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for _level, _kind, payload in ancillary:
        fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    return (json.loads(data) if data else None), list(fds)


def enter(config: dict[str, Any]) -> None:
    """From here on this process is what the environment's processes have above them."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if config["isolated"]:
        NewRoot(config).build()
        loopback(config["address"])
    else:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def main() -> int:
    os.umask(0o022)
    calls, exits = (socket.socket(fileno=int(fd)) for fd in sys.argv[1:3])
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    config, _ = receive(calls)
    if config is None:
        return 0
    try:
        if config["isolated"]:
            unshare(os.geteuid() != 0)
            if child := os.fork():
                calls.close()
                exits.close()
                os.waitpid(child, 0)
                return 0
        enter(config)
    except OSError as error:
        send(calls, {"error": str(error)}, [])
        return 1
    send(calls, {}, [])
    keeper = Keeper(calls, exits, config)
    keeper.serve()
    keeper.send_signal({"signal": signal.SIGKILL}, [])
    return 0


if __name__ == "__main__":
    sys.exit(main())
