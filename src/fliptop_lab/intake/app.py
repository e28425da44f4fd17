"""The intake as an ASGI application: fault, key, body, decode, answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from fliptop_lab.intake.body import decompress
from fliptop_lab.intake.endpoints import ENDPOINTS, Endpoint
from fliptop_lab.intake.faults import Fault, Faults
from fliptop_lab.intake.refusals import Refusal
from fliptop_lab.intake.state import state
from fliptop_lab.intake.store import Request, Store

ABORT = "fliptop_lab.abort"
"""Key in the ASGI scope: a function that resets the connection the request came on."""
WIRE_CEILING = 64 << 20
"""Bytes read of any one request body before the connection is given up."""


class _GoneError(Exception):
    """The client went away, or was sent away, before it had an answer."""


@dataclass
class IntakeApp:
    """Datadog's side of the conversation. ``key`` None accepts every API key, but one must be there."""

    store: Store
    faults: Faults
    key: str | None = None

    def asgi(self) -> Starlette:
        """The routes: the page, the lab's own API, key validation, and the intake for everything else."""
        return Starlette(
            routes=[
                Route("/", self.page),
                Route("/lab/state", self.lab_state),
                Route("/lab/faults", self.lab_faults, methods=["GET", "POST", "DELETE"]),
                Route("/api/v1/validate", self.validate),
                Route("/{path:path}", self.intake, methods=["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"]),
            ]
        )

    async def page(self, _request: HttpRequest) -> Response:
        """``GET /``: the page for people."""
        return HTMLResponse((Path(__file__).parent / "page.html").read_text("utf-8"))

    async def lab_state(self, _request: HttpRequest) -> Response:
        """``GET /lab/state``: what the page shows, as JSON."""
        return JSONResponse(state(self.store, self.faults))

    async def lab_faults(self, request: HttpRequest) -> Response:
        """``GET``, ``POST`` (a ``Fault`` as JSON or ``{"spec": "503,times=2"}``) and ``DELETE`` on ``/lab/faults``."""
        try:
            if request.method == "DELETE":
                self.faults.clear()
            if request.method == "POST":
                body = dict(await request.json())
                self.faults.inject(body["spec"] if set(body) == {"spec"} else Fault.model_validate(body))
        except (ValidationError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse([str(fault) for fault in self.faults.active])

    async def validate(self, request: HttpRequest) -> Response:
        """``GET /api/v1/validate``: whether the API key is good."""
        try:
            self._check_key(request.headers.get("dd-api-key"), 403)
        except Refusal as refusal:
            return JSONResponse(refusal.body(), refusal.status)
        return JSONResponse({"valid": True})

    async def intake(self, request: HttpRequest) -> Response:
        """Any other request: recorded whatever happens, then refused or taken."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        version = str(request.scope.get("http_version", ""))
        record = self.store.begin(request.method, request.url.path, version, headers)
        record.query = request.url.query
        fault = self.faults.take(record.path)
        record.fault = str(fault) if fault else None
        try:
            response = await self._answer(request, record, fault)
        except Refusal as refusal:
            self.store.refuse(record, refusal.status, str(refusal))
            response = JSONResponse(refusal.body(), refusal.status, _retry_after(fault))
        except (ClientDisconnect, _GoneError) as gone:
            record.error = str(gone) or "the client went away"
            self.store.notify()
            return Response(status_code=499)
        record.status = response.status_code
        self.store.notify()
        return response

    async def _answer(self, request: HttpRequest, record: Request, fault: Fault | None) -> Response:
        if fault and fault.kind == "reset-headers":
            raise await _reset(request)
        body = await self._read(request, record, fault)
        if fault:
            await self._suffer(request, fault)
        endpoint = self._endpoint(record)
        self._take(record, endpoint, body)
        if fault and fault.kind in ("reset-response", "trickle"):
            finish = _abort(request) if fault.kind == "reset-response" else None
            return _piecemeal(JSONResponse(endpoint.answer, 202), fault, finish)
        status = fault.status if fault and fault.kind == "status" else 202
        return JSONResponse(endpoint.answer, status, _retry_after(fault))

    async def _read(self, request: HttpRequest, record: Request, fault: Fault | None) -> bytes:
        body = bytearray()
        half = int(record.headers.get("content-length", "0")) // 2
        async for chunk in request.stream():
            body += chunk
            if (fault and fault.kind == "reset-body" and len(body) >= half) or len(body) > WIRE_CEILING:
                raise await _reset(request)
        record.body, record.wire_bytes = bytes(body), len(body)
        self.store.notify()
        return record.body

    async def _suffer(self, request: HttpRequest, fault: Fault) -> None:
        if fault.kind == "blackhole":
            await _until_gone(request, self.faults)
            _abort(request)()
            raise _GoneError("never answered: black hole")
        if fault.delay and fault.kind != "trickle":
            await asyncio.sleep(fault.delay)
            if await request.is_disconnected():
                raise ClientDisconnect("the client went away while the answer was delayed")
        if fault.kind == "status" and not 200 <= fault.status < 300:
            raise Refusal(fault.status, "injected fault")

    def _endpoint(self, record: Request) -> Endpoint:
        endpoint = ENDPOINTS.get(record.path)
        if endpoint is None:
            raise Refusal(404, f"Datadog has no endpoint {record.path}")
        if record.method != "POST":
            raise Refusal(405, f"{record.path} takes POST, not {record.method}")
        return endpoint

    def _take(self, record: Request, endpoint: Endpoint, wire: bytes) -> None:
        self._check_key(record.headers.get("dd-api-key"), endpoint.keyless)
        endpoint.check_content_type(record)
        body = decompress(wire, record.encoding, endpoint.ceiling)
        record.body_bytes = len(body)
        items = endpoint.decode(record, body)
        self.store.accept(record, endpoint.signal, items, body)

    def _check_key(self, key: str | None, keyless: int) -> None:
        if not key:
            raise Refusal(keyless, "the DD-API-KEY header is missing")
        if self.key is not None and key != self.key:
            raise Refusal(403, "the API key is not valid")


def _retry_after(fault: Fault | None) -> dict[str, str]:
    return {"retry-after": str(fault.retry_after)} if fault and fault.retry_after is not None else {}


def _abort(request: HttpRequest) -> Callable[[], None]:
    abort: Callable[[], None] = request.scope[ABORT]
    return abort


async def _reset(request: HttpRequest) -> _GoneError:
    _abort(request)()
    return _GoneError("connection reset by an injected fault or an endless body")


async def _until_gone(request: HttpRequest, faults: Faults) -> None:
    """Wait until the client gives up or the faults change."""
    changed = asyncio.create_task(faults.changed.wait())
    gone = asyncio.ensure_future(request.receive())
    waits: set[asyncio.Future[Any]] = {changed, gone}
    _, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()


def _piecemeal(whole: JSONResponse, fault: Fault, finish: Callable[[], None] | None) -> StreamingResponse:
    """The same answer in pieces: all of it one byte at a time, or its first half and then ``finish``."""
    # JSON may be followed by blanks: more bytes make for a slower answer.
    text = bytes(whole.body) + b" " * 30

    async def pieces() -> AsyncIterator[bytes]:
        for position in range(len(text) if finish is None else len(text) // 2):
            yield text[position : position + 1]
            await asyncio.sleep(fault.delay)
        if finish is not None:
            finish()

    headers = {"content-length": str(len(text)), "content-type": "application/json"}
    return StreamingResponse(pieces(), whole.status_code, headers)
