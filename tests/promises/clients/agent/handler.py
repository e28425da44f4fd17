"""A function that sends requests to the trace agent as it is told to, and returns the answers."""

import http.client
from collections.abc import Iterator
from typing import Any

agent = http.client.HTTPConnection("127.0.0.1", 8126, timeout=10)


def handler(event: list[dict[str, Any]], _context: object) -> list[list[Any]]:
    """Lambda's entry point. Each request is a path, and perhaps headers, a body in hexadecimal, a method, a size."""
    return [ask(**request) for request in event]


def ask(
    path: str,
    headers: dict[str, str] | None = None,
    body: str = "",
    method: str = "POST",
    chunked: bool = False,
    zeros: int = 0,
) -> list[Any]:
    content = bytes.fromhex(body) or bytes(zeros)
    agent.request(method, path, pieces(content) if chunked else content, headers or {}, encode_chunked=chunked)
    answer = agent.getresponse()
    return [answer.status, answer.read().decode()]


def pieces(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), 1000):
        yield content[start : start + 1000]
