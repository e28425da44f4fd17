"""A Runtime and Extensions API with just enough in it to run one function or one extension."""

import json
import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


class FakeLambda:
    """Hands out ``events``; ``calls`` collects (path, headers, body) of every POST and PUT."""

    def __init__(self) -> None:
        self.events: queue.Queue[dict[str, Any]] = queue.Queue()
        self.calls: queue.Queue[tuple[str, dict[str, str], Any]] = queue.Queue()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                fake.answer(self, fake.events.get())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                fake.calls.put((self.path, dict(self.headers), json.loads(body or b"null")))
                fake.answer(self, {"status": "OK"})

            do_PUT = do_POST  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"127.0.0.1:{self.server.server_port}"

    def answer(self, handler: BaseHTTPRequestHandler, event: dict[str, Any]) -> None:
        body = json.dumps(event).encode()
        handler.send_response(200)
        handler.send_header("Lambda-Runtime-Aws-Request-Id", "r-1")
        handler.send_header("Lambda-Runtime-Deadline-Ms", "9999999999999")
        handler.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-west-1:111122223333:function:f")
        handler.send_header("Lambda-Extension-Identifier", "11111111-2222-3333-4444-555555555555")
        handler.send_header("Content-Type", "application/json")  # awslambdaric crashes without it
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def fake_lambda() -> Iterator[FakeLambda]:
    fake = FakeLambda()
    thread = threading.Thread(target=fake.server.serve_forever, daemon=True)
    thread.start()
    yield fake
    fake.server.shutdown()
    fake.server.server_close()
