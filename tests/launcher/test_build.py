"""What `build/` makes of the launcher: for both architectures, static, reproducible, within its budget."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
from tests.launcher.conftest import ROOT, Layer, load_build

MACHINES = {"x86_64": 62, "aarch64": 183}  # e_machine of the ELF header
LARGEST = 64 * 1024

# The first compilation for a target also compiles its C library.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    return load_build("launcher")


@pytest.fixture
def released(layer: Layer, builder: ModuleType) -> Layer:
    """A layer with the launcher that people get."""
    artefact = builder.release(builder.native())
    builder.build([artefact])
    shutil.copy2(artefact.path, layer.launcher)
    return layer


@pytest.mark.slow
@pytest.mark.parametrize("arch", MACHINES)
def test_release_is_small_static_and_reproducible(builder: ModuleType, tmp_path: Path, arch: str) -> None:
    artefact = builder.release(arch)
    builder.build([artefact])
    program = artefact.path.read_bytes()
    assert program[:4] == b"\x7fELF"
    assert int.from_bytes(program[18:20], "little") == MACHINES[arch]
    assert b"/lib/ld" not in program
    assert len(program) < LARGEST

    shutil.copytree(ROOT / "launcher", tmp_path / "elsewhere" / "launcher")
    again = tmp_path / "again"
    environ = {
        **os.environ,
        "ZIG_GLOBAL_CACHE_DIR": str(builder.CACHE / "global"),
        "ZIG_LOCAL_CACHE_DIR": str(tmp_path / "zig"),
    }
    subprocess.run([*artefact.command, "-o", again], cwd=tmp_path / "elsewhere", env=environ, check=True)
    assert again.read_bytes() == program


def test_building_again_does_nothing(builder: ModuleType) -> None:
    artefact = builder.release(builder.native())
    builder.build([artefact])
    before = artefact.path.stat().st_mtime_ns
    builder.build([artefact])
    assert artefact.is_current()
    assert artefact.path.stat().st_mtime_ns == before


def test_release_starts_either_extension(released: Layer) -> None:
    assert released.run().extension is not None
    released.extension.with_name("fliptop.report").unlink()
    outcome = released.run({"DD_EXTENSION_VERSION": "compatibility"})
    assert outcome.legacy is not None
    assert outcome.extension is None
    assert json.loads(outcome.lines[0])["DD_EXTENSION_FALLBACK_REASON"] == "extension_version"


def test_release_has_no_switches_for_tests(released: Layer) -> None:
    program = released.launcher.read_bytes()
    assert b"FLIPTOP_TEST" not in program


def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, for chroot")


def test_release_on_a_machine_without_glibc_and_without_proc(released: Layer, tmp_path: Path) -> None:
    needs_root()
    machine = tmp_path / "empty"
    shutil.copytree(released.root, machine / "opt")
    answer = subprocess.run(
        ["/opt/extensions/datadog-agent", "--explain", "--json"],
        preexec_fn=lambda: os.chroot(machine),
        cwd="/",
        env={},
        check=True,
        capture_output=True,
    )
    told = json.loads(answer.stdout)
    assert told["decision"] == "legacy"
    assert told["reasons"] == ["libc"]
    assert told["paths"]["root"] == "/opt/extensions/.."


def test_read_only_layer(released: Layer) -> None:
    command = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$0/extensions/x"',
    ]
    released.launcher.rename(released.launcher.with_name("x"))
    # The extension cannot write its report there, which is how we know that it was started.
    finished = subprocess.run(
        [*command, released.root], env=os.environ | released.environ(), check=False, capture_output=True
    )
    if b"unshare" in finished.stderr or b"mount:" in finished.stderr:
        pytest.skip(f"no mount namespace here: {finished.stderr.decode().strip()}")
    assert (finished.returncode, finished.stdout, finished.stderr) == (3, b"", b"")


@pytest.mark.slow
def test_aarch64_decides_the_same(released: Layer, builder: ModuleType) -> None:
    emulator = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if builder.native() == "aarch64" or not emulator:
        pytest.skip("needs qemu-user, on another architecture than aarch64")
    artefact = builder.release("aarch64")
    builder.build([artefact])
    shutil.copy2(artefact.path, released.launcher)
    released.extension.write_text("#!/bin/sh\n")  # whatever the machine; the reporter would be a reason
    released.yaml("otlp_config: {traces: {enabled: true}}\n")
    environ = released.environ({"DD_APPSEC_ENABLED": "1"})
    answer = subprocess.run(
        [emulator, released.launcher, "--explain", "--json"], env=environ, check=True, capture_output=True
    )
    told = json.loads(answer.stdout)
    assert [reason for reason in told["reasons"] if reason != "libc"] == ["appsec_enabled", "otel"]


@pytest.mark.slow
def test_instructions_stay_within_the_budget() -> None:
    if not shutil.which("valgrind"):
        assert not os.environ.get("CI"), "this gate needs valgrind: apt-get install valgrind"
        pytest.skip("needs valgrind: apt-get install valgrind")
    counter = load_build("instructions")
    arch = counter.builder.native()
    budget = json.loads((ROOT / "launcher" / "budget.json").read_text()).get(arch)
    if budget is None:
        pytest.skip(f"launcher/budget.json has nothing for {arch}: python build/instructions.py --update")
    counted = counter.measure(arch)
    assert counted.keys() == budget.keys()
    for case, number in counted.items():
        assert number <= budget[case], f"{case}: {number} instructions; see build/instructions.py"
        assert number > budget[case] / 2, f"{case}: {number} instructions: lower the budget, or was nothing counted?"


@pytest.mark.slow
def test_fuzz_targets_run(tmp_path: Path) -> None:
    if not shutil.which("clang"):
        pytest.skip("needs clang with libFuzzer: apt-get install clang libclang-rt-dev")
    fuzz = load_build("fuzz")
    for target in fuzz.TARGETS:
        assert fuzz.fuzz(target, 1) == 0
