"""Freezing for aarch64 on x86_64: what is fetched, what replaces what, and how the compiler is called."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.build import samples

compiler = samples.load("compiler")
cross = samples.load("cross")
debian = samples.load("debian")
emulate = samples.load("emulate")
freeze = samples.load("freeze")
launcher = samples.load("launcher")

ROOT = samples.ROOT
SHA256 = "0" * 64
ZLIB = debian.Package(SHA256, "debian/pool/main/z/zlib/zlib1g_1.2.13.dfsg-1_arm64.deb")


def test_the_lock_names_every_package_of_debian_and_no_host() -> None:
    text = debian.LOCK.read_text()
    assert "://" not in text
    found = {(package.name, package.path[: -len(".deb")].rpartition("_")[2]) for package in debian.read_lock()}
    for arch, names in debian.PACKAGES.items():
        for name in names:
            assert {(name, arch), (name, "all")} & found, f"{name}: `make lock ARGS=--upgrade`"
    pythons = {package.path.split("_")[1] for package in debian.read_lock() if "python3.11" in package.name}
    assert len(pythons) == 1, "the Python that runs Nuitka is another than the one that is linked"


@pytest.mark.parametrize(
    "line", [f"{SHA256} https://deb.debian.org/debian/pool/x_1_all.deb", f"{SHA256[1:]} {ZLIB.path}"]
)
def test_a_lock_that_is_none_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not a sha256 and a path"):
        debian.read_lock(line)


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for apt's program that only the archive of old versions answers; what it was asked for."""
    asked = tmp_path / "asked"
    helper = tmp_path / "apt-helper"
    answer = 'case $3 in *snapshot*) echo deb > "$4" ;; *) echo 404 >&2; exit 1 ;; esac'
    helper.write_text(f'#!/bin/sh\necho "$3 $5" >> {asked}\n{answer}\n')
    helper.chmod(0o755)
    monkeypatch.setattr(debian, "APT_HELPER", helper)
    monkeypatch.setattr(debian, "CACHE", tmp_path / "cache")
    monkeypatch.delenv("FLIPTOP_DEBIAN_ARCHIVE", raising=False)
    return asked


def test_a_version_that_debian_has_removed_comes_from_its_archive(apt: Path) -> None:
    assert debian._fetched(ZLIB).read_text() == "deb\n"
    first, second = apt.read_text().splitlines()
    assert first == f"https://deb.debian.org/{ZLIB.path} SHA256:{SHA256}"
    time = debian.LOCK.read_text().split()[2]
    assert second.startswith(f"https://snapshot.debian.org/archive/debian/{time}/pool/main/z/zlib/zlib1g_")


def test_a_package_that_nobody_has_is_told_with_what_to_do(apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "SNAPSHOT", "https://gone.example")
    with pytest.raises(debian.DebianError, match=r"404\n404\nzlib1g_.* could not be fetched .*\nFix: .*make lock"):
        debian._fetched(ZLIB)


def test_without_apt_the_fix_is_told(apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "APT_HELPER", apt)
    with pytest.raises(debian.DebianError, match=r"apt-helper and dpkg-deb are missing.*\nFix: .*Debian 12"):
        debian._fetched(ZLIB)


def test_other_pairs_of_architectures_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross.platform, "machine", lambda: "aarch64")
    with pytest.raises(cross.CrossError, match=r"for aarch64 cannot freeze for x86_64.*\nFix: "):
        cross.run(ROOT / "build" / "freeze.py", "x86_64")


def test_every_compiled_package_has_wheels_for_aarch64_in_the_lock() -> None:
    entries = dict(cross._entries((ROOT / "requirements.lock").read_text()))
    packages = freeze.distributions("fliptop")
    assert packages.keys() <= entries.keys()
    assert all(f"{name}=={version}" in entries[name] for name, version in packages.items())
    assert entries["orjson"].count("--hash=sha256:") > 10, "the hashes of one machine's wheel alone"


