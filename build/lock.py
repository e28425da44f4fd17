"""Write the locks from `pyproject.toml`: names, versions and hashes, no address.

`requirements.lock` is for `.venv`, `build/freeze.lock` for `make layer`, `build/debian.lock` for build/cross.py (only
written when all are upgraded), the others of build/ for build/tools.py.

`make lock` runs this; `--upgrade` lets every package move to its newest version. The lock is universal (one file for
every Python from 3.11 on and both architectures), so that the aarch64 layer is made of the same versions.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = "0.13.9"
OPTIONS = ["--quiet", "--universal", "--python-version", "3.11", "--generate-hashes", "--no-annotate", "--no-header"]
OPTIONS += ["--no-emit-index-url", "--no-emit-find-links"]
LOCKS = {
    "requirements.lock": ["--extra", "lab", "--group", "build", "--group", "test"],
    "build/freeze.lock": ["--only-group", "freeze"],
    "build/tools.lock": ["--only-group", "tools"],
    "build/emulator.lock": ["--only-group", "emulator", "--no-deps"],
    "build/clients.lock": ["--only-group", "clients"],
}


def main(arguments: list[str]) -> int:
    tool = ROOT / ".cache" / "uv"
    if not (tool / "bin" / "uv").exists():
        python = os.path.realpath(sys.executable)  # the environment of this project has no pip
        subprocess.run([python, "-m", "pip", "install", "-q", "--target", tool, f"uv=={UV}"], check=True)
    for name, groups in LOCKS.items():
        source = [] if "--only-group" in groups else ["pyproject.toml"]
        selected = ["--group", *groups[1:]] if not source else groups
        command = [str(tool / "bin" / "uv"), "pip", "compile", *source, *selected, "-o", name, *arguments]
        subprocess.run(
            [*command, *OPTIONS],
            check=True,
            cwd=ROOT,
        )
        print(f"wrote {name}")
    if "--upgrade" in arguments:
        return subprocess.run([sys.executable, ROOT / "build" / "debian.py"], check=False).returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
