"""`build/bare_layer.py`: what it makes of the built layer, and that it would notice."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.build import samples

bare = samples.load("bare_layer")

ARCH = platform.machine()
PROGRAM = samples.ROOT / "build" / "bare_layer.py"
LAYER = samples.ROOT / "dist" / f"fliptop-{ARCH}.zip"
EMULATOR = shutil.which(f"qemu-{ARCH}-static")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for namespaces")
needs_qemu = pytest.mark.skipif(not EMULATOR, reason="needs qemu-user-static")


def judged(layer: Path) -> tuple[int, str]:
    done = subprocess.run([sys.executable, PROGRAM, layer], capture_output=True, text=True, check=False, timeout=100)
    return done.returncode, done.stdout + done.stderr


def changed(tmp_path: Path, name: str, change: Callable[[Path], object]) -> Path:
    """A copy of the built layer in which one file was changed."""
    target = tmp_path / LAYER.name
    with zipfile.ZipFile(LAYER) as built, zipfile.ZipFile(target, "w") as copy:
        for info in built.infolist():
            data = built.read(info)
            if info.filename == name:
                (tmp_path / "changed").write_bytes(data)
                change(tmp_path / "changed")
                data = (tmp_path / "changed").read_bytes()
            copy.writestr(info, data)
    return target


@needs_root
@pytest.mark.frozen
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_built_layer_lives_there() -> None:
    code, said = judged(LAYER)
    assert (code, "starts and ends, writes nothing" in said) == (0, True), said


@needs_root
@pytest.mark.frozen
@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["fliptop/fliptop", "fliptop/_ssl.so"])
def test_a_library_that_is_nowhere_is_named(name: str, tmp_path: Path) -> None:
    rename = lambda path: path.write_bytes(path.read_bytes().replace(b"\0libc.so.6\0", b"\0libx.so.6\0"))  # noqa: E731
    code, said = judged(changed(tmp_path, name, rename))
    assert code == 1
    assert re.search(rf"^bare root: /opt/{name} lacks .*libx\.so\.6", said, re.MULTILINE)


def test_a_layer_for_another_machine_is_left_alone(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "layer.zip", "w") as archive:
        archive.writestr("fliptop/manifest.json", json.dumps({"arch": "riscv"}))
    assert judged(tmp_path / "layer.zip") == (0, "bare root: not run, because the layer is for riscv\n")


def compiled(source: str, target: Path) -> None:
    target.with_suffix(".c").write_text(source)
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", f"{ARCH}-linux-musl", "-static", "-Os"]
    subprocess.run([*compiler, target.with_suffix(".c"), "-o", target], check=True)


NEWER = {
    "x86_64": '__asm__ volatile("vpaddd %ymm0, %ymm0, %ymm0");',  # AVX2: x86-64-v3
    "aarch64": '__asm__ volatile(".arch armv8.1-a+lse\\n ldadd w0, w0, [sp]");',  # LSE: armv8.1-a
}


@needs_root
@needs_qemu
@pytest.mark.slow
@pytest.mark.timeout(200)
def test_an_instruction_of_a_newer_processor_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bare, "QEMU", EMULATOR)
    with tempfile.TemporaryDirectory() as made:  # pytest's own would be closed to that user
        folder = Path(made)
        folder.chmod(0o755)
        compiled("int main(void) { return 0; }", folder / "well")
        compiled(f"int main(void) {{ {NEWER[ARCH]} return 0; }}", folder / "newer")
        assert bare._emulated([folder / "well"], {}).returncode == 0
        assert bare._emulated([folder / "newer"], {}).returncode == -4, "illegal instruction"


def test_the_loader_is_the_one_that_the_program_names() -> None:
    assert bare.loader_of(b"\0/lib64/ld-linux-x86-64.so.2\0") == Path("/lib64/ld-linux-x86-64.so.2")
    assert bare.loader_of(b"x\0/lib/ld-linux-aarch64.so.1\0") == Path("/lib/ld-linux-aarch64.so.1")
    with pytest.raises(SystemExit):
        bare.loader_of(b"#!/bin/sh")
