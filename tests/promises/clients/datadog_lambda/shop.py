"""A function that Datadog's library wraps."""

from typing import Any

from datadog_lambda.metric import lambda_metric


def handler(event: dict[str, Any], _context: object) -> dict[str, int]:
    """What DD_LAMBDA_HANDLER names."""
    for number in range(event.get("orders", 0)):
        lambda_metric("wrapped.price", number % 100 + 1, tags=["kind:book"])
    if event.get("fails"):
        raise RuntimeError("as it was told to")
    return {"orders": event.get("orders", 0)}
