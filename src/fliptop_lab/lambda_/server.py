"""The HTTP side of Lambda's APIs: paths to protocol modules, nothing decided here."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import aiohttp
from aiohttp import web

from fliptop_lab.lambda_.answers import NOT_FOUND, Answer, Parked, refused, wrong_method
from fliptop_lab.lambda_.config import Platform
from fliptop_lab.lambda_.extensions_api import ExtensionsApi
from fliptop_lab.lambda_.runtime_api import RuntimeApi, Upload
from fliptop_lab.lambda_.telemetry import Api

EXTENSION, RUNTIME, INVOCATION = "/2020-01-01/extension", "/2018-06-01/runtime", "/2018-06-01/runtime/invocation/"


class Served(Protocol):
    """What the server talks to: the environment's present life."""

    extensions: ExtensionsApi
    runtime: RuntimeApi
    extensions_enabled: bool

    def subscribe(self, headers: Mapping[str, str], body: bytes, api: Api) -> Answer:
        """`PUT /telemetry` or `/logs`."""


Handler = Callable[[web.BaseRequest, Served], Awaitable[Answer | Parked]]


class ApiServer:
    """Serves on one listening socket for the whole life of an environment; `served` gives the present life, if any."""

    def __init__(self, platform: Platform, served: Callable[[], Served | None]) -> None:
        self._platform, self._served = platform, served
        self._server = web.Server(self._handle, access_log=None)
        self._listening: asyncio.Server | None = None
        self._routes: dict[str, tuple[str, Handler]] = {
            f"{EXTENSION}/register": ("POST", self._register),
            f"{EXTENSION}/event/next": ("GET", self._event_next),
            f"{EXTENSION}/init/error": ("POST", self._extension_init_error),
            f"{EXTENSION}/exit/error": ("POST", self._extension_exit_error),
            f"{INVOCATION}next": ("GET", self._invocation_next),
            f"{RUNTIME}/init/error": ("POST", self._runtime_init_error),
            "/2018-06-01/ping": ("GET", self._ping),
            "/2022-07-01/telemetry": ("PUT", self._telemetry),
            "/2022-07-01/telemetry/": ("PUT", self._telemetry),
            "/2020-08-15/logs": ("PUT", self._logs),
            "/2020-08-15/logs/": ("PUT", self._logs),
        }

    async def open(self, listening: socket.socket) -> None:
        """Starts to accept."""
        self._listening = await asyncio.get_running_loop().create_server(self._server, sock=listening)

    async def close(self) -> None:
        """Stops to accept and drops what is open."""
        if self._listening is not None:
            self._listening.close()
            await self._server.shutdown(timeout=0.01)  # aiohttp takes 0 for "no limit"

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        answer = await self._answer(request)
        if isinstance(answer, asyncio.Future):
            answer = await answer
        response = web.Response(status=answer.status, body=answer.body, headers=dict(answer.headers))
        response.headers["Content-Type"] = answer.content_type
        return response

    async def _answer(self, request: web.BaseRequest) -> Answer | Parked:
        served = self._served()
        method, handler = self._routes.get(request.path) or self._of_invocation(request.path)
        if handler is None or served is None or (_of_extensions(request.path) and not served.extensions_enabled):
            return NOT_FOUND
        if request.method != method:
            return wrong_method(method)
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return await handler(request, served)

    def _of_invocation(self, path: str) -> tuple[str, Handler | None]:
        if path.startswith(INVOCATION):
            _, _, what = path.removeprefix(INVOCATION).partition("/")
            handlers = {"response": self._response, "error": self._error}
            return "POST", handlers.get(what)
        return "", None

    async def _register(self, request: web.BaseRequest, served: Served) -> Answer:
        body = await request.read()
        await _pause(self._platform.register_latency_s)
        return served.extensions.register(request.headers, body)

    async def _event_next(self, request: web.BaseRequest, served: Served) -> Answer | Parked:
        return served.extensions.next(request.headers)

    async def _extension_init_error(self, request: web.BaseRequest, served: Served) -> Answer:
        await request.read()
        return served.extensions.init_error(request.headers)

    async def _extension_exit_error(self, request: web.BaseRequest, served: Served) -> Answer:
        await request.read()
        return served.extensions.exit_error(request.headers)

    async def _invocation_next(self, _request: web.BaseRequest, served: Served) -> Answer | Parked:
        return served.runtime.next()

    async def _response(self, request: web.BaseRequest, served: Served) -> Answer:
        return served.runtime.respond(_id(request), request.headers, await upload(request))

    async def _error(self, request: web.BaseRequest, served: Served) -> Answer:
        return served.runtime.error(_id(request), request.headers, await upload(request))

    async def _runtime_init_error(self, request: web.BaseRequest, served: Served) -> Answer:
        return served.runtime.init_error(request.headers, await upload(request))

    async def _ping(self, _request: web.BaseRequest, _served: Served) -> Answer:
        return Answer(200, b"pong", content_type="text/plain")

    async def _telemetry(self, request: web.BaseRequest, served: Served) -> Answer:
        return await self._subscribe(request, served, "telemetry")

    async def _logs(self, request: web.BaseRequest, served: Served) -> Answer:
        return await self._subscribe(request, served, "logs")

    async def _subscribe(self, request: web.BaseRequest, served: Served, api: Api) -> Answer:
        body = await request.read()
        await _pause(self._platform.subscribe_latency_s)
        return served.subscribe(request.headers, body, api)


def gone() -> Answer:
    """For a call that is still parked when its environment's life is over."""
    return refused(500, "InternalServerError", "the environment is gone")


async def upload(request: web.BaseRequest) -> Upload:
    """The whole body of a request, however large, with the times of its first and last byte."""
    first, chunks, complete = 0, [], True
    try:
        async for chunk in request.content.iter_any():
            first = first or time.monotonic_ns()
            chunks.append(chunk)
    except (aiohttp.ClientError, web.RequestPayloadError, OSError):
        complete = False
    last = time.monotonic_ns()
    return Upload(b"".join(chunks), first or last, last, complete)


def _id(request: web.BaseRequest) -> str:
    return request.path.removeprefix(INVOCATION).partition("/")[0]


def _of_extensions(path: str) -> bool:
    return path.startswith(EXTENSION)


async def _pause(seconds: float) -> None:
    if seconds > 0:
        await asyncio.sleep(seconds)
