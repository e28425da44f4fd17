"""Answers of Lambda's APIs, as data: what the protocol modules return and the HTTP server writes."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response; `body` is sent as it is."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


Parked = asyncio.Future[Answer]


def document(status: int, value: Any, headers: Mapping[str, str] | None = None) -> Answer:
    """A JSON answer, with the newline at its end that Lambda writes."""
    return Answer(status, json.dumps(value, separators=(",", ":")).encode() + b"\n", headers or {})


def refused(status: int, error_type: str, message: str) -> Answer:
    """An error in the shape that all of Lambda's APIs share."""
    return document(status, {"errorMessage": message, "errorType": error_type})


def accepted() -> Answer:
    """202, as for error reports and responses."""
    return document(202, {"status": "OK"})


NOT_FOUND = Answer(404, b"404 page not found\n", content_type="text/plain; charset=utf-8")


def wrong_method(allowed: str) -> Answer:
    """405 for a known path."""
    return Answer(405, b"", {"Allow": allowed}, "text/plain; charset=utf-8")


class Changes:
    """Wakes whoever waits for a condition over shared state, when told that the state has changed."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def notify(self) -> None:
        """Call after every change that a condition may look at."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    async def until(self, condition: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Waits for `condition()`; False when `timeout_s` went by first."""
        loop = asyncio.get_running_loop()
        end = None if timeout_s is None else loop.time() + timeout_s
        while not condition():
            left = None if end is None else end - loop.time()
            if left is not None and left <= 0:
                return False
            future: asyncio.Future[None] = loop.create_future()
            self._waiting.add(future)
            try:
                await asyncio.wait({future}, timeout=left)
            finally:
                self._waiting.discard(future)
        return True
