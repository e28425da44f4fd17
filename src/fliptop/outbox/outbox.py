"""The outbox: sealed payloads on their way to the intake, in order, bounded, each accounted for exactly once."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from fliptop import report
from fliptop.awake import sleep_awake
from fliptop.clock import Clock
from fliptop.outbox.breaker import Breaker
from fliptop.outbox.ledger import Ledger
from fliptop.outbox.payload import Payload
from fliptop.outbox.verdict import Answer, drop_reason, fate

Send = Callable[[Payload], Awaitable[Answer]]
Budget = Callable[[int], float]

# Sealed (compressed) bytes that may wait for a dead intake. A 128 MB function keeps room to live.
CEILING_BYTES: Final = 8 * 1024 * 1024
# So many payloads, however small: each takes some memory beside its bytes, and its turn.
MOST_PAYLOADS: Final = 2_000
# Clients may name hosts of their own choice. Of so many it is remembered how they fared when nothing waits for them.
MOST_BREAKERS: Final = 64
KEY_REFUSED: Final = frozenset({401, 403})
# A host that has just failed so often in one flush has had its chance. One that failed before is asked once.
MOST_FAILURES: Final = 3
TOO_LARGE: Final = 413
# In one flush, so many payloads that were too large are sent in halves. What is still too large then waits for the next
# one, so that a host which refuses everything in this way cannot take the others' time for ever.
MOST_SPLITS: Final = 16
# An attempt that gets less time than this says nothing about the intake, and is not made.
SHORTEST_ATTEMPT_S: Final = 0.1


class Outbox:
    """Payloads that the intake has not settled yet, oldest first.

    `put` never blocks: over `ceiling` bytes, or `MOST_PAYLOADS`, the oldest payloads are given up, counted as
    `outbox_full`. `flush` sends what is there; each host of the intake is served beside the others and has a breaker of
    its own, so that one that fails costs the others nothing. A payload that was in flight when time was up stays where
    it was, the same bytes under the same number. `name` is what messages call the other side.
    """

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        ceiling: int = CEILING_BYTES,
        jitter: random.Random | None = None,
        *,
        name: str = "the intake",
    ) -> None:
        self._ledger = ledger
        self._name = name
        self._clock = clock
        self._ceiling = ceiling
        self._jitter = jitter
        self._waiting: deque[Payload] = deque()
        self._breakers: dict[str, Breaker] = {}
        self._told: set[str] = set()
        self._winding_down = False

    @property
    def items(self) -> int:
        """Items in all waiting payloads."""
        return sum(payload.items for payload in self._waiting)

    @property
    def size(self) -> int:
        """Bytes in all waiting payloads."""
        return sum(len(payload.body) for payload in self._waiting)

    def resting(self, host: str) -> bool:
        """True while nothing is to be sent to `host`, because it failed a moment ago."""
        return host in self._breakers and self._breakers[host].open

    def put(self, payload: Payload) -> None:
        """Take over a sealed payload."""
        self._waiting.append(payload)
        self._keep_within_bounds()

    def _keep_within_bounds(self) -> None:
        while len(self._waiting) > MOST_PAYLOADS or self.size > self._ceiling:
            self._give_up(self._waiting[0], "outbox_full")
            many = f"over {self._ceiling} bytes or {MOST_PAYLOADS} payloads"
            self._tell_once("outbox_full", f"{many} wait for {self._name}: the oldest are dropped")

    async def flush(self, send: Send, budget: Budget, *, last: bool = False) -> None:
        """Send what is waiting with `send`, each payload once at most. `budget` says how many seconds a host may take
        that has failed so often in a row. Hosts whose pause is not over are left alone, unless this is the `last`
        chance. Safe to cancel at any await.
        """
        waiting = self._by_host()
        if len(self._breakers) > MOST_BREAKERS:
            self._breakers = {host: breaker for host, breaker in self._breakers.items() if host in waiting}
        async with anyio.create_task_group() as hosts:
            for host, payloads in waiting.items():
                breaker = self._breakers.setdefault(host, Breaker(self._clock, self._jitter))
                seconds = budget(breaker.failures)
                if seconds >= SHORTEST_ATTEMPT_S and (last or not breaker.open):
                    hosts.start_soon(self._serve, breaker, payloads, send, seconds, last)

    def wind_down(self) -> None:
        """Send nothing more before the last flush: one that is under way ends when what it has sent is answered."""
        self._winding_down = True

    def _by_host(self) -> dict[str, list[Payload]]:
        hosts: dict[str, list[Payload]] = {}
        for payload in self._waiting:
            hosts.setdefault(host_of(payload.url), []).append(payload)
        return hosts

    async def _serve(self, breaker: Breaker, payloads: list[Payload], send: Send, seconds: float, last: bool) -> None:
        async def time_is_up() -> None:
            await sleep_awake(seconds)
            sending.cancel_scope.cancel()
            breaker.failed()
            self._tell_once("retry", f"{self._name} did not answer within {seconds:.1f} s: telemetry is kept for later")

        async with anyio.create_task_group() as sending:
            sending.start_soon(time_is_up)
            await self._send_in_turn(breaker, payloads, send, last)
            sending.cancel_scope.cancel()

    async def _send_in_turn(self, breaker: Breaker, payloads: list[Payload], send: Send, last: bool) -> None:
        failures_left, splits_left = 1 if breaker.failures else MOST_FAILURES, MOST_SPLITS
        turn = deque(payloads)
        while turn and (last or not self._winding_down):
            payload = turn.popleft()
            if payload not in self._waiting:
                continue
            answer = await send(payload)
            if answer.status == TOO_LARGE and (halves := self._split(payload)):
                breaker.succeeded()
                splits_left -= 1
                turn.extendleft(reversed(halves) if splits_left >= 0 else ())
                continue
            if self._settle(breaker, payload, answer):
                continue
            failures_left -= 1
            if not failures_left or answer.status is None or answer.retry_after_s is not None:
                return

    def _split(self, payload: Payload) -> tuple[Payload, ...]:
        """Let two halves take the place of `payload`; none if it is a single piece, or has been given up meanwhile."""
        halves = payload.halves() if payload in self._waiting else ()
        if halves:
            place = self._waiting.index(payload)
            del self._waiting[place]
            for half in reversed(halves):
                self._waiting.insert(place, half)
            self._keep_within_bounds()
            report.debug(f"{payload.signal}: {len(payload.body)} bytes are too many for the intake: sent in halves")
        return halves

    def _settle(self, breaker: Breaker, payload: Payload, answer: Answer) -> bool:
        """Book the answer; False when the payload is to be sent again."""
        what = fate(answer)
        if what == "retry":
            breaker.failed(answer.retry_after_s)
            self._tell_once(
                "retry", f"{self._name} does not take {payload.signal} ({_describe(answer)}): kept for later"
            )
            return False
        breaker.succeeded()
        if what == "delivered":
            self._told.discard("retry")
            if payload in self._waiting:
                self._waiting.remove(payload)
                self._ledger.deliver(payload.signal, payload.items)
            return True
        self._tell_once(drop_reason(answer), self._refusal(payload, answer))
        self._give_up(payload, drop_reason(answer))
        if answer.status in KEY_REFUSED:  # others of its kind would fare no better; the next flush asks again
            for other in self._by_host().get(host_of(payload.url), ()):
                if other.signal == payload.signal:
                    self._give_up(other, drop_reason(answer))
        return True

    def drop_all(self, reason: str) -> None:
        """Give up everything that is waiting."""
        for payload in list(self._waiting):
            self._give_up(payload, reason)

    def _give_up(self, payload: Payload, reason: str) -> None:
        if payload in self._waiting:
            self._waiting.remove(payload)
            self._ledger.drop(payload.signal, payload.items, reason)

    def _refusal(self, payload: Payload, answer: Answer) -> str:
        signal = payload.signal.upper()
        if answer.status not in KEY_REFUSED:
            return f"{signal} | {self._name} refused a payload of {payload.items} (HTTP {answer.status}): dropped"
        return (
            f"{signal} | Request was denied by Datadog: Access denied. Please verify that your API key is valid. "
            f"({self._name}, HTTP {answer.status})"
        )

    def _tell_once(self, about: str, text: str) -> None:
        if about not in self._told:
            self._told.add(about)
            report.error(text)


def host_of(url: str) -> str:
    """Host and port of `url`."""
    return url.partition("://")[2].partition("/")[0]


def _describe(answer: Answer) -> str:
    return f"HTTP {answer.status}" if answer.status is not None else answer.problem
