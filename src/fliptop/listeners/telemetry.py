"""The telemetry listener: what Lambda's Telemetry API delivers to, on port 8999.

Every path is served (emulators ignore the one that was subscribed with). The answer is 200 even for a body that turns
out to be unreadable, because anything else would make the platform deliver the same bytes again and again; 503 asks
it to do just that, when there is no room.
"""

from __future__ import annotations

from fliptop.http1 import Request, Response
from fliptop.listeners.http import Handler
from fliptop.listeners.inbox import Inbox


def telemetry_handler(inbox: Inbox) -> Handler:
    """The handler that puts deliveries into `inbox`."""

    def handle(request: Request) -> Response:
        if request.method not in {"POST", "PUT"}:
            return Response(405, headers=(("Allow", "POST, PUT"),))
        return Response(200) if inbox.put(request.body) else Response(503)

    return handle
