"""What `build/freeze.py --arch aarch64` takes from Debian on x86_64: one Python, for both architectures.

    .venv/bin/python build/debian.py    # write build/debian.lock anew (part of `make lock ARGS=--upgrade`)

The lock names the packages, each by its sha256 and its path in Debian's archives. They are unpacked into one directory,
as Debian's multiarch layout foresees: an interpreter for x86_64, and beside its modules the headers, the static library
and the modules for aarch64, of the same sources. apt fetches and dpkg-deb unpacks; nothing is installed, and nothing
needs root.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "debian"
LOCK = ROOT / "build" / "debian.lock"
APT_HELPER = Path("/usr/lib/apt/apt-helper")
RELEASE, PYTHON = "bookworm", "python3.11"
# What every Lambda has; it is not part of a layer, and needed to start one for aarch64 here (build/emulate.py).
SYSTEM = ("libc6", "libgcc-s1")
PACKAGES = {
    "amd64": (f"{PYTHON}-minimal", f"lib{PYTHON}-minimal", f"lib{PYTHON}-stdlib", "python3-pip"),
    "arm64": (
        *(f"lib{PYTHON}-dev", f"lib{PYTHON}-minimal", f"lib{PYTHON}-stdlib", "libexpat1", "libssl3", "zlib1g"),
        *SYSTEM,
    ),
}
ARCHIVE, SNAPSHOT = "https://deb.debian.org", "https://snapshot.debian.org/archive"
ARCHIVES = {"debian": RELEASE, "debian-security": f"{RELEASE}-security"}


class DebianError(Exception):
    """The packages could not be had; the text says why and what to do."""


class Package(NamedTuple):
    """One package: the sha256 of its file, and where that is, such as `debian/pool/main/z/zlib/zlib1g_….deb`."""

    sha256: str
    path: str

    @property
    def name(self) -> str:
        """The name of the package, such as `zlib1g`."""
        return self.path.rpartition("/")[2].partition("_")[0]


def python_root() -> Path:
    """Return the directory of the Python (usr/bin, usr/include, usr/lib), which is made if need be. Raises DebianError.

    Its usr/lib has the libraries of aarch64 that extension modules of it need, in Debian's place for them.
    """
    return _unpacked("python", [package for package in read_lock() if package.name not in SYSTEM])


def system_root() -> Path:
    """Return a directory with the C library for aarch64 alone, which is made if need be. Raises DebianError."""
    return _unpacked("system", [package for package in read_lock() if package.name in SYSTEM])


def read_lock(text: str | None = None) -> list[Package]:
    """Return the packages of the lock; ValueError if it cannot be understood."""
    lines = (LOCK.read_text() if text is None else text).splitlines()
    packages = [Package(*line.split()) for line in lines if line and not line.startswith("#")]
    for package in packages:
        if not re.fullmatch(r"[0-9a-f]{64} debian(-security)?/pool/[\w./%+~-]+\.deb", " ".join(package)):
            raise ValueError(f"{LOCK.name} has a line that is not a sha256 and a path: {' '.join(package)}")
    return packages


def _unpacked(name: str, packages: list[Package]) -> Path:
    digest = hashlib.sha256("".join(package.sha256 for package in packages).encode() + Path(__file__).read_bytes())
    target = CACHE / f"{name}-{digest.hexdigest()[:12]}"
    if not target.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        for old in CACHE.glob(f"{name}-*"):
            shutil.rmtree(old)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            fresh = Path(scratch) / "root"
            for package in packages:
                _run(["dpkg-deb", "--extract", str(_fetched(package)), str(fresh)])
            _adapt(fresh)
            fresh.rename(target)
    return target


def _adapt(root: Path) -> None:
    """Make a Python that was meant for /usr independent of it, and one that links statically for aarch64."""
    for library in root.glob("usr/lib/python3*/config-*-aarch64-*/libpython*-pic.a"):
        home = root / "usr" / "lib"
        (home / library.name.replace("-pic", "")).symlink_to(library.relative_to(home))
        # A link to this machine's /etc, which is none of the layer's business.
        (library.parent.parent / "sitecustomize.py").unlink()


def _fetched(package: Package) -> Path:
    file = CACHE / "packages" / f"{package.sha256}.deb"
    if file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == package.sha256:
        return file
    if not APT_HELPER.is_file() or shutil.which("dpkg-deb") is None:
        raise DebianError(
            "the programs apt-helper and dpkg-deb are missing, which fetch and unpack Debian's packages.\n"
            "Fix: build for another architecture on Debian 12 or newer, or Ubuntu 23.04 or newer; or on a machine of "
            "that architecture."
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    archive, _, path = package.path.partition("/")
    base = os.environ.get("FLIPTOP_DEBIAN_ARCHIVE", ARCHIVE)
    said = ""
    for address in (f"{base}/{package.path}", f"{SNAPSHOT}/{archive}/{_written()}/{path}"):
        command = [str(APT_HELPER), "-qq", "download-file", address, str(file), f"SHA256:{package.sha256}"]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if not finished.returncode:
            return file
        said += finished.stderr
    raise DebianError(
        f"{said}{package.path.rpartition('/')[2]} could not be fetched (apt's reasons are above).\n"
        "Fix: check that this machine reaches Debian's archive, or name a mirror: FLIPTOP_DEBIAN_ARCHIVE=https://…; if "
        "Debian has removed this version, `make lock ARGS=--upgrade` names its successor."
    )


def _written() -> str:
    """The time when the lock was written, by which Debian's archive of old versions finds what was current then."""
    return LOCK.read_text().split(maxsplit=3)[2]


