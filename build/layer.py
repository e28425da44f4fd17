"""Put the layer together: `dist/fliptop-<arch>.zip`, whose content Lambda unpacks to /opt.

    python build/layer.py [--arch x86_64|aarch64] [--legacy PATH] [--out PATH] [--unchecked]
    python build/layer.py --source [--legacy PATH] [--out DIRECTORY]

The first builds the launcher and the frozen extension for this machine's architecture, packs them, and has the result
checked, started, and its start counted. The same content gives the same bytes: names sorted, times fixed, one
compressor. The second makes a directory of the same shape whose extension is a script that runs this checkout's
sources: quick, for demos and tests.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import shlex
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deflate

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from build import sbom  # noqa: E402

DIST = ROOT / "dist"
ARCH = platform.machine()
# The oldest time a zip can express.
EPOCH = (1980, 1, 1, 0, 0, 0)
EXECUTABLE, PLAIN = 0o755, 0o644
LAUNCHER = "extensions/datadog-agent"
EXTENSION = "fliptop/fliptop"
MANIFEST = "fliptop/manifest.json"
LEGACY = "datadog-agent-go"
WRAPPER = "datadog_wrapper"
EXECUTABLES = (LAUNCHER, EXTENSION, LEGACY, WRAPPER)
SOURCE_SCRIPT = """\
#!/bin/sh
# The extension of a source layer: the checkout it was made from, run by that checkout's environment.
exec {python} -I -m fliptop "$@"
"""


class Deflate:
    """A compressor in the form that zipfile uses, for files written in one piece: libdeflate at its best."""

    def compress(self, data: bytes) -> bytes:
        """Return all of `data`, deflated."""
        return bytes(deflate.deflate_compress(data, 12))

    def flush(self) -> bytes:
        """Return nothing: nothing is ever kept back."""
        return b""


@dataclass(frozen=True)
class Entry:
    """One file of the layer: its path below /opt and its content."""

    name: str
    data: bytes

    @property
    def mode(self) -> int:
        """Permission bits: programs may be started, everything may be read by anyone."""
        return EXECUTABLE if self.name in EXECUTABLES else PLAIN


def main(arguments: list[str]) -> int:
    """Build what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(description="Put the layer together.")
    parser.add_argument(
        "--arch", choices=("x86_64", "aarch64"), default=ARCH, help="build for this architecture, if this machine can"
    )
    parser.add_argument("--unchecked", action="store_true", help="only put it together")
    parser.add_argument("--source", action="store_true", help="a directory that runs this checkout instead of a zip")
    parser.add_argument("--legacy", type=Path, help="a legacy extension to put in")
    parser.add_argument("--out", type=Path, help="where to (dist/fliptop-<arch>.zip, dist/source-layer)")
    options = parser.parse_args(arguments)
    if options.legacy and not options.legacy.is_file():
        parser.error(f"there is no file {options.legacy} to put in as the legacy extension")
    if options.source:
        write_directory(with_manifest(source_entries(options.legacy), "source"), options.out or DIST / "source-layer")
        return 0
    target = options.out or DIST / f"fliptop-{options.arch}.zip"
    _make_layer(options.arch, options.legacy, target)
    return 0 if options.unchecked else _check(options.arch, target)


def _make_layer(arch: str, legacy: Path | None, target: Path) -> None:
    for program in ("launcher.py", "freeze.py"):
        _run(program, "--arch", arch)
    frozen = DIST / "frozen" / arch
    about = json.loads((frozen / "frozen.json").read_text())
    del about["inputs"]
    try:
        entries = with_documents([*common_entries(legacy, arch), *_tree(frozen / "fliptop", "fliptop")], about)
    except sbom.SbomError as error:
        sys.exit(str(error))
    about["package_count"] = len(about["packages"])  # for the launcher, which does not count
    write_zip(with_manifest(entries, "frozen", {**about, **sbom.provenance()}), target)
    write_checksums(target.parent)


def _check(arch: str, target: Path) -> int:
    # Under emulation, what a start costs says nothing, and a root that has the emulator in it is not bare.
    programs = ("check_layer.py", "smoke_layer.py", *(["bare_layer.py", "first_flush.py"] if arch == ARCH else []))
    return next((code for program in programs if (code := _run(program, str(target), check=False))), 0)


