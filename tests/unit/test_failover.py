"""Settling what the launcher's scanner left open, with a real parser."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from fliptop.settings import failover


class Replaced(Exception):
    """The process would have been replaced."""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {
        "LAMBDA_TASK_ROOT": str(tmp_path),
        "FLIPTOP_LAYER": "/opt",
        "FLIPTOP_NAME": "datadog-agent",
        "FLIPTOP_SCAN": "unsure",
        "FLIPTOP_HANDOVER": "off",
        "DD_ENV": "prod",
    }


@pytest.fixture
def execs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str], Mapping[str, str]]]:
    calls: list[tuple[str, list[str], Mapping[str, str]]] = []

    def execve(path: Path, arguments: list[str], environ: Mapping[str, str]) -> None:
        calls.append((str(path), arguments, environ))
        raise Replaced

    monkeypatch.setattr(os, "execve", execve)
    return calls


def test_a_file_that_needs_legacy_gives_the_process_back_to_the_launcher(
    environ: dict[str, str], execs: list[tuple[str, list[str], Mapping[str, str]]], tmp_path: Path
) -> None:
    (tmp_path / "datadog.yaml").write_text("on: &on true\nappsec_enabled: *on\notlp_config: {logs: {enabled: *on}}\n")
    with pytest.raises(Replaced):
        failover.settle(environ)
    launcher = "/opt/extensions/datadog-agent"
    left = {"LAMBDA_TASK_ROOT": str(tmp_path), "FLIPTOP_HANDOVER": "off", "DD_ENV": "prod"}
    assert execs == [(launcher, [launcher, "--settled", "appsec_enabled", "otel"], left)]


@pytest.mark.parametrize("yaml", ["base: &x false\nappsec_enabled: *x\n", "a: [", None])
def test_otherwise_it_gives_the_process_back_without_reasons(
    environ: dict[str, str],
    execs: list[tuple[str, list[str], Mapping[str, str]]],
    tmp_path: Path,
    yaml: str | None,
) -> None:
    if yaml is not None:
        (tmp_path / "datadog.yaml").write_text(yaml)
    with pytest.raises(Replaced):
        failover.settle(environ)
    assert [arguments for _, arguments, _ in execs] == [["/opt/extensions/datadog-agent", "--settled"]]


def test_a_launcher_that_cannot_be_executed_is_named(environ: dict[str, str], tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "datadog.yaml").write_text("appsec_enabled: &x yes\n")
    failover.settle({**environ, "FLIPTOP_LAYER": "/nowhere"})
    assert len(said) == 1
    assert "/nowhere/extensions/datadog-agent cannot be executed" in said[0]
