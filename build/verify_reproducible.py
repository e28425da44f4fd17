"""Prove that the layer is reproducible: build it twice, as differently as one machine allows, and compare the bytes.

    python build/verify_reproducible.py [--arch x86_64|aarch64]... [--keep DIRECTORY]
    python build/verify_reproducible.py --compare ONE.zip OTHER.zip

Each build has its own copy of the sources, its own environment and cold caches. They differ in directory, times of the
files, umask, time zone, language and hash seed; where the machine permits it also in file system (hence in the order in
which directories are listed), user and number of processors. Each build says what it is. All architectures that this
machine can build for are built. On a difference, the file, the place in it and what it looks like there are told, and
the exit code is 1.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from build import cross, debian  # noqa: E402
from build.differences import differences  # noqa: E402
from build.progress import Progress  # noqa: E402

INPUTS = ("pyproject.toml", "requirements.lock", "README.md", "LICENSE", "build", "launcher", "src")
IGNORED = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.pyc")
# Another user's number, as the programs see it; what they may read and write stays ours.
USER = 4711
AS_ANOTHER = ("unshare", "--user", f"--map-user={USER}", f"--map-group={USER}")
ON_ONE_PROCESSOR = ("taskset", "--cpu-list", "0")
# A memory file system lists a directory in the order in which it was filled, most others do not.
MEMORY, ENOUGH_MEMORY = Path("/dev/shm"), 6 * 1024**3
# Nothing of these may come from outside: the two builds choose them.
CHOSEN = ("TZ", "LANG", "LC_ALL", "PYTHONHASHSEED", "SOURCE_DATE_EPOCH", "HOME", "PYTHONPATH")


@dataclass(frozen=True)
class Build:
    """One of the builds: where, and what is special about it."""

    name: str
    root: Path
    umask: int
    time: int
    is_reversed: bool = False
    prefix: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def describe(self) -> str:
        """Return what it is special for, as one line."""
        variables = " ".join(f"{key}={value}" for key, value in self.environment.items())
        started = " ".join(self.prefix) or "as we are"
        return f"{self.name}: {self.root}, umask {self.umask:03o}, {started}, files of {self.time} (s), {variables}"


class BuildError(Exception):
    """One of the builds failed; the text is the end of what it said."""


def main(arguments: list[str]) -> int:
    """Do what the command line says; return 0 if the two are the same, 1 if not, 2 if that could not be found out."""
    parser = argparse.ArgumentParser(description="Build the layer twice and compare.")
    parser.add_argument("--arch", action="append", choices=("x86_64", "aarch64"), help="only for this one")
    parser.add_argument("--compare", nargs=2, type=Path, metavar="ZIP", help="compare these two and build nothing")
    parser.add_argument("--keep", type=Path, help="leave both zips in this directory")
    options = parser.parse_args(arguments)
    try:
        if options.compare:
            return _report(*options.compare)
        return _twice(options.arch or architectures(), options.keep)
    except (OSError, zipfile.BadZipFile, BuildError) as error:
        print(error, file=sys.stderr)
        return 2


def architectures() -> list[str]:
    """Return what this machine can build for."""
    here = platform.machine()
    return [here, cross.TARGET] if here == cross.BUILDER and debian.APT_HELPER.is_file() else [here]


def _twice(arches: list[str], keep: Path | None) -> int:
    progress = Progress(f"building the layer for {' and '.join(arches)} twice, from nothing (several minutes each)")
    with tempfile.TemporaryDirectory(prefix="fliptop-") as one, _elsewhere() as other:
        builds = _builds(Path(one), Path(other))
        for build in builds:  # both before the first is built: it may take long, and somebody may be at work here
            print(f"  {build.describe()}", flush=True)
            prepare(build)
        made = [_build(build, arches, progress) for build in builds]
        progress.done("built twice")
        codes = [_report(*pair) for pair in zip(*made, strict=True)]
        if keep:
            _keep(made, keep)
    return max(codes)


def _keep(made: list[list[Path]], directory: Path) -> None:
    for number, layers in enumerate(made, 1):
        target = directory / str(number)
        target.mkdir(parents=True, exist_ok=True)
        for path in layers:
            shutil.copy(path, target)
    print(f"both are in {directory}")


def _elsewhere() -> tempfile.TemporaryDirectory[str]:
    """A directory for the second build: on a file system that lists directories in another order, if there is room."""
    is_there = MEMORY.is_dir() and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
    fits = is_there and shutil.disk_usage(MEMORY).free > ENOUGH_MEMORY
    return tempfile.TemporaryDirectory(prefix="fliptop-verify-", dir=MEMORY if fits else None)


def _builds(one: Path, other: Path) -> list[Build]:
    first = {"TZ": "UTC", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0"}
    second = {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "PYTHONHASHSEED": "4711", "SOURCE_DATE_EPOCH": "1000000000"}
    far = other / "a-much-longer-name-than-the-other" / "checkout"
    prefix = tuple(word for words in (AS_ANOTHER, ON_ONE_PROCESSOR) if _works(words) for word in words)
    return [
        Build("first", one / "a", 0o022, 1_700_000_000, environment=first),
        Build("second", far, 0o077, 1_000_000_000, is_reversed=True, prefix=prefix, environment=second),
    ]


def _works(prefix: tuple[str, ...]) -> bool:
    command = [*prefix, os.path.realpath(sys.executable), "-c", "import pip"]
    return (
        shutil.which(prefix[0]) is not None and not subprocess.run(command, capture_output=True, check=False).returncode
    )


def prepare(build: Build) -> None:
    """Copy the sources, created in one order or its reverse, with the build's times and owner."""
    files = sorted(_inputs(), reverse=build.is_reversed)
    for source in files:
        target = build.root / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    for path in [build.root, *build.root.rglob("*")]:
        os.utime(path, (build.time, build.time))


