"""`build/sbom.py`: everything that ships is in the bill, with its licence, and the same files give the same bytes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.build import samples

sbom = samples.load("sbom")
freeze = samples.load("freeze")

tools = samples.load("tools")

VALIDATE = """\
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())
sys.exit(str(problem) if problem else 0)
"""
NUITKA_IS_HERE = sbom.importlib.util.find_spec("nuitka") is not None


@pytest.fixture
def about(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    if not NUITKA_IS_HERE:  # it is installed by `make layer`
        monkeypatch.setattr(
            sbom, "_texts", lambda name, real=sbom._texts: ("text",) if name == "nuitka" else real(name)
        )
    return {"packages": freeze.distributions("fliptop"), "python": "3.11.7", "nuitka": "4.3.3", "arch": samples.ARCH}


@pytest.fixture
def files() -> dict[str, bytes]:
    return {
        "extensions/datadog-agent": b"launcher",
        "fliptop/fliptop": b"program",
        "fliptop/libz.so.1": b"\0 inflate 1.2.13 Copyright 1995-2022 Mark Adler \0",
        "fliptop/libcrypto.so.3": b"\0OpenSSL 3.0.19 27 Jan 2026\0",
        "fliptop/libssl.so.3": b"nothing",
        "fliptop/libpython3.11.so.1.0": b"python",
        "fliptop/orjson/orjson.so": b"library",
    }


def bill(files: dict[str, bytes], about: dict[str, Any], image: str = "") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sbom.documents(files, about, image)[sbom.BILL])
    return found


def components(document: dict[str, Any], kind: str = "library") -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in document["components"] if each["type"] == kind}


def test_every_package_is_in_it_with_version_and_licence(files: dict[str, bytes], about: dict[str, Any]) -> None:
    found = components(bill(files, about))
    assert about["packages"].keys() <= found.keys()
    for name, version in about["packages"].items():
        assert found[name]["version"] == version
        assert found[name]["purl"] == f"pkg:pypi/{name}@{version}"
    assert all(each["licenses"] for each in found.values())
    assert found["httpx"]["licenses"] == [{"license": {"acknowledgement": "declared", "id": "BSD-3-Clause"}}] or found[
        "httpx"
    ]["licenses"] == [{"license": {"id": "BSD-3-Clause"}}]
    assert "Runtime Library Exception" in found["nuitka"]["licenses"][0]["license"]["name"]


def test_libraries_of_the_machine_have_their_versions(files: dict[str, bytes], about: dict[str, Any]) -> None:
    found = components(bill(files, about))
    assert (found["openssl"]["version"], found["zlib"]["version"]) == ("3.0.19", "1.2.13")
    assert {"cpython", "musl", "ziglang"} <= found.keys()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_bill_is_valid(files: dict[str, bytes], about: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "bill.json").write_bytes(
        sbom.documents({**files, "datadog-agent-go": b""}, about, "image:87")[sbom.BILL]
    )
    command = [tools.python_tools() / "python", "-c", VALIDATE, tmp_path / "bill.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "bill.json").write_text('{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": 1}')
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


def test_every_file_is_in_it_with_its_digest(files: dict[str, bytes], about: dict[str, Any]) -> None:
    document = bill(files, about)
    found = components(document, "file")
    assert found.keys() == files.keys()
    for name, data in files.items():
        assert found[name]["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(data).hexdigest()}]
    depends = {each["ref"]: each.get("dependsOn", []) for each in document["dependencies"]}
    assert len(depends["fliptop"]) == len(document["components"])


def test_the_legacy_extension_is_named_with_its_version(files: dict[str, bytes], about: dict[str, Any]) -> None:
    assert "datadog-lambda-extension" not in components(bill(files, about))
    image = "registry.example/datadog/lambda-extension:87@sha256:abc"
    found = components(bill({**files, "datadog-agent-go": b"legacy"}, about, image))
    assert found["datadog-lambda-extension"]["version"] == "87"


def test_the_same_files_give_the_same_bytes_in_another_process(
    files: dict[str, bytes], about: dict[str, Any], tmp_path: Path
) -> None:
    if not NUITKA_IS_HERE:
        pytest.skip("needs Nuitka, which `make layer` installs")
    mine = sbom.documents(files, about)
    assert mine == sbom.documents(dict(reversed(files.items())), about)
    (tmp_path / "given").write_text(repr((files, about)))
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from build import sbom\n"
        "for data in sbom.documents(*eval(open(sys.argv[2]).read())).values(): sys.stdout.buffer.write(data)"
    )
    command = [sys.executable, "-c", program, str(samples.ROOT), str(tmp_path / "given")]
    environ = {"PYTHONHASHSEED": "4711", "TZ": "Asia/Tokyo", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(command, env=environ, capture_output=True, check=True, timeout=50)
    assert done.stdout == b"".join(mine.values())
    other = bill({**files, "fliptop/fliptop": b"another"}, about)
    assert other["serialNumber"] != json.loads(mine[sbom.BILL])["serialNumber"]


def test_licences_are_there_once_each(files: dict[str, bytes], about: dict[str, Any]) -> None:
    text = sbom.documents(files, about)[sbom.LICENCES].decode()
    for name, version in about["packages"].items():
        assert f"\n{name} {version}: " in text
    assert "Jean-loup Gailly" in text
    assert text.count("TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION") == text.count("Apache License\n")
    assert "openssl 3.0.19: Apache-2.0\n\n(the same text as for fliptop, above)" in text
    for part in sbom._parts(files, about, ""):
        assert part.texts, f"{part.name} ships without the text of its licence"


def test_an_unknown_library_stops_the_build(files: dict[str, bytes], about: dict[str, Any]) -> None:
    with pytest.raises(sbom.SbomError, match=r"libmystery\.so\.1 ships, .* which licence\.\nFix: read it"):
        sbom.documents({**files, "fliptop/libmystery.so.1": b""}, about)


def test_a_package_without_a_licence_stops_the_build(
    files: dict[str, bytes], about: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sbom.importlib.metadata.metadata

    def metadata(name: str) -> Any:
        found = real(name)
        if name == "h11":
            del found["License"], found["License-Expression"], found["Classifier"]
        return found

    monkeypatch.setattr(sbom.importlib.metadata, "metadata", metadata)
    with pytest.raises(sbom.SbomError, match=r"h11 .* does not say its licence"):
        sbom.documents(files, about)


def test_provenance_says_nothing_of_this_place() -> None:
    found = sbom.provenance({"HOME": "/home/ann", "FLIPTOP_REVISION": "abc", "FLIPTOP_BASE_IMAGE": ""})
    assert found["revision"] == "abc"
    assert "base_image" not in found
    assert found["tools"]["ziglang"] == sbom.importlib.metadata.version("ziglang")
    assert found["locks"].keys() == {"requirements.lock", "build/freeze.lock", "build/debian.lock"}
    assert str(samples.ROOT) not in json.dumps(found)
    assert found == sbom.provenance({"FLIPTOP_REVISION": "abc"})
    assert sbom.provenance({}).keys() == {"tools", "locks", "sources"}


def test_checksums_are_understood_by_sha256sum(tmp_path: Path) -> None:
    for name in ("b.zip", "a.zip"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "SHA256SUMS").write_text(sbom.checksums(tmp_path.glob("*.zip")))
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path, check=True, capture_output=True)
    assert [line.split()[1] for line in (tmp_path / "SHA256SUMS").read_text().splitlines()] == ["a.zip", "b.zip"]
