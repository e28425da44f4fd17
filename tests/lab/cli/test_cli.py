"""The commands, as a person types them: real runs in the simulated Lambda, and errors that name the fix."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from fliptop_lab import legacy
from fliptop_lab.cli import app
from fliptop_lab.staging import LayerError, find_layer


def lab(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def last_line(result: Result) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return summary


@pytest.fixture
def extension(tmp_path: Path) -> str:
    """A small extension that needs no build: the stand-in, as if it were somebody's own."""
    return str(legacy.install(tmp_path).rename(tmp_path / "my-extension"))


def runs(program: str) -> bool:
    for commandline in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if program.encode() in commandline.read_bytes():
                return True
    return False


@pytest.fixture
def layer() -> str:
    try:
        return str(find_layer())
    except LayerError as error:
        pytest.skip(str(error))


def test_run_delivers_every_line(extension: str) -> None:
    result = lab("run", "--extension", extension, "--function", "c", "-n", "2", "--json")
    assert result.exit_code == 0, result.output
    summary = last_line(result)
    assert (summary["failures"], summary["lost"], summary["duplicates"], summary["surplus"]) == (0, 0, 0, 0)
    assert (summary["decision"], summary["extensions"]) == ("next", ["my-extension"])
    assert (summary["invocations"], summary["received"]) == (2, {"logs": 2})
    assert len(summary["invoke_ms"]) == len(summary["post_runtime_ms"]) == 2
    assert summary["init_ms"] > 0
    assert len(result.stdout.splitlines()) == 1


def test_run_counts_what_an_intake_that_is_down_costs(extension: str) -> None:
    result = lab("run", "--extension", extension, "--function", "c", "-n", "1", "--fault", "refuse", "--kill", "--json")
    assert result.exit_code == 1
    summary = last_line(result)
    assert (summary["failures"], summary["lost"], summary["ended"]) == (0, 1, "kill")
    assert summary["received"] == {"logs": 0}


def test_run_shows_people_the_decoded_logs(extension: str) -> None:
    result = lab(
        "run", "--extension", extension, "-n", "1", "--payload", '{"raise": "out of paper"}', "--env", "DD_SERVICE=shop"
    )
    assert result.exit_code == 1
    for text in (
        "my-extension with python",
        "hello from Python",
        "shop",
        "1 failure · 0 lost",
        "extension:legacy-stand-in",
    ):
        assert text in result.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "--layer", "/nowhere.zip"], "make layer"),
        (["run", "--extension", "/nowhere"], "/nowhere does not exist"),
        (["run", "--extension", "/bin/true", "--function", "cobol"], "neither one of python, node, c nor a directory"),
        (["run", "--extension", "/bin/true", "--fault", "nonsense"], "begin with an HTTP status"),
        (["run", "--extension", "/bin/true", "--env", "X"], "Write --env X=VALUE"),
        (["run", "--extension", "/bin/true", "--env", "AWS_REGION=x"], "AWS_REGION"),
        (["run", "--extension", "/bin/true", "--memory", "1"], "128"),
        (["explain", "--layer", "/usr/share/zoneinfo/Etc"], "extensions/datadog-agent"),
        (["intake", "--host", "203.0.113.1"], "cannot listen on 203.0.113.1:8400"),
        (["intake", "--fault", "503,times=none"], "times"),
        (["intake", "--fault", "no-dns"], "fliptop-lab run --fault no-dns"),
        (["run", "--extension", "/bin/true", "--fault", "no-dns", "--fault", "proxy-down"], "one way at a time"),
    ],
)
def test_a_mistake_is_answered_with_a_sentence_and_status_2(arguments: list[str], says: str) -> None:
    result = lab(*arguments)
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert result.stdout == ""


def test_every_command_explains_itself_with_examples() -> None:
    for command in ("demo", "run", "explain", "intake"):
        result = lab(command, "--help")
        assert result.exit_code == 0
        assert f"fliptop-lab {command}" in result.stdout
    assert lab("--version").exit_code == 0


def test_a_terminated_run_leaves_nothing_behind(extension: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from fliptop_lab.cli import main; main()", "run", "--function", "c"]
    kept = tmp_path / "kept"
    kept.mkdir()
    environ = {**os.environ, "TMPDIR": os.fspath(kept)}
    options = ["--extension", extension, "--think", "60", "--json"]
    with subprocess.Popen([*command, *options], env=environ) as process:
        deadline = time.monotonic() + 20
        while not runs("extensions/my-extension") and time.monotonic() < deadline:
            time.sleep(0.02)
        process.terminate()
        assert process.wait(timeout=20) == 143
    assert list(kept.iterdir()) == []


def test_intake_serves_until_interrupted() -> None:
    command = [sys.executable, "-c", "from fliptop_lab.cli import main; main()", "intake", "--port", "0", "--json"]
    with subprocess.Popen([*command, "--fault", "200,times=1"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        headers = {"dd-api-key": "any", "content-type": "application/json"}
        request = urllib.request.Request(f"{url}/api/v2/logs", b'[{"message":"m"}]', headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        summary = json.loads(process.communicate(timeout=20)[0].splitlines()[-1])
    assert process.returncode == 0
    assert (summary["received"], summary["requests"], summary["duplicates"]) == ({"logs": 1}, 1, 0)


@pytest.mark.slow
def test_demo_ends_with_one_summary_for_both_runs(layer: str) -> None:
    result = lab("demo", "--layer", layer)
    assert result.exit_code == 0, result.output
    assert "DD_EXTENSION_FALLBACK_REASON: extension_version" in result.stdout
    summary = last_line(result)
    assert (summary["failures"], summary["lost"], summary["invocations"]) == (0, 0, 6)
    assert (summary["decision"], summary["reasons"]) == (["next", "legacy"], ["extension_version"])
    assert summary["runs"][1]["received"]["series"] >= 1


@pytest.mark.slow
def test_explain_asks_the_launcher(layer: str, tmp_path: Path) -> None:
    yaml = tmp_path / "datadog.yaml"
    yaml.write_text("extension_version: compatibility\n")
    for options in (["--env", "DD_EXTENSION_VERSION=compatibility"], ["--yaml", os.fspath(yaml)]):
        answer = last_line(lab("explain", "--layer", layer, *options, "--json"))
        assert (answer["decision"], answer["reasons"]) == ("legacy", ["extension_version"])
    assert last_line(lab("explain", "--layer", layer, "--json"))["decision"] == "next"
    without = lab("explain", "--layer", layer, "--env", "DD_EXTENSION_VERSION=compatibility", "--no-legacy")
    assert "the new extension" in without.stdout
