"""A Runtime API on a socket, scripted: for what must be tested on a real connection without a simulated Lambda."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from fliptop.http1 import ProtocolError, Request, Response, ServerSide

IDENTIFIER = (("Lambda-Extension-Identifier", "id-1"),)
REGISTERED = Response(200, b'{"functionName":"f","accountId":"111122223333"}', headers=IDENTIFIER)
OK = Response(200, b'"OK"')
SHUTDOWN = Response(200, b'{"eventType":"SHUTDOWN","shutdownReason":"spindown","deadlineMs":0}')
HANG_UP = Response(0)
"""Close the connection instead of answering."""


@dataclass
class ScriptedApi:
    """Answers requests with `answers`, in order, over any number of connections; then leaves them pending."""

    answers: Sequence[Response]
    requests: list[Request] = field(default_factory=list)

    def __enter__(self) -> ScriptedApi:
        self._remaining = list(self.answers)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._connections: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        for opened in (self._listening, *self._connections):
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
        self._accepting.join(5)
        for opened in (self._listening, *self._connections):
            opened.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self._connections.append(connection)
            try:
                self._serve(connection)
            except (OSError, ProtocolError):
                continue

    def _serve(self, connection: socket.socket) -> None:
        protocol = ServerSide(max_body=65536)
        while data := connection.recv(65536):
            for request in protocol.receive(data):
                self.requests.append(request)
                if not self._remaining:
                    continue
                answer = self._remaining.pop(0)
                if answer is HANG_UP:
                    connection.close()
                    return
                connection.sendall(protocol.respond(answer))
                if not protocol.keeps_open:
                    connection.close()
                    return
