"""The launcher as tests use it: built with sanitizers, in a layer made of programs that only report."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.launcher.stage import Stage

from fliptop import __version__

ROOT = Path(__file__).resolve().parents[2]
REPORTER = Path(__file__).parent / "reporter.c"


FALLBACK = "DD_EXTENSION_FALLBACK_REASON"
UNAVAILABLE = "DD_EXTENSION_FALLBACK_UNAVAILABLE"
UNREADABLE = "DD_EXTENSION_CONFIG_UNREADABLE"
CANNOT_START = "DD_EXTENSION_CANNOT_START"
COMPATIBILITY = {"DD_EXTENSION_VERSION": "compatibility"}
PORTS = ("TELEMETRY_PORT", "LIFECYCLE_PORT", "TRACE_AGENT_PORT", "STATSD_PORT")
"""Switches of the launcher under test (launcher/testing.h). 0: any port that is free."""


def load_build(name: str) -> ModuleType:
    """Import a program of `build/`, which is no package: other things are called `build` too."""
    import importlib.util

    specification = importlib.util.spec_from_file_location(f"fliptop_build_{name}", ROOT / "build" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Built:
    """Where the programs are that the tests run."""

    launcher: Path
    scan_batch: Path
    reporter: Path

    @property
    def loader(self) -> Path:
        """What loads the reporter on this machine, by the path that its file names."""
        found = re.search(rb"/lib[^\0]*/ld-[^\0]*", self.reporter.read_bytes())
        assert found, "the reporter is linked statically"
        return Path(found[0].decode())


@dataclass(frozen=True)
class Report:
    """What a reporter saw when it was started."""

    pid: int
    arguments: list[str]
    environ: list[bytes]
    open_files: list[int]
    ignored_signals: list[int]

    def variable(self, name: str) -> str | None:
        """Return one variable's value."""
        start = f"{name}=".encode()
        return next((entry[len(start) :].decode() for entry in self.environ if entry.startswith(start)), None)


@dataclass(frozen=True)
class Outcome:
    """One run of the launcher, to its end."""

    pid: int
    returncode: int
    lines: list[str]
    extension: Report | None
    legacy: Report | None


