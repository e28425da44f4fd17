"""The guard among extensions, platforms and machines as nobody would wish them: the function notices none of it."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import resource
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.launcher.stage import LISTENERS, NEXT, READY, SERVES, STREAMS, Stage
from tests.scripted_api import SHUTDOWN, Answer, ScriptedApi, error, invoke


@pytest.fixture
def forked(stage: Stage) -> Iterator[None]:
    """Ends what an act "fork" has left behind."""
    yield
    for seen in stage.seen():
        if seen["what"] == "forked":
            with suppress(ProcessLookupError):
                os.kill(seen["pid"], signal.SIGKILL)


# --- the extension ---


@pytest.mark.usefixtures("forked")
def test_a_child_of_the_dead_does_not_keep_it_alive(stage: Stage) -> None:
    """It holds the connection to the guard, which thus never ends."""
    lives = [["beat", "ask", "event", "fork", ["kill", signal.SIGSEGV]], SERVES]
    played = stage.play(lives, [invoke(60, "r1")], [stage.after_births(2), invoke(9, "r2")], SHUTDOWN)
    assert played.headlines() == [("DD_EXTENSION_DIED", "SIGSEGV")]
    assert stage.events() == ["r1", "r2", "SHUTDOWN"]


@pytest.mark.usefixtures("forked")
def test_a_child_of_the_dead_does_not_answer_for_it(stage: Stage) -> None:
    lives = [["beat", "ask", "fork", ["exit", 1]], SERVES]
    played = stage.play(lives, [stage.after_births(2), invoke(9, "r1")], SHUTDOWN)
    assert stage.events() == ["r1", "SHUTDOWN"]
    assert played.headlines() == [("DD_EXTENSION_DIED", "exit 1")]


@pytest.mark.usefixtures("forked")
def test_a_child_of_the_dead_does_not_keep_ports_open_that_nobody_serves(stage: Stage) -> None:
    lives: list[list[Any]] = [["fork", ["exit", 1]]]
    all_refuse = stage.after(lambda: all(map(stage.refuses, STREAMS)))
    played = stage.play(lives, [stage.after_births(3), all_refuse, *SHUTDOWN])
    assert [line.get("deaths") for line in played.told] == [1, 2, 3, None]


@pytest.mark.parametrize("length", [1, 30, 3_000_000])
def test_half_a_request_is_none(stage: Stage, length: int) -> None:
    lives: list[list[Any]] = [["beat", ["say", "x" * length + "\r\n\r", 1], ["exit", 1]], SERVES]
    played = stage.play(lives, [stage.after_births(2), invoke(9, "r1")], SHUTDOWN)
    assert played.headlines() == [("DD_EXTENSION_DIED", "exit 1")]
    assert played.told[0]["while"] == "loading"
    assert stage.events() == ["r1", "SHUTDOWN"]


def test_one_that_asks_again_and_again_gets_each_event_once(stage: Stage) -> None:
    lives: list[list[Any]] = [["beat", ["say", "\r\n\r\n", 1000], "event", "serve"]]
    played = stage.play(lives, [0.3, invoke(9, "r1")], [invoke(9, "r2")], SHUTDOWN)
    assert (played.told, played.nexts, stage.events()) == ([], 3, ["r1", "r2", "SHUTDOWN"])


def test_one_that_does_not_listen_is_ended(stage: Stage) -> None:
    lives = [["beat", "deaf", "ask", "hang"], SERVES]
    played = stage.play(lives, [invoke(60, "r1")], [stage.after_births(2), invoke(9, "r2")], SHUTDOWN)
    assert played.headlines() == [("DD_EXTENSION_DIED", "SIGKILL")]
    assert stage.events() == ["r2", "SHUTDOWN"]


def test_books_full_of_nonsense_are_told_as_one_line(stage: Stage) -> None:
    played = stage.play([["beat", "ask", "scribble", ["exit", 1]], SERVES], [stage.after_births(2), *SHUTDOWN])
    assert played.headlines() == [("DD_EXTENSION_DIED", "exit 1")]


def test_books_full_of_errors_do_not_mean_that_it_cannot_be_executed(stage: Stage) -> None:
    played = stage.play([["beat", "ask", "blot", ["exit", 1]], SERVES], [stage.after_births(2), *SHUTDOWN])
    assert played.headlines() == [("DD_EXTENSION_DIED", "exit 1")]


def test_books_cannot_be_taken_from_the_guard(stage: Stage) -> None:
    lives = [["beat", "ask", "shrink", ["exit", 1]], SERVES]
    played = stage.play(lives, [stage.after_births(2), *SHUTDOWN])
    assert played.returncode == 0
    assert played.headlines() == [("DD_EXTENSION_DIED", "exit 1")]


@pytest.mark.slow
def test_a_hang_is_noticed_over_many_short_invocations(stage: Stage) -> None:
    """None of which lasts as long as the guard waits between two looks."""
    lives = [["beat once", "ask", "event", "hang"], SERVES]
    answers = [[invoke(1, f"r{number}")] for number in range(10)]
    played = stage.play(lives, *answers, [stage.after_births(2), invoke(9, "r")], SHUTDOWN)
    assert [key for key, _ in played.headlines()] == ["DD_EXTENSION_LATE", "DD_EXTENSION_DIED"]
    assert played.headlines()[1][1] == "hang"


def test_one_that_dies_before_it_was_passed_shutdown_is_not_said_to_be_started_again(stage: Stage) -> None:
    played = stage.play([[["sleep", 0.5], ["exit", 1]]], SHUTDOWN)
    assert played.headlines() == [("DD_EXTENSION_DIED", "exit 1")]
    assert played.told[0]["what_happens"] == "The function runs without Datadog."
    assert len(stage.births()) == 1


# --- the machine ---


def test_stdout_that_nobody_reads(stage: Stage) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    lives = [["beat", "ask", "event", ["exit", 1]], SERVES]
    answers: list[Answer] = [[invoke(60, "r1")], [stage.after_births(2), invoke(9, "r2")], SHUTDOWN]
    played = stage.play(lives, *answers, stdout=writer)
    os.close(reader)
    os.close(writer)
    assert (played.returncode, stage.events()) == (0, ["r1", "r2", "SHUTDOWN"])


def test_stdout_closed(stage: Stage) -> None:
    lives = [["beat", "ask", "event", ["exit", 1]], SERVES]
    answers: list[Answer] = [[invoke(60, "r1")], [stage.after_births(2), invoke(9, "r2")], SHUTDOWN]
    played = stage.play(lives, *answers, preexec_fn=lambda: os.close(1))
    assert (played.returncode, stage.events()) == (0, ["r1", "r2", "SHUTDOWN"])


def test_a_parent_that_wants_to_know_of_no_deaths(stage: Stage) -> None:
    lives = [["beat", "ask", ["kill", signal.SIGSEGV]], SERVES]
    ignored = lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # noqa: E731
    played = stage.play(lives, [stage.after_births(2), *SHUTDOWN], preexec_fn=ignored)
    assert played.headlines() == [("DD_EXTENSION_DIED", "SIGSEGV")]


MEMFD_CREATE = {"x86_64": 319, "aarch64": 279}
PIDFD_OPEN = 434


def without(number: int) -> None:
    """Let a system call fail from now on, as in a sandbox or on a kernel that has no such call."""
    refuse = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | errno.ENOSYS), (0x06, 0, 0, 0x7FFF0000)]
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in refuse)
    kept = ctypes.create_string_buffer(program)
    filter_ = struct.pack("HxxxxxxP", len(refuse), ctypes.addressof(kept))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, filter_, 0, 0) == 0


@pytest.mark.slow
def test_without_books_nobody_is_taken_for_dead(stage: Stage) -> None:
    """Longer than an extension may be silent that does not load."""
    refused = lambda: without(MEMFD_CREATE[platform.machine()])  # noqa: E731
    lives = [["beat", "ask", "event", ["sleep", 12.0], "serve"]]
    played = stage.play(lives, [invoke(60, "r1")], SHUTDOWN, preexec_fn=refused)
    assert stage.births()[0]["names"] == [*LISTENERS, "guard"]
    assert (played.told, stage.events()) == ([], ["r1", "SHUTDOWN"])


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize("last", ["event", "hang"])
def test_without_pidfds_a_child_of_the_dead_does_not_keep_it_alive(stage: Stage, last: str) -> None:
    """The kernel tells nothing of its end, and the connection is still open."""
    lives: list[list[Any]] = [["beat", "ask", "fork", last, ["exit", 1]], SERVES]
    kill = lambda: os.kill(stage.births()[0]["pid"], signal.SIGKILL)  # noqa: E731
    first: Answer = [stage.after_births(1), 0.3, *([kill] if last == "hang" else []), invoke(900, "r1")]
    played = stage.play(
        lives, first, [stage.after_births(2), invoke(9, "r2")], SHUTDOWN, preexec_fn=lambda: without(PIDFD_OPEN)
    )
    assert [key for key, _ in played.headlines()] == ["DD_EXTENSION_DIED"]
    assert "r2" in stage.events()
    assert played.nexts == 3


FREEZER = Path("/sys/fs/cgroup/freezer")
MEMORY = Path("/sys/fs/cgroup/memory")


@pytest.fixture
def little_memory(stage: Stage) -> Iterator[Path]:
    """A cgroup whose processes have 64 MiB."""
    group = MEMORY / f"fliptop-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        pytest.skip("needs root and cgroup v1, to let the kernel run out of memory")
    (group / "memory.limit_in_bytes").write_text(str(64 << 20))
    yield group
    remove(group, stage)


def remove(group: Path, stage: Stage) -> None:
    """Wait until what ran there has ended, the counter too."""
    stage.after(lambda: not (group / "cgroup.procs").read_text())()  # type: ignore[operator]
    group.rmdir()


def test_out_of_memory_the_kernel_ends_the_extension_and_the_guard_goes_on(stage: Stage, little_memory: Path) -> None:
    lives: list[list[Any]] = [["beat", "ask", "event", "count", "gorge"]] * 2 + [SERVES]
    births = [stage.after_births(number) for number in (2, 3)]
    answers: list[Answer] = [[invoke(60, "r1")], [births[0], invoke(60, "r2")], [births[1], invoke(9, "r3")]]
    enter = lambda: (little_memory / "cgroup.procs").write_text("0")  # noqa: E731
    played = stage.play(lives, *answers, SHUTDOWN, preexec_fn=enter)
    assert "oom_kill 2" in (little_memory / "memory.oom_control").read_text()
    assert played.headlines() == [("DD_EXTENSION_DIED", "SIGKILL")] * 2
    assert [line["ledger"] for line in played.told] == [{"logs accepted": 1}, {"logs accepted": 2}]
    assert (played.returncode, stage.events()) == (0, ["r1", "r2", "r3", "SHUTDOWN"])


@pytest.fixture
def freezer(stage: Stage) -> Iterator[Path]:
    """A cgroup whose processes do not even die while it is frozen; then it is thawed."""
    group = FREEZER / f"fliptop-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        pytest.skip("needs root and a freezer of cgroup v1: what waits for a file system cannot be had otherwise")
    yield group
    (group / "freezer.state").write_text("THAWED")
    remove(group, stage)


@pytest.mark.slow
def test_one_that_hangs_and_cannot_be_killed_is_not_waited_for(stage: Stage, freezer: Path) -> None:
    def freeze() -> None:
        (freezer / "cgroup.procs").write_text(str(stage.births()[0]["pid"]))
        (freezer / "freezer.state").write_text("FROZEN")

    def thaw() -> None:
        (freezer / "freezer.state").write_text("THAWED")

    lives: list[list[Any]] = [["beat", "ask", "event", "hang"], SERVES]
    answers: list[Answer] = [
        [stage.after_births(1), 0.3, invoke(900, "r1"), 0.3, freeze],
        [invoke(900, "r2")],
        [thaw, stage.after_births(2), invoke(9, "r3")],
    ]
    played = stage.play(lives, *answers, SHUTDOWN)
    assert played.headlines() == [("DD_EXTENSION_DIED", "hang")]
    assert stage.events() == ["r1", "r3", "SHUTDOWN"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become a user whose processes are limited")
def test_no_further_process(stage: Stage) -> None:
    for folder in (stage.layer.task.parent, *stage.layer.task.parents[1:3]):
        folder.chmod(0o755)
    shutil.copy2(stage.layer.built.reporter, stage.layer.extension)  # the interpreter may be out of that user's reach
    none = lambda: resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))  # noqa: E731
    played = stage.play(
        [SERVES], [0.5, invoke(9)], [invoke(9)], SHUTDOWN, user=4321, group=4321, extra_groups=[], preexec_fn=none
    )
    assert played.headlines()[:3] == [("DD_EXTENSION_DIED", "fork")] * 3
    assert played.told[0]["detail"] == "Resource temporarily unavailable"
    assert (played.returncode, played.nexts, stage.births()) == (0, 3, [])


@pytest.mark.parametrize("files", [8, 13])
def test_too_few_files_to_register_are_named(stage: Stage, files: int) -> None:
    few = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))  # noqa: E731
    played = stage.play([SERVES], SHUTDOWN, preexec_fn=few)
    assert played.returncode == 1
    assert played.headlines()[-1] == ("DD_EXTENSION_CANNOT_REGISTER", "register: Too many open files")
    assert all(value.endswith(": Too many open files") for _, value in played.headlines())


def test_too_few_files_for_a_child_are_named(stage: Stage) -> None:
    few = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (15, 15))  # noqa: E731
    played = stage.play([SERVES], [0.5, invoke(9)], SHUTDOWN, preexec_fn=few)
    assert [line.get("detail") for line in played.told] == ["Too many open files"] * 3 + ["fork"]
    assert (played.returncode, played.nexts, stage.births()) == (0, 2, [])


def test_a_platform_that_refuses_for_ever_is_not_hammered(stage: Stage) -> None:
    stage.rehearse([SERVES])
    with ScriptedApi((*READY, *[error(403, "Extension.Refused")] * 100)) as api:
        environ = stage.layer.environ({"AWS_LAMBDA_RUNTIME_API": api.address})
        with subprocess.Popen([stage.layer.launcher], env=environ) as guard:
            time.sleep(2)
            guard.kill()
    assert 4 <= api.whats().count(NEXT) <= 7


@pytest.mark.parametrize("pause_ms", [0.3, 3])
def test_frozen_and_thawed_all_the_time(stage: Stage, pause_ms: float) -> None:
    """In every state: guard and extension are stopped and continued while they start, serve, die, and start again."""
    lives: list[list[Any]] = [[["exit", 1]], ["beat", "ask", "event", ["kill", signal.SIGSEGV]], SERVES]
    births = [stage.after_births(number) for number in (2, 3)]
    answers: list[Answer] = [[births[0], invoke(60, "r1")], [births[1], invoke(60, "r2")], SHUTDOWN]
    stage.rehearse(lives)
    frozen = 0
    with ScriptedApi((*READY, *answers)) as api:
        environ = stage.layer.environ({"AWS_LAMBDA_RUNTIME_API": api.address})
        with subprocess.Popen([stage.layer.launcher], env=environ, stdout=subprocess.PIPE) as guard:
            while guard.poll() is None:
                frozen += freeze_and_thaw(guard.pid, pause_ms / 1000)
            told = [json.loads(line) for line in guard.stdout or ()]
    assert frozen > 10
    assert (guard.returncode, stage.events()) == (0, ["r1", "r2", "SHUTDOWN"])
    assert [line.get("DD_EXTENSION_DIED") for line in told] == ["exit 1", "SIGSEGV"]


def freeze_and_thaw(guard: int, pause_s: float) -> bool:
    """Both of them, and say whether there was a child."""
    children = Path(f"/proc/{guard}/task/{guard}/children").read_text().split()
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in (guard, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        time.sleep(pause_s)
    return bool(children)
