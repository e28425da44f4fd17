"""The model of where an event comes from."""

from typing import Any, NamedTuple

from fliptop.invocations.context import Context
from fliptop.traces.span import Span


class Origin(NamedTuple):
    """What an event says about where it comes from.

    `tags` belong to the invocation span. `span` stands for what sent the event, `wrapped` for what that had received
    it from; both without ids, and with `start` 0 where the event does not say when. `headers` may hold a trace context,
    `context` is one that follows from the event itself. `waits`: the sender waits for the function's answer.
    """

    tags: dict[str, str]
    span: Span | None = None
    wrapped: Span | None = None
    headers: Any = None
    context: Context | None = None
    waits: bool = False


def inferred(name: str, resource: str, service: str, start: int, meta: dict[str, str]) -> Span:
    """A span for what happened elsewhere, as far as its event tells."""
    return Span(service, name, resource or name, start=start, meta=meta, type="web")
