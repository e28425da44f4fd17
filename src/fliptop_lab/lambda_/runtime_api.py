"""The Runtime API, 2018-06-01: the runtime's state machine, one invocation at a time. No sockets, no processes."""

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from fliptop_lab.lambda_.answers import Answer, Changes, Parked, accepted, refused

MAX_RESPONSE_BYTES = 6 * 1024 * 1024 + 100
VALID_ERROR_TYPE = re.compile(r"(Runtime|Function)\.[A-Z][a-zA-Z]+")
State = Literal["Started", "Ready", "Running", "ResponseSent", "InitError"]


@dataclass(frozen=True)
class Request:
    """One invocation as the runtime is told of it; `deadline_ms` is epoch milliseconds."""

    id: str
    payload: bytes
    deadline_ms: int
    arn: str
    trace_header: str | None = None
    client_context: str | None = None
    cognito_identity: str | None = None

    def answer(self) -> Answer:
        """What `/invocation/next` returns."""
        optional = {
            "Lambda-Runtime-Trace-Id": self.trace_header,
            "Lambda-Runtime-Client-Context": self.client_context,
            "Lambda-Runtime-Cognito-Identity": self.cognito_identity,
        }
        headers = {
            "Lambda-Runtime-Aws-Request-Id": self.id,
            "Lambda-Runtime-Deadline-Ms": str(self.deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": self.arn,
        }
        return Answer(200, self.payload, headers | {name: value for name, value in optional.items() if value})


@dataclass(frozen=True)
class Upload:
    """A request body with the monotonic nanoseconds of its first and last byte; `complete` is False if it broke off."""

    body: bytes
    first_ns: int
    last_ns: int
    complete: bool = True


@dataclass(frozen=True)
class Response:
    """What the runtime made of an invocation; `error_type` is None for a success."""

    payload: bytes
    error_type: str | None
    first_ns: int
    last_ns: int


@dataclass
class RuntimeApi:
    """The runtime of one initialised environment. `fail` receives fatal error types; `told` every accepted call."""

    changes: Changes
    fail: Callable[[str], None]
    told: Callable[[str], None] = lambda _call: None
    clock: Callable[[], int] = field(default=lambda: 0)
    state: State = "Started"
    request: Request | None = None
    response: Response | None = None
    init_error_body: bytes | None = None
    ready_ns: int = 0
    parked: Parked | None = None

    def next(self) -> Answer | Parked:
        """`GET /runtime/invocation/next`."""
        if self.state not in ("Started", "ResponseSent"):
            return self._illegal("Ready")
        self.state, self.ready_ns = "Ready", self.clock()
        self.parked = asyncio.get_running_loop().create_future()
        self.told("next")
        self.changes.notify()
        return self.parked

    def dispatch(self, request: Request) -> None:
        """Hands an invocation to the waiting runtime."""
        self.request, self.response, self.state = request, None, "Running"
        if self.parked is not None and not self.parked.done():
            self.parked.set_result(request.answer())

    def respond(self, request_id: str, headers: Mapping[str, str], upload: Upload) -> Answer:
        """`POST /runtime/invocation/{id}/response`."""
        if (wrong := self._check(request_id, "InvocationResponse")) is not None:
            return wrong
        mode = headers.get("Lambda-Runtime-Function-Response-Mode")
        if mode not in (None, "", "streaming"):
            self._finish(_failure("Runtime.InvalidResponseModeHeader", f"Invalid response mode {mode}"), upload)
            return refused(400, "InvalidFunctionResponseMode", f"Invalid function response mode: {mode}")
        if not upload.complete:
            self._finish(_failure("Runtime.TruncatedResponse", "Response truncated"), upload)
            return refused(400, "TruncatedHTTPRequest", "HTTP request detected as truncated")
        if mode != "streaming" and len(upload.body) > MAX_RESPONSE_BYTES:
            message = f"Response payload size exceeded maximum allowed payload size ({MAX_RESPONSE_BYTES} bytes)."
            self._finish(_failure("Function.ResponseSizeTooLarge", message), upload)
            return refused(413, "RequestEntityTooLarge", message)
        self._finish((upload.body, None), upload)
        self.told("response")
        return accepted()

    def error(self, request_id: str, headers: Mapping[str, str], upload: Upload) -> Answer:
        """`POST /runtime/invocation/{id}/error`."""
        if (wrong := self._check(request_id, "InvocationErrorResponse")) is not None:
            return wrong
        self._finish((upload.body, sanitised(headers)), upload)
        self.told("error")
        return accepted()

    def init_error(self, headers: Mapping[str, str], upload: Upload) -> Answer:
        """`POST /runtime/init/error`; the process is expected to exit."""
        if self.state != "Started":
            return self._illegal("InitError")
        self.state, self.init_error_body = "InitError", upload.body
        self.told("init/error")
        self.fail(sanitised(headers))
        return accepted()

    def _check(self, request_id: str, to: str) -> Answer | None:
        if self.request is None or request_id != self.request.id:
            return refused(400, "InvalidRequestID", "Invalid request ID")
        return None if self.state == "Running" else self._illegal(to)

    def _finish(self, result: tuple[bytes, str | None], upload: Upload) -> None:
        payload, error_type = result
        self.response = Response(payload, error_type, upload.first_ns, upload.last_ns)
        self.state = "ResponseSent"
        self.changes.notify()

    def _illegal(self, to: str) -> Answer:
        transition = f"State transition from {self.state} to {to} failed for runtime"
        return refused(403, "InvalidStateTransition", f"{transition}. Error: State transition is not allowed")


def sanitised(headers: Mapping[str, str]) -> str:
    """The reported error type, or the nearest that Lambda knows ("Runtime.Unknown", "Function.Unknown")."""
    reported = headers.get("Lambda-Runtime-Function-Error-Type", "")
    if VALID_ERROR_TYPE.fullmatch(reported):
        return reported
    return "Function.Unknown" if reported.startswith("Function.") else "Runtime.Unknown"


def _failure(error_type: str, message: str) -> tuple[bytes, str]:
    return json.dumps({"errorMessage": message, "errorType": error_type}).encode(), error_type
