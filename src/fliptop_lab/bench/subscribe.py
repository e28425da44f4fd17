"""The order of subscribing and asking for the first event: what each costs, and what telemetry each brings.

Lambda closes subscriptions when init ends (Telemetry API). An extension that asks for its first event while its
subscription is under way may lose the race, and then hears nothing for as long as the environment lives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from fliptop_lab.bench.cold import METRICS
from fliptop_lab.bench.measuring import Cell, Metric, Sample
from fliptop_lab.functions import Prepared
from fliptop_lab.run import Outcome, Plan
from fliptop_lab.summary import summarise

ORDERS: Final = ("before", "overlap")
"""Values of ``FLIPTOP_SUBSCRIBE``: subscribe, then ask for the first event; or both at the same time."""
TIMES: Final = tuple(metric for metric in METRICS if metric.key in ("next_ms", "init_ms"))
ARRIVALS: Final = (
    Metric("subscribed", "subscribed", "runs", "the platform took the subscription", share=True),
    Metric("init_start", "initStart", "runs", "its log entry reached the intake", share=True),
    Metric("init_report", "initReport", "runs", "platform.initReport was delivered to the extension", share=True),
    Metric("first_line", "first line", "runs", "the function's first line reached the intake", share=True),
    Metric("lost", "lost", "lines", "of the function's lines that the intake never got"),
)


def cells(base: Plan, functions: Sequence[Prepared], latencies_ms: Sequence[float]) -> list[Cell]:
    """Both orders, with every latency of the subscription, for every function."""
    return [
        Cell(
            {"order": order, "latency": f"{latency:g}ms", "function": function.name},
            replace(
                base,
                function=function,
                subscribe_latency_ms=latency,
                environment={**base.environment, "FLIPTOP_SUBSCRIBE": order},
            ),
        )
        for function in functions
        for latency in latencies_ms
        for order in ORDERS
    ]


def arrivals(found: Outcome) -> Sample:
    """What of a run's telemetry arrived; shares are 1 or 0."""
    texts = [entry.text.rstrip() for entry in found.logs]
    written = (each.data["line"] for each in found.records if (each.kind, each.name) == ("telemetry", "function"))
    first = next(written, None)
    subscribed = any((each.kind, each.name) == ("api", "subscribe") for each in found.records)
    batches = (each.data["types"] for each in found.records if (each.kind, each.name) == ("delivery", "batch"))
    return {
        "subscribed": float(subscribed),
        "init_start": float(any(text.startswith("INIT_START") for text in texts)),
        "init_report": float(any("platform.initReport" in types for types in batches)),
        "first_line": None if first is None else float(first.rstrip() in texts),
        "lost": float(summarise(found)["lost"]),
    }
