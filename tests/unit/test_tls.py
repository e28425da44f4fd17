"""Whom clients believe: few roots first, all of them when these do not do, and never nobody."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from fliptop.intake import tls
from fliptop.intake.connect import Connector, proxies
from fliptop.intake.tls import ALL_ROOTS, AWS_ROOTS, DATADOG_ROOTS, TlsOptions, Trust, pem

pytestmark = pytest.mark.anyio
HERE = Path(__file__).parent / "tls"
OURS, OTHER = "The authority of these tests", "DigiCert Global Root G2"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own bundle and proxies do not count."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", *(name for name in os.environ if name.lower().endswith("_proxy"))):
        monkeypatch.delenv(name, raising=False)


@dataclass
class Served:
    """What the server has seen: connections, and requests that came through."""

    url: str = ""
    connections: int = 0
    requests: int = 0


@asynccontextmanager
async def server() -> AsyncIterator[Served]:
    """An HTTPS server for `localhost`, its certificate from the authority of these tests."""
    served = Served()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(4)
                served.requests += 1
                writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
        except asyncio.IncompleteReadError:
            writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(HERE / "server.pem")
    context.sni_callback = lambda *_: setattr(served, "connections", served.connections + 1)
    async with await asyncio.start_server(answer, "localhost", 0, ssl=context) as listening:
        served.url = f"https://localhost:{listening.sockets[0].getsockname()[1]}/"
        yield served


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of two: a public root, and ours. Every host below `localhost` counts as one whose root is `OURS`."""
    public = pem((OTHER,))
    assert public
    path = tmp_path / "cacert.pem"
    ours = (HERE / "authority.pem").read_text()
    path.write_text(f'# Label: "{OTHER}"\n{public}\n# Serial: 1\n# Label: "{OURS}"\n# Serial: 2\n{ours}\n')
    monkeypatch.setattr(tls, "bundle", lambda: path)
    monkeypatch.setattr(tls, "_BY_DOMAIN", {("localhost",): (OURS,)})
    return path


def keep_only_the_other(bundle: Path) -> None:
    bundle.write_text(bundle.read_text().partition(f'# Label: "{OURS}"')[0])


def made(trust: Trust) -> list[tuple[str, ...]]:
    """For which roots contexts had to be made."""
    return list(trust._contexts)


async def send(connector: Connector, url: str) -> int:
    async with connector.client(url) as client:
        return (await client.post(url, content=b"body")).status_code


async def test_the_few_roots_do(bundle: Path) -> None:
    connector = Connector(5, TlsOptions())
    async with server() as served:
        assert await send(connector, served.url) == 202
    assert (served.connections, served.requests) == (1, 1)
    assert made(connector._trust) == [(OURS,)]


async def test_when_the_few_do_not_do_all_are_tried_and_that_is_remembered(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "_BY_DOMAIN", {("localhost",): (OTHER,)})
    connector = Connector(5, TlsOptions())
    async with server() as served:
        assert await send(connector, served.url) == 202
        assert (served.connections, served.requests) == (2, 1)
        assert await send(connector, served.url) == 202
    assert (served.connections, served.requests) == (3, 2)
    assert made(connector._trust) == [(OTHER,), ALL_ROOTS]


async def test_two_requests_may_find_it_out_at_once(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "_BY_DOMAIN", {("localhost",): (OTHER,)})
    connector = Connector(5, TlsOptions())
    async with server() as served, connector.client(served.url) as client:
        both = await asyncio.gather(*(client.post(served.url, content=b"body") for _ in range(2)))
    assert [response.status_code for response in both] == [202, 202]
    assert served.requests == 2


async def test_hosts_of_others_get_all_roots_at_once(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "_BY_DOMAIN", {("datadoghq.com",): (OTHER,)})
    connector = Connector(5, TlsOptions())
    async with server() as served:
        assert await send(connector, served.url) == 202
    assert made(connector._trust) == [ALL_ROOTS]


