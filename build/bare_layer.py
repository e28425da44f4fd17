"""Run a layer zip in a root file system that holds a C library, a few files of /etc and /dev, and nothing else.

    python build/bare_layer.py dist/fliptop-<arch>.zip

What Amazon Linux 2023's minimal image has is more than that; the C library is this machine's. The root is read-only but
for an empty /tmp; there is no shell, no /dev/shm, no HOME, no cache of the linker; processes are user 993. In it

* the dynamic linker finds every library of every file (what `ldd` asks it for);
* the smoke test passes, and leaves nothing behind in /tmp;
* the launcher and the extension run on the oldest processor that we promise, as QEMU has it (x86-64-v2, armv8-a).

It needs root and namespaces, and QEMU (Debian: qemu-user-static) for the last; without them it says what it left out.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 -- there is nothing to import from once the root has changed
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from build.check_layer import EXTENSION, LAUNCHER, LEGACY, MANIFEST, SYSTEM_LIBRARIES
from build.elf import is_elf, read_elf
from build.smoke_layer import UNSHARE, USER, RuntimeApi, bring_loopback_up, may_unshare, smoke
from build.unpack import unpack

ARCH = platform.machine()
GROUP = 990
ETC = {
    "passwd": f"root:x:0:0:root:/root:/bin/bash\nsbx_user1051:x:{USER}:{GROUP}::/home/sbx_user1051:/sbin/nologin\n",
    "group": f"root:x:0:\nsbx_group1051:x:{GROUP}:\n",
    "hosts": "127.0.0.1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
DEVICES = ("null", "zero", "full", "random", "urandom")
# The oldest processors that have all of x86-64-v2 and armv8-a, and nothing of what came later.
BASELINE = {"x86_64": "Nehalem", "aarch64": "cortex-a53"}
QEMU = Path("/qemu")
EMULATED_S = 120.0


def main(arguments: list[str]) -> int:
    """Check the zip named on the command line; return the exit code."""
    bare = arguments[:1] == ["--bare"]
    if len(arguments) != 1 + bare:
        print("usage: python build/bare_layer.py LAYER.zip", file=sys.stderr)
        return 2
    if bare:
        return _in_bare_root(Path(arguments[1]))
    with zipfile.ZipFile(arguments[0]) as archive:
        arch = json.loads(archive.read(MANIFEST))["arch"]
    if arch != ARCH or not may_unshare():
        why = f"the layer is for {arch}" if arch != ARCH else "it needs root and namespaces"
        print(f"bare root: not run, because {why}")
        return 0
    return subprocess.run([*UNSHARE, sys.executable, __file__, "--bare", arguments[0]], check=False).returncode


def _in_bare_root(layer: Path) -> int:
    """Make the root, and check in a child that lives in it: this process has files to remove afterwards."""
    os.umask(0o022)  # user 993 must be able to read what is laid out
    with tempfile.TemporaryDirectory() as directory:
        opt, root = Path(directory, "opt"), Path(directory, "root")
        unpack(layer, opt)
        emulator = make_root(root, opt)
        child = os.fork()
        if not child:
            os.chroot(root)
            os.chdir("/")
            os._exit(_judge(Path("/opt"), emulator))
        _, status = os.waitpid(child, 0)
        subprocess.run(["umount", "--recursive", str(root)], check=True)
    return 1 if status else 0


def _judge(opt: Path, emulator: bool) -> int:
    problems = [*unresolved(opt), *smoke(opt, Path("/tmp/task"), USER), *left_behind()]
    problems += on_oldest_processor(opt) if emulator else []
    for problem in problems:
        print(f"bare root: {problem}", file=sys.stderr, flush=True)
    if not problems:
        processor = BASELINE[ARCH] if emulator else "no old processor tried, qemu-user-static is missing"
        print(f"bare root: every library is found, starts and ends, writes nothing ({processor})", flush=True)
    return 1 if problems else 0


def make_root(root: Path, opt: Path) -> bool:
    """Lay out the root, with `opt` at /opt, and say whether QEMU is in it. All mounts are those of this namespace."""
    emulator = shutil.which(f"qemu-{ARCH}-static")
    _mount("--make-rprivate", "/")
    root.mkdir()
    _mount("-t", "tmpfs", "-o", "mode=755", "none", str(root))
    for name in ("etc", "dev", "opt", "proc", "tmp"):
        (root / name).mkdir()
    for name, text in ETC.items():
        (root / "etc" / name).write_text(text)
    for source in system_libraries((opt / EXTENSION).read_bytes()):
        _copy(source, root)
    for name in DEVICES:
        (root / "dev" / name).touch()
        _mount("--bind", f"/dev/{name}", str(root / "dev" / name))
    if emulator:
        shutil.copy2(emulator, root / QEMU.name)
    _mount("--bind", str(opt), str(root / "opt"))
    _mount("-o", "remount,bind,ro", str(root / "opt"))
    _mount("-t", "proc", "none", str(root / "proc"))
    _mount("-t", "tmpfs", "-o", "mode=1777,size=64m", "none", str(root / "tmp"))
    _mount("-o", "remount,ro", str(root))
    bring_loopback_up()
    return emulator is not None


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def system_libraries(program: bytes) -> Iterator[Path]:
    """Yield the files of this machine's C library: those that the layer may rely on, and what loads `program`."""
    yield loader_of(program)
    maps = Path("/proc/self/maps").read_text()
    found = re.search(r"(/\S+)/libc\.so\.6$", maps, re.MULTILINE)
    if not found:
        sys.exit("this Python is not linked with glibc, of which the bare root needs a copy")
    for name in sorted(SYSTEM_LIBRARIES):
        if (path := Path(found[1]) / name).exists():
            yield path


