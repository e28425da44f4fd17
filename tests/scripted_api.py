"""A Runtime API on a socket whose answers are bytes, pauses and hang-ups, for what a well-behaved server never does."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

HANG_UP = object()
"""Step of an answer: close the connection."""

Step = bytes | float | Callable[[], object] | object
Answer = Sequence[Step]


def http(status: int = 200, body: bytes | str = b"", *headers: str) -> list[bytes]:
    """An answer as Lambda gives it."""
    body = body.encode() if isinstance(body, str) else body
    head = "\r\n".join((f"HTTP/1.1 {status} X", *headers, f"Content-Length: {len(body)}"))
    return [f"{head}\r\n\r\n".encode() + body]


def chunked(body: bytes, *headers: str, status: int = 200) -> bytes:
    """The same with its body in chunks of three bytes."""
    head = "\r\n".join((f"HTTP/1.1 {status} X", *headers, "transfer-encoding: CHUNKED"))
    pieces = [body[at : at + 3] for at in range(0, len(body), 3)]
    chunks = b"".join(f"{len(piece):X};x=y\r\n".encode() + piece + b"\r\n" for piece in pieces)
    return f"{head}\r\n\r\n".encode() + chunks + b"0\r\nTrailer: x\r\n\r\n"


OK = http(200, '"OK"')
IDENTIFIER = "5f1d2c3b-0a9e-4d8f-b7c6-1a2b3c4d5e6f"
REGISTRATION = json.dumps({"functionName": "f", "functionVersion": "1", "accountId": "111122223333"})
REGISTERED = http(200, REGISTRATION, f"Lambda-Extension-Identifier: {IDENTIFIER}")
SUBSCRIBED = OK


def invoke(seconds: float, request_id: str = "r", **more: object) -> Callable[[], bytes]:
    """An INVOKE whose deadline is so far away when it is sent."""

    def made() -> bytes:
        deadline_ms = round((time.time() + seconds) * 1000)
        event = {"eventType": "INVOKE", "deadlineMs": deadline_ms, "requestId": request_id, **more}
        return b"".join(http(200, json.dumps(event)))

    return made


INVOKE = http(200, '{"eventType":"INVOKE","deadlineMs":1,"requestId":"r","tracing":{"value":"\\"eventType\\":"}}')
SHUTDOWN_EVENT = b'{"eventType": "SHUTDOWN", "shutdownReason": "spindown", "deadlineMs": 0}'
SHUTDOWN = http(200, SHUTDOWN_EVENT)


def error(status: int, error_type: str) -> list[bytes]:
    """A refusal in Lambda's words."""
    return http(status, json.dumps({"errorMessage": "no", "errorType": error_type}))


@dataclass(frozen=True)
class Seen:
    """One request."""

    ns: int
    connection: int
    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def what(self) -> str:
        """The last part of the path."""
        return self.line.split()[1].rsplit("/", 1)[1]


@dataclass
class ScriptedApi:
    """Answers requests with `answers`, in order, over any number of connections; then leaves them pending."""

    answers: Sequence[Answer]
    requests: list[Seen] = field(default_factory=list)

    def __enter__(self) -> ScriptedApi:
        self._remaining = list(self.answers)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._connections: list[socket.socket] = []
        self._serving: list[threading.Thread] = []
        self._one_at_a_time = threading.Lock()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in (self._accepting, *self._serving):
            thread.join(5)
        for connection in self._connections:
            connection.close()

    def whats(self) -> list[str]:
        """The last parts of the paths that were asked for, in order."""
        return [request.what for request in self.requests]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.append(connection)
            number = len(self._connections)
            thread = threading.Thread(target=self._serve, args=(connection, number), daemon=True)
            thread.start()
            self._serving.append(thread)

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            self._converse(connection, number)
        except OSError:
            return

    def _converse(self, connection: socket.socket, number: int) -> None:
        received = b""
        while True:
            while (request := _request(received, number)) is None:
                data = connection.recv(65536)
                if not data:
                    return
                received += data
            received = b""  # one request at a time is what a client of this API sends
            with self._one_at_a_time:
                self.requests.append(request)
                answer = self._remaining.pop(0) if self._remaining else ()
            for step in answer:
                if step is HANG_UP:
                    connection.shutdown(socket.SHUT_RDWR)
                    return
                _take(step, connection)


def _request(received: bytes, connection: int) -> Seen | None:
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return None
    line, *fields = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (item.partition(":") for item in fields)}
    if len(body) < int(headers.get("content-length", "0")):
        return None
    return Seen(time.monotonic_ns(), connection, line, headers, body)


def _take(step: Step, connection: socket.socket) -> None:
    if isinstance(step, bytes):
        connection.sendall(step)
    elif isinstance(step, float):
        time.sleep(step)
    elif callable(step):
        made = step()
        if isinstance(made, bytes):
            connection.sendall(made)
