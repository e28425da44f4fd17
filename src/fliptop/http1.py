"""HTTP/1.1 without I/O: bytes in, messages out. The parser is h11, which httpx brings along anyway.

Two sides: `ServerSide` for the local endpoints that the platform and tracers call, `ClientSide` for the Runtime API
that the extension calls. Neither knows about sockets; `platform.api` and `listeners.http` move the bytes.
"""

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

import h11

Headers = tuple[tuple[str, str], ...]

MAX_HEADER_BYTES: Final = 64 * 1024


Refusal = Literal["", "too_large", "no_room"]


class ProtocolError(Exception):
    """The peer did not speak HTTP/1.1, closed in the middle of a message, or sent more than was allowed."""


class Request(NamedTuple):
    """A request, complete. `target` is the path with its query string, as sent. `refused` says why its body has been
    read and not kept, if it has not.
    """

    method: str
    target: str
    headers: Headers = ()
    body: bytes = b""
    refused: Refusal = ""

    @property
    def path(self) -> str:
        """The target without its query string."""
        return self.target.partition("?")[0]

    def header(self, name: str) -> str | None:
        """The first header called `name` (any case), or None."""
        return _header(self.headers, name)


class Response(NamedTuple):
    """A response, complete. `headers` does not name `Content-Length`; it is added when the response is sent."""

    status: int
    body: bytes = b""
    headers: Headers = ()

    def header(self, name: str) -> str | None:
        """The first header called `name` (any case), or None."""
        return _header(self.headers, name)


class Room:
    """The bytes that bodies may take while they arrive, those of all connections of a listener together."""

    def __init__(self, size: int) -> None:
        self._left = size

    def take(self, size: int) -> bool:
        """Reserve `size` bytes; False when there are not so many."""
        if size > self._left:
            return False
        self._left -= size
        return True

    def give_back(self, size: int) -> None:
        """Release what was reserved."""
        self._left += size


