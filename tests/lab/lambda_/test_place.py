"""Checklist 63 to 69: variables, file system, freeze, limits."""

import asyncio
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fliptop_lab.bench.meter import CGROUP, CLOCKS, Meter
from fliptop_lab.lambda_ import ConfigurationError, ExecutionEnvironment, Function, Platform
from fliptop_lab.lambda_.cgroups import Cgroups, Limits
from fliptop_lab.lambda_.sandbox import refusal

from .conftest import needs_namespaces
from .harness import QUICK, function, lab, layer, order, records, said

NOT_FOR_EXTENSIONS = {
    *("_HANDLER", "AWS_EXECUTION_ENV", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME"),
    *("AWS_XRAY_CONTEXT_MISSING", "AWS_XRAY_DAEMON_ADDRESS", "LAMBDA_RUNTIME_DIR", "LAMBDA_TASK_ROOT"),
    *("_AWS_XRAY_DAEMON_ADDRESS", "_AWS_XRAY_DAEMON_PORT"),
}


def missing(controller: str) -> str | None:
    """Why there is no such limit on this machine."""
    probe = Cgroups("fliptop-lab-probe", Limits(128, cpu=True))
    try:
        return probe.missing.get(controller)
    finally:
        probe.remove()


def needs(controller: str) -> pytest.MarkDecorator:
    reason = missing(controller)
    return pytest.mark.skipif(reason is not None, reason=f"no {controller} limit here: {reason}")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> ExecutionEnvironment:
    """Extension and runtime say where they are."""
    steps = [["environment"], ["place"]]

    async def run() -> ExecutionEnvironment:
        resolve = [] if refusal() else [["resolve", "sandbox.localdomain"]]
        extensions = {"one": {"init": [*steps, *resolve, ["register"]]}}
        settings: dict[str, Any] = {"environment": {"MINE": "1", "_HIDDEN": "2"}, "init": steps}
        async with lab(tmp_path_factory.mktemp("seen"), extensions, **settings) as environment:
            assert (await environment.invoke()).status == "success"
        return environment

    return asyncio.run(run())


def variables(environment: ExecutionEnvironment, who: str) -> dict[str, str]:
    found: dict[str, str] = said(environment, who, "environment")[0]["variables"]
    return found


@needs_namespaces
def test_item_63_extensions_get_fewer_variables_than_the_runtime(seen: ExecutionEnvironment) -> None:
    runtime, extension = variables(seen, "runtime"), variables(seen, "one")
    assert runtime.keys() >= NOT_FOR_EXTENSIONS
    assert not NOT_FOR_EXTENSIONS & extension.keys()
    assert extension["MINE"] == runtime["MINE"] == "1"
    assert "_HIDDEN" not in extension
    assert extension["AWS_LAMBDA_RUNTIME_API"] == "169.254.100.1:9001"
    assert extension["TZ"] == ":UTC"
    assert "PYTEST_CURRENT_TEST" not in runtime


def test_item_64_the_initialization_type_is_told_to_both(seen: ExecutionEnvironment) -> None:
    for who in ("runtime", "one"):
        assert variables(seen, who)["AWS_LAMBDA_INITIALIZATION_TYPE"] == "on-demand"


@needs_namespaces
def test_item_65_only_tmp_can_be_written_by_a_user_without_rights(seen: ExecutionEnvironment) -> None:
    for who in ("runtime", "one"):
        place = said(seen, who, "place")[0]
        assert [folder for folder, allowed in place["writable"].items() if allowed] == ["/tmp"]
        assert (place["uid"], place["gid"], int(place["capabilities"], 16)) == (993, 990, 0)
        assert not place["shm"]
        assert place["cwd"] == "/var/task"
        assert place["opt"] == ["extensions", "probe"]
    assert said(seen, "one", "resolve")[0]["address"] == "169.254.100.1"


def test_item_66_between_invocations_everything_stands_still(tmp_path: Path) -> None:
    extensions = {"one": {"init": [["register"], ["heartbeat"]]}}

    async def run() -> ExecutionEnvironment:
        async with lab(tmp_path, extensions) as environment:
            await environment.invoke(order(before=[["sleep", 0.1]]))
            await environment.idle(0.5)
            states = {name: state_of(pid) for name, pid in environment.pids().items()}
            assert states == {"one": "T", "runtime": "T"}
            await environment.invoke(order(before=[["sleep", 0.1]]))
        return environment

    environment = asyncio.run(run())
    freeze, thaw = records(environment, "phase", "freeze")[0], records(environment, "phase", "thaw")[0]
    beats = said(environment, "one", "beat")
    assert not [beat for beat in beats if freeze.ns + 50_000_000 < beat["ns"] < thaw.ns]
    before = max(beat["wall"] for beat in beats if beat["ns"] < thaw.ns)
    after = min(beat["wall"] for beat in beats if beat["ns"] > thaw.ns)
    assert after - before > 0.4
    kinds = [record.name for record in environment.records if record.kind in ("phase", "event")]
    assert kinds[:4] == ["INVOKE", "freeze", "thaw", "INVOKE"]
    assert kinds[4:7] == ["freeze", "thaw", "shutdown"]


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@needs("cpu")
def test_item_67_cpu_is_boosted_during_init_and_a_share_of_memory_after(tmp_path: Path) -> None:
    async def run() -> tuple[ExecutionEnvironment, list[float | None]]:
        async with lab(tmp_path, memory_mb=128, timeout_s=10.0, init=[["burn", 0.05]]) as environment:
            quotas = [environment.sandbox.cgroups.quota]
            await environment.invoke(order(before=[["burn", 0.05]]))
            return environment, [*quotas, environment.sandbox.cgroups.quota]

    environment, quotas = asyncio.run(run())
    assert quotas == [2.0, pytest.approx(128 / 1769, rel=0.01)]
    boosted, throttled = (line["wall"] for line in said(environment, "runtime", "burn"))
    assert throttled > 0.3
    assert boosted < throttled


@pytest.mark.parametrize("source", [CGROUP, CLOCKS])
def test_extensions_are_accounted_for_with_their_dead_and_without_the_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    if source == CLOCKS:
        monkeypatch.setattr("fliptop_lab.lambda_.cgroups._parents", dict)
    hungry = {"one": {"init": [["spend", 0.15], ["burn", 0.15], ["register"]]}}

    async def run() -> Meter:
        async with lab(tmp_path, hungry, init=[["burn", 1.0]], timeout_s=10.0) as environment:
            await environment.invoke()
            meter = Meter(environment)
            if meter.source != source:
                pytest.skip("no cgroup here that counts CPU time")
            faults, memory, cpu_ms = meter.faults(), meter.memory(), meter.cpu_ms()
        assert faults is not None
        assert faults > 500  # an interpreter cannot do with fewer
        assert memory is not None
        assert memory.rss > 3
        assert cpu_ms is not None
        assert 290 <= cpu_ms < 1000
        return meter

    meter = asyncio.run(run())
    assert (meter.faults(), meter.memory()) == (None, None)


@needs("memory")
def test_item_68_out_of_memory_ends_the_environment(tmp_path: Path) -> None:
    async def run() -> ExecutionEnvironment:
        async with lab(tmp_path, {"one": {}}, memory_mb=128) as environment:
            eaten = await environment.invoke(order(before=[["eat", 300]]))
            assert (eaten.status, eaten.error_type) == ("error", "Runtime.OutOfMemory")
            assert (await environment.invoke()).status == "success"
        return environment

    environment = asyncio.run(run())
    assert records(environment, "event", "SHUTDOWN")[0].data["shutdownReason"] == "failure"


def test_item_68_files_and_tasks_are_limited(seen: ExecutionEnvironment) -> None:
    assert said(seen, "one", "place")[0]["files"] == [1024, 1024]
    limit = Cgroups("fliptop-lab-probe", Limits(None, cpu=False))
    try:
        if "pids" not in limit.missing:
            assert limit.tasks == 1024
    finally:
        limit.remove()


def test_item_69_layers_are_merged_in_order_and_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = layer(tmp_path / "first", {"one": {"init": [["read", "/opt/who"], ["place"], ["register"]]}})
    (first / "who").write_text("first")
    second = tmp_path / "second.zip"
    with zipfile.ZipFile(second, "w") as archive:
        for name, mode, text in (("who", 0o644, "second"), ("bin/tool", 0o755, "#!/bin/sh\n")):
            member = zipfile.ZipInfo(name)
            member.external_attr = (0o100000 | mode) << 16
            archive.writestr(member, text)

    async def run(layers: list[Path]) -> ExecutionEnvironment:
        async with ExecutionEnvironment(function(tmp_path / "task"), layers, QUICK) as environment:
            mode = (environment.sandbox.opt_on_host / "bin" / "tool").stat().st_mode
            assert mode & 0o777 == 0o755
            await environment.init()
        return environment

    environment = asyncio.run(run([first, second]))
    if environment.isolated:
        assert said(environment, "one", "read")[0]["text"] == "second"
    with pytest.raises(ConfigurationError, match="6 layers"):
        asyncio.run(run([second] * 6))
    monkeypatch.setattr("fliptop_lab.lambda_.layers.UNZIPPED_BYTES", 1000)
    with pytest.raises(ConfigurationError, match="unzipped"):
        asyncio.run(run([second]))


@needs_namespaces
def test_interpreters_are_visible_wherever_the_host_has_them(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    (tools / "bin").mkdir(parents=True)
    (tools / "bin" / "wrap").write_text(
        '#!/bin/sh\necho "wrapped $(touch "$0" 2>/dev/null || echo read-only)"\nexec "$@"\n'
    )
    (tools / "bin" / "wrap").chmod(0o755)
    plain = function(tmp_path / "task")
    wrapped = replace(plain, command=[str(tools / "bin" / "wrap"), *plain.command])

    async def run() -> list[str]:
        async with ExecutionEnvironment(wrapped, [], QUICK) as environment:
            assert (await environment.invoke()).status == "success"
        return environment.log

    assert "wrapped read-only" in asyncio.run(run())


def test_private_directories_are_shown_as_lambda_would(tmp_path: Path) -> None:
    folder, task = layer(tmp_path / "layer", {"one": {}}), function(tmp_path / "task")
    for private in (folder, tmp_path / "task"):
        private.chmod(0o700)

    async def run() -> str:
        async with ExecutionEnvironment(task, [folder], QUICK) as environment:
            return (await environment.invoke()).status

    assert asyncio.run(run()) == "success"


def test_a_function_that_lambda_would_refuse_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="AWS_REGION"):
        function(tmp_path, environment={"AWS_REGION": "x"})
    with pytest.raises(ConfigurationError, match="4096"):
        function(tmp_path, environment={"A": "x" * 4096})
    with pytest.raises(ConfigurationError, match="memory_mb"):
        function(tmp_path, memory_mb=64)
    with pytest.raises(ConfigurationError, match="task_root"):
        Function(command=["x"], task_root=tmp_path / "nowhere")


def test_an_exec_wrapper_starts_the_runtime(tmp_path: Path) -> None:
    folder = layer(tmp_path / "layer", {"one": {}})
    wrapper = folder / "wrapper"
    wrapper.write_text('#!/bin/sh\nexport WRAPPED=yes\nexec "$@"\n')
    wrapper.chmod(0o755)

    async def run() -> ExecutionEnvironment:
        wrapped = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrapper"}
        task = function(tmp_path / "task", environment=wrapped, init=[["environment"]])
        async with ExecutionEnvironment(task, [folder], QUICK) as environment:
            assert (await environment.invoke()).status == "success"
        return environment

    environment = asyncio.run(run())
    assert variables(environment, "runtime")["WRAPPED"] == "yes"


@needs_namespaces
def test_environments_run_side_by_side_on_the_same_ports(tmp_path: Path) -> None:
    async def one(name: str) -> bool:
        async with lab(tmp_path / name, {"one": {}}) as environment:
            listening = environment.listen("127.0.0.1", 8125)
            done = (await environment.invoke()).status == "success"
            listening.close()
            return done

    async def run() -> list[bool]:
        return list(await asyncio.gather(one("a"), one("b")))

    assert asyncio.run(run()) == [True, True]


def test_without_namespaces_everything_still_works_one_at_a_time(tmp_path: Path) -> None:
    async def one(name: str) -> ExecutionEnvironment:
        platform = Platform(isolation="none", init_timeout_s=5.0, shutdown_budget_s=1.0)
        async with lab(
            tmp_path / name, {"one": {"init": [["register"], ["subscribe"], ["environment"]]}}, platform
        ) as it:
            assert (await it.invoke()).status == "success"
            await it.idle(0.1)
            assert state_of(it.pids()["one"]) == "T"
        return it

    async def run() -> list[ExecutionEnvironment]:
        return list(await asyncio.gather(one("a"), one("b")))

    first, second = sorted(asyncio.run(run()), key=lambda environment: environment.records[0].ns)
    assert first.records[-1].ns < second.records[0].ns
    assert variables(first, "one")["LAMBDA_TASK_ROOT"] == str(tmp_path / "a" / "task")
