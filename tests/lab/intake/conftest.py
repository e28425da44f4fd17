from collections.abc import AsyncIterator

import httpx
import pytest

from fliptop_lab.intake import Intake


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def intake(anyio_backend: str) -> AsyncIterator[Intake]:
    async with Intake(key="good") as intake:
        yield intake


@pytest.fixture(params=["http1", "h2c"])
async def client(request: pytest.FixtureRequest, intake: Intake) -> AsyncIterator[httpx.AsyncClient]:
    """A client that speaks HTTP/1.1, then one that speaks HTTP/2 with prior knowledge."""
    h2 = request.param == "h2c"
    headers = {"dd-api-key": "good", "content-type": "application/json"}
    async with httpx.AsyncClient(
        base_url=intake.url, headers=headers, http1=not h2, http2=h2, timeout=10, verify=False
    ) as client:
        yield client


@pytest.fixture
async def http1(intake: Intake) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"dd-api-key": "good", "content-type": "application/json"}
    async with httpx.AsyncClient(base_url=intake.url, headers=headers, timeout=10, verify=False) as client:
        yield client
