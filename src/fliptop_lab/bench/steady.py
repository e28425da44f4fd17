"""What an extension costs a function that has been running for a while: time after the runtime is done, and CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from fliptop_lab.bench.measuring import Cell, Metric, Sample, metered, preferred, trouble
from fliptop_lab.bench.serving import Pace, load, percentile, serve
from fliptop_lab.bench.variants import Variant
from fliptop_lab.run import Plan, opened

# The adaptive default, also of Datadog's extension, flushes at the end of the first twenty, whatever happens.
BEFORE: Final = 25
LEAST_COUNTED: Final = 6
ADAPTIVE: Final = "adaptive"
STRATEGIES: Final = ("end", "periodically,1000", "continuously,1000", ADAPTIVE)
METRICS: Final = (
    Metric("post_ms", "after the runtime", "ms", "from the runtime's end to /event/next, median of the run's"),
    Metric("post_p99_ms", "99 %", "ms", "the same, 99 % of the run's are below"),
    Metric("cpu_ms", "CPU each", "ms", "user and system time per invocation, from thaw to freeze"),
    Metric("cpu_all_ms", "with SHUTDOWN", "ms", "the same, and each one's share of SHUTDOWN"),
    Metric("requests", "requests each", "", "to the intake, per invocation; SHUTDOWN's not among them"),
    Metric("rate", "really", "1/s", "invocations per second: the environment may not be free sooner"),
)


@dataclass(frozen=True)
class Axes:
    """What every variant is measured with: strategies, invocations per second, lines and metrics per invocation."""

    strategies: Sequence[str]
    rates: Sequence[int]
    loads: Sequence[int]

    def cells(self, base: Plan, variants: Sequence[Variant]) -> list[Cell]:
        """All combinations."""
        return [
            _cell(variant.attached(base), variant.name, strategy, rate, items)
            for items in self.loads
            for rate in self.rates
            for strategy in self.strategies
            for variant in variants
        ]


def _cell(plan: Plan, variant: str, strategy: str, rate: int, items: int) -> Cell:
    chosen = {} if strategy == ADAPTIVE else {"DD_SERVERLESS_FLUSH_STRATEGY": strategy}
    environment = {**plan.environment, **chosen, **load(items, items)}
    parts = {"variant": variant, "strategy": strategy, "rate": f"{rate}/s", "load": str(items)}
    return Cell(parts, replace(plan, environment=environment))


async def observe(cell: Cell, seconds: float) -> Sample | str:
    """One environment's worth of invocations, for about ``seconds``."""
    rate = float(cell.parts["rate"].removesuffix("/s"))
    pace = Pace(max(LEAST_COUNTED, round(rate * seconds)), rate, BEFORE, max(2 * seconds, LEAST_COUNTED / rate))
    async with opened(cell.plan) as stage:
        meter = metered(cell, stage)
        with preferred():
            served = await serve(stage, cell.plan.payload, pace, meter)
    if reason := trouble(stage.environment.init_result, served.invocations):
        return reason
    after = [each.post_runtime_ms for each in served.invocations]
    return {
        "post_ms": percentile(after, 0.5),
        "post_p99_ms": percentile(after, 0.99),
        "cpu_ms": served.per_invocation(served.cpu_ms),
        "cpu_all_ms": served.per_invocation(served.cpu_and_end_ms),
        "requests": served.per_invocation(served.requests),
        "rate": served.rate,
    }
