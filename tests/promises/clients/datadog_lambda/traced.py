"""A function that Datadog's library wraps and its tracer, ddtrace, follows."""

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
    return {"orders": event.get("orders", 0)}
