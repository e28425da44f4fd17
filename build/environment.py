"""Make `.venv`: the one virtual environment that every task of this project runs in.

Runs with any Python from 3.11 on that has pip, standard library only. Everything is installed from
`requirements.lock` with hashes; nothing is built from source except this project (editable).
A fresh machine needs about a minute, most of it one download (the C compiler); warm, it does nothing.

    python build/environment.py [DIRECTORY]    # elsewhere than in `.venv`, for another Python (build/cross.py)
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = Path(sys.argv[1]).resolve() if sys.argv[1:] else ROOT / ".venv"
STAMP = VENV / ".complete"
OLDEST = (3, 11)


def main() -> int:
    if sys.version_info < OLDEST:
        print(f"fliptop needs Python {'.'.join(map(str, OLDEST))} or newer; this is {sys.version.split()[0]}.")
        print("Fix: install a newer Python and run `make PYTHON=/path/to/python3 …`.")
        return 1
    # The environment links to the interpreter. Links in between may lead through what the simulated Lambda hides.
    real = os.path.realpath(sys.executable)
    if real != sys.executable and sys.prefix == sys.base_prefix:
        os.execv(real, [real, *sys.argv])
    packages = _digest("requirements.lock", "build/environment.py")
    wanted = f"{packages} {_digest('pyproject.toml')}"
    found = STAMP.read_text() if STAMP.is_file() else ""
    if found.split(" ")[0] != packages:
        _make()
    if found != wanted:
        _pip("--editable", str(ROOT))
    STAMP.write_text(wanted)
    return 0


def _make() -> None:
    version = sys.version.split()[0]
    print(f"setting up {VENV.relative_to(ROOT)} with Python {version} (once; about a minute)", flush=True)
    # No ensurepip: Debian ships it separately. The pip that is here can install into another environment.
    venv.EnvBuilder(clear=True, symlinks=True, with_pip=False).create(VENV)
    _pip("--require-hashes", "--only-binary", ":all:", "-r", str(ROOT / "requirements.lock"))


def _pip(*arguments: str) -> None:
    """Install into `.venv` with this Python's pip, its progress bars visible on a terminal."""
    command = [sys.executable, "-m", "pip", "--python", str(VENV / "bin" / "python"), "--disable-pip-version-check"]
    environ = {**os.environ, "PIP_NO_WARN_SCRIPT_LOCATION": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    quiet = ["--quiet"] if not sys.stdout.isatty() else []
    finished = subprocess.run(
        [*command, "install", *quiet, "--no-build-isolation", "--no-deps", *arguments], env=environ, check=False
    )
    if finished.returncode:
        sys.exit(
            "pip could not install what requirements.lock names (its message is above).\n"
            "Fix: check that this machine reaches its package index, then run the same command again."
        )


def _digest(*names: str) -> str:
    """What these files, this Python and this place are; another one of any of them needs another environment."""
    inputs = b"\0".join((ROOT / name).read_bytes() for name in names)
    return hashlib.sha256(inputs + f"{sys.version} {sys.base_prefix} {ROOT}".encode()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
