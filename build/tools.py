"""Install what slow tests alone need: `.cache/tools`, once, when first asked for.

    python build/tools.py [python|node|emulator]

`python` (cfn-lint with the SAM translator, hadolint, a parser of HCL) comes from build/tools.lock, with hashes; `node`
(CDK, an open fork of the Serverless Framework) from tests/attach/package-lock.json, with hashes too: they check what
people copy out of the documents. Half a minute and 200 to 300 MB each, which is why `make setup` does not do it.
`emulator` is AWS's own emulator of Lambda (the Runtime Interface Emulator), as it comes with the SAM CLI; its lock is
build/emulator.lock.
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
LOCK = ROOT / "build" / "tools.lock"
EMULATOR_LOCK = ROOT / "build" / "emulator.lock"
PACKAGES = ROOT / "tests" / "attach"


class ToolsError(Exception):
    """The tools could not be installed; the text says why and what to do."""


def python_tools() -> Path:
    """Return the directory with `cfn-lint`, `hadolint` and a `python` that has their modules."""
    target = TOOLS / "python"
    if not _is_current(target, LOCK.read_bytes() + sys.version.encode()):
        shutil.rmtree(target, ignore_errors=True)
        venv.EnvBuilder(symlinks=True, with_pip=False).create(target)
        pip = [os.path.realpath(sys.executable), "-m", "pip", "--python", str(target / "bin" / "python"), "install"]
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
        _run([*pip, *options, "-r", str(LOCK)], "pip")
        _stamp(target, LOCK.read_bytes() + sys.version.encode())
    return target / "bin"


def node_tools() -> Path:
    """Return the directory whose `node_modules` has the packages of tests/attach."""
    if shutil.which("npm") is None:
        raise ToolsError("npm is missing.\nFix: install Node.js 20 or newer with npm.")
    target, files = TOOLS / "node", [PACKAGES / "package.json", PACKAGES / "package-lock.json"]
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
    inputs = EMULATOR_LOCK.read_bytes() + platform.machine().encode()
    program = target / "aws-lambda-rie"
    if not _is_current(target, inputs):
        shutil.rmtree(target, ignore_errors=True)
        pip = [os.path.realpath(sys.executable), "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
        options = ["--no-deps", "--only-binary", ":all:", "--require-hashes"]
        _run([*pip, *options, "-r", str(EMULATOR_LOCK), "-d", str(target)], "pip")
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
    """Install what the command line names (default: all); return the exit code."""
    tools = {"python": python_tools, "node": node_tools, "emulator": emulator}
    if unknown := set(arguments) - tools.keys():
        print(f"usage: python build/tools.py [{'|'.join(tools)}] (not {', '.join(unknown)})", file=sys.stderr)
        return 2
    try:
        for name in arguments or tools:
            print(tools[name]())
    except ToolsError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
