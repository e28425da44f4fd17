"""Build the launcher: `dist/launcher/<arch>/datadog-agent`, static, from the same sources for every architecture.

    python build/launcher.py [--arch native|x86_64|aarch64|all] [--flavour release|sanitized]

The release is compiled by zig against musl and is the same to the byte wherever it is built.
The sanitized flavour is for tests: `dist/launcher/<arch>/sanitized/`, for this machine, by clang or gcc with sanitizers
for addresses and undefined behaviour where they are installed, else by zig with the latter alone.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "launcher"
DIST = ROOT / "dist" / "launcher"
CACHE = ROOT / ".cache" / "zig"
ARCHITECTURES = ("x86_64", "aarch64")
WARNINGS = ("-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wshadow", "-Werror")
ZIG = (sys.executable, "-m", "ziglang", "cc")
# Nothing unwinds the stack: tables for it would be a fifth of the program.
NO_UNWINDING = ("-fno-unwind-tables", "-fno-asynchronous-unwind-tables")
RELEASE = ("-Os", "-static", "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections", *NO_UNWINDING)

sys.path.insert(0, str(ROOT / "src"))

from fliptop import __version__  # noqa: E402

VERSION = (f'-DVERSION="{__version__}"',)
PATIENCE_S = 2.0


@dataclass(frozen=True)
class Artefact:
    """One program to be made: `command` less the output, and where it goes."""

    path: Path
    command: tuple[str, ...]

    @cached_property
    def inputs(self) -> str:
        """Digest of everything that decides what comes out."""
        digest = hashlib.sha256("\0".join((*self.command, importlib.metadata.version("ziglang"))).encode())
        own = (ROOT / word for word in self.command if word.endswith(".c"))
        for source in sorted({*SOURCES.glob("*.h"), *own}):
            digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
        return digest.hexdigest()

    @property
    def stamp(self) -> Path:
        """Where the digest of the last build is kept."""
        return ROOT / ".cache" / "launcher" / f"{'-'.join(self.path.relative_to(DIST).parts)}.inputs"

    def is_current(self) -> bool:
        """Say whether building again would give the same."""
        return self.path.is_file() and self.stamp.is_file() and self.stamp.read_text() == self.inputs


def native() -> str:
    """Return this machine's architecture, as Lambda's layers name it."""
    machine = platform.machine()
    return {"arm64": "aarch64", "amd64": "x86_64"}.get(machine, machine)


def release(arch: str) -> Artefact:
    """The program for the layer."""
    return Artefact(DIST / arch / "datadog-agent", (*_release_compiler(arch), "-s", *sources("launcher.c")))


def with_symbols(arch: str) -> Artefact:
    """The same instructions with the names of the functions, for counting."""
    folder = DIST / arch / "symbols"
    return Artefact(folder / "datadog-agent", (*_release_compiler(arch), "-g", *sources("launcher.c")))


def _release_compiler(arch: str) -> tuple[str, ...]:
    return (*ZIG, "-target", f"{arch}-linux-musl", *RELEASE, *WARNINGS, *VERSION)


def sanitized() -> list[Artefact]:
    """The launcher and the batch drivers of its scanner and its HTTP, for tests on this machine."""
    compiler = (*_sanitizing_compiler(), *WARNINGS, *VERSION, "-DFLIPTOP_TESTING", "-g", "-O1")
    folder = DIST / native() / "sanitized"
    return [
        Artefact(folder / "datadog-agent", (*compiler, *sources("launcher.c"))),
        Artefact(folder / "scan-batch", (*compiler, "-Ilauncher", *sources("fuzz/scan_batch.c"))),
        Artefact(folder / "http-batch", (*compiler, "-Ilauncher", *sources("fuzz/http_batch.c"))),
    ]


def build(artefacts: list[Artefact]) -> None:
    """Make what is not current; print progress when it takes long. Exits with the compiler's message if it fails."""
    for artefact in artefacts:
        if not artefact.is_current():
            with _progress(f"compiling {artefact.path.relative_to(ROOT)} (the first time takes most of a minute)"):
                _compile(artefact)


def _allow_open_files() -> None:
    """A cold zig opens one file per function of the C library; containers often start with 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _compile(artefact: Artefact) -> None:
    _allow_open_files()
    artefact.path.parent.mkdir(parents=True, exist_ok=True)
    artefact.stamp.parent.mkdir(parents=True, exist_ok=True)
    environ = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(CACHE / "global"), "ZIG_LOCAL_CACHE_DIR": str(CACHE / "local")}
    with tempfile.TemporaryDirectory(dir=artefact.path.parent) as folder:
        # Renamed into place: nobody runs half a file, and a running copy stays whole.
        made = Path(folder) / artefact.path.name
        finished = subprocess.run([*artefact.command, "-o", str(made)], cwd=ROOT, env=environ, check=False)
        if finished.returncode:
            sys.exit(f"could not compile {artefact.path.relative_to(ROOT)}: the compiler's message is above")
        made.rename(artefact.path)
    artefact.stamp.write_text(artefact.inputs)


def sources(main: str) -> tuple[str, ...]:
    """`main` and all parts of the launcher, by the paths that go into the program."""
    parts = sorted(path.name for path in SOURCES.glob("*.c") if path.name != "launcher.c")
    return tuple(f"launcher/{name}" for name in (main, *parts))


def _sanitizing_compiler() -> tuple[str, ...]:
    flags = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    for name in ("clang", "gcc"):
        if shutil.which(name) and _links((name, *flags)):
            return (name, *flags)
    return (*ZIG, "-fsanitize=undefined", "-fno-sanitize-recover=all")


def _links(compiler: tuple[str, ...]) -> bool:
    """Say whether the compiler's sanitizers are installed too."""
    command = [*compiler, "-x", "c", "-", "-o", os.devnull]
    return not subprocess.run(command, input=b"int main(void){return 0;}", capture_output=True, check=False).returncode


@contextmanager
def _progress(what: str) -> Iterator[None]:
    """Say what takes long, once it does, and how long it took."""
    started = time.monotonic()
    timer = threading.Timer(PATIENCE_S, print, args=(f"{what} …",), kwargs={"flush": True})
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if time.monotonic() - started > PATIENCE_S:
        print(f"  done in {time.monotonic() - started:.0f} s", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--arch", choices=("native", *ARCHITECTURES, "all"), default="native")
    parser.add_argument("--flavour", choices=("release", "sanitized"), default="release")
    arguments = parser.parse_args()
    if arguments.flavour == "sanitized":
        build(sanitized())
        return 0
    wanted = ARCHITECTURES if arguments.arch == "all" else (arguments.arch,)
    build([release(native() if arch == "native" else arch) for arch in wanted])
    return 0


if __name__ == "__main__":
    sys.exit(main())
