"""The telemetry listener: what Lambda's Telemetry API delivers to, on port 8999.

Every path is served (emulators ignore the one that was subscribed with). The answer is 200 even for a body that turns
out to be unreadable, because anything else would make the platform deliver the same bytes again and again; 503 asks
it to do just that, when there is no room.
"""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from typing import Final

from fliptop.http1 import Request, Response
from fliptop.listeners.http import Handler
from fliptop.listeners.inbox import Inbox

REMEMBERED: Final = 16


def telemetry_handler(inbox: Inbox[bytes]) -> Handler:
    """The handler that puts deliveries into `inbox`, each once.

    A platform that had to wait too long for an answer delivers the same bytes again. Times are part of them, so bytes
    that were seen a moment ago are the same delivery.
    """
    seen: deque[bytes] = deque(maxlen=REMEMBERED)

    def handle(request: Request) -> Response:
        if request.method not in {"POST", "PUT"}:
            return Response(405, headers=(("Allow", "POST, PUT"),))
        if request.refused:
            return Response(413 if request.refused == "too_large" else 503)
        digest = blake2b(request.body, digest_size=16).digest()
        if digest in seen:
            return Response(200)
        if not inbox.put(request.body, len(request.body)):
            return Response(503)
        seen.append(digest)
        return Response(200)

    return handle