def _inputs() -> Iterator[Path]:
    for name in INPUTS:
        path = ROOT / name
        if path.is_file():
            yield path
        for directory, folders, names in os.walk(path):
            ignored = IGNORED(directory, [*folders, *names])
            folders[:] = [folder for folder in folders if folder not in ignored]
            yield from (Path(directory) / name for name in names if name not in ignored)


def _build(build: Build, arches: list[str], progress: Progress) -> list[Path]:
    """Build the layers; return their paths, in the order of `arches`."""
    python = os.path.realpath(sys.executable)
    steps = {"environment": [python, "build/environment.py"]}
    for arch in arches:
        steps[f"layer for {arch}"] = [".venv/bin/python", "build/layer.py", "--unchecked", "--arch", arch]
    for what, command in steps.items():
        progress.phase(f"{build.name}: {what}")
        _run(build, command, progress)
    return [build.root / "dist" / f"fliptop-{arch}.zip" for arch in arches]


def _run(build: Build, command: list[str], progress: Progress) -> None:
    environ = {key: value for key, value in os.environ.items() if key not in CHOSEN}
    environ.update(build.environment, HOME=str(build.root))
    log = build.root.parent / f"{build.name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*build.prefix, *command],
            cwd=build.root,
            env=environ,
            umask=build.umask,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        while process.poll() is None:
            progress.wait(process)
    if process.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
        raise BuildError(f"{tail}\nThe {build.name} build failed at `{' '.join(command)}`; its last words are above.")


def _report(first: Path, second: Path) -> int:
    found = differences(first, second)
    for line in found:
        print(line, file=sys.stderr)
    if found:
        print("The two are not the same. docs/release.md lists what is known to make a difference.", file=sys.stderr)
        return 1
    digest = hashlib.sha256(first.read_bytes()).hexdigest()
    print(f"the two are the same, byte for byte: {first.name}, {first.stat().st_size} bytes, sha256 {digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
