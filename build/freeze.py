"""Freeze the extension: Python, its packages and ours in one directory that needs no Python on the machine it runs on.

    .venv/bin/python build/freeze.py [--arch x86_64|aarch64]

writes `dist/frozen/<arch>/fliptop/` (start `fliptop` in it) and, beside it, `frozen.json`: what it is made of.
Nuitka makes one program of the interpreter and everybody's bytecode; zig compiles it for a glibc that all supported
Lambda runtimes have. About a minute; nothing at all when neither the sources nor the tools have changed. On x86_64 it
can do so for aarch64 (build/cross.py).
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from build import compiler, cross, debian  # noqa: E402
from build.compiler import CPU, GLIBC  # noqa: E402
from build.elf import glibc_version, is_elf, read_elf, without_sections  # noqa: E402
from build.progress import Progress  # noqa: E402

ARCH = cross.target()
PACKAGE = ROOT / "src" / "fliptop"
NUITKA = ROOT / "build" / "nuitka"
CACHE = ROOT / ".cache"
WORK = CACHE / "freeze" / ARCH
RESULT = ROOT / "dist" / "frozen" / ARCH
PREPARED = WORK / "prepared"
# What the system library directory of every Lambda runtime offers; anything else must be in the layer.
SYSTEM_LIBRARIES = (
    *("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1", "libgcc_s.so.1"),
    *("ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"),
)
# What Nuitka looks for on this machine, and where it is; its SCons asks for gcc although zig compiles.
PROGRAMS = {
    "ldd": "Debian: libc-bin; Amazon Linux: glibc-common",
    "readelf": "Debian and Amazon Linux: binutils",
    "gcc": "Debian and Amazon Linux: gcc",
}
# Codecs for East Asian character sets: encodings names them, so they come along, and nothing of ours speaks them.
PRUNED = ("_codecs_*.so", "_multibytecodec.so")
# Accelerators that Nuitka would leave out because the module they serve works without.
ACCELERATORS = ("_bisect", "_json")
# What Python itself and names of hosts are encoded in. Nothing of ours speaks any of the other hundred.
ENCODINGS = r"aliases|ascii|charmap|idna|latin_1|punycode|(raw_)?unicode_escape|utf_.*"
PHASES = {
    "Starting Python compilation": "reading modules",
    "Generating source code": "generating C",
    "Running C compilation": "compiling C",
    "Backend C linking": "linking",
}


class FreezeError(Exception):
    """Something stands in the way of freezing; the text says what and how to remove it."""


def main(arguments: list[str]) -> int:
    """Freeze for the architecture that the command line names, or this machine's; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--arch", choices=sorted(CPU), default=ARCH)
    options = parser.parse_args(arguments)
    if options.arch == ARCH:
        return _freeze_here()
    try:
        _install_nuitka()  # its licence goes into the layer, from here
        return cross.run(Path(__file__), options.arch)
    except (FreezeError, cross.CrossError, debian.DebianError) as error:
        print(error, file=sys.stderr)
        return 1


