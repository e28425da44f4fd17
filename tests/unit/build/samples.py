"""A small layer that passes every check, and the ways to spoil it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import platform
import struct
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


def load(name: str) -> Any:
    """Import `build/<name>.py`: programs, not a package that is installed."""
    full = f"build.{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, ROOT / "build" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module: ModuleType = importlib.util.module_from_spec(spec)
        sys.modules[full] = module
        spec.loader.exec_module(module)
    return sys.modules[full]


ARCH = platform.machine()
DOCUMENTS = ("fliptop/sbom.cdx.json", "fliptop/LICENSES.txt", "fliptop/manifest.json")
BUDGET = {ARCH: {"zip": 1_000_000, "unzipped": 2_000_000}}


def elf(machine: str = ARCH) -> bytes:
    """A minimal ELF file without any segment: static, in need of nothing."""
    number = {"x86_64": 62, "aarch64": 183, "riscv": 243}[machine]
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    return ident + struct.pack("<HHIQQQIHHHHHH", 2, number, 1, 0, 64, 0, 0, 64, 56, 0, 64, 0, 0)


def shared_object(needed: Sequence[str] = (), versions: Mapping[str, str] | None = None, rpath: str = "") -> bytes:
    """A shared object that says it needs these libraries, from some of them one version, and nothing else.

    One segment maps the file as it is, so that addresses are offsets.
    """
    strings = bytearray(b"\0")

    def string(text: str) -> int:
        strings.extend(text.encode() + b"\0")
        return len(strings) - len(text) - 1

    entries = [(1, string(name)) for name in needed] + ([(15, string(rpath))] if rpath else [])
    verneed = b""
    for index, (library, version) in enumerate((versions or {}).items(), 1):
        following = 32 if index < len(versions or {}) else 0
        verneed += struct.pack("<HHIII", 1, 1, string(library), 16, following)
        verneed += struct.pack("<IHHII", 0, 0, 2, string(version), 0)
    start = 64 + 2 * 56
    size = 16 * (len(entries) + 4)
    entries += [(5, start + size + len(verneed)), (0x6FFFFFFE, start + size), (0x6FFFFFFF, len(versions or {})), (0, 0)]
    body = b"".join(struct.pack("<QQ", *entry) for entry in entries) + verneed + strings
    end = start + len(body)
    header = bytearray(elf())
    struct.pack_into("<Q", header, 32, 64)
    struct.pack_into("<H", header, 56, 2)
    load = struct.pack("<IIQQQQQQ", 1, 4, 0, 0, 0, end, end, 4096)
    dynamic = struct.pack("<IIQQQQQQ", 2, 4, start, start, start, size, size, 8)
    return bytes(header) + load + dynamic + body


def good_files() -> dict[str, bytes]:
    """The content of a layer that passes."""
    files = {
        "datadog_wrapper": b'#!/bin/sh\nexec "$@"\n',
        "extensions/datadog-agent": elf(),
        "fliptop/certifi/cacert.pem": b"certificates",
        "fliptop/fliptop": elf(),
    }
    return with_bill(files)


PACKAGES = {"h11": "0.16.0"}


def with_bill(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files with a bill of materials, a licence and a manifest that describe them."""
    rest = {name: data for name, data in files.items() if name not in DOCUMENTS}
    parts: list[dict[str, Any]] = [
        {"name": name, "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(data).hexdigest()}]}
        for name, data in rest.items()
    ]
    parts += [{"name": name, "version": version, "licenses": ["MIT"]} for name, version in PACKAGES.items()]
    texts = "".join(f"{name} {version}: MIT\n" for name, version in PACKAGES.items())
    bill = json.dumps({"components": parts}).encode()
    return with_manifest({**rest, "fliptop/sbom.cdx.json": bill, "fliptop/LICENSES.txt": texts.encode()})


def with_manifest(files: dict[str, bytes], **changed: Any) -> dict[str, bytes]:
    """The files with a manifest that describes them, in the order a zip has to have."""
    rest = {name: data for name, data in files.items() if name != "fliptop/manifest.json"}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in rest.items()}
    manifest = {"version": "1", "arch": ARCH, "flavour": "frozen", "packages": PACKAGES, "files": digests, **changed}
    return dict(sorted({**rest, "fliptop/manifest.json": json.dumps(manifest).encode()}.items()))


def write(files: dict[str, bytes], target: Path, modes: dict[str, int] | None = None) -> Path:
    """Write a zip as it should be, but for the modes that are given."""
    programs = ("datadog_wrapper", "extensions/datadog-agent", "fliptop/fliptop", "datadog-agent-go")
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            mode = (modes or {}).get(name, 0o755 if name in programs else 0o644)
            info.external_attr = (0o100000 | mode) << 16
            archive.writestr(info, data)
    return target
