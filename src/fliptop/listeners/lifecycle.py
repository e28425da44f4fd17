"""The lifecycle listener: what tracers tell of invocations, on port 8124. Source: extension-behaviour, 2.2.

A tracer asks when an invocation begins, and needs the answer before the function runs: the trace to go on with. It
tells when the function has answered, before the platform hears of that. Whatever it sends, the answer is 200: a tracer
has no use for anything else, and the function must not notice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from fliptop import report
from fliptop.http1 import Headers, Request, Response
from fliptop.listeners.http import Handler, Limits

if TYPE_CHECKING:
    from fliptop.invocations.tracing import Invocations

# As large as an event or an answer can be; of what is larger, the headers count. In one of those a whole stack trace
# may come, in Base64: of an overflow, a thousand frames. On Managed Instances many invocations run at once, each with a
# connection that is kept for its end.
LIMITS: Final = Limits(connections=128, body_bytes=6 * 1024 * 1024, head_bytes=512 * 1024)
# There, the events of those that begin at one moment arrive together.
LIMITS_AT_ONCE: Final = LIMITS._replace(bodies_bytes=32 * 1024 * 1024)
_NOTHING: Final = b"{}"


def lifecycle_handler(invocations: Callable[[], Invocations]) -> Handler:
    """The handler that tells `invocations`, which are loaded when the first request wants them."""

    told: set[str] = set()

    def start(request: Request) -> Headers:
        _tell_refused(request, told)
        context = invocations().start(request.headers, request.body)
        if context is None:
            return ()
        headers = [("x-datadog-trace-id", str(context.trace_id))]
        if context.priority is not None:
            headers.append(("x-datadog-sampling-priority", str(context.priority)))
        if "_dd.p.tid" in context.tags:
            headers.append(("x-datadog-tags", f"_dd.p.tid={context.tags['_dd.p.tid']}"))
        return tuple(headers)

    def end(request: Request) -> Headers:
        invocations().end(request.headers, request.body)
        return ()

    def nothing(_: Request) -> Headers:
        return ()

    routes = {
        "/lambda/hello": ("GET", nothing),
        "/lambda/flush": ("POST", nothing),
        "/lambda/start-invocation": ("POST", start),
        "/lambda/end-invocation": ("POST", end),
    }

    def handle(request: Request) -> Response:
        method, tell = routes.get(request.target.partition("?")[0], ("", nothing))
        if request.method != method:
            return Response(405, headers=(("Allow", method),)) if method else Response(404)
        try:
            return Response(200, _NOTHING, tell(request))
        except Exception as problem:  # noqa: BLE001 -- promise 1: the function waits for this answer
            report.error(f"{request.target} could not be made use of: {problem!r}")
            return Response(200, _NOTHING)

    return handle


def _tell_refused(request: Request, told: set[str]) -> None:
    """Say, once for each reason, that an event has not been kept; `told` are the reasons given so far."""
    if request.refused and request.refused not in told:
        told.add(request.refused)
        report.warn(f"an event could not be looked at ({request.refused}): its trace goes by the headers alone")