def _run(program: str, *arguments: str, check: bool = True) -> int:
    code = subprocess.run([sys.executable, ROOT / "build" / program, *arguments], check=False).returncode
    if code and check:
        sys.exit(code)
    return code


def common_entries(legacy: Path | None, arch: str = ARCH) -> list[Entry]:
    """Return the files that every flavour of the layer has. The launcher must have been built."""
    entries = [
        Entry(LAUNCHER, (DIST / "launcher" / arch / "datadog-agent").read_bytes()),
        Entry(WRAPPER, (ROOT / "build" / "datadog_wrapper").read_bytes()),
    ]
    return [*entries, Entry(LEGACY, legacy.read_bytes())] if legacy else entries


def source_entries(legacy: Path | None) -> list[Entry]:
    """Return the files of a source layer, building the launcher where it is missing or not current."""
    _run("launcher.py", "--arch", "native")
    script = SOURCE_SCRIPT.format(python=shlex.quote(str(ROOT / ".venv" / "bin" / "python")))
    return [*common_entries(legacy), Entry(EXTENSION, script.encode())]


def _tree(directory: Path, prefix: str) -> list[Entry]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return [Entry(f"{prefix}/{path.relative_to(directory).as_posix()}", path.read_bytes()) for path in files]


def with_documents(entries: list[Entry], about: dict[str, Any]) -> list[Entry]:
    """Return the entries with the bill of materials and the licences of them all. SbomError: a licence is unknown."""
    files = {entry.name: entry.data for entry in entries}
    image = sbom.provenance().get("legacy_image", "")
    return [*entries, *(Entry(name, data) for name, data in sbom.documents(files, about, image).items())]


def with_manifest(entries: list[Entry], flavour: str, about: dict[str, Any] | None = None) -> list[Entry]:
    """Return the entries sorted by name, with a manifest that describes them: version, origin and a digest of each."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    described = {"version": version, "arch": ARCH, "flavour": flavour, **(about or {})}
    described["files"] = {entry.name: hashlib.sha256(entry.data).hexdigest() for entry in entries}
    text = json.dumps(described, indent=2, sort_keys=True) + "\n"
    return sorted([*entries, Entry(MANIFEST, text.encode())], key=lambda entry: entry.name)


def write_zip(entries: list[Entry], target: Path) -> None:
    """Write the entries in their order; equal entries give equal bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w") as archive:
        for entry in entries:
            info = zipfile.ZipInfo(entry.name, EPOCH)
            info.create_system = 3  # Unix: without it, readers ignore the permission bits
            info.external_attr = (0o100000 | entry.mode) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            info.file_size = len(entry.data)
            with archive.open(info, "w") as writer:
                # zipfile takes no compressor from outside; without this one the zip would be 4 % larger, and correct.
                vars(writer)["_compressor"] = Deflate()
                writer.write(entry.data)
    print(f"{_shown(target)}: {target.stat().st_size / 1e6:.2f} MB")


def write_checksums(directory: Path) -> None:
    """Write SHA256SUMS for the layers in a directory, for `sha256sum --check`."""
    (directory / "SHA256SUMS").write_text(sbom.checksums(directory.glob("fliptop-*.zip")))


def write_directory(entries: list[Entry], target: Path) -> None:
    """Replace the directory by one that holds the entries. Files that did not change are not written again."""
    names = {entry.name for entry in entries}
    for path in [path for path in target.rglob("*") if path.is_file() or path.is_symlink()]:
        if path.relative_to(target).as_posix() not in names:
            path.unlink()
    for entry in entries:
        _write_file(target / entry.name, entry)
    print(f"{_shown(target)}: ready")


def _write_file(path: Path, entry: Entry) -> None:
    if not (path.is_file() and path.read_bytes() == entry.data):
        path.parent.mkdir(parents=True, exist_ok=True)
        # A program that runs cannot be overwritten, but its name can be given to another.
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_bytes(entry.data)
        fresh.chmod(entry.mode)
        fresh.replace(path)
    path.chmod(entry.mode)


def _shown(path: Path) -> str:
    resolved = path.resolve()
    return str(resolved.relative_to(ROOT)) if resolved.is_relative_to(ROOT) else str(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