def _freeze_here() -> int:
    progress = Progress(f"freezing fliptop for {ARCH} with Python {platform.python_version()}")
    try:
        inputs = _digest()
        if _is_current(inputs):
            _install_nuitka()  # its licence goes into the layer (build/sbom.py)
            progress.done("nothing changed since the last time")
        else:
            _freeze(inputs, progress)
            progress.done("frozen")
    except (FreezeError, cross.CrossError, debian.DebianError) as error:
        progress.abandon()
        print(error, file=sys.stderr)
        return 1
    files = [path for path in (RESULT / "fliptop").rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    print(f"{RESULT.relative_to(ROOT)}/fliptop: {size / 1e6:.1f} MB in {len(files)} files")
    return 0


def _freeze(inputs: str, progress: Progress) -> None:
    progress.phase("checking the tools")
    static = _check_python()
    excluded = _excluded()
    _check_imports(excluded)
    packages = distributions("fliptop")
    progress.phase("installing Nuitka")
    _install_nuitka()
    excluded += [*_encodings(), *_other_configurations(), *_foreign_packages(packages)]
    _prepare(excluded)
    _run_nuitka(_options(static, excluded), progress)
    progress.phase("collecting")
    _collect(packages)
    about = {"python": platform.python_version(), "arch": ARCH, "glibc": GLIBC, "packages": packages}
    about["nuitka"] = importlib.metadata.version("nuitka")
    (RESULT / "frozen.json").write_text(json.dumps({**about, "inputs": inputs}, indent=2, sort_keys=True) + "\n")


def _digest() -> str:
    """Return a digest of everything the result depends on."""
    sources = sorted(PACKAGE.rglob("*.py")) + sorted(path for path in NUITKA.iterdir() if path.is_file())
    names = ("requirements.lock", "build/freeze.lock", "build/freeze.py", "build/compiler.py", "build/elf.py")
    crossing = ("build/cross.py", "build/debian.py", "build/debian.lock") if cross.is_cross() else ()
    sources += [ROOT / name for name in (*names, *crossing)]
    digest = hashlib.sha256(f"{sys.version} {sys.base_prefix} {ARCH}".encode())
    for path in sources:
        digest.update(f"\0{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _is_current(inputs: str) -> bool:
    about = RESULT / "frozen.json"
    return about.is_file() and json.loads(about.read_text())["inputs"] == inputs


def _check_python() -> bool:
    """Return whether this Python can be linked statically; raise FreezeError where it cannot be frozen at all."""
    if sys.prefix == sys.base_prefix:
        raise FreezeError("build/freeze.py must run in the project's environment.\nFix: `make layer`.")
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        raise FreezeError(
            f"the C headers of {sys.base_prefix}'s Python {platform.python_version()} are missing.\n"
            "Fix: install them (Debian, Ubuntu: python3-dev; Amazon Linux, Fedora: python3-devel), or run\n"
            "`rm -r .venv; make PYTHON=/path/to/python3 layer` with a Python that has them."
        )
    for program, packages in PROGRAMS.items():
        if shutil.which(program) is None:
            raise FreezeError(f"the program `{program}` is missing.\nFix: install it ({packages}).")
    if cross.is_cross():
        return True
    directory, name = sysconfig.get_config_vars("LIBPL", "LIBRARY")
    stem = Path(directory) / Path(name).stem
    if any(path.is_file() for path in (stem.with_suffix(stem.suffix + ".a"), Path(f"{stem}-pic.a"))):
        return True
    library = Path(sysconfig.get_config_var("LIBDIR")) / sysconfig.get_config_var("INSTSONAME")
    if not library.is_file() or read_elf(library.read_bytes()).newest_glibc()[0] > glibc_version(GLIBC):
        raise FreezeError(_too_new(f"{library.name} (and there is no static {name} to link instead)"))
    return False


def _too_new(what: str) -> str:
    return (
        f"{what} is missing or needs a glibc newer than {GLIBC}, the oldest that Lambda's runtimes have.\n"
        "Fix: freeze with a Python built on an older system: `docker build -f Dockerfile.al2023 .`, or\n"
        "`rm -r .venv; make PYTHON=/path/to/python3 layer` with such a Python (Debian 12's and Ubuntu 22.04's will do)."
    )


def _install_nuitka() -> None:
    wanted = (ROOT / "build" / "freeze.lock").read_text().split()[0]
    try:
        if wanted == f"nuitka=={importlib.metadata.version('nuitka')}":
            return
    except importlib.metadata.PackageNotFoundError:
        pass
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    command = [str(base), "-m", "pip", "--python", sys.executable, "--disable-pip-version-check", "install", "--quiet"]
    command += ["--no-build-isolation", "--no-deps", "--require-hashes", "-r", str(ROOT / "build" / "freeze.lock")]
    if subprocess.run(command, env={**os.environ, "PIP_ROOT_USER_ACTION": "ignore"}, check=False).returncode:
        raise FreezeError(
            f"pip could not install {wanted} (its message is above).\n"
            "Fix: check that this machine reaches its package index, then run the same command again."
        )
    importlib.invalidate_caches()


def distributions(root: str) -> dict[str, str]:
    """Return name and version of every installed distribution that `root` needs, directly or not, without itself."""
    from packaging.requirements import Requirement  # noqa: PLC0415 -- part of .venv, not of every Python
    from packaging.utils import canonicalize_name  # noqa: PLC0415

    found: dict[str, str] = {}
    waiting = [root]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in found:
            found[name] = importlib.metadata.version(name)
            for line in importlib.metadata.requires(name) or []:
                requirement = Requirement(line)
                if requirement.marker is None or requirement.marker.evaluate({"extra": "", "platform_machine": ARCH}):
                    waiting.append(requirement.name)
    del found[root]
    return dict(sorted(found.items()))


def _foreign_packages(packages: dict[str, str]) -> Iterator[str]:
    """Yield the installed top-level modules that are there for the lab, the tests and the build."""
    yield "fliptop_lab"
    for module, owners in sorted(importlib.metadata.packages_distributions().items()):
        names = {owner.lower().replace("_", "-").replace(".", "-") for owner in owners}
        if module.isidentifier() and not names & (packages.keys() | {"fliptop"}):
            yield module


def _excluded() -> list[str]:
    lines = (NUITKA / "excluded.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _encodings() -> Iterator[str]:
    """Yield the modules of encodings that are not among those we carry."""
    for path in sorted((Path(sysconfig.get_path("stdlib")) / "encodings").glob("[a-z]*.py")):
        if not re.fullmatch(ENCODINGS, path.stem):
            yield f"encodings.{path.stem}"


def _other_configurations() -> Iterator[str]:
    """Yield the modules with what sysconfig says of other machines than the one that is frozen for."""
    own = vars(sysconfig)["_get_sysconfigdata_name"]()
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("_sysconfigdata_*.py")):
        if path.stem != own:
            yield path.stem


def _check_imports(excluded: list[str]) -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        for name in _imports(ast.parse(path.read_text(), str(path))):
            for banned in excluded:
                if f"{name}.".startswith(f"{banned}."):
                    raise FreezeError(
                        f"{path.relative_to(ROOT)} imports {name}, which the frozen extension goes without.\n"
                        f"Fix: do without it, or remove `{banned}` from build/nuitka/excluded.txt."
                    )


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _options(static: bool, excluded: list[str]) -> list[str]:
    return [
        *("--mode=standalone", "--deployment", "--zig", "--lto=no", f"--static-libpython={'yes' if static else 'no'}"),
        "--python-flag=-m,no_site,no_docstrings,no_asserts,isolated",
        *("--disable-plugins=multiprocessing,tk-inter", f"--user-plugin={NUITKA / 'bytecode_plugin.py'}"),
        *("--no-progressbar", "--assume-yes-for-downloads", "--update-check=never"),
        *(f"--output-dir={WORK}", "--output-filename=fliptop", "--include-package=fliptop"),
        *(f"--include-module={name}" for name in ACCELERATORS if importlib.util.find_spec(name)),
        *(f"--nofollow-import-to={name}" for name in excluded),
        str(PACKAGE),
    ]


def _environment() -> dict[str, str]:
    # SOURCE_DATE_EPOCH and the like from outside would change the result; only what is listed here goes in.
    return {
        "PATH": os.pathsep.join([str(NUITKA), str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "HOME": str(WORK),
        "LC_ALL": "C.UTF-8",
        # Lines are enough in a traceback; columns would be a sixth of all bytecode.
        "PYTHONNODEBUGRANGES": "1",
        "NUITKA_CACHE_DIR": str(CACHE / "nuitka"),
        "FLIPTOP_PREPARED": str(PREPARED),
        **compiler.prepare(WORK, ARCH),
        **(cross.VARIABLES if cross.is_cross() else {}),
    }


def _prepare(excluded: list[str]) -> None:
    """Make an empty directory to work in, and in it what the plugin reads: names, and code compiled in advance."""
    shutil.rmtree(WORK, ignore_errors=True)
    PREPARED.mkdir(parents=True)
    (PREPARED / "excluded").write_text("\n".join(excluded))
    paths = [str(PACKAGE.parent), *sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})]
    command = [sys.executable, *("-I", "-S", "-X", "no_debug_ranges"), str(NUITKA / "precompile.py")]
    command += [str(PREPARED / "precompiled"), *paths, "--", *excluded]
    if subprocess.run(command, check=False).returncode:
        raise FreezeError("the extension cannot be imported (the reason is above); mend that first.")


def _run_nuitka(options: list[str], progress: Progress) -> None:
    log = WORK / "nuitka.log"
    command = [sys.executable, "-m", "nuitka", *options]
    environment = _environment()
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT, cwd=WORK)
    with process, log.open() as lines:
        while process.poll() is None:
            progress.wait(process)
            for mark in (mark for line in lines for mark in PHASES if mark in line):
                progress.phase(PHASES[mark])
    if process.returncode or not (WORK / "fliptop.dist" / "fliptop").is_file():
        raise FreezeError(_diagnosis(log))


def _diagnosis(log: Path) -> str:
    text = log.read_text(errors="replace")
    if "undefined symbol: __isoc23" in text:
        return _too_new(f"the static library of Python in {sys.base_prefix}")
    tail = "\n".join(text.splitlines()[-25:])
    return f"{tail}\nNuitka could not freeze the extension (its last words are above, all of them in {log})."


def _collect(packages: dict[str, str]) -> None:
    """Move Nuitka's result to `dist`, less what is not needed, plus the system libraries it takes for granted."""
    shutil.rmtree(RESULT, ignore_errors=True)
    RESULT.mkdir(parents=True)
    target = RESULT / "fliptop"
    shutil.move(WORK / "fliptop.dist", target)
    for pattern in PRUNED:
        for path in target.glob(pattern):
            path.unlink()
    if cross.is_cross():
        cross.install_twins(packages, ROOT / "requirements.lock")
        cross.replace_by_twins(target)
    while missing := dict(_missing_libraries(target)):
        for name, source in missing.items():
            shutil.copyfile(source, target / name)
            cross.set_rpath(target / name, "$ORIGIN")
    for path in (path for path in target.rglob("*") if path.is_file()):
        _shrink(path)
        path.chmod(0o755 if path == target / "fliptop" else 0o644)


def _missing_libraries(target: Path) -> Iterator[tuple[str, Path]]:
    """Yield name and path on this machine of each library that some file needs and neither `target` nor Lambda has."""
    files = [path for path in target.rglob("*") if path.is_file() and is_elf(path.read_bytes())]
    known = {*SYSTEM_LIBRARIES, *(path.name for path in files)}
    for path in files:
        if absent := set(read_elf(path.read_bytes()).needed) - known:
            yield from ((name, cross.library(name)) for name in absent) if cross.is_cross() else _found(path, absent)


def _found(path: Path, absent: set[str]) -> Iterator[tuple[str, Path]]:
    """Yield, of the libraries `absent`, name and place of those that this machine finds for `path`."""
    for line in subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout.splitlines():
        name, _, location = line.strip().partition(" => ")
        if name in absent:
            yield name, Path(location.split(" (")[0])


def _shrink(path: Path) -> None:
    data = path.read_bytes()
    if is_elf(data) and len(smaller := without_sections(data)) < 0.9 * len(data):
        path.write_bytes(smaller)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
