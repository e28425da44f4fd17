"""The one place that makes HTTP clients."""

from __future__ import annotations

import os
from typing import Final

from fliptop.intake.lean import httpx
from fliptop.intake.tls import ALL_ROOTS, TlsOptions, Trust, unknown_issuer, without_verification

PROXY_VARIABLES: Final = frozenset({"http_proxy", "https_proxy", "all_proxy"})


class Connector:
    """Makes clients, which share what any of them has found out about whom to trust.

    `timeout_s` bounds each phase of a request. `proxy` is a URL; without one, the variables that everybody uses for
    proxies are obeyed.
    """

    def __init__(self, timeout_s: float, tls: TlsOptions, proxy: str | None = None) -> None:
        self._timeout_s = timeout_s
        self._trust = Trust(tls)
        self._proxy = proxy

    def client(self, url: str) -> httpx.AsyncClient:
        """A client, for any URL, that has already done for `url` what takes CPU and no network. Raises `ValueError`
        when the TLS options cannot be followed.
        """
        if self._proxy or any(name.lower() in PROXY_VARIABLES for name in os.environ):
            context = self._trust.context(ALL_ROOTS)
            return httpx.AsyncClient(verify=context, proxy=self._proxy, timeout=self._timeout_s)
        transport = TrustingTransport(self._trust)
        transport.prepare(httpx.URL(url))
        # Looking for proxies in the environment would cost more than the rest of a client.
        return httpx.AsyncClient(transport=transport, timeout=self._timeout_s, trust_env=False)


class TrustingTransport(httpx.AsyncBaseTransport):
    """Connects directly: to Datadog and AWS with the few roots, to others with all of them. When a certificate's root
    is not among the few, asks once more with all; nothing of the request has been sent by then.
    """

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._transports: dict[tuple[str, ...] | None, httpx.AsyncHTTPTransport] = {}

    def prepare(self, url: httpx.URL) -> httpx.AsyncHTTPTransport:
        """The transport for `url`. Raises `ValueError` like `Trust.context`."""
        roots = self._trust.roots(url.host) if url.scheme == "https" else None
        if roots not in self._transports:
            context = self._trust.context(roots) if roots is not None else without_verification()
            self._transports[roots] = httpx.AsyncHTTPTransport(verify=context)
        return self._transports[roots]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx."""
        transport = self.prepare(request.url)
        try:
            return await transport.handle_async_request(request)
        except httpx.ConnectError as problem:
            if not unknown_issuer(problem) or transport is self._transports.get(ALL_ROOTS):
                raise
        self._trust.few_do = False
        return await self.prepare(request.url).handle_async_request(request)

    async def aclose(self) -> None:
        """See httpx."""
        for transport in self._transports.values():
            await transport.aclose()
