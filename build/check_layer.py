"""Check a layer zip against what Lambda and its runtimes can take, and against the size budget.

    python build/check_layer.py dist/fliptop-<arch>.zip

Exit code 0 and one line when everything holds; else 1 and one line per problem, each with what to do about it.
`build/budget.json` holds the largest permitted sizes in bytes per architecture (legacy, which is not ours, is not
counted); raising one is a change somebody has to read.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from build.elf import Elf, glibc_version, is_elf, read_elf  # noqa: E402

GLIBC = "2.34"
# Part of glibc itself, or (libgcc_s) in every runtime: glibc loads it for thread cancellation, and what Rust and C++
# compilers make needs it. libstdc++, zlib and OpenSSL are not to be relied on.
SYSTEM_LIBRARIES = frozenset(
    {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1", "libgcc_s.so.1"}
    | {"ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
)
LAUNCHER, EXTENSION, MANIFEST = "extensions/datadog-agent", "fliptop/fliptop", "fliptop/manifest.json"
LEGACY, WRAPPER = "datadog-agent-go", "datadog_wrapper"
BILL, LICENCES = "fliptop/sbom.cdx.json", "fliptop/LICENSES.txt"
REQUIRED = (LAUNCHER, EXTENSION, MANIFEST, WRAPPER, BILL, LICENCES)
EXECUTABLES = (LAUNCHER, EXTENSION, WRAPPER, LEGACY)
# Beside the programs: shared objects in directories named like packages, and the certificates of known authorities.
PERMITTED = re.compile(r"fliptop/([a-z0-9_]+/)*[A-Za-z0-9_.-]+\.so(\.\d+)*|fliptop/certifi/cacert\.pem")
EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Layer:
    """A layer zip in memory: its entries in order, the content of each, and its size in bytes."""

    infos: list[zipfile.ZipInfo]
    files: dict[str, bytes]
    zip_size: int
    budget: dict[str, dict[str, int]]

    @classmethod
    def read(cls, path: Path, budget: Path) -> Layer:
        """Read the zip and the budget; OSError and zipfile.BadZipFile say what is wrong with either."""
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            files = {info.filename: archive.read(info) for info in infos}
        return cls(infos, files, path.stat().st_size, json.loads(budget.read_text()))

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest, or nothing where there is none that can be read."""
        try:
            parsed = json.loads(self.files[MANIFEST])
        except (KeyError, ValueError):
            return {}
        return parsed if isinstance(parsed, dict) else {}

    @cached_property
    def elves(self) -> dict[str, Elf]:
        """Every readable ELF file of ours."""
        found = {}
        for name, data in self.files.items():
            if is_elf(data) and name != LEGACY:
                try:
                    found[name] = read_elf(data)
                except ValueError:
                    continue
        return found


def main(arguments: list[str]) -> int:
    """Check the zip named on the command line; return the exit code."""
    if len(arguments) != 1:
        print("usage: python build/check_layer.py LAYER.zip", file=sys.stderr)
        return 2
    path = Path(arguments[0])
    try:
        layer = Layer.read(path, ROOT / "build" / "budget.json")
    except (OSError, zipfile.BadZipFile) as error:
        print(f"{path} cannot be read as a zip: {error}\nFix: `make layer`.", file=sys.stderr)
        return 1
    problems = check(layer)
    for problem in problems:
        print(f"{path.name}: {problem}", file=sys.stderr)
    if not problems:
        print(f"{path.name}: all checks passed ({len(layer.elves)} ELF files, glibc {_newest(layer)} or newer)")
    return 1 if problems else 0


def check(layer: Layer) -> list[str]:
    """Return every problem of the layer, one sentence each; an empty list when it may ship."""
    return [problem for rule in RULES for problem in rule(layer)]


def _newest(layer: Layer) -> str:
    newest = max((elf.newest_glibc()[0] for elf in layer.elves.values()), default=())
    return ".".join(map(str, newest)) or "of any version"


def check_paths(layer: Layer) -> Iterator[str]:
    """The documented paths, all of them and no others, each once."""
    for name in REQUIRED:
        if name not in layer.files:
            yield f"{name} is missing; build/layer.py puts it in"
    for name in layer.files:
        if name not in (*REQUIRED, LEGACY) and not PERMITTED.fullmatch(name):
            yield f"{name} has no business in the layer; prune it (build/freeze.py) or permit it in this program"
    if len(layer.files) != len(layer.infos):
        yield "a path occurs twice in the zip"


def check_modes(layer: Layer) -> Iterator[str]:
    """Programs 0755, all else 0644, regular files only: Lambda unpacks the bits as they are."""
    for info in layer.infos:
        mode = info.external_attr >> 16
        wanted = 0o100755 if info.filename in EXECUTABLES else 0o100644
        if info.create_system != 3 or mode != wanted:
            yield f"{info.filename} has mode {mode:o} where {wanted:o} is needed; write the zip with build/layer.py"


def check_reproducible(layer: Layer) -> Iterator[str]:
    """Names sorted, times fixed: what would differ between two builds of the same content."""
    names = [info.filename for info in layer.infos]
    if names != sorted(names):
        yield "the names in the zip are not sorted; write the zip with build/layer.py"
    for info in layer.infos:
        if info.date_time != EPOCH or info.extra:
            yield f"{info.filename} carries a time of its own ({info.date_time}); write the zip with build/layer.py"


