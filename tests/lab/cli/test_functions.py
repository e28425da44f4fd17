"""The example functions answer invocations, write their logs and misbehave on request; directories are recognised."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fliptop_lab import functions

NODE = pytest.mark.skipif(not shutil.which("node"), reason="needs node")
EXAMPLES = ["python", pytest.param("node", marks=NODE), "c"]


@contextmanager
def running(prepared: functions.Prepared, address: str) -> Iterator[subprocess.Popen[str]]:
    environ = {
        "AWS_LAMBDA_RUNTIME_API": address,
        "AWS_LAMBDA_FUNCTION_NAME": "f",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "_HANDLER": prepared.handler,
        "LAMBDA_TASK_ROOT": str(prepared.task_root),
        "PATH": os.environ["PATH"],
        "PYTHONUNBUFFERED": "1",
    }
    process = subprocess.Popen(
        prepared.command,
        cwd=prepared.task_root,
        env=environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def stop(process: subprocess.Popen[str]) -> str:
    process.kill()
    return process.communicate(timeout=10)[0]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_serves_two_invocations(fake_lambda: Any, name: str) -> None:
    with running(functions.find(name), fake_lambda.address) as process:
        for _ in range(2):
            fake_lambda.events.put({})
            path, _, answer = fake_lambda.calls.get(timeout=30)
            assert path == "/2018-06-01/runtime/invocation/r-1/response"
            assert answer["ok"] is True
        assert stop(process).count("hello from") == 2


@pytest.mark.parametrize("name", EXAMPLES[:2])
def test_an_exception_is_reported_as_an_error(fake_lambda: Any, name: str) -> None:
    with running(functions.find(name), fake_lambda.address) as process:
        fake_lambda.events.put({"raise": "out of paper"})
        path, _, answer = fake_lambda.calls.get(timeout=30)
        stop(process)
        assert path == "/2018-06-01/runtime/invocation/r-1/error"
        assert answer["errorMessage"] == "out of paper"


@pytest.mark.parametrize("name", EXAMPLES[:2])
def test_exit_ends_the_process(fake_lambda: Any, name: str) -> None:
    with running(functions.find(name), fake_lambda.address) as process:
        fake_lambda.events.put({"exit": 3})
        process.communicate(timeout=30)
        assert process.returncode == 3


def test_python_writes_as_much_as_it_is_told(fake_lambda: Any) -> None:
    with running(functions.find("python"), fake_lambda.address) as process:
        fake_lambda.events.put({"lines": 3, "bytes": 1000, "allocate": 2, "sleep": 0.01})
        fake_lambda.calls.get(timeout=30)
        output = stop(process)
        assert "line 2" in output
        assert "x" * 1000 in output


@NODE
def test_node_reports_a_handler_it_cannot_load(fake_lambda: Any) -> None:
    with running(functions.find("node", handler="index.missing"), fake_lambda.address) as process:
        path, _, answer = fake_lambda.calls.get(timeout=30)
        process.communicate(timeout=30)
        assert path == "/2018-06-01/runtime/init/error"
        assert "exports no function missing" in answer["errorMessage"]
        assert process.returncode == 1


def test_c_skips_bodies_of_any_size(fake_lambda: Any) -> None:
    with running(functions.find("c"), fake_lambda.address) as process:
        for size in (0, 70_000, 3):
            fake_lambda.events.put({"padding": "x" * size})
            assert fake_lambda.calls.get(timeout=30)[2] == {"ok": True}
        stop(process)


def test_a_directory_is_recognised_by_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "lambda_function.py").touch()
    found = functions.find(str(tmp_path))
    assert found.handler == "lambda_function.lambda_handler"
    assert found.command[-1] == found.handler
    bootstrap = tmp_path / "bootstrap"
    bootstrap.touch(mode=0o755)
    assert functions.find(str(tmp_path)).command == ["./bootstrap"]


def test_command_and_handler_override(tmp_path: Path) -> None:
    found = functions.find(str(tmp_path), command="ruby 'my runtime.rb'", handler="app.call")
    assert (found.command, found.handler, found.task_root) == (["ruby", "my runtime.rb"], "app.call", tmp_path)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(functions.FunctionError, match="--handler"):
        functions.find(str(tmp_path))
    with pytest.raises(functions.FunctionError, match="neither one of python, node, c nor a directory"):
        functions.find(str(tmp_path / "absent"))
