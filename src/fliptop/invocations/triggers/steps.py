"""Step Functions: the trace of an execution follows from its name, so that nobody has to carry it."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

from fliptop.invocations.context import TID, Context, decimal_id, propagated
from fliptop.invocations.options import Naming
from fliptop.invocations.triggers.origin import Origin
from fliptop.invocations.triggers.reading import at, given, text

_PLACES: Final = ("", "Payload", "_datadog", "Payload._datadog")
_63_BITS: Final = 2**63 - 1


def is_step(event: Any) -> bool:
    """A task of a state machine that passes its context object on."""
    return _step(event) is not None


def _step(event: Any) -> Any:
    for place in _PLACES:
        found = at(event, place) if place else event
        if text(found, "Execution.Id") and text(found, "State.Name") and text(found, "State.EnteredTime"):
            return found
    return None


def step(event: Any, naming: Naming) -> Origin:
    """See `is_step`."""
    found = _step(event)
    tags = given(
        function_trigger__event_source="states", function_trigger__event_source_arn=text(found, "StateMachine.Id")
    )
    return Origin(tags, context=_context(found))


def _context(step: Any) -> Context:
    """The trace that began with a Lambda function, if the event says so; else the one that belongs to the execution."""
    parent_id = _parent_id(step)
    root = decimal_id(text(step, "x-datadog-trace-id"))
    if root:
        return Context(root, parent_id, propagated(text(step, "x-datadog-tags")), 1, "states")
    digest = sha256((text(step, "RootExecutionId") or text(step, "Execution.Id")).encode("utf-8", "replace")).digest()
    high, low = (int.from_bytes(half) & _63_BITS or 1 for half in (digest[:8], digest[8:16]))
    return Context(low, parent_id, {TID: f"{high:016x}"}, 1, "states")


def _parent_id(step: Any) -> int:
    execution, name, entered = (text(step, path) for path in ("Execution.Id", "State.Name", "State.EnteredTime"))
    retries, redrives = (text(step, path) or "0" for path in ("State.RetryCount", "Execution.RedriveCount"))
    said = f"{execution}#{name}#{entered}" + (f"#{retries}#{redrives}" if (retries, redrives) != ("0", "0") else "")
    return int.from_bytes(sha256(said.encode("utf-8", "replace")).digest()[:8]) & _63_BITS or 1
