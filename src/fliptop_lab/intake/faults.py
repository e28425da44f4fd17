"""Faults the intake injects on request: what can go wrong between an extension and Datadog."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Kind = Literal[
    "status",
    "delay",
    "blackhole",
    "reset-headers",
    "reset-body",
    "reset-response",
    "trickle",
    "refuse",
    "untrusted",
    "garbage",
    "no-dns",
    "dead-dns",
    "proxy-down",
]

KINDS: dict[str, str] = {
    "status": "answer with an HTTP status; the payload is kept only when that is 2xx",
    "delay": "wait (delay=SECONDS), then behave normally",
    "blackhole": "read the request and never answer",
    "reset-headers": "reset the connection once the headers are in",
    "reset-body": "reset the connection in the middle of the request body",
    "reset-response": "keep the payload, send a 202 and half of the answer, then reset",
    "trickle": "keep the payload, send the answer one byte at a time",
    "refuse": "close the listening sockets and all connections, so that new ones are refused",
    "untrusted": "close all connections; new ones meet a certificate that nobody vouches for (with TLS)",
    "garbage": "close all connections; new ones meet noise that is neither TLS nor HTTP",
    "no-dns": "the name server does not know the intake's name",
    "dead-dns": "the name server does not answer",
    "proxy-down": "the proxy on the way to the intake refuses connections, and closes those there are",
}
"""Every kind of fault and what it does."""
OF_CONNECTIONS = frozenset({"refuse", "untrusted", "garbage"})
"""Faults that end the connections there are, and meet new ones before any request."""
ON_THE_WAY = frozenset({"no-dns", "dead-dns", "proxy-down"})
"""Faults between an extension and the intake: see ``fliptop_lab.routes``. The intake alone knows nothing of them."""


class Fault(BaseModel):
    """One fault.

    It applies to requests whose path starts with ``path``, ``times`` of them or, without it, until it is cleared.
    ``delay`` is in seconds: before the answer, for ``trickle`` between two bytes. ``retry_after`` is sent as the
    header, in seconds.
    """

    model_config = ConfigDict(extra="forbid")

    kind: Kind = "status"
    status: int = Field(default=500, ge=200, le=599)
    path: str = Field(default="/", pattern="^/")
    times: int | None = Field(default=None, ge=1)
    delay: float = Field(default=0.0, ge=0)
    retry_after: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if not self.of_requests and (self.times, self.path) != (None, "/"):
            raise ValueError(f"{self.kind} is for all paths and lasts until it is cleared")
        if self.kind == "delay" and not self.delay:
            raise ValueError("say how long, as delay=SECONDS")
        return self

    @property
    def of_requests(self) -> bool:
        """Whether it is about one request or the other, rather than about whole connections."""
        return self.kind not in OF_CONNECTIONS | ON_THE_WAY

    @classmethod
    def parse(cls, spec: str) -> Fault:
        """Read the notation of the command line.

        Examples: ``503``, ``429,times=3,retry-after=2``, ``delay=2``, ``blackhole,path=/api/v2/logs``. The first
        word is a status or one of ``KINDS``; ``key=value`` pairs follow. Raises ``ValueError`` with a sentence that
        names the mistake.
        """
        first, *pairs = [part.strip() for part in spec.split(",")]
        values: dict[str, Any] = {"kind": "status", "status": first} if first.isdigit() else {"kind": first}
        if first.startswith("delay="):
            values, pairs = {"kind": "delay"}, [first, *pairs]
        for pair in pairs:
            key, equals, value = pair.partition("=")
            if not equals:
                raise ValueError(f"fault {spec!r}: {pair!r} is not key=value")
            values[key.replace("-", "_")] = value
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ValueError(_explain(spec, error)) from None

    def __str__(self) -> str:
        parts = [str(self.status) if self.kind == "status" else self.kind]
        parts += [f"path={self.path}"] if self.path != "/" else []
        parts += [f"times={self.times}"] if self.times is not None else []
        parts += [f"delay={self.delay:g}"] if self.delay else []
        parts += [f"retry-after={self.retry_after}"] if self.retry_after is not None else []
        return ",".join(parts)


def _explain(spec: str, error: ValidationError) -> str:
    first = error.errors()[0]
    key = str(first["loc"][0]).replace("_", "-") if first["loc"] else "fault"
    if key == "kind":
        return f"fault {spec!r}: begin with an HTTP status or one of {', '.join(KINDS)}"
    return f"fault {spec!r}: {key}: {first['msg']}"


class Faults:
    """The faults in force, first match first. ``changed`` is set and replaced whenever the list changes."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._active = list(faults)
        self.changed = asyncio.Event()

    @property
    def active(self) -> list[Fault]:
        """What is in force now."""
        return list(self._active)

    def active_of(self, *kinds: Kind) -> bool:
        """Whether one of these kinds is in force."""
        return any(fault.kind in kinds for fault in self._active)

    def inject(self, fault: Fault | str) -> Fault:
        """Add a fault, given as such or in the notation of ``Fault.parse``."""
        fault = Fault.parse(fault) if isinstance(fault, str) else fault
        self._active.append(fault.model_copy())
        self._announce()
        return fault

    def clear(self) -> None:
        """Remove all faults; requests held by a black hole are let go without an answer."""
        self._active.clear()
        self._announce()

    def take(self, path: str) -> Fault | None:
        """The fault for a request that just arrived on ``path``; counts it."""
        fault = next((f for f in self._active if path.startswith(f.path) and f.of_requests), None)
        if fault is None or fault.times is None:
            return fault
        taken = fault.model_copy()
        fault.times -= 1
        if fault.times == 0:
            self._active.remove(fault)
        return taken

    def _announce(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()
