"""What a tracer says when the function has answered: the request to `/lambda/end-invocation`."""

import base64
from typing import Any, Final, NamedTuple

from fliptop.http1 import Headers
from fliptop.invocations.context import decimal_id, priority, propagated

_ERRORS: Final = {f"error.{name}": f"x-datadog-invocation-error-{name}" for name in ("msg", "type", "stack")}
_SERVER_ERRORS: Final = range(500, 600)


class Ending(NamedTuple):
    """Ids are those of the span that the tracer has made for the invocation, 0 where it does not say; `tags` belong to
    the trace. `errors` are tags that tell what went wrong. `status_code` is the HTTP status of an answer that has one.
    """

    at_ns: int
    trace_id: int
    span_id: int
    parent_id: int
    priority: int | None
    tags: dict[str, str]
    failed: bool
    errors: dict[str, str]
    status_code: int | None

    @property
    def is_error(self) -> bool:
        """True when the function has failed, or its answer says that it could not do what was asked."""
        return self.failed or self.status_code in _SERVER_ERRORS


def ending(headers: Headers, answer: Any, at_ns: int) -> Ending:
    """Read the request's headers, and what the function has answered."""
    said = {name.lower(): value.strip() for name, value in headers}
    errors = {tag: _decoded(said[name]) for tag, name in _ERRORS.items() if said.get(name)}
    failed = bool(errors) or said.get("x-datadog-invocation-error", "").lower() == "true"
    trace_id, span_id, parent_id = (
        decimal_id(said.get(f"x-datadog-{name}-id", "")) for name in ("trace", "span", "parent")
    )
    return Ending(
        at_ns,
        trace_id,
        span_id,
        parent_id,
        priority(said.get("x-datadog-sampling-priority", "")),
        propagated(said.get("x-datadog-tags", "")),
        failed,
        errors,
        _status(answer),
    )


def _decoded(value: str) -> str:
    """Tracers write what a header cannot hold in Base64; some write it as it is."""
    try:
        return base64.b64decode(value, validate=True).decode()
    except ValueError:
        return value


def _status(answer: Any) -> int | None:
    code = answer.get("statusCode") if isinstance(answer, dict) else None
    if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) == 3:
        code = int(code)
    return code if isinstance(code, int) and 100 <= code < 600 else None
