"""Build Dockerfile.al2023 without a Docker engine, on a stand-in for Amazon Linux 2023.

    python build/standin.py [--target STAGE] [--output DIRECTORY] [--legacy PROGRAM]

buildah builds in chroots (it needs root, and no daemon). The stand-in is Debian 12 by mmdebstrap: it has
the same Python, and a `dnf` that installs nothing but refuses what the Dockerfile should not ask for. What that leaves
untested, docs/release.md lists.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "standin"
LEGACY = "localhost/legacy:87"
RELEASEVER = "2023.0.20230101"
PACKAGES = {
    "binutils": "binutils",
    "gcc": "gcc",
    "python3.11": "python3",
    "python3.11-devel": "python3-dev",
    "python3.11-pip": "python3-pip",
}
"""What the Dockerfile installs, and what the stand-in has instead."""
# What pip and TLS need on machines that reach their package index in their own way.
MACHINE = ("/etc/pip.conf", "/etc/ssl/certs")
DNF = f"""\
#!/bin/sh
# Stands in for dnf: what is asked for is there already, and anything else is refused.
case "$1" in clean) exit 0 ;; install) shift ;; *) echo "dnf: what is $1?" >&2; exit 2 ;; esac
for word in "$@"; do
  case "$word" in
    -y | --releasever={RELEASEVER} | --setopt=install_weak_deps=False | {" | ".join(PACKAGES)}) ;;
    *) echo "dnf: what is $word?" >&2; exit 2 ;;
  esac
done
"""
# The image is made again when it would be another.
KEY = hashlib.sha256(f"{DNF}{PACKAGES}".encode()).hexdigest()[:12]
NAME = "localhost/amazonlinux"


class StandinError(Exception):
    """The stand-in cannot be had here; the text says why and what to do."""


def main(arguments: list[str]) -> int:
    """Build what the command line names; return the exit code."""
    parser = argparse.ArgumentParser(description="Build Dockerfile.al2023 on a stand-in, without an engine.")
    parser.add_argument("--target", default="layer", help="the stage (layer)")
    parser.add_argument("--output", type=Path, help="where the stage's files go")
    parser.add_argument("--legacy", type=Path, help="a program that stands in for the legacy extension")
    options = parser.parse_args(arguments)
    try:
        code = build(options.target, options.output, options.legacy)
    except StandinError as error:
        print(error, file=sys.stderr)
        return 1
    return code


def build(target: str, output: Path | None = None, legacy: Path | None = None) -> int:
    """Build a stage of the Dockerfile; return buildah's exit code. Stages that did not change come from its cache."""
    values = {"BASE": f"{NAME}@{base_digest()}", "RELEASEVER": RELEASEVER}
    if legacy:
        values |= {"FLAVOUR": "with-legacy", "LEGACY_IMAGE": f"{LEGACY}@{_legacy_digest(legacy)}"}
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    command = [*_buildah(), "bud", "--layers", "--isolation", "chroot", "--pull-never", f"--ulimit=nofile=1024:{most}"]
    command += [f"--volume={path}:{path}:ro" for path in MACHINE if Path(path).exists()]
    command += [f"--build-arg={name}={value}" for name, value in values.items()]
    command += [f"--output=type=local,dest={output}"] if output else []
    command += [f"--target={target}", f"--file={ROOT / 'Dockerfile.al2023'}", str(ROOT)]
    return subprocess.run(command, check=False).returncode


def base_digest() -> str:
    """Return the digest of the stand-in's image, making it if there is none."""
    image = f"{NAME}:{KEY}"
    if not _images(image):
        system = CACHE / f"{KEY}.tar"
        if not system.exists():
            _make_system(system)
        container = _output("from", "scratch")
        _output("add", container, str(system), "/")
        dnf = CACHE / "dnf"
        dnf.write_text(DNF)
        _output("copy", "--chmod", "755", container, str(dnf), "/usr/bin/dnf")
        _output("commit", "--rm", container, image)
    digest: str = _images(image)[0]["digest"]
    return digest


def _make_system(target: Path) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        raise StandinError("the stand-in can only be made by root.\nFix: sudo, or a machine where you are root.")
    if shutil.which("mmdebstrap") is None:
        raise StandinError("the program mmdebstrap is missing.\nFix: install it (Debian, Ubuntu: mmdebstrap).")
    partial = target.with_name("partial.tar")
    include = ",".join([*PACKAGES.values(), "ca-certificates"])
    subprocess.run(["mmdebstrap", "--variant=minbase", f"--include={include}", "bookworm", partial], check=True)
    partial.rename(target)


def _legacy_digest(program: Path) -> str:
    """Make the image that stands in for Datadog's, and return its digest."""
    container = _output("from", "scratch")
    _output("copy", "--chmod", "755", container, str(program.resolve()), "/opt/datadog-agent-go")
    _output("commit", "--timestamp", "0", "--rm", container, LEGACY)  # the same program, the same digest
    return _images(LEGACY)[0]["digest"]


def _images(name: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(_output("images", "--json", "--filter", f"reference={name}") or "[]")
    return found or []


def _buildah() -> list[str]:
    if shutil.which("buildah") is None:
        raise StandinError("the program buildah is missing.\nFix: install it (Debian, Ubuntu: buildah).")
    # Storage of its own, so that nothing of the machine's images is used or left behind.
    return ["buildah", f"--root={CACHE / 'images'}", f"--runroot={CACHE / 'run'}"]


def _output(*arguments: str) -> str:
    done = subprocess.run([*_buildah(), *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise StandinError(f"`buildah {' '.join(arguments)}` failed; its message is above.")
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
