"""A circuit breaker: when the intake is dead, most invocations must not pay for finding that out again."""

from __future__ import annotations

import random
from typing import Final

from fliptop.clock import Clock

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0


class Breaker:
    """Closed: send. Open: send nothing until the pause is over, then one flush may probe.

    The pause doubles with each failure in a row, jittered by up to a half so that environments which failed together do
    not come back together, and follows `Retry-After` where that asks for more. It is measured on the wall clock: a
    freeze counts as waiting.
    """

    def __init__(self, clock: Clock, jitter: random.Random | None = None) -> None:
        self._clock = clock
        self._jitter = jitter or random.Random()  # noqa: S311 -- jitter, not a secret
        self._failures = 0
        self._closed_at = 0.0

    @property
    def open(self) -> bool:
        """True while nothing is to be sent."""
        return self._failures > 0 and self._clock.wall() < self._closed_at

    @property
    def failures(self) -> int:
        """How many attempts have failed in a row."""
        return self._failures

    def succeeded(self) -> None:
        """The intake answered as it should."""
        self._failures = 0

    def failed(self, retry_after_s: float | None = None) -> None:
        """The intake did not answer, or asked to be left alone for `retry_after_s` seconds."""
        self._failures += 1
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self._failures - 1, 10))
        pause *= 1 - self._jitter.random() / 2
        self._closed_at = self._clock.wall() + max(pause, min(retry_after_s or 0.0, LONGEST_PAUSE_S))
