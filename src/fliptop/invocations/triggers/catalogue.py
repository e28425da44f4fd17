"""The catalogue: which events are whose. The first that fits is believed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from fliptop import report
from fliptop.invocations.options import Naming
from fliptop.invocations.triggers import http, messages, steps, stores
from fliptop.invocations.triggers.origin import Origin

_CATALOGUE: Final[tuple[tuple[Callable[[Any], bool], Callable[[Any, Naming], Origin]], ...]] = (
    (http.is_http_api, http.http_api),
    (http.is_rest_api, http.rest_api),
    (http.is_websocket, http.websocket),
    (http.is_load_balancer, http.load_balancer),
    (http.is_function_url, http.function_url),
    (messages.is_kafka, messages.kafka),
    (messages.is_queue, messages.queue),
    (messages.is_topic, messages.topic),
    (stores.is_table, stores.table),
    (stores.is_bucket, stores.bucket),
    (messages.is_bus, messages.bus),
    (messages.is_stream, messages.stream),
    (steps.is_step, steps.step),
)


def origin(event: Any, naming: Naming) -> Origin:
    """Where `event` comes from; an empty answer if nothing says so. Never raises."""
    try:
        read = next((read for fits, read in _CATALOGUE if fits(event)), None)
        return read(event, naming) if read else Origin({})
    except Exception as problem:  # noqa: BLE001 -- an event can be anything, and the function waits for an answer
        report.debug(f"an event says nothing about its trigger: {problem!r}")
        return Origin({})
