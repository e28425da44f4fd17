"""Count the launcher's instructions from entry to decision and hold them against `launcher/budget.json`.

Valgrind's callgrind runs `datadog-agent --explain` and counts what happens inside `decide()`: a number that does not
depend on the machine's speed. `--update` writes the budget anew, with headroom over what was counted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from build import launcher as builder  # noqa: E402

from fliptop_lab.bench.typical import typical_environment, typical_file  # noqa: E402

BUDGET = ROOT / "launcher" / "budget.json"
HEADROOM = 1.15


def count(program: Path, task_root: Path) -> int:
    """Return how many instructions `decide()` takes, with everything it calls."""
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder) / "counts"
        finished = subprocess.run(
            [
                "valgrind",
                "--tool=callgrind",
                "--toggle-collect=decide",
                f"--callgrind-out-file={counts}",
                program,
                "--explain",
            ],
            # The programs that valgrind itself starts need the machine's own search path.
            env=typical_environment(task_root) | {"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode:
            sys.exit(f"valgrind could not run {program}:\n{finished.stderr}")
        found = re.search(r"^(?:summary|totals): (\d+)", counts.read_text(), re.MULTILINE)
    if not found or int(found[1]) == 0:
        sys.exit(f"valgrind counted nothing: has {program} the symbol `decide`?")
    return int(found[1])


def measure(arch: str) -> dict[str, int]:
    """Count each case of the budget, with the program that has symbols, in a layer of its own."""
    twin = builder.with_symbols(arch)
    builder.build([twin])
    with tempfile.TemporaryDirectory() as folder:
        root, task = Path(folder) / "opt", Path(folder) / "task"
        for made in (root / "extensions", root / "fliptop", task):
            made.mkdir(parents=True)
        for name in ("extensions/datadog-agent", "fliptop/fliptop", "datadog-agent-go"):
            shutil.copy2(twin.path, root / name)
        without_file = count(root / "extensions" / "datadog-agent", task)
        (task / "datadog.yaml").write_text(typical_file())
        return {"environment": without_file, "environment_and_file": count(root / "extensions" / "datadog-agent", task)}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--update", action="store_true", help="write launcher/budget.json anew")
    update = parser.parse_args().update
    if not shutil.which("valgrind"):
        print("counting instructions needs valgrind, which is not installed. Fix: apt-get install valgrind")
        return 1
    arch = builder.native()
    counted = measure(arch)
    budgets = json.loads(BUDGET.read_text()) if BUDGET.is_file() else {}
    if update:
        budgets[arch] = {case: round(number * HEADROOM) for case, number in counted.items()}
        BUDGET.write_text(json.dumps(budgets, indent=2) + "\n")
    exceeded = False
    for case, number in counted.items():
        limit = budgets.get(arch, {}).get(case)
        exceeded |= limit is not None and number > limit
        print(f"{case}: {number} instructions, budget {limit if limit is not None else 'not set for ' + arch}")
    if exceeded:
        print(
            "over budget. Fix: make the scan cheaper, or, if it is worth it, run: python build/instructions.py --update"
        )
    return int(exceeded)


if __name__ == "__main__":
    sys.exit(main())
