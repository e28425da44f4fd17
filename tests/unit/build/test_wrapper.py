"""`datadog_wrapper` as Lambda calls it: AWS_LAMBDA_EXEC_WRAPPER, with the runtime's command as its arguments."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.build import samples

SHELLS = [shell for shell in ("sh", "dash", "bash", "busybox") if shutil.which(shell)]
API = "127.0.0.1:9001"
PROXY = "127.0.0.1:9000"
PRINT = 'import json, os, sys; print(json.dumps({"arguments": sys.argv[1:], "environment": dict(os.environ)}))'


@pytest.fixture(params=SHELLS)
def opt(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A layer's directory whose wrapper is run by each shell there is."""
    script = (samples.ROOT / "build" / "datadog_wrapper").read_text()
    shell = shutil.which(request.param)
    arguments = " sh" if request.param == "busybox" else ""
    (tmp_path / "datadog_wrapper").write_text(script.replace("#!/bin/sh", f"#!{shell}{arguments}", 1))
    (tmp_path / "datadog_wrapper").chmod(0o755)
    return tmp_path


def launcher(opt: Path, decision: str) -> None:
    program = opt / "extensions" / "datadog-agent"
    program.parent.mkdir()
    answer = json.dumps({"decision": decision, "reasons": []}, separators=(",", ":"))
    program.write_text(f"#!/bin/sh\n[ \"$*\" = '--explain --json' ] && printf '%s\\n' '{answer}'\n")
    program.chmod(0o755)


def run(opt: Path, *arguments: str, **environment: str) -> tuple[list[str], dict[str, str], str]:
    """Return the arguments and the environment that the command got, and what the wrapper printed before."""
    given = {"PATH": "/usr/bin:/bin", "AWS_LAMBDA_RUNTIME_API": API, **environment}
    # The command as Lambda gives it: a program, and arguments that may hold anything.
    command = [str(opt / "datadog_wrapper"), sys.executable, *arguments]
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=True, input=PRINT)
    assert done.stderr == ""
    *said, last = done.stdout.splitlines()
    answer = json.loads(last)
    return answer["arguments"], answer["environment"], "\n".join(said)


def test_becomes_the_command_with_its_arguments_untouched(opt: Path) -> None:
    odd = ["-", "two words", "", "*", 'a"b', "$HOME"]
    arguments, environment, said = run(opt, *odd)
    assert arguments == odd[1:]
    assert environment["AWS_LAMBDA_RUNTIME_API"] == API
    assert environment["DD_TRACE_STATS_COMPUTATION_ENABLED"] == "false"
    assert said == ""


def test_exit_code_is_the_command_s(opt: Path) -> None:
    done = subprocess.run([str(opt / "datadog_wrapper"), "sh", "-c", "exit 7"], check=False)
    assert done.returncode == 7


def test_what_people_set_stays(opt: Path) -> None:
    _, environment, _ = run(opt, DD_TRACE_STATS_COMPUTATION_ENABLED="true")
    assert environment["DD_TRACE_STATS_COMPUTATION_ENABLED"] == "true"


@pytest.mark.parametrize(
    "asked",
    [{"DD_SERVERLESS_APPSEC_ENABLED": "True"}, {"DD_EXPERIMENTAL_ENABLE_PROXY": "TRUE"}],
    ids=lambda a: next(iter(a)),
)
def test_proxy_only_where_somebody_listens(opt: Path, asked: dict[str, str]) -> None:
    launcher(opt, "legacy")
    assert run(opt, **asked)[1]["AWS_LAMBDA_RUNTIME_API"] == PROXY
    shutil.rmtree(opt / "extensions")
    launcher(opt, "next")
    assert run(opt, **asked)[1]["AWS_LAMBDA_RUNTIME_API"] == API
    shutil.rmtree(opt / "extensions")
    assert run(opt, **asked)[1]["AWS_LAMBDA_RUNTIME_API"] == API


