"""The one place that makes HTTP clients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from fliptop.intake.lean import httpx
from fliptop.intake.tls import ALL_ROOTS, TlsOptions, Trust, unknown_issuer, without_verification

if TYPE_CHECKING:
    from fliptop.intake.proxies import Proxies

PROXY_VARIABLES: Final = frozenset({"http_proxy", "https_proxy", "all_proxy"})


def proxies(environ: Mapping[str, str], https: str | None = None, exceptions: Iterable[str] = ()) -> Proxies | None:
    """The proxies that `environ` and the settings name; None, which costs nothing, if they name none."""
    if not https and not any(name.lower() in PROXY_VARIABLES for name in environ):
        return None
    from fliptop.intake.proxies import configured  # noqa: PLC0415 -- few have any

    return configured(environ, https, exceptions)


class Connector:
    """Makes clients, which share what any of them has found out about whom to trust.

    `timeout_s` bounds each phase of a request.
    """

    def __init__(self, timeout_s: float, tls: TlsOptions, proxies: Proxies | None = None) -> None:
        self._timeout_s = timeout_s
        self._trust = Trust(tls)
        self._proxies = proxies

    def client(self, url: str) -> httpx.AsyncClient:
        """A client, for any URL, that has already done for `url` what takes CPU and no network. Raises `ValueError`
        when the TLS options cannot be followed.
        """
        transport = TrustingTransport(self._trust, self._proxies)
        transport.prepare(httpx.URL(url))
        # What httpx makes of the environment holds for all hosts, and costs more than the rest of a client.
        return httpx.AsyncClient(transport=transport, timeout=self._timeout_s, trust_env=False)


Roots = tuple[str, ...] | None
"""Names of roots, as `Trust.roots` gives them; None for a connection in clear."""


class TrustingTransport(httpx.AsyncBaseTransport):
    """Connects, through a proxy where one is due: to Datadog and AWS with the few roots, to others with all of them.
    When a certificate's root is not among the few, asks once more with all; nothing of the request has been sent then.
    """

    def __init__(self, trust: Trust, proxies: Proxies | None) -> None:
        self._trust = trust
        self._proxies = proxies
        self._transports: dict[tuple[Roots, str | None], httpx.AsyncHTTPTransport] = {}

    def prepare(self, url: httpx.URL) -> httpx.AsyncHTTPTransport:
        """The transport for `url`. Raises `ValueError` like `Trust.context`."""
        roots = self._trust.roots(url.host) if url.scheme == "https" else None
        proxy = self._proxies.to(url) if self._proxies else None
        if (roots, proxy) not in self._transports:
            context = self._trust.context(roots) if roots is not None else without_verification()
            self._transports[roots, proxy] = httpx.AsyncHTTPTransport(verify=context, proxy=self._proxy(proxy))
        return self._transports[roots, proxy]

    def _proxy(self, url: str | None) -> httpx.Proxy | None:
        if url is None:
            return None
        return httpx.Proxy(url, ssl_context=self._trust.context(ALL_ROOTS) if url.startswith("https:") else None)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx."""
        transport = self.prepare(request.url)
        try:
            return await transport.handle_async_request(request)
        except httpx.ConnectError as problem:
            if not unknown_issuer(problem) or transport in self._with_all_roots():
                raise
        self._trust.few_do = False
        return await self.prepare(request.url).handle_async_request(request)

    def _with_all_roots(self) -> list[httpx.AsyncHTTPTransport]:
        return [transport for (roots, _), transport in self._transports.items() if roots == ALL_ROOTS]

    async def aclose(self) -> None:
        """See httpx."""
        for transport in self._transports.values():
            await transport.aclose()