class ServerSide:
    """One connection that a client opened to us.

    Feed what was read to `receive`; it yields every request that is now complete (clients may pipeline). Answer each
    with `respond` before asking for the next one. A body of more than `max_body` bytes, or one for which there is no
    `room`, is read to its end all the same, because few clients look for an answer before they have sent everything;
    but it is not kept. A head that is not complete after `max_head` bytes is a `ProtocolError`. Say `close` when the
    connection is gone.
    """

    def __init__(self, max_body: int, room: Room | None = None, max_head: int = MAX_HEADER_BYTES) -> None:
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=max_head)
        self._max_body = max_body
        self._room = room or Room(max_body)
        self._head: h11.Request | None = None
        self._body = bytearray()
        self._refused: Refusal = ""
        self._bodiless = False

    def receive(self, data: bytes) -> Iterator[Request]:
        """Take what was read (`b""` at the end of the stream) and yield the requests that it completes."""
        try:
            self._connection.receive_data(data)
            while (request := self._next_request()) is not None:
                yield request
        except h11.RemoteProtocolError as problem:
            raise ProtocolError(str(problem)) from problem

    def _next_request(self) -> Request | None:
        while True:
            event = self._connection.next_event()
            if isinstance(event, h11.Request):
                self._head, self._bodiless = event, event.method == b"HEAD"
            elif isinstance(event, h11.Data):
                self._keep(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return self._take()
            else:
                return None

    def _keep(self, data: bytes) -> None:
        if self._refused:
            return
        if len(self._body) + len(data) > self._max_body:
            self._refused = "too_large"
        elif not self._room.take(len(data)):
            self._refused = "no_room"
        else:
            self._body += data
            return
        self.close()

    def close(self) -> None:
        """Forget what has arrived of a body."""
        self._room.give_back(len(self._body))
        self._body = bytearray()

    def _take(self) -> Request:
        head, body, refused = self._head, bytes(self._body), self._refused
        self._head, self._refused = None, ""
        self.close()
        if head is None:
            raise ProtocolError("end of a message that never began")
        return Request(head.method.decode("ascii"), head.target.decode("latin-1"), _headers(head), body, refused)

    @property
    def wants_continue(self) -> bool:
        """True while the client holds its body back until it hears `100 Continue`."""
        return self._connection.they_are_waiting_for_100_continue

    def go_ahead(self) -> bytes:
        """The bytes of `100 Continue`."""
        return self._connection.send(h11.InformationalResponse(status_code=100, headers=[])) or b""

    def respond(self, response: Response) -> bytes:
        """The bytes of `response`, after which the connection is ready for the next request if it stays open. Raises
        `ProtocolError` for what HTTP does not allow, such as agreeing to CONNECT.
        """
        head = h11.Response(status_code=response.status, headers=_with_length(response.headers, response.body))
        try:
            sent = self._connection.send(head) or b""
            if not self._bodiless:
                sent += self._connection.send(h11.Data(data=response.body)) or b""
            sent += self._connection.send(h11.EndOfMessage()) or b""
            if self.keeps_open:
                self._connection.start_next_cycle()
        except h11.LocalProtocolError as problem:
            raise ProtocolError(str(problem)) from problem
        return sent

    @property
    def keeps_open(self) -> bool:
        """False when the connection must be closed after the last response."""
        return self._connection.our_state is not h11.MUST_CLOSE and self._connection.their_state is not h11.MUST_CLOSE


class ClientSide:
    """One connection that we opened, used for one exchange after the other."""

    def __init__(self, host: str, max_body: int = 16 * 1024 * 1024) -> None:
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEADER_BYTES)
        self._host = host
        self._max_body = max_body
        self._head: h11.Response | None = None
        self._body = bytearray()

    def send(self, request: Request) -> bytes:
        """The bytes of `request`. The answer to the one before must have been received. Raises `ProtocolError` when the
        server has said that it would not take another one on this connection.
        """
        if not self.keeps_open:
            raise ProtocolError("the server has ended this connection")
        headers = (("Host", self._host), *request.headers)
        head = h11.Request(method=request.method, target=request.target, headers=_with_length(headers, request.body))
        sent = self._connection.send(head) or b""
        if request.body:
            sent += self._connection.send(h11.Data(data=request.body)) or b""
        return sent + (self._connection.send(h11.EndOfMessage()) or b"")

    def receive(self, data: bytes) -> Response | None:
        """Take what was read (`b""` at the end of the stream); the response once it is complete, else None."""
        try:
            self._connection.receive_data(data)
            return self._next_response()
        except h11.RemoteProtocolError as problem:
            raise ProtocolError(str(problem) if data else "connection closed before the response") from problem

    def _next_response(self) -> Response | None:
        while True:
            event = self._connection.next_event()
            if isinstance(event, h11.Response):
                self._head = event
            elif isinstance(event, h11.Data):
                self._body += event.data
                if len(self._body) > self._max_body:
                    raise ProtocolError(f"response body over {self._max_body} bytes")
            elif isinstance(event, h11.EndOfMessage):
                return self._take()
            elif isinstance(event, h11.ConnectionClosed):
                raise ProtocolError("connection closed before the response")
            elif not isinstance(event, h11.InformationalResponse):
                return None

    def _take(self) -> Response:
        head, body = self._head, bytes(self._body)
        self._head, self._body = None, bytearray()
        if head is None:
            raise ProtocolError("end of a message that never began")
        if self.keeps_open:
            self._connection.start_next_cycle()
        return Response(head.status_code, body, headers=_headers(head))

    @property
    def keeps_open(self) -> bool:
        """False once the server said that it closes this connection."""
        return h11.MUST_CLOSE not in {self._connection.our_state, self._connection.their_state}


def _header(headers: Headers, name: str) -> str | None:
    wanted = name.lower()
    return next((value for key, value in headers if key.lower() == wanted), None)


def _headers(message: h11.Request | h11.Response) -> Headers:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in message.headers)


def _with_length(headers: Headers, body: bytes) -> list[tuple[str, str]]:
    return [*headers, ("Content-Length", str(len(body)))]