def test_the_real_launcher_is_understood(opt: Path) -> None:
    real = samples.ROOT / "dist" / "launcher" / samples.ARCH / "datadog-agent"
    if not real.exists():
        pytest.skip("needs the launcher (`make launcher`)")
    (opt / "extensions").mkdir()
    shutil.copy(real, opt / "extensions" / "datadog-agent")
    (opt / "datadog-agent-go").write_text("#!/bin/sh\n")
    (opt / "datadog-agent-go").chmod(0o755)
    assert run(opt, DD_SERVERLESS_APPSEC_ENABLED="true")[1]["AWS_LAMBDA_RUNTIME_API"] == PROXY


def test_legacy_for_another_reason_needs_no_proxy(opt: Path) -> None:
    launcher(opt, "legacy")
    assert run(opt, DD_EXTENSION_VERSION="compatibility")[1]["AWS_LAMBDA_RUNTIME_API"] == API


def test_app_security_prepares_the_tracer(opt: Path) -> None:
    _, environment, _ = run(
        opt, DD_SERVERLESS_APPSEC_ENABLED="1", DD_TRACE_ENABLED="false", DD_TRACE_TELEMETRY_ENABLED="false"
    )
    assert environment["DD_TRACE_ENABLED"] == "true"
    assert environment["DD_INSTRUMENTATION_TELEMETRY_ENABLED"] == "true"
    assert environment["DD_TRACE_TELEMETRY_ENABLED"] == "false"


@pytest.mark.parametrize("directory", ["", "linux-x64/", "linux-arm64/", "linux-musl-x64/", "linux-musl-arm64/"])
def test_dotnet(opt: Path, directory: str) -> None:
    profiler = opt / "datadog" / f"{directory}Datadog.Trace.ClrProfiler.Native.so"
    profiler.parent.mkdir(parents=True)
    profiler.touch()
    _, environment, _ = run(opt, AWS_EXECUTION_ENV="AWS_Lambda_dotnet8", DD_TRACE_STARTUP_LOGS="1")
    assert environment["CORECLR_PROFILER_PATH"] == str(profiler)
    assert environment["CORECLR_ENABLE_PROFILING"] == "1"
    assert environment["CORECLR_PROFILER"] == "{846F5F1C-F9AE-4B07-969E-05C26BC060D8}"
    assert environment["DD_DOTNET_TRACER_HOME"] == f"{opt}/datadog"
    assert environment["DD_CIVISIBILITY_ENABLED"] == "0"
    assert environment["DD_TRACE_STARTUP_LOGS"] == "1"


def test_java(opt: Path) -> None:
    agent = opt / "java" / "lib" / "dd-java-agent.jar"
    agent.parent.mkdir(parents=True)
    agent.touch()
    # A stand-in for `java`, which prints what it was given.
    java = opt / "java-command"
    java.write_text('#!/bin/sh\nprintf "%s\\n" "$DD_JMXFETCH_ENABLED" "$@"\n')
    java.chmod(0o755)
    command = [str(opt / "datadog_wrapper"), str(java), "-Xmx1g", "-XX:-TieredCompilation", "-Dname=two words", "Main"]
    environment = {"PATH": "/usr/bin:/bin", "AWS_EXECUTION_ENV": "AWS_Lambda_java21"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    expected = ["false", f"-javaagent:{agent}", "-XX:TieredStopAtLevel=1", "-Xmx1g", "-Dname=two words", "Main"]
    assert done.stdout.splitlines() == expected
    agent.unlink()
    plain = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert plain.stdout.splitlines() == ["", "-Xmx1g", "-XX:-TieredCompilation", "-Dname=two words", "Main"]


def test_debug_tells_on_stdout(opt: Path) -> None:
    _, _, said = run(opt, DD_LOG_LEVEL="Debug", DD_SERVERLESS_APPSEC_ENABLED="true")
    assert all(line.startswith("[datadog-wrapper] ") for line in said.splitlines())
    assert "has none" in said
