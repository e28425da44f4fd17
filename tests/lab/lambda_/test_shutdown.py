"""Checklist 34 to 42: the end of an environment."""

import asyncio
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fliptop_lab.lambda_ import ExecutionEnvironment, Platform, Retired

from .harness import body, lab, order, order_of, records, said

ROOMY = Platform(init_timeout_s=5.0)
BRIEF = Platform(init_timeout_s=5.0, shutdown_budget_s=0.8)
STUBBORN = [["on_term"]]
OBEDIENT = [["on_term", 0]]


def retired(folder: Path, extensions: Any, platform: Platform, **settings: Any) -> ExecutionEnvironment:
    """One invocation, then spindown."""

    async def run() -> ExecutionEnvironment:
        async with lab(folder, extensions, platform, **settings) as environment:
            await environment.invoke(order())
            await environment.shutdown()
        return environment

    return asyncio.run(run())


def exit_of(environment: ExecutionEnvironment, name: str) -> Any:
    """The record of a process's end."""
    return next(record for record in records(environment, "process", "exit") if record.data["name"] == name)


def signals(environment: ExecutionEnvironment) -> list[tuple[str, str]]:
    return [(record.data["name"], record.data["signal"]) for record in records(environment, "phase", "signal")]


def waited_ms(environment: ExecutionEnvironment, name: str) -> float:
    """From the beginning of shutdown to a process's end."""
    return float(exit_of(environment, name).ns - records(environment, "phase", "shutdown")[0].ns) / 1e6


def test_item_34_the_budget_depends_on_who_is_registered(tmp_path: Path) -> None:
    none = retired(tmp_path / "none", None, ROOMY, init=STUBBORN)
    assert waited_ms(none, "runtime") < 400
    internal = retired(tmp_path / "internal", None, ROOMY, init=[*STUBBORN, ["internal", "inside"]])
    assert 500 <= waited_ms(internal, "runtime") < 1500
    external = retired(tmp_path / "external", {"one": {}}, ROOMY)
    began = records(external, "phase", "shutdown")[0].wall
    deadline = body(said(external, "one", "next")[-1])["deadlineMs"]
    assert deadline == pytest.approx((began + 2.0) * 1000, abs=50)


def test_item_35_without_extensions_the_runtime_gets_no_sigterm(tmp_path: Path) -> None:
    bare = retired(tmp_path / "bare", None, ROOMY, init=OBEDIENT)
    assert signals(bare) == [("runtime", "SIGKILL")]
    assert not said(bare, "runtime", "sigterm")
    full = retired(tmp_path / "full", {"one": {}}, ROOMY, init=OBEDIENT)
    assert signals(full) == [("runtime", "SIGTERM")]
    assert said(full, "runtime", "sigterm")
    assert exit_of(full, "runtime").data["code"] == 0


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> ExecutionEnvironment:
    """A runtime that ignores SIGTERM; extensions that exit well, badly, never, and one that wants no SHUTDOWN."""
    extensions: dict[str, Any] = {
        "well": {"init": [["on_term"], ["register"]]},
        "badly": {"init": [["on_term"], ["register"]], "shutdown": [["exit", 4]]},
        "never": {"init": [["on_term"], ["register"]], "shutdown": [["child"], ["next"]]},
        "deaf": {"init": [["register", ["INVOKE"]]]},
    }
    return retired(tmp_path_factory.mktemp("hard"), extensions, BRIEF, init=STUBBORN)


def test_item_36_shutdown_is_released_once_the_runtime_is_gone(hard: ExecutionEnvironment) -> None:
    gone, released = order_of(hard, ("process", "exit"), ("event", "SHUTDOWN"))
    assert gone < released
    assert waited_ms(hard, "runtime") >= 240
    began = records(hard, "phase", "shutdown")[0].wall
    event = body(said(hard, "well", "next")[-1])
    assert event["deadlineMs"] == pytest.approx((began + 0.8) * 1000, abs=50)


def test_item_37_the_shutdown_event_has_a_lower_case_reason_and_no_request(hard: ExecutionEnvironment) -> None:
    event = body(said(hard, "well", "next")[-1])
    assert event == {"eventType": "SHUTDOWN", "deadlineMs": event["deadlineMs"], "shutdownReason": "spindown"}


