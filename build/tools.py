"""Install what slow tests alone need: `.cache/tools`, once, when first asked for.

    python build/tools.py [python|node|python-clients|node-clients|emulator]

The tools that check what people copy out of the documents: `python` (cfn-lint with the SAM translator, hadolint, a
parser of HCL) comes from build/tools.lock, with hashes; `node` (CDK, an open fork of the Serverless Framework) from
tests/attach/package-lock.json, with hashes too. The client libraries that functions speak to the extension with:
`python-clients` from build/clients.lock, `node-clients` from tests/promises/clients/npm. And `emulator`, AWS's own
emulator of Lambda (the Runtime Interface Emulator), as it comes with the SAM CLI, from build/emulator.lock. Up to half
a minute and 300 MB each, which is why `make setup` does not do it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".cache" / "tools"


class ToolsError(Exception):
    """The tools could not be installed; the text says why and what to do."""


def python_tools() -> Path:
    """Return the directory with `cfn-lint`, `hadolint` and a `python` that has their modules."""
    return _python("python", ROOT / "build" / "tools.lock") / "bin"


def python_clients() -> Path:
    """Return the directory that has to be on `sys.path` for the client libraries."""
    (modules,) = _python("python-clients", ROOT / "build" / "clients.lock").glob("lib/python*/site-packages")
    return modules


def _python(name: str, lock: Path) -> Path:
    target, inputs = TOOLS / name, lock.read_bytes() + sys.version.encode()
    if not _is_current(target, inputs):
        shutil.rmtree(target, ignore_errors=True)
        venv.EnvBuilder(symlinks=True, with_pip=False).create(target)
        pip = [os.path.realpath(sys.executable), "-m", "pip", "--python", str(target / "bin" / "python"), "install"]
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
        _run([*pip, *options, "-r", str(lock)], "pip")
        _stamp(target, inputs)
    return target


def node_tools() -> Path:
    """Return the directory whose `node_modules` has the packages of tests/attach."""
    return _node("node", ROOT / "tests" / "attach")


def node_clients() -> Path:
    """Return the directory whose `node_modules` has the client libraries."""
    return _node("node-clients", ROOT / "tests" / "promises" / "clients" / "npm")


def _node(name: str, packages: Path) -> Path:
    if shutil.which("npm") is None:
        raise ToolsError("npm is missing.\nFix: install Node.js 20 or newer with npm.")
    target, files = TOOLS / name, [packages / "package.json", packages / "package-lock.json"]
    inputs = b"".join(path.read_bytes() for path in files)
    if not _is_current(target, inputs):
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for path in files:
            shutil.copy(path, target)
        options = ["--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        _run(["npm", "ci", *options, "--prefix", str(target)], "npm")
        _stamp(target, inputs)
    return target


def emulator() -> Path:
    """Return AWS's Runtime Interface Emulator for this machine's architecture, a program."""
    target = TOOLS / "emulator"
    lock = ROOT / "build" / "emulator.lock"
    inputs = lock.read_bytes() + platform.machine().encode()
    program = target / "aws-lambda-rie"
    if not _is_current(target, inputs):
        shutil.rmtree(target, ignore_errors=True)
        pip = [os.path.realpath(sys.executable), "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
        options = ["--no-deps", "--only-binary", ":all:", "--require-hashes"]
        _run([*pip, *options, "-r", str(lock), "-d", str(target)], "pip")
        [wheel] = target.glob("*.whl")
        arch = {"x86_64": "x86_64", "aarch64": "arm64"}[platform.machine()]
        with zipfile.ZipFile(wheel) as archive:
            program.write_bytes(archive.read(f"samcli/local/rapid/aws-lambda-rie-{arch}"))
        program.chmod(0o755)
        wheel.unlink()
        _stamp(target, inputs)
    return program


def _run(command: list[str], name: str) -> None:
    environ = {**os.environ, "PIP_ROOT_USER_ACTION": "ignore"}
    if subprocess.run(command, env=environ, check=False).returncode:
        raise ToolsError(
            f"{name} could not install the tools (its message is above).\n"
            "Fix: check that this machine reaches its package index, then run the same command again."
        )


def _is_current(target: Path, inputs: bytes) -> bool:
    stamp = target / ".complete"
    return stamp.is_file() and stamp.read_text() == hashlib.sha256(inputs).hexdigest()


def _stamp(target: Path, inputs: bytes) -> None:
    (target / ".complete").write_text(hashlib.sha256(inputs).hexdigest())


def main(arguments: list[str]) -> int:
    """Install what the command line names (default: everything); return the exit code."""
    known = {
        "python": python_tools,
        "node": node_tools,
        "python-clients": python_clients,
        "node-clients": node_clients,
        "emulator": emulator,
    }
    if unknown := set(arguments) - known.keys():
        print(f"usage: python build/tools.py [{'|'.join(known)}] (not {', '.join(unknown)})", file=sys.stderr)
        return 2
    try:
        for name in arguments or known:
            print(known[name]())
    except ToolsError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