@pytest.mark.parametrize("known", [True, False])
async def test_an_authority_that_nobody_knows_is_refused(
    known: bool, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "_BY_DOMAIN", {("localhost",): (OTHER,)} if known else {})
    keep_only_the_other(bundle)
    async with server() as served:
        with pytest.raises(httpx.ConnectError, match="unable to get local issuer certificate"):
            await send(Connector(5, TlsOptions()), served.url)
    assert served.requests == 0


async def test_a_certificate_for_another_host_is_refused_at_once(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "_BY_DOMAIN", {("127.0.0.1",): (OURS,)})
    connector = Connector(5, TlsOptions())
    async with server() as served:
        with pytest.raises(httpx.ConnectError, match="IP address mismatch"):
            await send(connector, served.url.replace("localhost", "127.0.0.1"))
    assert served.requests == 0
    assert made(connector._trust) == [(OURS,)]


async def test_the_users_own_authority_is_believed_beside_the_few(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "_BY_DOMAIN", {("localhost",): (OTHER,)})
    connector = Connector(5, TlsOptions(str(HERE / "authority.pem")))
    async with server() as served:
        assert await send(connector, served.url) == 202
    assert served.connections == 1
    assert made(connector._trust) == [(OTHER,)]


async def test_a_bundle_that_the_environment_names_is_the_only_one(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = bundle.with_name("other.pem")
    other.write_text(pem((OTHER,)))
    monkeypatch.setenv("SSL_CERT_FILE", str(other))
    async with server() as served:
        with pytest.raises(httpx.ConnectError, match="unable to get local issuer certificate"):
            await send(Connector(5, TlsOptions()), served.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(HERE / "authority.pem"))
        assert await send(Connector(5, TlsOptions()), served.url) == 202


async def test_verification_is_off_only_when_it_is_told_so(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "_BY_DOMAIN", {})
    keep_only_the_other(bundle)
    async with server() as served:
        assert await send(Connector(5, TlsOptions(verify=False)), served.url) == 202


async def test_a_client_made_for_plain_http_still_verifies_https(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_only_the_other(bundle)
    async with server() as served, Connector(5, TlsOptions()).client("http://127.0.0.1:9/") as client:
        with pytest.raises(httpx.ConnectError, match="unable to get local issuer certificate"):
            await client.post(served.url, content=b"body")


async def test_proxies_of_the_environment_are_obeyed_and_get_all_roots(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(proxy, "127.0.0.1", 0) as listening:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
        connector = Connector(5, TlsOptions(), proxies(os.environ))
        with pytest.raises(httpx.ProxyError, match="403"):
            await send(connector, "https://intake.example/")
    assert seen[0].startswith(b"CONNECT intake.example:443 ")
    assert made(connector._trust) == [ALL_ROOTS]


@pytest.mark.parametrize("root", [*DATADOG_ROOTS, *AWS_ROOTS])
def test_the_bundle_has_the_few_by_name(root: str) -> None:
    context = ssl.create_default_context(cadata=pem((root,)))
    assert context.cert_store_stats()["x509_ca"] == 1


def test_few_roots_that_the_bundle_no_longer_has_are_replaced_by_all(tmp_path: Path, bundle: Path) -> None:
    assert pem(("Gone",)) == ""
    assert Trust(TlsOptions()).context(("Gone",)).cert_store_stats()["x509_ca"] == 2


@pytest.mark.parametrize(
    ("host", "roots"),
    [
        ("http-intake.logs.datadoghq.com", DATADOG_ROOTS),
        ("http-intake.logs.us5.datadoghq.com", DATADOG_ROOTS),
        ("api.datadoghq.eu", DATADOG_ROOTS),
        ("secretsmanager.eu-west-1.amazonaws.com", AWS_ROOTS),
        ("ssm.cn-north-1.amazonaws.com.cn", AWS_ROOTS),
        ("notdatadoghq.com", ALL_ROOTS),
        ("datadoghq.com.example.org", ALL_ROOTS),
    ],
)
def test_which_hosts_are_known(host: str, roots: tuple[str, ...]) -> None:
    assert Trust(TlsOptions()).roots(host) == roots
