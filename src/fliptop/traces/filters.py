"""Which spans are not sent: those of traces that the user filters, and those about the extension itself.

Source: extension-behaviour, 8.5 (1 and 2).
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from fliptop.traces.span import Span

PLACEHOLDER: Final = "dd-tracer-serverless-span"
LOCAL_HOSTS: Final = ("127.0.0.1", "localhost")
# Lifecycle, DogStatsD, trace agent, telemetry, and where Datadog's extension expects Lambda's Runtime API.
OWN_PORTS: Final = (8124, 8125, 8126, 8999, 9001)
NOWHERE: Final = frozenset({"127.0.0.1", "0.0.0.0"})  # noqa: S104 -- nothing is bound here
# The last one is where Lambda's name server and Runtime API are.
OWN_NAMES: Final = ("0.0.0.0", "127.0.0.1", "169.254.79.129")  # noqa: S104

_FIELDS: Final = frozenset({"name", "service", "resource", "type"})
_HTTP: Final = "http://"

Matches = Callable[[Span], bool]


class TagRules(NamedTuple):
    """What the user wrote, `key` or `key:value` each; of `regex_…` the value is a regular expression."""

    require: Sequence[str] = ()
    reject: Sequence[str] = ()
    regex_require: Sequence[str] = ()
    regex_reject: Sequence[str] = ()


class Filter:
    """Knows which traces are wanted, by their root. `complaints` has a sentence for each rule that cannot be used."""

    def __init__(self, rules: TagRules) -> None:
        self.complaints: list[str] = []
        self._require = [*map(_exactly, rules.require), *self._compiled(rules.regex_require, "REQUIRE")]
        self._reject = [*map(_exactly, rules.reject), *self._compiled(rules.regex_reject, "REJECT")]

    def _compiled(self, rules: Iterable[str], name: str) -> list[Matches]:
        found = []
        for rule in rules:
            try:
                found.append(_like(rule))
            except (re.error, RecursionError, OverflowError) as problem:
                self.complaints.append(f"DD_APM_FILTER_TAGS_REGEX_{name}: {rule!r:.100} is ignored: {problem}")
        return found

    def wants(self, root: Span) -> bool:
        """True if the trace of `root` is to be sent."""
        if any(not matches(root) for matches in self._require):
            return False
        return not any(matches(root) for matches in self._reject)


def _exactly(rule: str) -> Matches:
    key, _, value = rule.partition(":")
    if not value:
        return lambda span: any(_values(span, key))
    return lambda span: value in _values(span, key)


def _like(rule: str) -> Matches:
    key, _, pattern = rule.partition(":")
    if not pattern:
        return _exactly(key)
    search = re.compile(pattern).search
    return lambda span: any(search(value) for value in _values(span, key) if value)


def _values(span: Span, key: str) -> tuple[str, ...]:
    """What `span` has under `key`: its field of that name, and its tag."""
    of_field = (getattr(span, key),) if key in _FIELDS else ()
    return (*of_field, span.meta[key]) if key in span.meta else of_field


def own_addresses(environ: Mapping[str, str]) -> frozenset[str]:
    """Where the extension and Lambda's Runtime API listen, `host:port` each."""
    ours = {f"{host}:{port}" for host in LOCAL_HOSTS for port in OWN_PORTS}
    return frozenset(ours | {environ.get("AWS_LAMBDA_RUNTIME_API") or "127.0.0.1:9001"})


def own_traffic(span: Span, addresses: frozenset[str]) -> bool:
    """True for a span about calls to one of `addresses`, which no user made."""
    meta = span.meta
    url = meta.get("http.url")
    if url is not None and url.startswith(_HTTP) and _host(url) in addresses:
        return True
    host = meta.get("tcp.remote.host")
    if host is not None and f"{host}:{_port(span)}" in addresses:
        return True
    if "dns.address" in meta and meta["dns.address"].startswith(OWN_NAMES):
        return True
    return span.name == "dns.lookup" or span.resource in NOWHERE


def _host(url: str) -> str:
    return re.split("[/?#]", url[len(_HTTP) :], maxsplit=1)[0].rpartition("@")[2]


def _port(span: Span) -> str:
    # JavaScript's tracer writes numbers into the metrics.
    return span.meta.get("tcp.remote.port") or f"{span.metrics.get('tcp.remote.port', 0):.0f}"