def test_item_38_who_wants_no_shutdown_is_killed_at_once(hard: ExecutionEnvironment) -> None:
    assert exit_of(hard, "deaf").data["signal"] == 9
    assert waited_ms(hard, "deaf") < 600
    assert "deaf" not in {record.data["extension"] for record in records(hard, "event", "SHUTDOWN")}


def test_item_39_who_is_alive_at_the_deadline_is_killed_with_its_children(hard: ExecutionEnvironment) -> None:
    assert exit_of(hard, "never").data["signal"] == 9
    assert 800 <= waited_ms(hard, "never") < 1800
    seconds = said(hard, "never", "child")[0]["seconds"].encode()
    running = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [command for command in running if seconds in command]


def test_item_40_extensions_get_no_sigterm(hard: ExecutionEnvironment) -> None:
    assert [line["who"] for line in said(hard, did="sigterm")] == ["runtime"]
    assert {name for name, number in signals(hard) if number == "SIGTERM"} == {"runtime"}


def test_item_41_exit_0_is_exited_everything_else_failed_and_no_invocation_minds(tmp_path: Path) -> None:
    extensions: dict[str, Any] = {"well": {}, "badly": {"shutdown": [["exit", 4]]}}

    async def run() -> dict[str, str]:
        async with lab(tmp_path, extensions, BRIEF) as environment:
            invocation = await environment.invoke()
            life = environment.life
            await environment.shutdown()
            assert life is not None
            assert invocation.status == "success"
            assert not life.broken
            return {extension.name: extension.state for extension in life.extensions.all}

    assert asyncio.run(run()) == {"well": "Exited", "badly": "ShutdownFailed"}


def test_item_42_an_environment_can_end_without_a_word(tmp_path: Path) -> None:
    async def run() -> ExecutionEnvironment:
        async with lab(tmp_path, {"one": {}}, ROOMY) as environment:
            await environment.invoke()
            assert environment.frozen
            await environment.kill()
            with pytest.raises(Retired):
                environment.dispatch()
        return environment

    began = time.monotonic()
    environment = asyncio.run(run())
    assert time.monotonic() - began < 5
    assert not records(environment, "event", "SHUTDOWN")
    assert {record.data["signal"] for record in records(environment, "process", "exit")} == {9}


def test_an_error_inside_the_block_leaves_nothing_behind(tmp_path: Path) -> None:
    async def run() -> None:
        async with lab(tmp_path, {"one": {}}, ROOMY) as environment:
            await environment.invoke()
            raise KeyError("on purpose")

    with pytest.raises(KeyError, match="on purpose"):
        asyncio.run(run())


VICTIM = """
import asyncio, sys
from pathlib import Path
from fliptop_lab.lambda_ import ExecutionEnvironment, Function

async def main():
    function = Function(command=["/bin/sleep", sys.argv[2]], task_root=Path(sys.argv[1]), timeout_s=60)
    async with ExecutionEnvironment(function) as environment:
        environment.dispatch()
        async with asyncio.timeout(10):
            while not environment.pids():
                await asyncio.sleep(0.001)
        place = environment.sandbox
        print(environment.pids()["runtime"], place.link.process.pid, place.folder, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def test_when_the_lab_is_killed_the_kernel_ends_the_environment(tmp_path: Path) -> None:
    command = [sys.executable, "-c", VICTIM, str(tmp_path), "1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout is not None
        runtime, keeper, folder = victim.stdout.readline().split()
        victim.kill()
    end = time.monotonic() + 10
    while any(alive(pid) for pid in (runtime, keeper)) and time.monotonic() < end:
        time.sleep(0.01)
    assert not alive(runtime)
    assert not alive(keeper)
    swept(Path(folder))


def alive(pid: str) -> bool:
    """Neither gone nor a zombie that someone else will reap."""
    try:
        status = Path("/proc", pid, "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # the second: gone between opening and reading
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def swept(folder: Path) -> None:
    """What no process is left to remove: the directory and its cgroups."""
    shutil.rmtree(folder)
    for cgroup in Path("/sys/fs/cgroup").glob(f"**/{folder.name}"):
        for inner in filter(Path.is_dir, cgroup.iterdir()):
            inner.rmdir()
        cgroup.rmdir()
