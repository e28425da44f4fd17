"""The outbox: sealed payloads on their way to the intake, in order, bounded, each accounted for exactly once."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from fliptop import report
from fliptop.outbox.breaker import Breaker
from fliptop.outbox.ledger import Ledger
from fliptop.outbox.payload import Payload
from fliptop.outbox.verdict import Answer, drop_reason, fate

Send = Callable[[Payload], Awaitable[Answer]]

# Sealed (compressed) bytes that may wait for a dead intake. A 128 MB function keeps room to live.
CEILING_BYTES: Final = 8 * 1024 * 1024
KEY_REFUSED: Final = frozenset({401, 403})


class Outbox:
    """Payloads that the intake has not settled yet, oldest first.

    `put` never blocks: over `ceiling` bytes the oldest payloads are given up, counted as `outbox_full`. `flush` sends
    what is there until it is empty, the intake fails or the caller's deadline cancels it; a payload that was in flight
    when that happened stays first in line, the same bytes under the same number.
    """

    def __init__(self, ledger: Ledger, breaker: Breaker, ceiling: int = CEILING_BYTES) -> None:
        self._ledger = ledger
        self._breaker = breaker
        self._ceiling = ceiling
        self._waiting: deque[Payload] = deque()
        self._told: set[str] = set()

    @property
    def items(self) -> int:
        """Items in all waiting payloads."""
        return sum(payload.items for payload in self._waiting)

    @property
    def size(self) -> int:
        """Bytes in all waiting payloads."""
        return sum(len(payload.body) for payload in self._waiting)

    def put(self, payload: Payload) -> None:
        """Take over a sealed payload."""
        self._waiting.append(payload)
        while self.size > self._ceiling:
            self._give_up(self._waiting[0], "outbox_full")
            self._tell_once("outbox_full", f"over {self._ceiling} bytes wait for the intake: the oldest are dropped")

    async def flush(self, send: Send) -> None:
        """Send what is waiting with `send`. Safe to cancel at any await."""
        while self._waiting:
            payload = self._waiting[0]
            if not self._settle(payload, await send(payload)):
                return

    def no_answer(self, seconds: float) -> None:
        """A flush of `seconds` was cut short: the intake did not answer in time."""
        self._breaker.failed()
        self._tell_once("retry", f"the intake did not answer within {seconds:.1f} s: telemetry is kept for later")

    def _settle(self, payload: Payload, answer: Answer) -> bool:
        """Book the answer; False when the intake is to be left alone for now."""
        what = fate(answer)
        if what == "retry":
            self._breaker.failed(answer.retry_after_s)
            self._tell_once("retry", f"the intake does not take {payload.signal} ({_describe(answer)}): kept for later")
            return False
        self._breaker.succeeded()
        if what == "delivered":
            self._told.discard("retry")
            if payload in self._waiting:
                self._waiting.remove(payload)
                self._ledger.deliver(payload.signal, payload.items)
            return True
        self._tell_once(drop_reason(answer), _refusal(payload, answer))
        self._give_up(payload, drop_reason(answer))
        if answer.status in KEY_REFUSED:  # what else waits would fare no better; the next flush asks again
            self.drop_all(drop_reason(answer))
        return True

    def drop_all(self, reason: str) -> None:
        """Give up everything that is waiting."""
        for payload in list(self._waiting):
            self._give_up(payload, reason)

    def _give_up(self, payload: Payload, reason: str) -> None:
        if payload in self._waiting:
            self._waiting.remove(payload)
            self._ledger.drop(payload.signal, payload.items, reason)

    def _tell_once(self, about: str, text: str) -> None:
        if about not in self._told:
            self._told.add(about)
            report.error(text)


def _describe(answer: Answer) -> str:
    return f"HTTP {answer.status}" if answer.status is not None else answer.problem


def _refusal(payload: Payload, answer: Answer) -> str:
    if answer.status in KEY_REFUSED:
        return (
            f"{payload.signal.upper()} | Request was denied by Datadog: Access denied. Please verify that your API key "
            "is valid."
        )
    return f"{payload.signal.upper()} | the intake refused a payload of {payload.items} (HTTP {answer.status}): dropped"
