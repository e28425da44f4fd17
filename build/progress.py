"""What a build program shows while it works: one line per phase, and on a terminal the running one with its seconds."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress

TICK_SECONDS = 0.2
MARKS = "|/-\\"


class Progress:
    """Reports phases on stdout. A phase ends when the next one begins; `done` or `abandon` ends the last."""

    def __init__(self, title: str) -> None:
        self._terminal = sys.stdout.isatty()
        self._started = self._phase_started = time.monotonic()
        self._phase = ""
        print(title, flush=True)

    def phase(self, text: str) -> None:
        """End the present phase with its line and begin another."""
        self._finish()
        self._phase, self._phase_started = text, time.monotonic()

    def wait(self, process: subprocess.Popen[bytes]) -> None:
        """Wait a moment for `process` while the indicator moves."""
        with suppress(subprocess.TimeoutExpired):
            process.wait(TICK_SECONDS)
        if self._terminal:
            elapsed = time.monotonic() - self._phase_started
            mark = MARKS[int(elapsed / TICK_SECONDS) % len(MARKS)]
            print(f"\r  {mark} {self._phase:<30}{elapsed:6.1f} s", end="", flush=True)

    def done(self, text: str) -> None:
        """End the last phase and say how long everything took."""
        self._finish()
        print(f"  {text} in {time.monotonic() - self._started:.1f} s", flush=True)

    def abandon(self) -> None:
        """End the last phase as it is, before an error is reported."""
        if self._phase:
            print(f"{self._clear()}  ✗ {self._phase}", flush=True)

    def _finish(self) -> None:
        if self._phase:
            elapsed = time.monotonic() - self._phase_started
            print(f"{self._clear()}  ✓ {self._phase:<30}{elapsed:6.1f} s", flush=True)

    def _clear(self) -> str:
        return "\r" if self._terminal else ""