def loader_of(program: bytes) -> Path:
    """Return the path of the dynamic linker that a program names."""
    found = re.search(rb"/lib[\w/-]*/ld-linux[\w.-]*\.so\.\d", program)
    if not found:
        sys.exit("the extension names no dynamic linker; it is not what build/freeze.py makes")
    return Path(found[0].decode())


def _copy(source: Path, root: Path) -> None:
    """Copy a file to the same path below `root`, whatever is a link on the way here."""
    target = root / source.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source.resolve(), target)
    top = Path("/", *source.parts[1:2])
    merged = Path("/") / top.resolve().relative_to("/")  # /usr/lib is found as /lib too, where this machine has it so
    for name in ("lib", "lib64"):
        link = Path("/") / name
        if link.is_symlink() and top == merged and not (root / name).exists() and source.is_relative_to(link.resolve()):
            (root / name).symlink_to(link.resolve().relative_to("/"))


def unresolved(opt: Path) -> Iterator[str]:
    """Ask the dynamic linker for the libraries of every file, as `ldd` does, and yield what it does not find.

    Shared objects are loaded by the program, whose own directories are searched for them too (DT_RPATH).
    """
    program = (opt / EXTENSION).read_bytes()
    linker = loader_of(program)
    places = ":".join(path.replace("$ORIGIN", str((opt / EXTENSION).parent)) for path in read_elf(program).rpath)
    for path in sorted(each for each in opt.rglob("*") if each.is_file() and each.name != LEGACY):
        data = path.read_bytes()
        if not is_elf(data) or not read_elf(data).needed:
            continue
        asked = [linker, "--library-path", places, "--list", path]
        told = subprocess.run([*map(str, asked)], env={}, capture_output=True, text=True, check=False)
        missing = re.findall(r"(\S+) => not found", told.stdout)
        if missing or told.returncode:
            yield f"{path} lacks {', '.join(missing) or told.stderr.strip()}"


def left_behind() -> Iterator[str]:
    """Yield what the extension wrote into /tmp. The smoke test's own task directory does not count."""
    for path in sorted(Path("/tmp").iterdir()):
        if path.name != "task":
            yield f"{path} was written; a start that is well needs to write nothing"


def on_oldest_processor(opt: Path) -> Iterator[str]:
    """Yield what does not work on the baseline: the launcher's decision, and the extension's life from start to end."""
    told = _emulated([opt / LAUNCHER, "--explain", "--json"], {})
    if told.returncode or json.loads(told.stdout)["decision"] != "next":
        yield f"the launcher fails on {BASELINE[ARCH]} ({told.returncode}): {told.stdout}{told.stderr}"
    with RuntimeApi() as api:
        threading.Thread(target=api.serve_forever, daemon=True).start()
        environment = {"AWS_LAMBDA_RUNTIME_API": api.address, "FLIPTOP_NAME": "datadog-agent", "DD_API_KEY": "0" * 32}
        ran = _emulated([opt / EXTENSION], environment)
        api.shutdown()
    if ran.returncode or [step for step in api.seen if step in ("register", "next")] != ["register", "next", "next"]:
        yield f"the extension fails on {BASELINE[ARCH]} ({ran.returncode}, {api.seen}): {ran.stdout}{ran.stderr}"


def _emulated(command: list[Path | str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [QEMU, "-cpu", BASELINE[ARCH], *command],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=EMULATED_S,
            user=USER,
            group=GROUP,
            extra_groups=[],
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"still running after {EMULATED_S} s")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