@pytest.fixture
def frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A frozen extension in which one module and one library are for x86_64; its module has a twin."""
    directory = tmp_path / "fliptop"
    for path in ("orjson/orjson.so", "libz.so.1"):
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(samples.elf("x86_64"))
    twin = tmp_path / "packages" / "orjson" / f"orjson.cpython-3{cross.sys.version_info.minor}-aarch64-linux-gnu.so"
    twin.parent.mkdir(parents=True)
    twin.write_bytes(samples.elf("aarch64"))
    monkeypatch.setattr(cross, "CACHE", tmp_path)
    monkeypatch.setattr(cross, "set_rpath", lambda *_: None)
    return directory


def test_modules_are_replaced_and_libraries_found_anew(frozen: Path) -> None:
    cross.replace_by_twins(frozen)
    assert (frozen / "orjson" / "orjson.so").read_bytes() == samples.elf("aarch64")
    assert not (frozen / "libz.so.1").exists()


def test_a_module_without_a_twin_stops_the_build(frozen: Path) -> None:
    (frozen / "_another.so").write_bytes(samples.elf("x86_64"))
    with pytest.raises(cross.CrossError, match="_another has no twin for aarch64"):
        cross.replace_by_twins(frozen)


def test_sysconfig_of_other_machines_stays_out() -> None:
    out = set(freeze._other_configurations())
    assert vars(freeze.sysconfig)["_get_sysconfigdata_name"]() not in out
    assert all(name.startswith("_sysconfigdata_") for name in out)


@pytest.mark.parametrize(
    ("arguments", "passed"),
    [
        (["cc", "-march=x86_64", "-c", "a b.c"], ["-c", "a b.c", "-I", "include", "-L", "lib"]),
        (
            ["cc", "-Wl,-rpath=/home/ann/python/lib", "@link_input.txt"],
            [f"-Wl,-rpath={compiler.RPATH}", "@link_input.txt", "-I", "include", "-L", "lib", "-lz", "-lm"],
        ),
    ],
)
def test_the_compiler_is_told_target_and_processor(arguments: list[str], passed: list[str], tmp_path: Path) -> None:
    zig = tmp_path / "zig"
    zig.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    zig.chmod(0o755)
    environment = {
        **os.environ,
        "FLIPTOP_ZIG": str(zig),
        "FLIPTOP_ZIG_TARGET": "aarch64-linux-gnu.2.34",
        "FLIPTOP_ZIG_CPU": compiler.CPU["aarch64"],
        "FLIPTOP_ZIG_RPATH": compiler.RPATH,
        "FLIPTOP_ZIG_INCLUDE": "include",
        "FLIPTOP_ZIG_LIB": "lib",
        "FLIPTOP_ZIG_LIBRARIES": "-lz -lm",
    }
    wrapper = ROOT / "build" / "nuitka" / "zig"
    told = subprocess.run([wrapper, *arguments], env=environment, capture_output=True, text=True, check=True).stdout
    assert told.splitlines() == ["cc", "-target", "aarch64-linux-gnu.2.34", "-mcpu=generic", *passed]


@pytest.mark.parametrize(("machine", "is_taken"), [("aarch64", True), ("x86_64", False), ("riscv", False)])
def test_qemu_is_given_programs_for_aarch64_alone(machine: str, is_taken: bool) -> None:
    header = samples.elf(machine)
    matches = all(byte & mask == magic for byte, mask, magic in zip(header, emulate.MASK, emulate.MAGIC, strict=False))
    assert matches is is_taken


def test_this_machine_needs_no_emulation_of_itself() -> None:
    assert not emulate.is_needed(cross.platform.machine())


@pytest.mark.parametrize(
    ("arch", "present", "later"),
    [("aarch64", "__ARM_ARCH 8", "__ARM_FEATURE_ATOMICS"), ("x86_64", "__SSE2__ 1", "__SSE4_2__")],
)
def test_no_compiler_may_use_what_the_oldest_processors_lack(arch: str, present: str, later: str) -> None:
    zig = [sys.executable, "-m", "ziglang", "cc"]
    frozen = [*zig, "-target", f"{arch}-linux-gnu.{compiler.GLIBC}", f"-mcpu={compiler.CPU[arch]}"]
    for command in (frozen, list(launcher._release_compiler(arch))):
        asked = [*command, "-dM", "-E", "-x", "c", os.devnull]
        macros = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=50).stdout
        assert f"#define {present}\n" in macros
        assert f"#define {later} " not in macros
    assert later in _macros_of_a_newer_processor(zig, arch)


def _macros_of_a_newer_processor(zig: list[str], arch: str) -> str:
    newer = {"aarch64": "neoverse_n1", "x86_64": "x86_64_v2"}[arch]
    asked = [*zig, "-target", f"{arch}-linux-musl", f"-mcpu={newer}", "-dM", "-E", "-x", "c", os.devnull]
    return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=50).stdout
