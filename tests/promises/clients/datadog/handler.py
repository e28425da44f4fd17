"""A function that speaks through Datadog's own DogStatsD client, in every way that client knows."""

from typing import Any

from datadog.dogstatsd.base import DogStatsd

buffered = DogStatsd(host="127.0.0.1", port=8125, constant_tags=["client:datadog"], disable_buffering=False)
plain = DogStatsd(host="127.0.0.1", port=8125, constant_tags=["client:datadog"])


def handler(event: dict[str, Any], _context: object) -> None:
    """Lambda's entry point."""
    plain.increment("real.orders", tags=["kind:book"])
    plain.decrement("real.balance", 2)
    plain.gauge("real.stock", 42.5)
    plain.histogram("real.size", 7)
    plain.timing("real.took", 120)
    plain.set("real.customer", "Ann, of: [x]")
    plain.event("shipped", "to\nwhom it may concern", tags=["kind:book"])
    plain.service_check("real.check", plain.OK, message="fine")
    with buffered:
        for number in range(event.get("orders", 0)):
            buffered.increment("real.orders", tags=["kind:book"])
            buffered.distribution("real.price", number % 100 + 1)
