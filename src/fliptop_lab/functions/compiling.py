"""C programs of the lab, compiled for this machine by zig, which comes with the ``ziglang`` wheel."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

HEADER = Path(__file__).parent / "c/http.h"


class FunctionError(Exception):
    """The function cannot be prepared; the text says why and what to do."""


def compile_c(source: Path, cache: Path | None = None) -> Path:
    """Compile one of the lab's programs, once per state of its source, and return it: a file named as the source.

    The program is static and under 64 KB, alone in its directory. ``cache`` defaults to ``.cache/lab`` in the project,
    or to the user's cache outside of it. Raises ``FunctionError`` with what the compiler said.
    """
    digest = hashlib.sha256(source.read_bytes() + HEADER.read_bytes()).hexdigest()[:12]
    program = (cache or _cache()) / f"{source.stem}-{platform.machine()}-{digest}" / source.stem
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        unfinished = program.with_suffix(f".{os.getpid()}")
        _compile(source, unfinished)
        unfinished.replace(program)
    return program


def _cache() -> Path:
    project = Path(__file__).parents[3]
    if (project / "pyproject.toml").exists():
        return project / ".cache/lab"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fliptop-lab"


def _compile(source: Path, program: Path) -> None:
    target = f"{platform.machine().replace('arm64', 'aarch64')}-linux-musl"
    options = ["-target", target, "-std=c11", "-D_GNU_SOURCE", "-Os", "-static", "-s", "-Wall", "-Wextra"]
    command = [sys.executable, "-m", "ziglang", "cc", *options, "-o", str(program), str(source)]
    zig = _cache().parent / "zig"
    environ = {"ZIG_GLOBAL_CACHE_DIR": str(zig / "global"), "ZIG_LOCAL_CACHE_DIR": str(zig / "local"), **os.environ}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    if done.returncode:
        raise FunctionError(f"{source.name} did not compile ({shlex.join(command)}):\n{done.stderr}")
