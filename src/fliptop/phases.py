"""How long the start took, phase by phase, for `DD_LOG_LEVEL=debug`. The launcher's phases come first."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from fliptop import report


class Phases:
    """Phases with the moment at which each was done, in nanoseconds since the launcher's entry, or since `__init__` if
    there was no launcher (`FLIPTOP_STARTED_NS`, `FLIPTOP_PHASES`: launcher/README.md).
    """

    def __init__(self, environ: Mapping[str, str], now: Callable[[], int] = time.monotonic_ns) -> None:
        self._now = now
        started = environ.get("FLIPTOP_STARTED_NS", "")
        self._started = int(started) if started.isdecimal() else now()
        self._reached: list[tuple[str, int]] = []
        for pair in filter(None, environ.get("FLIPTOP_PHASES", "").split(",")):
            name, _, microseconds = pair.partition("=")
            self._reached.append((name, int(microseconds) * 1000 if microseconds.isdecimal() else 0))

    def reach(self, name: str) -> None:
        """The phase called `name` is done."""
        self._reached.append((name, self._now() - self._started))

    def tell(self) -> None:
        """Say it all, in milliseconds. Ready is an extension that has asked for its first event."""
        before = 0
        ready = self._now() - self._started
        for name, reached in sorted(self._reached, key=lambda phase: phase[1]):
            report.debug(f"INIT | phase={name} delta={(reached - before) / 1e6:.6f} cumulative={reached / 1e6:.6f}")
            before = reached
            if name == "asked":
                ready = reached
        report.debug(f"Datadog Next-Gen Extension ready in {ready / 1e6:.3f}ms")
