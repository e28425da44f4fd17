"""Run a command on an x86_64 machine where programs for aarch64 run too: unchanged, whoever starts them.

    .venv/bin/python build/emulate.py build/smoke_layer.py dist/fliptop-aarch64.zip
    .venv/bin/python build/emulate.py .venv/bin/pytest tests/promises

In a user namespace of its own the kernel is told to start them with QEMU (binfmt_misc, private to a namespace since
Linux 6.7), and Debian's C library for aarch64 lies in its place below /lib. Nothing outside the command notices. What
runs are the very files of the layer: the launcher executes the extension as it does on Lambda.

It proves nothing about speed, nor where QEMU differs from a processor: it orders memory as strictly as x86_64 does, and
passes a few system calls on incompletely. With OLDEST in its environment a program meets a processor that knows armv8-a
and no extension of it but for cryptography; otherwise one that knows them all.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from build import debian  # noqa: E402

ARCH = "aarch64"
QEMU = "qemu-aarch64-static"
OLDEST = {"QEMU_CPU": "cortex-a53"}
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
BINFMT = Path("/proc/sys/fs/binfmt_misc")
# Linux, Documentation/admin-guide/binfmt-misc.rst. The first 20 bytes of an ELF file for aarch64, whatever its OS ABI
# and whether it is position independent. F: the interpreter is opened now, and needs not be where the program runs.
MAGIC = bytes.fromhex("7f454c460201010000000000000000000200b700")
MASK = bytes.fromhex("ffffffffffffff00fffffffffffffffffeffffff")
ALL_IDS = 0xFFFFFFFF


class EmulationError(Exception):
    """Programs for aarch64 cannot run here; the text says why and what to do."""


def is_needed(arch: str) -> bool:
    """Say whether this machine, as this process sees it, cannot run programs for `arch` by itself."""
    if arch == platform.machine():
        return False
    try:
        return bool(
            subprocess.run([f"/lib/ld-linux-{arch}.so.1", "--version"], capture_output=True, check=False).returncode
        )
    except OSError:
        return True


def enter() -> None:
    """Move this process to where programs for aarch64 run. EmulationError: it cannot; there is no way back."""
    qemu = shutil.which(QEMU)
    if platform.machine() != "x86_64" or qemu is None:
        raise EmulationError(f"{QEMU} on x86_64 is needed.\nFix: install it (Debian, Ubuntu: qemu-user-static).")
    system = debian.system_root()
    _enter_namespaces()
    libraries = Path("/lib").resolve()
    try:
        _mount("--make-rprivate", "/")
        _mount("-t", "overlay", "-o", f"lowerdir={system / 'lib'}:{libraries}", "overlay", str(libraries))
        _mount("-t", "binfmt_misc", "binfmt_misc", str(BINFMT))
    except subprocess.CalledProcessError as error:
        raise EmulationError(
            f"`{' '.join(error.cmd)}` failed: {error.stderr.strip()}\n"
            "Fix: use Linux 6.7 or newer; or let the whole machine run such programs (Debian: qemu-user-static with "
            "binfmt-support) and have libc6:arm64 installed."
        ) from error
    magic, mask = ("".join(f"\\x{byte:02x}" for byte in data) for data in (MAGIC, MASK))
    (BINFMT / "register").write_text(f":fliptop-{ARCH}:M::{magic}:{mask}:{qemu}:F")


def _enter_namespaces() -> None:
    """Have user and mount namespaces of our own: as root with everybody's ids in them, else with ours alone."""
    left, entered = os.pipe()
    process, helper = os.getpid(), os.fork()
    if helper == 0:  # somebody outside must say which ids there are inside
        os.close(entered)
        os.read(left, 1)
        os._exit(_map_ids(process))
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER | CLONE_NEWNS):
        raise EmulationError(
            f"this process may not have a user namespace ({os.strerror(ctypes.get_errno())}).\n"
            "Fix: run it as root, or permit user namespaces (sysctl user.max_user_namespaces)."
        )
    os.close(entered)
    if os.waitpid(helper, 0)[1]:
        raise EmulationError("the ids of the user namespace could not be set.\nFix: run it as root.")


def _map_ids(process: int) -> int:
    proc = Path(f"/proc/{process}")
    try:
        if os.geteuid():
            (proc / "setgroups").write_text("deny")
        for kind, own in (("uid", os.geteuid()), ("gid", os.getegid())):
            (proc / f"{kind}_map").write_text(f"0 0 {ALL_IDS}" if not os.geteuid() else f"0 {own} 1")
    except OSError:
        return 1
    return 0


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True, text=True)


def main(arguments: list[str]) -> int:
    """Run the command; its exit code becomes ours. 2: there is no command, or it cannot be emulated here."""
    if not arguments:
        print("usage: python build/emulate.py COMMAND [ARGUMENT...]", file=sys.stderr)
        return 2
    try:
        if is_needed(ARCH):
            enter()
        command = [sys.executable, *arguments] if arguments[0].endswith(".py") else arguments
        os.execvp(command[0], command)
    except (OSError, EmulationError, debian.DebianError) as error:
        print(error, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
