"""A function that Datadog's library wraps and its tracer, ddtrace, follows."""

import os
from typing import Any

from ddtrace import tracer


def handler(event: dict[str, Any], _context: object) -> dict[str, int]:
    """What DD_LAMBDA_HANDLER names."""
    with tracer.trace("shop.order", resource="POST /orders", service="shop", span_type="web") as order:
        order.set_tag("order.kind", "book")
        order.set_metric("order.items", event.get("orders", 0))
        for number in range(event.get("orders", 0)):
            with tracer.trace("shop.item", resource=f"item {number}", service="shop-items"):
                pass
        if event.get("fails"):
            raise RuntimeError("as it was told to")
        if os.environ.get("DD_LLMOBS_ENABLED"):
            recommend()
    return {"orders": event.get("orders", 0)}


def recommend() -> None:
    """What LLM Observability is told of a function that asks a model."""
    from ddtrace.llmobs import LLMObs

    with LLMObs.llm(model_name="reader", name="recommend") as asked:
        LLMObs.annotate(asked, input_data="What is good?", output_data="Books.")
        LLMObs.submit_evaluation(label="taste", metric_type="score", value=0.9, span=LLMObs.export_span(asked))
    LLMObs.flush()
