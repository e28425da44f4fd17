"""What an invocation's event and the headers beside it say about where it comes from, and in which trace it belongs."""

from typing import Any, NamedTuple

import orjson

from fliptop.invocations.context import Context, carrier_of, extract
from fliptop.invocations.options import InvocationOptions, Propagation
from fliptop.invocations.triggers.catalogue import origin
from fliptop.invocations.triggers.origin import Origin
from fliptop.invocations.triggers.reading import at


class Arrival(NamedTuple):
    """Where an invocation comes from; `context` None: it begins a trace."""

    origin: Origin
    context: Context | None


def read_json(body: bytes) -> Any:
    """What `body` says; an empty object if it is no JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}


def arrival(event: Any, headers: Any, options: InvocationOptions) -> Arrival:
    """What `event` says, and `headers`, which came with it. Never raises. Source: extension-behaviour, 8.8."""
    found = origin(event, options.naming)
    return Arrival(found, _context(found, event, headers, options.propagation))


def _context(found: Origin, event: Any, headers: Any, how: Propagation) -> Context | None:
    """The first there is: in the trigger's message, implied by the event, in the event's headers, or beside it."""
    context = extract(carrier_of(found.headers), how) or found.context
    for place in (at(event, "request.headers"), at(event, "headers"), headers):
        context = context or extract(carrier_of(place), how)
    return context