@dataclass(frozen=True)
class Layer:
    """A layer in a directory, with a task root beside it."""

    root: Path
    task: Path
    built: Built
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def launcher(self) -> Path:
        """The file that Lambda starts."""
        return self.root / "extensions" / "datadog-agent"

    @property
    def extension(self) -> Path:
        """The new extension."""
        return self.root / "fliptop" / "fliptop"

    @property
    def legacy(self) -> Path:
        """The legacy extension."""
        return self.root / "datadog-agent-go"

    def yaml(self, content: str | bytes) -> None:
        """Give the function this datadog.yaml."""
        data = content.encode() if isinstance(content, str) else content
        (self.task / "datadog.yaml").write_bytes(data)

    def environ(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return a small environment, completed by what the test gives."""
        return {"LAMBDA_TASK_ROOT": str(self.task), "AWS_REGION": "eu-west-1", **self.extra, **(more or {})}

    def run(self, environ: Mapping[str, str] | None = None, *arguments: str, **options: object) -> Outcome:
        """Start it as Lambda does and wait for what it became."""
        with subprocess.Popen(
            [str(self.launcher), *arguments],
            env=self.environ(environ),
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "close_fds": True, **options},  # type: ignore[call-overload]
        ) as process:
            try:
                stdout, stderr = process.communicate(timeout=30)
            finally:
                process.kill()
        assert not stderr, stderr.decode()
        lines = (stdout or b"").decode().splitlines()
        return Outcome(process.pid, process.returncode, lines, _report(self.extension), _report(self.legacy))


def _report(program: Path) -> Report | None:
    path = program.with_name(program.name + ".report")
    if not path.is_file():
        return None
    pid, files, signals, count, *rest = path.read_bytes().split(b"\0")[:-1]
    arguments, environ = rest[: int(count)], rest[int(count) :]
    numbers = ([int(number) for number in listed.split()] for listed in (files, signals))
    return Report(int(pid), [argument.decode() for argument in arguments], environ, *numbers)


def only_line(outcome: Outcome) -> dict[str, Any]:
    """Parse the one line that was told; its first key is what people search for."""
    assert len(outcome.lines) == 1, outcome.lines
    told = json.loads(outcome.lines[0])
    assert isinstance(told, dict)
    assert told["layer_version"] == __version__
    assert 0 < told["decision_us"] < 10_000_000
    return told


def assert_next(layer: Layer, outcome: Outcome) -> None:
    """The new extension runs in the launcher's place, and the legacy one does not."""
    assert outcome.returncode == 0
    assert outcome.legacy is None
    assert outcome.extension is not None
    assert outcome.extension.pid == outcome.pid
    assert outcome.extension.arguments == [str(layer.extension)]


def assert_legacy(layer: Layer, outcome: Outcome) -> None:
    """The legacy extension runs in the launcher's place, and the new one does not."""
    assert outcome.returncode == 0
    assert outcome.extension is None
    assert outcome.legacy is not None
    assert outcome.legacy.pid == outcome.pid
    assert outcome.legacy.arguments == [str(layer.legacy)]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    builder = load_build("launcher")
    builder.build(builder.sanitized())
    folder = builder.DIST / builder.native() / "sanitized"
    reporter = tmp_path_factory.mktemp("reporter") / "reporter"
    compiler = shutil.which("gcc") or shutil.which("clang")
    command = [compiler] if compiler else list(builder.ZIG)
    subprocess.run([*command, "-std=c11", "-D_GNU_SOURCE", "-O1", "-o", str(reporter), str(REPORTER)], check=True)
    return Built(folder / "datadog-agent", folder / "scan-batch", reporter)


@pytest.fixture
def layer(built: Built, tmp_path: Path) -> Layer:
    """A complete layer: both extensions can be started, on a machine with a new libc."""
    root, task, machine = tmp_path / "opt", tmp_path / "task", tmp_path / "machine"
    for folder in (root / "extensions", root / "fliptop", task, machine / "lib64"):
        folder.mkdir(parents=True)
    (machine / "lib64" / "libc.so.6").write_bytes(b"")
    (machine / "tmp").mkdir()
    loader = machine / built.loader.relative_to("/")
    loader.parent.mkdir(exist_ok=True)
    loader.touch()
    switches = {"LIBC_ROOT": str(machine), "TMP": str(machine / "tmp"), **dict.fromkeys(PORTS, "0")}
    layer = Layer(root, task, built, {f"FLIPTOP_TEST_{name}": value for name, value in switches.items()})
    shutil.copy2(built.launcher, layer.launcher)
    shutil.copy2(built.reporter, layer.extension)
    shutil.copy2(built.reporter, layer.legacy)
    return layer


@pytest.fixture
def stage(layer: Layer) -> Iterator[Stage]:
    script = (Path(__file__).parent / "actor.py").read_text()
    layer.extension.write_text(f"#!{sys.executable} -IS\n{script}")
    ports = dict(zip(("telemetry", "lifecycle", "trace_agent"), map(str, free_ports(3)), strict=True))
    chosen = {f"FLIPTOP_TEST_{name.upper()}_PORT": port for name, port in ports.items()}
    yield Stage(replace(layer, extra={**layer.extra, **chosen}))


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listens on."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [probe.getsockname()[1] for probe in probes]


@dataclass(frozen=True)
class Verdict:
    """What the launcher's scan made of one configuration."""

    reasons: tuple[str, ...]
    unsure: str


Scan = Callable[[Mapping[str, str], bytes], Verdict]


@pytest.fixture(scope="session")
def scan(built: Built) -> Iterator[Scan]:
    """The launcher's own decision on a configuration, thousands of them in one process."""
    process = subprocess.Popen([str(built.scan_batch)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None

    def ask(environ: Mapping[str, str], file: bytes) -> Verdict:
        block = b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in environ.items())
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(struct.pack("<I", len(block)) + block + struct.pack("<I", len(file)) + file)
        process.stdin.flush()
        answer = process.stdout.readline()
        assert answer.endswith(b"\n"), "the scanner died: its sanitizer's report is on stderr"
        reasons, _, unsure = answer.decode().rstrip("\n").partition("|")
        return Verdict(tuple(reasons.split()), unsure)

    yield ask
    process.stdin.close()
    process.stdout.close()
    assert process.wait(timeout=30) == 0
