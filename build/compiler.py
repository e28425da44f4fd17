"""How the C that Nuitka generates becomes a program: what build/nuitka/zig is told, Nuitka's compiler.

Target, glibc and processor are named, so that the result is the same on every machine. Of this machine, or of Debian's
packages where it is not the one that is compiled for (build/cross.py), come the headers and the library of Python.
"""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from build import cross  # noqa: E402

WRAPPER = ROOT / "build" / "nuitka" / "zig"
CACHE = ROOT / ".cache" / "zig"
GLIBC = "2.34"
# The oldest processors that Lambda has ever had can do more than these: x86-64 as of 2003, and armv8-a.
CPU = {"x86_64": "x86_64", "aarch64": "generic"}
# Nuitka names the directory of the Python that freezes, and has patchelf write the real rpath over it; its length would
# stay visible in the program.
RPATH = "X" * 200


def prepare(work: Path, arch: str) -> dict[str, str]:
    """Make what compiling for `arch` needs below the directory `work`; return the environment of the compiler.

    cross.CrossError, debian.DebianError: a library is missing. subprocess.CalledProcessError: zig does not work.
    """
    headers, libraries = _multiarch(work, arch)
    environment = {
        "ZIG_GLOBAL_CACHE_DIR": str(CACHE),
        "ZIG_LOCAL_CACHE_DIR": str(CACHE),
        "FLIPTOP_ZIG": str(Path(sysconfig.get_path("platlib")) / "ziglang" / "zig"),
        "FLIPTOP_ZIG_TARGET": f"{arch}-linux-gnu.{GLIBC}",
        "FLIPTOP_ZIG_CPU": CPU[arch],
        "FLIPTOP_ZIG_RPATH": RPATH,
        "FLIPTOP_ZIG_INCLUDE": str(headers),
        "FLIPTOP_ZIG_LIB": str(libraries),
    }
    _make_libraries(libraries, environment)
    return environment


def _multiarch(work: Path, arch: str) -> tuple[Path, Path]:
    """Return directories with the headers and the libraries of Debian's multiarch layout that zig does not look for.

    The whole of Debian's directories would put this machine's glibc before the one of the target. So the first has
    `<multiarch>/python3.x/pyconfig.h` alone, the second what Debian's static library of Python asks for; elsewhere
    both are empty.
    """
    headers, libraries = work / "include", work / "lib"
    multiarch = sysconfig.get_config_var("MULTIARCH") or arch
    include = Path(sysconfig.get_path("include"))
    (headers / multiarch).mkdir(parents=True)
    libraries.mkdir()
    if (source := include.parent / multiarch / include.name).is_dir():
        (headers / multiarch / include.name).symlink_to(source)
    if zlib := _system_library("libz.so.1", multiarch):
        (libraries / "libz.so").symlink_to(zlib)
    if expat := _system_library("libexpat.so.1", multiarch):
        (libraries / "expat.c").write_text(_expat_stub(expat.read_bytes()))
    return headers, libraries


def _system_library(name: str, multiarch: str) -> Path | None:
    path = cross.library(name) if cross.is_cross() else Path("/usr/lib") / multiarch / name
    return path if path.is_file() else None


def _expat_stub(library: bytes) -> str:
    """Return C that defines the functions of libexpat, so that a Python which has it built in can be linked without it.

    Debian 12's libexpat needs glibc 2.36. We carry no module that parses XML (excluded.txt), so nothing calls these.
    """
    names = sorted({name.decode() for name in re.findall(rb"\0(XML_\w+)(?=\0)", library)})
    return "".join(f"void {name}(void) {{ __builtin_trap(); }}\n" for name in names)


def _make_libraries(directory: Path, environment: dict[str, str]) -> None:
    for source in directory.glob("*.c"):
        library, compiled = source.with_name(f"lib{source.stem}.a"), source.with_suffix(".o")
        compiler = [str(WRAPPER), "cc", "-c", "-o", str(compiled), str(source)]
        archiver = [environment["FLIPTOP_ZIG"], "ar", "rcsD", str(library), str(compiled)]
        for command in (compiler, archiver):
            subprocess.run(command, env=environment, check=True)
