"""What freezing on x86_64 could bake wrongly into a program for aarch64: whatever is found out when it is frozen.

A small package is frozen by the program that freezes the extension, and asked under QEMU. It evaluates the same
expressions in a module that Nuitka compiles and in one that is carried as bytecode.
"""

from __future__ import annotations

import ast
import json
import platform
import shutil
import subprocess
import sys

import pytest

from tests.unit.build import samples

cross = samples.load("cross")
emulate = samples.load("emulate")
ROOT = samples.ROOT
PACKAGE = ROOT / "src" / "fliptop"
# Names of the kernel's are those of asm-generic/fcntl.h as changed by arch/arm64: on x86_64 they have other numbers.
ON_AARCH64 = {
    "platform.machine()": "aarch64",
    "os.uname().machine": "aarch64",
    "'x86_64' if platform.machine() == 'x86_64' else 'another'": "another",
    "sysconfig.get_platform()": "linux-aarch64",
    "sysconfig.get_config_var('MULTIARCH')": "aarch64-linux-gnu",
    "sysconfig.get_config_var('EXT_SUFFIX')": ".cpython-311-aarch64-linux-gnu.so",
    "importlib.machinery.EXTENSION_SUFFIXES[0]": ".cpython-311-aarch64-linux-gnu.so",
    "sys.implementation._multiarch": "aarch64-linux-gnu",
    "sys.platform": "linux",
    "sys.byteorder": "little",
    "sys.maxsize": 2**63 - 1,
    "struct.calcsize('P')": 8,
    "os.O_DIRECTORY": 0o40000,
    "os.O_NOFOLLOW": 0o100000,
    "os.O_DIRECT": 0o200000,
}
FACTS = ", ".join(f"{expression!r}: {expression}" for expression in ON_AARCH64)
MODULE = f"import importlib.machinery, json, os, platform, struct, sys, sysconfig\nFACTS = {{{FACTS}}}\n"
MAIN = MODULE + "from fliptop.carried import FACTS as CARRIED\nprint(json.dumps([FACTS, CARRIED]))\n"
COMPILED = {"fliptop", "fliptop.__main__"}
# What may be different on another machine, and what Nuitka would evaluate if a compiled module used it.
OF_THE_MACHINE = {"platform", "sysconfig", "struct", "ctypes", "uname", "maxsize", "byteorder", "implementation"}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_frozen_program_finds_out_where_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    if platform.machine() != cross.BUILDER:
        pytest.skip(f"only {cross.BUILDER} freezes for another architecture")
    probe = ROOT / ".cache" / "probe"
    shutil.rmtree(probe, ignore_errors=True)
    package = probe / "fliptop"
    package.mkdir(parents=True)
    for name, text in {"__init__": '"""A probe."""\n', "carried": MODULE, "__main__": MAIN}.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.setenv("FLIPTOP_PROBE", str(package))
    assert cross.run(ROOT / "tests" / "cross" / "freeze_probe.py", cross.TARGET) == 0
    generated = {path.name[len("module.") : -len(".c")] for path in (probe / "work").glob("*.build/module.*.c")}
    assert generated == COMPILED
    told = subprocess.run(
        [sys.executable, emulate.__file__, str(probe / "result" / "fliptop" / "fliptop")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    compiled, carried = json.loads(told.stdout)
    assert compiled == ON_AARCH64
    assert carried == ON_AARCH64


def test_what_is_compiled_does_not_depend_on_the_machine() -> None:
    for name in ("__init__.py", "__main__.py"):
        tree = ast.parse((PACKAGE / name).read_text())
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        used |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not used & OF_THE_MACHINE, f"{name}: Nuitka may evaluate this on the machine that freezes"
