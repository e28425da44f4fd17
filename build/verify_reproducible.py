"""Prove that the layer is reproducible: build it twice, as differently as one machine allows, and compare the bytes.

    python build/verify_reproducible.py [--keep DIRECTORY]
    python build/verify_reproducible.py --compare ONE.zip OTHER.zip

Each build has its own copy of the sources, its own environment and cold caches. They differ in directory, order and
times of the files, umask, time zone, language, hash seed, and, where this is possible, the user. On a difference,
the file, the place in it and what it looks like there are told, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from build.differences import differences  # noqa: E402
from build.progress import Progress  # noqa: E402

INPUTS = ("pyproject.toml", "requirements.lock", "README.md", "LICENSE", "build", "launcher", "src")
IGNORED = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.pyc")
NOBODY = 65534
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
    user: int | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def describe(self) -> str:
        """Return what it is special for, as one line."""
        who = "" if self.user is None else f", user {self.user}"
        variables = " ".join(f"{key}={value}" for key, value in self.environment.items())
        return f"{self.name}: {self.root}, umask {self.umask:03o}{who}, files of {self.time} (s), {variables}"


class BuildError(Exception):
    """One of the builds failed; the text is the end of what it said."""


def main(arguments: list[str]) -> int:
    """Do what the command line says; return 0 if the two are the same, 1 if not, 2 if that could not be found out."""
    parser = argparse.ArgumentParser(description="Build the layer twice and compare.")
    parser.add_argument("--compare", nargs=2, type=Path, metavar="ZIP", help="compare these two and build nothing")
    parser.add_argument("--keep", type=Path, help="leave both zips in this directory")
    options = parser.parse_args(arguments)
    try:
        if options.compare:
            return _report(*options.compare)
        with tempfile.TemporaryDirectory(prefix="fliptop-verify-") as name:
            return _twice(Path(name), options.keep)
    except (OSError, zipfile.BadZipFile, BuildError) as error:
        print(error, file=sys.stderr)
        return 2


def _twice(scratch: Path, keep: Path | None) -> int:
    scratch.chmod(0o755)
    progress = Progress("building the layer twice, from nothing (several minutes each)")
    builds = _builds(scratch)
    for build in builds:  # both before the first is built: it may take long, and somebody may be at work here
        print(f"  {build.describe()}", flush=True)
        prepare(build)
    made = [_build(build, progress) for build in builds]
    progress.done("built twice")
    code = _report(*made)
    if keep:
        for number, path in enumerate(made, 1):
            target = keep / str(number)
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        print(f"both are in {keep}")
    return code


def _builds(scratch: Path) -> list[Build]:
    first = {"TZ": "UTC", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0"}
    second = {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "PYTHONHASHSEED": "4711", "SOURCE_DATE_EPOCH": "1000000000"}
    far = scratch / "elsewhere" / "a-much-longer-name-than-the-other" / "checkout"
    return [
        Build("first", scratch / "a", 0o022, 1_700_000_000, environment=first),
        Build("second", far, 0o077, 1_000_000_000, is_reversed=True, user=_other_user(), environment=second),
    ]


def _other_user() -> int | None:
    """A user who is not the present one, if we may become it and this Python is readable for it."""
    if os.geteuid() != 0:
        return None
    command = [os.path.realpath(sys.executable), "-c", "import pip, venv"]
    identity: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    try:
        tried = subprocess.run(command, env={}, cwd="/", capture_output=True, check=False, **identity)
    except OSError:
        return None
    return None if tried.returncode else NOBODY


def prepare(build: Build) -> None:
    """Copy the sources, created in one order or its reverse, with the build's times and owner."""
    files = sorted(_inputs(), reverse=build.is_reversed)
    for source in files:
        target = build.root / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    for path in [build.root, *build.root.rglob("*")]:
        if build.user is not None:
            os.chown(path, build.user, build.user)
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


def _build(build: Build, progress: Progress) -> Path:
    python = os.path.realpath(sys.executable)
    steps = {
        "environment": [python, "build/environment.py"],
        "layer": [".venv/bin/python", "build/layer.py"],
    }
    for what, command in steps.items():
        progress.phase(f"{build.name}: {what}")
        _run(build, command, progress)
    (zipped,) = (build.root / "dist").glob("fliptop-*.zip")
    return zipped


def _run(build: Build, command: list[str], progress: Progress) -> None:
    environ = {key: value for key, value in os.environ.items() if key not in CHOSEN}
    environ.update(build.environment, HOME=str(build.root))
    identity: dict[str, Any] = {}
    if build.user is not None:
        identity = {"user": build.user, "group": build.user, "extra_groups": []}
    log = build.root.parent / f"{build.name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=build.root,
            env=environ,
            umask=build.umask,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            **identity,
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
