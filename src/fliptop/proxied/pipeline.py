"""The pipeline of proxied requests: each goes on as it came, to the product that it is meant for.

Source: intake-wire, 7. The body is not looked into, and keeps its own encoding. What arrives twice has been recognised
by the listener.
"""

import itertools
from collections import deque
from collections.abc import Iterator
from typing import Final

from fliptop import report
from fliptop.http1 import Headers, Request
from fliptop.identity import Identity
from fliptop.listeners.trace_agent import EVP
from fliptop.outbox.ledger import Ledger
from fliptop.outbox.payload import Payload
from fliptop.proxied.destinations import KNOWN, Places, url

SIGNAL: Final = "proxied"
# A profile may take megabytes. Sealed it counts among what the outbox holds, of which this is half.
CEILING_BYTES: Final = 4 * 1024 * 1024
LONGEST_URL: Final = 16 * 1024
# Bytes of headers that are passed on. No server takes more.
LONGEST_HEADERS: Final = 16 * 1024
# What a request takes beside its bytes: memory, and its turn. So no more than a thousand wait, which leaves the outbox
# room for the payloads of others.
OVERHEAD: Final = 4096
# What belongs to the connection it came on, or is said anew on the one it goes out on.
NOT_PASSED_ON: Final = frozenset(
    {
        *("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
        *("host", "content-length", "expect", "accept-encoding", "dd-api-key", "x-datadog-additional-tags"),
        *("proxy-authorization", "proxy-authenticate"),
    }
)
# All that Datadog's agent passes on where the request itself says whom it is for.
EVP_HEADERS: Final = frozenset({"content-type", "content-encoding", "user-agent", "dd-ci-provider-name"})


class ProxiedPipeline:
    """Everything between a request and its payload. One item is one request."""

    def __init__(self, places: Places, identity: Identity, ledger: Ledger) -> None:
        self._places = places
        self._tags = ("X-Datadog-Additional-Tags", f"_dd.origin:lambda,functionname:{identity.function_name}")
        self._ledger = ledger
        self._numbers = itertools.count(1)
        self._waiting: deque[Payload] = deque()
        self._size = 0

    async def take(self, request: Request) -> None:
        """Take over a request to one of the proxied paths."""
        self._ledger.accept(SIGNAL)
        to, headers = url(request, self._places), (*passed_on(request), self._tags)
        if to is None or len(to) > LONGEST_URL:
            self._drop(request, "no_destination")
        elif len(request.body) > CEILING_BYTES or _length(headers) > LONGEST_HEADERS:
            self._drop(request, "too_large")
        else:
            self._keep(request, Payload(next(self._numbers), SIGNAL, 1, to, headers, request.body))

    def _keep(self, request: Request, payload: Payload) -> None:
        if self._waiting and self._size + _size(payload) > CEILING_BYTES:
            self._drop(request, "buffer_full")
        else:
            self._waiting.append(payload)
            self._size += _size(payload)

    def _drop(self, request: Request, reason: str) -> None:
        self._ledger.drop(SIGNAL, 1, reason)
        report.debug(f"a request to {request.path} of {len(request.body)} bytes is dropped: {reason}")

    def seal(self, *, last: bool = False) -> Iterator[Payload]:
        """Everything that waits by now."""
        left = len(self._waiting)
        while left and self._waiting:
            left -= 1
            payload = self._waiting.popleft()
            self._size -= _size(payload)
            yield payload

    def give_up(self, reason: str) -> None:
        """Drop everything that waits."""
        self._ledger.drop(SIGNAL, len(self._waiting), reason)
        self._waiting.clear()
        self._size = 0


def _length(headers: Headers) -> int:
    return sum(len(name) + len(value) for name, value in headers)


def _size(payload: Payload) -> int:
    """The bytes that `payload` takes while it waits."""
    return OVERHEAD + len(payload.url) + _length(payload.headers) + len(payload.body)


def passed_on(request: Request) -> Headers:
    """The headers of `request` that go on with its body."""
    if request.path.startswith(EVP) and request.path not in KNOWN:
        return tuple((name, value) for name, value in request.headers if name.lower() in EVP_HEADERS)
    named = {word.strip().lower() for word in (request.header("Connection") or "").split(",")}
    refused = NOT_PASSED_ON | named
    return tuple((name, value) for name, value in request.headers if name.lower() not in refused)
