"""Promise 3 behind a proxy: what goes through it arrives, and what need not go through it does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from fliptop_lab.intake import Intake
from tests.lifetimes import KEY, Life, Plan, live
from tests.promises.test_metrics_arrive import balanced, counted

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
CERTIFICATE = Path(__file__).parent.parent / "unit" / "tls" / "server.pem"
PORT = 3128


class Proxy:
    """Leads to `intake` whoever asks for any host, and remembers for which."""

    def __init__(self, intake: Intake) -> None:
        self.port = int(intake.url.rpartition(":")[2])
        self.asked: list[str] = []
        self.serving: set[asyncio.Task[None] | None] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.add(asyncio.current_task())
        method, host, _ = (await reader.readuntil(b"\r\n\r\n")).decode().split(" ", 2)
        assert method == "CONNECT"
        self.asked.append(host)
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer))


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


@asynccontextmanager
async def behind_a_proxy() -> AsyncIterator[tuple[Intake, Proxy]]:
    async with Intake(key=KEY, certificate=CERTIFICATE) as intake:
        proxy = Proxy(intake)
        yield intake, proxy
        await asyncio.gather(*filter(None, proxy.serving))
        await asyncio.sleep(0)


async def test_each_host_is_reached_in_its_own_way(tmp_path: Path) -> None:
    async with behind_a_proxy() as (beyond, proxy):
        servers = []

        async def connect(life: Life, number: int) -> None:
            if number == 0:
                listening = life.environment.listen("127.0.0.1", PORT)
                servers.append(await asyncio.start_server(proxy.serve, sock=listening))

        environment = {
            "DD_LOGS_CONFIG_LOGS_DD_URL": "https://logs.example",
            "DD_PROXY_HTTPS": f"127.0.0.1:{PORT}",
            "DD_SKIP_SSL_VALIDATION": "true",
        }
        life = await live(Plan(function="python", environment=environment, meanwhile=connect), tmp_path)
        for server in servers:
            server.close()
    assert set(proxy.asked) == {"logs.example:443"}
    assert not life.intake.received.logs
    assert beyond.received.logs
    assert not beyond.received.series
    assert counted(life, "shop.orders") == 3
    logs = life.ledger()["logs"]
    assert (logs["delivered"], logs["dropped"]) == (logs["accepted"], {})
    assert balanced(life) == {}


async def test_a_proxy_that_is_down_costs_only_what_goes_through_it(tmp_path: Path) -> None:
    environment = {
        "DD_LOGS_CONFIG_LOGS_DD_URL": "https://logs.example",
        "HTTPS_PROXY": f"http://127.0.0.1:{PORT}",
        "NO_PROXY": "other.example",
    }
    life = await live(Plan(function="python", environment=environment), tmp_path)
    assert [invocation.status for invocation in life.invocations] == ["success"] * 3
    logs = life.ledger()["logs"]
    assert logs["dropped"] == {"shutdown": logs["accepted"]}
    assert counted(life, "shop.orders") == 3
    assert balanced(life) == {}
