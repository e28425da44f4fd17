"""How long something may take: pure functions of a deadline (epoch milliseconds, as Lambda says it) and the time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# Between our last act and the moment the function's timeout strikes: the way of `/event/next` to the platform, and what
# is computed without a pause after time was up, on the share of a core that the function's memory buys. At SHUTDOWN:
# writing the ledger, and exiting.
LEAST_MARGIN_S: Final = 0.2
LAST_ACT_CPU_S: Final = 0.03
FULL_CORE_MB: Final = 1769
# A flush at the end of an invocation keeps the environment from its next one. What is not sent by then is kept, not
# lost, so there is no reason to wait longer.
LONGEST_FLUSH_S: Final = 5.0
# After a failure, a short attempt tells whether the intake is back; each further one may take twice as long, because a
# slow intake is not a dead one.
FIRST_PROBE_S: Final = 1.0


def cpu_share(memory_mb: float) -> float:
    """The share of a core that a function of `memory_mb` has, one core at most."""
    return min(1.0, max(memory_mb, 128) / FULL_CORE_MB)


def invoke_margin(memory_mb: float) -> float:
    """Seconds to keep free before the deadline of an invocation, or of SHUTDOWN, on a function of `memory_mb`."""
    return max(LEAST_MARGIN_S, LEAST_MARGIN_S / 2 + LAST_ACT_CPU_S / cpu_share(memory_mb))


def memory_mb(environ: Mapping[str, str]) -> float:
    """The function's memory as Lambda tells it; a full core's worth where nobody does."""
    value = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    return float(value) if value.isdecimal() else FULL_CORE_MB


def time_left(deadline_ms: int, now: float, margin_s: float) -> float:
    """Seconds until `deadline_ms` less `margin_s`, never negative. `now` is epoch seconds."""
    return max(0.0, deadline_ms / 1000 - now - margin_s)


def flush_budget(left_s: float, failures: int) -> float:
    """Seconds for a flush at the end of an invocation that has `left_s` to live, after so many failures in a row."""
    longest = min(LONGEST_FLUSH_S, FIRST_PROBE_S * 2 ** min(failures - 1, 8)) if failures else LONGEST_FLUSH_S
    return min(left_s, longest)
