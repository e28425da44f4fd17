"""Names of the enhanced metrics behind `aws.lambda.enhanced.`, and the arithmetic of the estimated cost.

Source: extension-behaviour, 5.
"""

from __future__ import annotations

from typing import Final

PREFIX: Final = "aws.lambda.enhanced."
INVOCATION_USD: Final = 0.0000002
GB_SECOND_USD: Final = {"x86_64": 0.0000166667, "aarch64": 0.0000133334}


def estimated_cost(billed_ms: float, memory_mb: float, machine: str) -> float:
    """US dollars for one invocation, at list prices, on `machine` (as uname calls it)."""
    gb_seconds = billed_ms / 1000 * memory_mb / 1024
    return round(INVOCATION_USD + gb_seconds * GB_SECOND_USD.get(machine, GB_SECOND_USD["x86_64"]), 12)
