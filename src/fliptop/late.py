"""Pipelines that are made when they are first needed: functions without a tracer pay nothing for those of a tracer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from fliptop.flusher import Pipeline
from fliptop.outbox.payload import Payload

P = TypeVar("P", bound=Pipeline)


class Late(Generic[P]):
    """Stands for the pipeline that `make` makes, and imports. Before anybody has asked for it, nothing waits in it."""

    def __init__(self, make: Callable[[], P]) -> None:
        self._make = make
        self._made: P | None = None
        self._waiting: list[Callable[[P], None]] = []

    def __call__(self) -> P:
        """The pipeline itself."""
        if self._made is None:
            self._made = self._make()
            for tell in self._waiting:
                tell(self._made)
        return self._made

    def when_made(self, tell: Callable[[P], None]) -> None:
        """Call `tell` with the pipeline, as soon as it is made."""
        self._waiting.append(tell)

    def seal(self, *, last: bool = False) -> Iterator[Payload]:
        """See `flusher.Pipeline`."""
        return self._made.seal(last=last) if self._made else iter(())

    def give_up(self, reason: str) -> None:
        """See `flusher.Pipeline`."""
        if self._made:
            self._made.give_up(reason)
