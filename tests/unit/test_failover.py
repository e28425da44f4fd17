"""Settling what the launcher's scanner left open, with a real parser."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fliptop.settings import failover

NEEDS_LEGACY = "on: &on true\nappsec_enabled: *on\notlp_config: {logs: {enabled: *on}}\n"


@pytest.mark.parametrize(
    ("yaml", "answer"),
    [
        (NEEDS_LEGACY, "settled appsec_enabled otel\n"),
        ("base: &x false\nappsec_enabled: *x\n", "settled\n"),
        ("a: [", "settled\n"),
        (None, "settled\n"),
    ],
    ids=["reasons", "none", "broken", "no file"],
)
def test_the_answer_names_the_reasons(yaml: str | None, answer: str, tmp_path: Path) -> None:
    if yaml is not None:
        (tmp_path / "datadog.yaml").write_text(yaml)
    assert failover.settled({"LAMBDA_TASK_ROOT": str(tmp_path), "DD_ENV": "prod"}) == answer


def test_a_file_that_cannot_be_read_leaves_the_environment(tmp_path: Path) -> None:
    (tmp_path / "datadog.yaml").mkdir()
    environ = {"LAMBDA_TASK_ROOT": str(tmp_path), "DD_LAMBDA_FIPS_MODE": "true"}
    assert failover.settled(environ) == "settled fips\n"


def test_the_command_answers_and_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "datadog.yaml").write_text(NEEDS_LEGACY)
    environ = {**os.environ, "LAMBDA_TASK_ROOT": str(tmp_path)}
    command = [sys.executable, "-m", "fliptop", "--settle"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=30)
    assert (done.stdout, done.stderr) == ("settled appsec_enabled otel\n", "")
