"""`build/check_layer.py` passes a good layer and names each thing that is wrong with a bad one."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.unit.build import samples

check_layer = samples.load("check_layer")
LIBRARY = "fliptop/extra.so"


def problems(tmp_path: Path, files: dict[str, bytes], **options: Any) -> list[str]:
    budget = tmp_path / "budget.json"
    budget.write_text(json.dumps(options.pop("budget", samples.BUDGET)))
    path = samples.write(files, tmp_path / "layer.zip", **options)
    found: list[str] = check_layer.check(check_layer.Layer.read(path, budget))
    return found


def only(found: list[str], *words: str) -> None:
    assert len(found) == 1, found
    for word in words:
        assert word in found[0]


def test_a_good_layer_passes(tmp_path: Path) -> None:
    assert problems(tmp_path, samples.good_files()) == []


def test_a_legacy_extension_may_be_in_it_and_is_not_counted(tmp_path: Path) -> None:
    files = samples.with_bill({**samples.good_files(), "datadog-agent-go": b"#!/bin/sh\n" * 300_000})
    assert problems(tmp_path, files) == []


@pytest.mark.parametrize("name", ["extensions/datadog-agent", "fliptop/fliptop", "datadog_wrapper"])
def test_missing_file(tmp_path: Path, name: str) -> None:
    files = samples.good_files()
    del files[name]
    assert any(f"{name} is missing" in problem for problem in problems(tmp_path, samples.with_bill(files)))


@pytest.mark.parametrize("name", ["fliptop/notes.txt", "bin/tool", "extensions/another", "fliptop/certifi/key.pem"])
def test_extra_path(tmp_path: Path, name: str) -> None:
    files = samples.with_bill({**samples.good_files(), name: b"x"})
    only(problems(tmp_path, files), name, "no business")


@pytest.mark.parametrize(
    ("name", "mode"), [("fliptop/fliptop", 0o644), ("fliptop/certifi/cacert.pem", 0o755), ("datadog_wrapper", 0o777)]
)
def test_wrong_mode(tmp_path: Path, name: str, mode: int) -> None:
    only(problems(tmp_path, samples.good_files(), modes={name: mode}), name, f"{mode:o}")


def test_symbol_of_a_newer_glibc(tmp_path: Path) -> None:
    versions = {"libc.so.6": "GLIBC_2.4", "libm.so.6": "GLIBC_2.35"}
    files = {**samples.good_files(), LIBRARY: samples.shared_object(["libc.so.6", "libm.so.6"], versions)}
    only(problems(tmp_path, samples.with_bill(files)), LIBRARY, "GLIBC_2.35 of libm.so.6", "2.34")


@pytest.mark.parametrize("version", ["GLIBC_2.34", "GLIBC_2.4", "GLIBC_PRIVATE", "OPENSSL_3.0.0"])
def test_symbols_that_are_old_enough_or_not_glibc_s(tmp_path: Path, version: str) -> None:
    files = {**samples.good_files(), LIBRARY: samples.shared_object(["libc.so.6"], {"libc.so.6": version})}
    assert problems(tmp_path, samples.with_bill(files)) == []


def test_missing_library(tmp_path: Path) -> None:
    needed = "libneeded.so.1"
    library = samples.shared_object(["libc.so.6", "libgcc_s.so.1", needed], rpath="/usr/lib:$ORIGIN/../lib")
    files = {**samples.good_files(), "fliptop/package/extra.so": library}
    only(problems(tmp_path, samples.with_bill(files)), "fliptop/package/extra.so", needed, "neither in the layer")
    # In the layer, but not where the dynamic linker looks for it.
    elsewhere = samples.with_bill({**files, f"fliptop/{needed}": samples.shared_object()})
    only(problems(tmp_path, elsewhere), needed)
    found = samples.with_bill({**files, f"fliptop/lib/{needed}": samples.shared_object()})
    assert problems(tmp_path, found) == []


def test_libraries_are_found_through_the_program_s_rpath_too(tmp_path: Path) -> None:
    library = samples.shared_object(["libneeded.so"])
    files = {**samples.good_files(), LIBRARY: library, "fliptop/lib/libneeded.so": samples.shared_object()}
    only(problems(tmp_path, samples.with_bill(files)), "libneeded.so")
    files["fliptop/fliptop"] = samples.shared_object(rpath="$ORIGIN/lib")
    assert problems(tmp_path, samples.with_bill(files)) == []


def test_wrong_architecture(tmp_path: Path) -> None:
    other = "aarch64" if samples.ARCH == "x86_64" else "x86_64"
    files = samples.with_bill({**samples.good_files(), LIBRARY: samples.elf(other)})
    only(problems(tmp_path, files), LIBRARY, f"is for {other}")


@pytest.mark.parametrize("data", [samples.elf("riscv"), b"\x7fELF\x01\x01", samples.elf()[:40]])
def test_damaged_or_foreign_elf(tmp_path: Path, data: bytes) -> None:
    only(problems(tmp_path, samples.with_bill({**samples.good_files(), LIBRARY: data})), LIBRARY, "cannot be loaded")


def test_launcher_must_be_static(tmp_path: Path) -> None:
    program = samples.shared_object(["libc.so.6"])
    files = samples.with_bill({**samples.good_files(), "extensions/datadog-agent": program})
    only(problems(tmp_path, files), "extensions/datadog-agent is not static")


def test_launcher_must_not_be_a_script(tmp_path: Path) -> None:
    files = samples.with_bill({**samples.good_files(), "extensions/datadog-agent": b"#!/bin/sh\n"})
    only(problems(tmp_path, files), "extensions/datadog-agent is no ELF file")


def test_content_that_the_manifest_does_not_know(tmp_path: Path) -> None:
    files = {**samples.good_files(), "datadog_wrapper": b"#!/bin/sh\n# changed\n"}
    told = problems(tmp_path, files)
    assert [problem.split(" ")[0] for problem in told] == ["datadog_wrapper"] * 2
    assert "manifest.json says" in told[0]
    assert "sbom.cdx.json says" in told[1]


def test_a_bill_that_cannot_be_read(tmp_path: Path) -> None:
    files = samples.with_manifest({**samples.good_files(), "fliptop/sbom.cdx.json": b"[]"})
    only(problems(tmp_path, files), "fliptop/sbom.cdx.json", "cannot be read")


def test_a_package_without_its_licence(tmp_path: Path) -> None:
    files = samples.good_files()
    without = {**files, "fliptop/LICENSES.txt": b"h11 0.15.0: MIT\n"}
    only(problems(tmp_path, samples.with_manifest(without)), "LICENSES.txt", "h11 0.16.0")
    bill = files["fliptop/sbom.cdx.json"].replace(b'"licenses"', b'"others"')
    only(problems(tmp_path, samples.with_manifest({**files, "fliptop/sbom.cdx.json": bill})), "h11 0.16.0", "not in")


def test_manifest_that_cannot_be_read(tmp_path: Path) -> None:
    files = {**samples.good_files(), "fliptop/manifest.json": b"{"}
    assert any("has no 'version'" in problem for problem in problems(tmp_path, files))


@pytest.mark.parametrize("what", ["zip", "unzipped"])
def test_over_budget(tmp_path: Path, what: str) -> None:
    budget = {samples.ARCH: {**samples.BUDGET[samples.ARCH], what: 10}}
    only(problems(tmp_path, samples.good_files(), budget=budget), f"{what} size", "exceeds the budget of 10")


def test_no_budget_for_the_architecture(tmp_path: Path) -> None:
    only(problems(tmp_path, samples.good_files(), budget={}), "budget.json says nothing about")


def test_order_and_times_are_fixed(tmp_path: Path) -> None:
    unsorted = dict(reversed(samples.good_files().items()))
    only(problems(tmp_path, unsorted), "not sorted")
    path = samples.write(samples.good_files(), tmp_path / "late.zip")
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("fliptop/z.so", (2026, 1, 1, 0, 0, 0))
        info.create_system, info.external_attr = 3, 0o100644 << 16
        archive.writestr(info, b"x")
    (tmp_path / "budget.json").write_text(json.dumps(samples.BUDGET))
    found = check_layer.check(check_layer.Layer.read(path, tmp_path / "budget.json"))
    assert any("carries a time of its own" in problem for problem in found)


def test_as_a_program(tmp_path: Path) -> None:
    program = [sys.executable, str(samples.ROOT / "build" / "check_layer.py")]
    good = samples.write(samples.good_files(), tmp_path / "good.zip")
    passed = subprocess.run([*program, str(good)], capture_output=True, text=True, check=False)
    assert (passed.returncode, passed.stderr) == (0, "")
    assert "all checks passed" in passed.stdout
    bad = samples.write(samples.good_files(), tmp_path / "bad.zip", {"fliptop/fliptop": 0o600})
    failed = subprocess.run([*program, str(bad)], capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert "fliptop/fliptop has mode 100600" in failed.stderr
    (tmp_path / "none.zip").write_bytes(b"no zip")
    unreadable = subprocess.run([*program, str(tmp_path / "none.zip")], capture_output=True, text=True, check=False)
    assert unreadable.returncode == 1
    assert "cannot be read as a zip" in unreadable.stderr
