"""What the launcher's decision costs: scan and decide on a typical configuration, beside starting a process at all."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fliptop_lab.bench.typical import typical_environment, typical_file


@dataclass
class Variant:
    """One thing that is measured. `decide_us` is what the launcher itself says, `process_us` from spawn to exit."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    process_us: list[float] = field(default_factory=list)
    decide_us: list[float] = field(default_factory=list)

    def run_once(self) -> None:
        """Start it, wait for it, and note both times."""
        began = time.perf_counter_ns()
        finished = subprocess.run(self.command, env=dict(self.environment), capture_output=True, check=True)
        self.process_us.append((time.perf_counter_ns() - began) / 1000)
        if "--json" in self.command:
            self.decide_us.append(float(json.loads(finished.stdout)["decision_us"]))


def measure(launcher: Path, folder: Path, runs: int, progress: Callable[[int], None]) -> list[Variant]:
    """Measure all variants `runs` times, in turns, in random order. `folder` is for their task roots."""
    plain, with_file = folder / "plain", folder / "with-file"
    for task_root in (plain, with_file):
        task_root.mkdir()
    (with_file / "datadog.yaml").write_text(typical_file())
    explain = [str(launcher), "--explain", "--json"]
    variants = [
        Variant("a process that decides nothing (--version)", [str(launcher), "--version"], {}),
        Variant("40 variables", explain, typical_environment(plain)),
        Variant("40 variables and a 2 KB datadog.yaml", explain, typical_environment(with_file)),
    ]
    for done in range(runs):
        for variant in random.sample(variants, len(variants)):
            variant.run_once()
        progress(done + 1)
    return variants


@dataclass(frozen=True)
class Spread:
    """A median with the 5th and 95th percentiles around it."""

    median: float
    low: float
    high: float


def spread(values: list[float]) -> Spread | None:
    """The spread of at least two values, else None."""
    if len(values) < 2:
        return None
    cuts = statistics.quantiles(values, n=20)
    return Spread(statistics.median(values), cuts[0], cuts[-1])
