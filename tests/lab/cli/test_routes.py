"""The ways to the intake: each leads there, and each fails as it is told."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fliptop_lab.functions import find
from fliptop_lab.intake.server import AUTHORITY
from fliptop_lab.lambda_.sandbox import refusal
from fliptop_lab.routes import NAME, NAME_SERVER, PROXY, ROUTES, route_for
from fliptop_lab.run import Plan, Stage, opened
from fliptop_lab.staging import Ingredients

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(refusal() is not None, reason="a network of one's own needs namespaces"),
]


@asynccontextmanager
async def stage(route: str) -> AsyncIterator[Stage]:
    plan = Plan(function=find("c"), ingredients=Ingredients(no_legacy=True), route=route)
    async with opened(plan) as opened_:
        yield opened_


def question(name: str, kind: int) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return b"\x12\x34\1\0\0\1\0\0\0\0\0\0" + labels + b"\0" + bytes([0, kind, 0, 1])


async def asked(on: Stage, name: str, kind: int = 1) -> bytes | None:
    with on.environment.sandbox.new_socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect(NAME_SERVER)
        client.send(question(name, kind))
        try:
            async with asyncio.timeout(0.3):
                return await asyncio.get_running_loop().sock_recv(client, 512)
        except TimeoutError:
            return None


async def test_a_name_server_knows_the_intake_and_nobody_else() -> None:
    async with stage("named") as on:
        assert (await asked(on, NAME) or b"")[-4:] == b"\x7f\0\0\1"
        assert (await asked(on, NAME.upper()) or b"")[-4:] == b"\x7f\0\0\1"
        assert (await asked(on, NAME, kind=28) or b"")[2:8] == b"\x81\x80\0\1\0\0", "it has no IPv6 address"
        assert (await asked(on, "example.com") or b"")[3] & 15 == 3, "no such name"
        on.intake.faults.inject("no-dns")
        assert (await asked(on, NAME) or b"")[3] & 15 == 3
        on.intake.faults.clear()
        on.intake.faults.inject("dead-dns")
        assert await asked(on, NAME) is None


async def test_processes_in_the_environment_ask_that_name_server(tmp_path: Path) -> None:
    program = tmp_path / "bootstrap"
    script = f"import socket; print(socket.gethostbyname({NAME!r}), flush=True)"
    program.write_text(f"#!{sys.executable}\n{script}\n")
    program.chmod(0o755)
    plan = Plan(function=find(str(tmp_path)), ingredients=Ingredients(no_legacy=True), route="named")
    async with opened(plan) as on:
        await on.environment.invoke()
        said = [each.data["line"] for each in on.environment.records if each.name == "function"]
        assert "127.0.0.1\n" in said


async def test_a_proxy_leads_to_the_intake_until_it_is_down() -> None:
    async with stage("proxied") as on:
        status, tls = await through_the_proxy(on)
        assert (status, tls) == ("HTTP/1.1 200 Connection established", True)
        on.intake.faults.inject("proxy-down")
        await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            await through_the_proxy(on)
        on.intake.faults.clear()
        await asyncio.sleep(0)
        assert (await through_the_proxy(on))[1]


async def through_the_proxy(on: Stage) -> tuple[str, bool]:
    """The proxy's answer to CONNECT, and whether there is a trusted intake behind it."""
    client = on.environment.sandbox.new_socket()
    client.setblocking(False)
    with client:
        await asyncio.get_running_loop().sock_connect(client, PROXY)
        reader, writer = await asyncio.open_connection(sock=client.dup())
        writer.write(f"CONNECT {NAME}:443 HTTP/1.1\r\n\r\n".encode())
        status = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()[0]
        await writer.start_tls(ssl.create_default_context(cafile=str(AUTHORITY)), server_hostname=NAME)
        body = json.dumps([{"message": "m"}])
        head = f"POST /api/v2/logs HTTP/1.1\r\nHost: {NAME}\r\nDD-API-KEY: k\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        answer = (await reader.readuntil(b"\r\n\r\n")).decode()
        writer.close()
        return status, "202" in answer


def test_the_route_follows_from_the_fault() -> None:
    assert [route_for([fault]) for fault in ("503", "untrusted", "dead-dns", "proxy-down")] == list(ROUTES)
    with pytest.raises(ValueError, match="one way at a time"):
        route_for(["no-dns", "untrusted"])
