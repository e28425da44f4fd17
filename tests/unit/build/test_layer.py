"""`build/layer.py`: the same content gives the same bytes, and a source layer runs this checkout."""

from __future__ import annotations

import hashlib
import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.unit.build import samples

layer = samples.load("layer")


def entries() -> list[object]:
    names = ("fliptop/fliptop", "extensions/datadog-agent", "datadog_wrapper", "fliptop/a.so")
    found: list[object] = layer.with_manifest([layer.Entry(name, name.encode() * 100) for name in names], "frozen")
    return found


def test_two_zips_of_the_same_content_are_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layer.write_zip(entries(), tmp_path / "one.zip")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.chdir(tmp_path)
    layer.write_zip(list(entries()), Path("deeper/two.zip"))
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "deeper" / "two.zip").read_bytes()


def test_zip_carries_modes_order_and_digests(tmp_path: Path) -> None:
    layer.write_zip(entries(), tmp_path / "layer.zip")
    with zipfile.ZipFile(tmp_path / "layer.zip") as archive:
        infos = archive.infolist()
        manifest = json.loads(archive.read("fliptop/manifest.json"))
        digests = {info.filename: hashlib.sha256(archive.read(info)).hexdigest() for info in infos}
    assert [info.filename for info in infos] == sorted(digests)
    modes = {info.filename: info.external_attr >> 16 for info in infos}
    assert modes.pop("fliptop/a.so") == modes.pop("fliptop/manifest.json") == 0o100644
    assert set(modes.values()) == {0o100755}
    del digests["fliptop/manifest.json"]
    assert manifest["files"] == digests
    assert manifest["flavour"] == "frozen"


def test_checksums_beside_the_layers(tmp_path: Path) -> None:
    for name in ("fliptop-x86_64.zip", "fliptop-aarch64.zip"):
        layer.write_zip(entries(), tmp_path / name)
    layer.write_checksums(tmp_path)
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path, check=True, capture_output=True)
    assert len((tmp_path / "SHA256SUMS").read_text().splitlines()) == 2


def test_documents_describe_what_goes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []

    def documents(files: dict[str, bytes], about: object, image: str) -> dict[str, bytes]:
        given.extend([sorted(files), about, image])
        return {"fliptop/sbom.cdx.json": b"bill"}

    monkeypatch.setattr(layer.sbom, "documents", documents)
    monkeypatch.setenv("FLIPTOP_LEGACY_IMAGE", "image:87")
    done = layer.with_documents([layer.Entry("fliptop/a.so", b"a")], {"packages": {}})
    assert given == [["fliptop/a.so"], {"packages": {}}, "image:87"]
    assert done[-1] == layer.Entry("fliptop/sbom.cdx.json", b"bill")


def test_source_layer_runs_this_checkout(tmp_path: Path) -> None:
    assert layer.main(["--source", "--out", str(tmp_path / "layer")]) == 0
    program = tmp_path / "layer" / "fliptop" / "fliptop"
    # As Lambda would: another directory, next to no environment.
    told = subprocess.run([program, "--version"], env={}, cwd="/", capture_output=True, text=True, check=True)
    manifest = json.loads((tmp_path / "layer" / "fliptop" / "manifest.json").read_text())
    assert told.stdout.strip() == manifest["version"]
    assert manifest["flavour"] == "source"


def test_source_layer_is_brought_up_to_date(tmp_path: Path) -> None:
    legacy = tmp_path / "legacy"
    legacy.write_bytes(b"#!/bin/sh\n")
    target = tmp_path / "layer"
    assert layer.main(["--source", "--legacy", str(legacy), "--out", str(target)]) == 0
    assert (target / "datadog-agent-go").stat().st_mode & 0o777 == 0o755
    (target / "fliptop" / "leftover").write_text("x")
    assert layer.main(["--source", "--out", str(target)]) == 0
    names = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert names == {"datadog_wrapper", "extensions/datadog-agent", "fliptop/fliptop", "fliptop/manifest.json"}


def test_legacy_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        layer.main(["--source", "--legacy", str(tmp_path / "none"), "--out", str(tmp_path / "layer")])
    assert "there is no file" in capsys.readouterr().err
