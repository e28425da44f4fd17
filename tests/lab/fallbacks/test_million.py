"""A million lines through the command: in seconds, and with memory that does not depend on how many there are."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.lab.fallbacks import exporting
from tests.lab.fallbacks.exporting import Event, week

LINES = 1_000_000
QUIET = '2026-11-22T06:35:18.106+00:00 2026/11/22/[$LATEST]ab12 [INFO] order {} placed, with brackets and "quotes"\n'


def export(target: Path) -> tuple[int, int]:
    """Write the lines; return how many starts there are, and how many of them fell back."""
    start = exporting.tail_detailed(week("shop"))
    block = start + "".join(QUIET.format(n) for n in range(1000 - start.count("\n")))
    with gzip.open(target, "wt", compresslevel=1) as file:
        for _ in range(LINES // 1000):
            file.write(block)
    return 6 * (LINES // 1000), 4 * (LINES // 1000)


def json_export(target: Path) -> tuple[int, int]:
    """The same as one pretty-printed document."""
    starts = week("shop")
    quiet = [Event("shop", "2026/11/22/[$LATEST]ab12", exporting.FIRST + n, QUIET.format(n)) for n in range(950)]
    body = exporting.filter_log_events([*starts, *quiet]).partition("[")[2].rpartition("]")[0].rpartition("]")[0]
    repeats = LINES // (len(starts) + len(quiet))
    with gzip.open(target, "wt", compresslevel=1) as file:
        file.write('{\n    "events": [')
        file.write(",".join([body] * 10))
        for _ in range(repeats // 10 - 1):
            file.write("," + ",".join([body] * 10))
        file.write("]\n}\n")
    return 6 * (repeats // 10 * 10), 4 * (repeats // 10 * 10)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("writer", [export, json_export])
def test_a_million_lines(writer: Callable[[Path], tuple[int, int]], tmp_path: Path) -> None:
    starts, fallbacks = writer(tmp_path / "shop.gz")
    program = "from fliptop_lab.cli import main; main()"
    command = [sys.executable, "-c", program, "fallbacks", str(tmp_path / "shop.gz"), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        found = json.loads(process.stdout.read())
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert (process.returncode, found["starts"], found["fallbacks"]) == (0, starts, fallbacks)
    assert usage.ru_maxrss < 200_000, "kilobytes"
    assert usage.ru_utime < 60, "it takes about three seconds"
