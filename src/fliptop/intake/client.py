"""Datadog's intake over HTTP: one sealed payload in, one answer out. Nothing is decided here.

Pooled connections die unnoticed while the environment is frozen, so a pool that has not been used for a while is
replaced rather than trusted.
"""

from __future__ import annotations

from typing import Final

import anyio

from fliptop import __version__, report
from fliptop.clock import Clock
from fliptop.intake.api_key import ApiKey
from fliptop.intake.connect import Connector
from fliptop.intake.lean import httpx
from fliptop.outbox.payload import Payload
from fliptop.outbox.verdict import Answer

# Shorter than any load balancer's idle timeout; a busy function keeps its connection, a thawed one starts anew.
IDLE_LIMIT_S: Final = 5.0
MAX_RESPONSE_BYTES: Final = 64 * 1024
DRAIN_S: Final = 0.2


class IntakeClient:
    """Sends payloads. Never raises for anything that the intake or the network does: that is an `Answer`."""

    def __init__(self, connector: Connector, api_key: ApiKey, clock: Clock) -> None:
        self._connector = connector
        self._api_key = api_key
        self._clock = clock
        self._client: httpx.AsyncClient | None = None
        self._used_at = 0.0
        self._in_flight = 0

    async def send(self, payload: Payload) -> Answer:
        """Send `payload` once and say how the intake answered. Without a key nothing is sent."""
        try:
            return await self._exchange(payload)
        except Exception as problem:  # noqa: BLE001 -- a proxy, a URL, a certificate: all that can go wrong is an answer
            return Answer(None, f"{type(problem).__name__}: {problem}".removesuffix(": "))

    async def _exchange(self, payload: Payload) -> Answer:
        key = await self._api_key.get()
        if key is None:
            return Answer(None, "there is no API key yet")
        client = await self._fresh(payload.url)
        request = client.build_request("POST", payload.url, content=payload.body, headers=_headers(payload, key))
        self._in_flight += 1
        try:
            response = await client.send(request, stream=True)
            # The status has decided. Neither a slow or broken body nor the end of our time may make us send this again.
            with anyio.CancelScope(shield=True), anyio.move_on_after(DRAIN_S):
                await _read_and_forget(response)
        finally:
            self._in_flight -= 1
        self._used_at = self._clock.wall()
        return Answer(response.status_code, retry_after_s=_seconds(response.headers.get("Retry-After")))

    def prepare(self, url: str) -> None:
        """Do what takes CPU and no network before the first `send` to `url`, while nobody waits for it."""
        try:
            self._client, self._used_at = self._connector.client(url), self._clock.wall()
        except Exception as problem:  # noqa: BLE001 -- each `send` meets it again, and says so in its answer
            report.error(f"{url} cannot be spoken to ({problem}): logs are kept until that changes, or dropped at last")

    async def aclose(self) -> None:
        """Close all connections."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    async def _fresh(self, url: str) -> httpx.AsyncClient:
        idle = not self._in_flight and abs(self._clock.wall() - self._used_at) > IDLE_LIMIT_S
        if self._client is not None and idle:
            await self.aclose()
        if self._client is None:
            self._client = self._connector.client(url)
            self._used_at = self._clock.wall()
        return self._client


def _headers(payload: Payload, key: str) -> list[tuple[bytes, bytes]]:
    """All headers of the request, as they go over the wire. What a client sent through us says itself who sent it."""
    own = [("DD-API-KEY", key)]
    if not any(name.lower() == "user-agent" for name, _ in payload.headers):
        own.append(("User-Agent", f"fliptop/{__version__}"))
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in (*payload.headers, *own)]


async def _read_and_forget(response: httpx.Response) -> None:
    """Read the body, so that the connection can be used again, unless it breaks or is longer than answers should be."""
    size = 0
    try:
        async for chunk in response.aiter_raw():
            size += len(chunk)
            if size > MAX_RESPONSE_BYTES:
                break
    except Exception:  # noqa: BLE001, S110 -- it is a body that nobody wants; the pool sees if the connection broke
        pass
    finally:
        await response.aclose()


def _seconds(retry_after: str | None) -> float | None:
    """`Retry-After` in seconds. Dates, which Datadog does not send, are not understood."""
    try:
        return max(0.0, float(retry_after)) if retry_after else None
    except ValueError:
        return None
