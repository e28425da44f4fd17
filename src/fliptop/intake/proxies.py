"""Which proxy leads to a host. Loaded only where the configuration names one.

For https, the first of `DD_PROXY_HTTPS`, `proxy.https` in `datadog.yaml`, `HTTPS_PROXY` and `ALL_PROXY`; for http,
`HTTP_PROXY` or `ALL_PROXY`. Lower case counts more, as it does for curl and for Python. The exceptions of
`DD_PROXY_NO_PROXY` (or `proxy.no_proxy`) and of `NO_PROXY` add up. Source: extension-behaviour, 1.4, but host by host,
where Datadog's extension looks for its site in these texts, once for all hosts.
"""

from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Final, NamedTuple

from fliptop.intake.lean import httpx

# Link-local is where Lambda's own endpoints are, such as the one for credentials.
NEAR: Final = ("127.0.0.0/8", "::1/128", "169.254.0.0/16")
DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Direct(NamedTuple):
    """Hosts to go to directly: a name with everything below it, an address or a network, or `*`. Port 0: any."""

    hosts: str
    port: int = 0


class Proxies:
    """Proxies by scheme, and whom to reach without them: always this machine, and what is on the same link."""

    def __init__(self, by_scheme: Mapping[str, str], exceptions: Iterable[str]) -> None:
        self._by_scheme = {scheme: _with_scheme(proxy) for scheme, proxy in by_scheme.items() if proxy}
        self._exceptions = [_exception(written) for written in exceptions if written]

    def to(self, url: httpx.URL) -> str | None:
        """The proxy for `url`; None: go there directly."""
        proxy = self._by_scheme.get(url.scheme)
        return None if proxy is None or self._exempt(url.host.lower(), _port(url)) else proxy

    def _exempt(self, host: str, port: int) -> bool:
        if host == "localhost" or any(_contains(network, host) for network in NEAR):
            return True
        wanted = (hosts for hosts, only in self._exceptions if only in {0, port})
        return any(hosts == "*" or _covers(hosts, host) for hosts in wanted)


def configured(environ: Mapping[str, str], https: str | None, exceptions: Iterable[str]) -> Proxies:
    """What `environ` names, and the settings: `https` counts more than the environment's own, `exceptions` add up."""
    by_scheme = {
        scheme: _variable(environ, f"{scheme}_proxy") or _variable(environ, "all_proxy") for scheme in DEFAULT_PORTS
    }
    named = _variable(environ, "no_proxy").replace(",", " ").split()
    return Proxies({**by_scheme, **({"https": https} if https else {})}, [*exceptions, *named])


def _variable(environ: Mapping[str, str], name: str) -> str:
    return (environ.get(name) or environ.get(name.upper()) or "").strip()


def _with_scheme(proxy: str) -> str:
    return proxy if "://" in proxy else f"http://{proxy}"


def _port(url: httpx.URL) -> int:
    return url.port or DEFAULT_PORTS.get(url.scheme, 0)


def _exception(written: str) -> Direct:
    """`name`, `.name`, `*.name`, `address`, `network/bits` or `*`, with `:port` behind it or not."""
    text = written.strip().lower()
    if text.startswith("["):
        hosts, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        hosts, _, port = text.partition(":")
    else:
        hosts, port = text, ""
    hosts = hosts if hosts == "*" else hosts.removeprefix("*").lstrip(".")
    return Direct(hosts, int(port) if port.isdecimal() else 0)


def _covers(hosts: str, host: str) -> bool:
    return host == hosts or host.endswith(f".{hosts}") or _contains(hosts, host)


def _contains(network: str, host: str) -> bool:
    try:
        return ip_address(host) in ip_network(network, strict=False)
    except ValueError:  # one of them is a name
        return False