def check_manifest(layer: Layer) -> Iterator[str]:
    """The manifest can be read, names version, architecture and flavour, and its digests are right."""
    for key in ("version", "arch", "flavour", "files"):
        if key not in layer.manifest:
            yield f"{MANIFEST} has no {key!r}; build/layer.py writes it"
    listed = layer.manifest.get("files", {})
    for name, data in layer.files.items():
        if name != MANIFEST and listed.get(name) != hashlib.sha256(data).hexdigest():
            yield f"{name} is not what {MANIFEST} says (sha256); make the layer again"


def check_documents(layer: Layer) -> Iterator[str]:
    """The bill of materials has every file with its digest, every package with its licence; the texts are there too."""
    try:
        parts = {part["name"]: part for part in json.loads(layer.files[BILL])["components"]}
    except (KeyError, TypeError, ValueError) as error:
        yield f"{BILL} cannot be read ({error!r}); build/layer.py writes it"
        return
    for name, data in layer.files.items():
        digests = [each.get("content") for each in parts.get(name, {}).get("hashes", [])]
        if name not in (MANIFEST, BILL, LICENCES) and digests != [hashlib.sha256(data).hexdigest()]:
            yield f"{name} is not what {BILL} says, or not in it; make the layer again"
    for name, version in layer.manifest.get("packages", {}).items():
        part = parts.get(name, {})
        if part.get("version") != version or not part.get("licenses"):
            yield f"{name} {version} is not in {BILL} with its licence; see build/sbom.py"
        if f"{name} {version}: ".encode() not in layer.files.get(LICENCES, b""):
            yield f"{LICENCES} has no licence of {name} {version}; see build/sbom.py"


def check_machine(layer: Layer) -> Iterator[str]:
    """Every ELF file is intact and for the architecture of the manifest; the launcher needs nothing at all."""
    arch = layer.manifest.get("arch")
    for name, data in layer.files.items():
        if is_elf(data):
            try:
                elf = read_elf(data)
            except ValueError as error:
                yield f"{name} cannot be loaded: {error}"
                continue
            if elf.machine != arch:
                yield f"{name} is for {elf.machine}, the layer for {arch}; build it for {arch}"
            if name == LAUNCHER and (elf.interpreter or elf.needed):
                yield f"{name} is not static; it must start on any libc: build it with build/launcher.py"
    if not is_elf(layer.files.get(LAUNCHER, b"\x7fELF")):
        yield f"{LAUNCHER} is no ELF file; build it with build/launcher.py"


def check_traces(layer: Layer) -> Iterator[str]:
    """Nothing names another architecture's platform: it would have got in from the machine that cross-compiled."""
    for arch in {"x86_64", "aarch64"} - {layer.manifest.get("arch")}:
        triplet = re.compile(rf"{arch}-(pc-|unknown-)?linux-(gnu|musl)".encode())
        for name, data in layer.files.items():
            if name != LEGACY and (found := triplet.search(data)):
                yield f"{name} names {found[0].decode()}, which the layer is not for; build/freeze.py must keep it out"


def check_glibc(layer: Layer) -> Iterator[str]:
    """No symbol newer than the glibc of the oldest supported runtime (Amazon Linux 2023)."""
    limit = glibc_version(GLIBC)
    for name, elf in layer.elves.items():
        newest, need = elf.newest_glibc()
        if need and newest > limit:
            yield (
                f"{name} needs {need.version} of {need.library}, Lambda's oldest supported runtime has {GLIBC}; leave "
                "it out (build/nuitka/excluded.txt) or freeze with a Python built on an older system"
            )


def check_libraries(layer: Layer) -> Iterator[str]:
    """Every library that a file asks for is found where the dynamic linker will look, or is part of the system."""
    program = layer.elves.get(EXTENSION)
    inherited = _directories(EXTENSION, program) if program and program.rpath_is_inherited else []
    for name, elf in layer.elves.items():
        places = [*_directories(name, elf), *inherited]
        for library in elf.needed:
            if library not in SYSTEM_LIBRARIES and not any(f"{place}/{library}" in layer.files for place in places):
                yield f"{name} needs {library}, which is neither in the layer nor in every runtime; carry it along"


def _directories(name: str, elf: Elf) -> list[str]:
    return [_normal(path.replace("$ORIGIN", str(PurePosixPath(name).parent))) for path in elf.rpath]


def _normal(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part not in ("", ".", ".."):
            parts.append(part)
    return "/".join(parts)


def check_budget(layer: Layer) -> Iterator[str]:
    """Not larger than the budget says, packed and unpacked."""
    arch = str(layer.manifest.get("arch"))
    legacy = [info for info in layer.infos if info.filename == LEGACY]
    sizes = {
        "zip": layer.zip_size - sum(info.compress_size for info in legacy),
        "unzipped": sum(len(data) for name, data in layer.files.items() if name != LEGACY),
    }
    if arch not in layer.budget:
        yield f"build/budget.json says nothing about {arch}; add what the layer may measure"
        return
    for what, size in sizes.items():
        if size > (limit := layer.budget[arch][what]):
            yield (
                f"{what} size {size} bytes exceeds the budget of {limit} by {size - limit}; find what grew, or raise "
                "build/budget.json with a reason"
            )


RULES: tuple[Callable[[Layer], Iterator[str]], ...] = (
    *(check_paths, check_modes, check_reproducible, check_manifest, check_documents),
    *(check_machine, check_traces, check_glibc, check_libraries, check_budget),
)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
