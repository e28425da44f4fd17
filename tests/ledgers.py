"""Promise 3 as an equation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def assert_adds_up(summary: Mapping[str, Any]) -> None:
    """Assert accepted = delivered + pending + dropped for each signal of a ledger's summary, and nothing negative."""
    for signal, entry in summary.items():
        settled = entry["delivered"] + entry["pending"] + sum(entry["dropped"].values())
        assert entry["accepted"] == settled, (signal, entry)
        assert min(entry["delivered"], entry["pending"], *entry["dropped"].values(), 0) == 0, (signal, entry)
