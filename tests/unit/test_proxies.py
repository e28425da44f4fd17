"""Which proxy leads to a host: host by host, and the same through a real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib import request as urllib_request

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fliptop.intake import tls
from fliptop.intake.connect import Connector, proxies
from fliptop.intake.proxies import Proxies, configured
from fliptop.intake.tls import TlsOptions
from fliptop.settings.load import load
from tests.unit.test_tls import OTHER, OURS, bundle, plain_environment, server  # noqa: F401 -- fixtures

pytestmark = pytest.mark.anyio
LOGS, METRICS = "https://http-intake.logs.datadoghq.eu/api/v2/logs", "https://api.datadoghq.eu/api/v2/series"
PROXY = "http://proxy:3128"


def leads(exceptions: str, url: str) -> bool:
    """True if `url` is reached through the proxy."""
    return Proxies({"https": PROXY, "http": PROXY}, exceptions.split(",")).to(httpx.URL(url)) is not None


def test_nothing_named_costs_nothing() -> None:
    assert proxies({"NO_PROXY": "x", "PATH": "/bin"}) is None


@pytest.mark.parametrize(
    ("environ", "setting", "expected"),
    [
        ({"HTTPS_PROXY": "http://upper:1"}, None, "http://upper:1"),
        ({"HTTPS_PROXY": "http://upper:1", "https_proxy": "http://lower:1"}, None, "http://lower:1"),
        ({"ALL_PROXY": "http://all:1"}, None, "http://all:1"),
        ({"https_proxy": "http://lower:1"}, "http://setting:1", "http://setting:1"),
        ({"HTTPS_PROXY": "proxy:3128"}, None, "http://proxy:3128"),
        ({"HTTP_PROXY": "http://other:1"}, None, None),
        ({"HTTPS_PROXY": " "}, None, None),
    ],
)
def test_the_strongest_counts(environ: dict[str, str], setting: str | None, expected: str | None) -> None:
    assert configured(environ, setting, ()).to(httpx.URL(LOGS)) == expected


def test_each_scheme_has_its_own() -> None:
    found = configured({"HTTP_PROXY": "http://one:1", "HTTPS_PROXY": "http://two:2"}, None, ())
    assert found.to(httpx.URL("http://intake/")) == "http://one:1"
    assert found.to(httpx.URL("https://intake/")) == "http://two:2"


def test_exceptions_of_all_sources_add_up_and_hold_for_their_hosts_alone() -> None:
    environ = {"NO_PROXY": "a.example, b.example", "no_proxy": "http-intake.logs.datadoghq.eu"}
    found = configured(environ, PROXY, ("c.example",))
    assert found.to(httpx.URL(LOGS)) is None
    assert found.to(httpx.URL("https://c.example/")) is None
    assert found.to(httpx.URL(METRICS)) == PROXY
    assert found.to(httpx.URL("https://a.example/")) == PROXY, "lower case counts more"


@pytest.mark.parametrize(
    ("exceptions", "url", "through"),
    [
        ("", METRICS, True),
        ("*", METRICS, False),
        ("datadoghq.eu", METRICS, False),
        (".datadoghq.eu", METRICS, False),
        ("*.datadoghq.eu", METRICS, False),
        ("DatadogHQ.eu", METRICS, False),
        ("doghq.eu", METRICS, True),
        ("api.datadoghq.eu", LOGS, True),
        ("api.datadoghq.eu:443", METRICS, False),
        ("api.datadoghq.eu:8443", METRICS, True),
        ("api.datadoghq.eu:8443", "https://api.datadoghq.eu:8443/", False),
        ("10.1.2.3", "https://10.1.2.3/", False),
        ("10.0.0.0/8", "https://10.1.2.3/", False),
        ("10.0.0.0/8", "https://11.1.2.3/", True),
        ("10.0.0.0/8", METRICS, True),
        ("fd00::/8", "https://[fd00::7]/", False),
        ("[fd00::7]:443", "https://[fd00::7]/", False),
        ("[fd00::7]:8080", "https://[fd00::7]/", True),
        ("", "https://localhost:8080/", False),
        ("", "http://127.0.0.2/", False),
        ("", "http://169.254.100.1:9001/2021-04-23/credentials", False),
        ("", "https://[::1]/", False),
        ("a,,b.example,", "https://b.example/", False),
        ("nonsense/99,:,[", METRICS, True),
    ],
)
def test_exceptions(exceptions: str, url: str, through: bool) -> None:
    assert leads(exceptions, url) is through


labels = st.sampled_from(["a", "b", "ab", "example"])
names = st.lists(labels, min_size=1, max_size=3).map(".".join)


@given(names, st.lists(st.tuples(st.sampled_from(["", "."]), names, st.sampled_from(["", ":443"])), max_size=3))
def test_names_are_read_as_python_reads_them(host: str, written: list[tuple[str, str, str]]) -> None:
    exceptions = ",".join(map("".join, written))
    bypassed = bool(vars(urllib_request)["proxy_bypass_environment"](f"{host}:443", {"no": exceptions}))
    assert leads(exceptions, f"https://{host}/") is not bypassed


def test_settings_in_both_places(tmp_path: Path) -> None:
    (tmp_path / "datadog.yaml").write_text("proxy:\n  https: proxy:3128\n  no_proxy:\n  - a\n  - b\n")
    settings, complaints = load({"LAMBDA_TASK_ROOT": str(tmp_path)})
    assert (settings.proxy_https, settings.proxy_no_proxy, complaints) == ("http://proxy:3128", ("a", "b"), [])
    settings, _ = load({"DD_PROXY_HTTPS": "https://p", "DD_PROXY_NO_PROXY": "c,d", "LAMBDA_TASK_ROOT": str(tmp_path)})
    assert (settings.proxy_https, settings.proxy_no_proxy) == ("https://p", ("c", "d"))


# Through a proxy that leads everywhere to the server of the test.


@asynccontextmanager
async def proxy_to(port: int) -> AsyncIterator[tuple[str, list[str]]]:
    """A proxy: its URL, and the hosts it was asked for."""
    asked: list[str] = []
    serving: set[asyncio.Task[None] | None] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head.split(" ")[1])
        there = await asyncio.open_connection("localhost", port)
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", asked
        await asyncio.gather(*filter(None, serving))  # over, because the client has closed its connections
        await asyncio.sleep(0)


class ForDefaultPort(Proxies):
    """Leads to the default port through the proxy: the certificate is for `localhost`, however that is reached."""

    def to(self, url: httpx.URL) -> str | None:
        return self._by_scheme["https"] if url.port is None else None


@pytest.mark.parametrize("first", [OURS, OTHER])
async def test_one_client_goes_both_ways_and_believes_the_same_authorities(
    bundle: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    first: str,
) -> None:
    monkeypatch.setattr(tls, "_BY_DOMAIN", {("localhost",): (first,)})
    async with server() as served, proxy_to(httpx.URL(served.url).port or 0) as (url, asked):
        connector = Connector(5, TlsOptions(), ForDefaultPort({"https": url}, []))
        async with connector.client("https://localhost/") as client:
            for there in ("https://localhost/", served.url):
                assert (await client.post(there, content=b"body")).status_code == 202
    assert asked == ["localhost:443"] * (1 if first == OURS else 2), "asked again with all roots"
    assert served.requests == 2
