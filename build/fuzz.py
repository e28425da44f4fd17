"""Fuzz the launcher's scanners and its HTTP for a bounded time: `python build/fuzz.py --seconds N` (N for each target).

Needs clang with its libFuzzer; installs nothing. New inputs are kept in `.cache/fuzz`, so that later runs go on from
there; what breaks a target is left there too, and is told with the command that repeats it.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from build import launcher as builder  # noqa: E402

FUZZ = ROOT / "launcher" / "fuzz"
CACHE = ROOT / ".cache" / "fuzz"
TARGETS = ("yaml", "environment", "http")
FLAGS = ("-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all", "-g", "-O1", "-Ilauncher")
ADVICE = "Fix: install clang and its runtime (Debian: apt-get install clang libclang-rt-dev)."


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=int, default=30, help="for each target")
    seconds = parser.parse_args().seconds
    if not shutil.which("clang"):
        print(f"fuzzing needs clang, which is not installed. {ADVICE}")
        return 1
    return max(fuzz(target, seconds) for target in TARGETS)


def fuzz(target: str, seconds: int) -> int:
    """Run one target and return its exit code."""
    program = CACHE / target / "fuzz"
    if not compile_target(target, program):
        print(f"could not compile the fuzz target {target}: clang's message is above. {ADVICE}")
        return 1
    found = program.with_name("corpus")
    found.mkdir(exist_ok=True)
    command = [
        str(program),
        f"-max_total_time={seconds}",
        "-timeout=5",
        "-max_len=4096",
        "-verbosity=0",
        "-print_final_stats=1",
    ]
    command += [
        f"-artifact_prefix={program.parent}/",
        f"-dict={FUZZ / target}.dict",
        str(found),
        str(FUZZ / "corpus" / target),
    ]
    print(f"fuzzing {target} for {seconds} s", flush=True)
    finished = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    if finished.returncode:
        print(finished.stderr)
        print(f"the fuzz target {target} broke. To repeat it: {program} <the file named above>")
        return 1
    executed = [line.split()[-1] for line in finished.stderr.splitlines() if "number_of_executed_units" in line]
    print(f"  {executed[0] if executed else 'some'} inputs, nothing broke")
    return 0


def compile_target(target: str, program: Path) -> bool:
    """Compile one target with the launcher's parts, without its main."""
    program.parent.mkdir(parents=True, exist_ok=True)
    sources = builder.sources(f"fuzz/fuzz_{target}.c")
    command = ["clang", *FLAGS, *builder.WARNINGS, *sources, "-o", str(program)]
    return not subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