def write_lock() -> None:
    """Write the lock with the versions that are current in Debian's archives. Raises DebianError."""
    lines = [f"# {RELEASE} {datetime.now(UTC):%Y%m%dT%H%M%SZ} (written by build/debian.py)"]
    with tempfile.TemporaryDirectory() as scratch:
        options = _private_apt(Path(scratch))
        _run(["apt-get", *options, "-qq", "update"])
        for arch, names in PACKAGES.items():
            wanted = [f"{name}:{arch}" for name in names]
            told = _run(["apt-get", *options, "-qq", "download", "--print-uris", *wanted])
            found = re.findall(r"^'https?://[^/]+/(\S+)' \S+ \d+ SHA256:(\w+)$", told, re.MULTILINE)
            lines += sorted((f"{sha256} {path}" for path, sha256 in found), key=lambda line: line.split()[1])
    read_lock("\n".join(lines))
    LOCK.write_text("\n".join(lines) + "\n")


def _private_apt(directory: Path) -> list[str]:
    """Return options for an apt that knows both architectures, and nothing of what this machine has installed."""
    for name in ("state/lists/partial", "cache/archives/partial"):
        (directory / name).mkdir(parents=True)
    base = os.environ.get("FLIPTOP_DEBIAN_ARCHIVE", ARCHIVE)
    sources = "".join(f"deb {base}/{archive} {suite} main\n" for archive, suite in ARCHIVES.items())
    (directory / "sources.list").write_text(sources)
    settings = {
        "Dir::State": directory / "state",
        "Dir::State::status": os.devnull,
        "Dir::Cache": directory / "cache",
        "Dir::Etc::sourcelist": directory / "sources.list",
        "Dir::Etc::sourceparts": os.devnull,
        "APT::Sandbox::User": "",
        "APT::Architecture": "amd64",
    }
    architectures = ["-o", "APT::Architectures::=amd64", "-o", "APT::Architectures::=arm64"]
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")] + architectures


def _run(command: list[str]) -> str:
    try:
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise DebianError(f"the program {command[0]} is missing.\nFix: run this on Debian or Ubuntu.") from None
    if finished.returncode:
        raise DebianError(f"{finished.stderr}`{command[0]}` failed (its message is above).")
    return finished.stdout


if __name__ == "__main__":
    try:
        write_lock()
    except DebianError as error:
        sys.exit(str(error))
    print(f"wrote {LOCK.relative_to(ROOT)}")
