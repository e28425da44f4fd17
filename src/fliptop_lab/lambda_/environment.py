"""The execution environment: what a caller uses. It owns the place, begins and ends lives, freezes and thaws."""

import asyncio
import signal
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fliptop_lab.lambda_.config import Function, InitResult, Invocation, Platform
from fliptop_lab.lambda_.events import Event, Record
from fliptop_lab.lambda_.invoking import Call, Invoke
from fliptop_lab.lambda_.life import Life, Setting, prepare
from fliptop_lab.lambda_.sandbox import API_PORT, Sandbox
from fliptop_lab.lambda_.server import ApiServer
from fliptop_lab.lambda_.shutdown import Reason, kill, shut_down
from fliptop_lab.lambda_.transcript import Transcript


class Retired(RuntimeError):
    """The environment was shut down or killed; a new invocation needs a new environment."""


class Dispatched:
    """An invocation under way: `response` is what the caller gets, `settled` the whole once extensions are done too."""

    def __init__(self, call: Call, settled: asyncio.Task[Invocation]) -> None:
        self.request_id = call.id
        self._call = call
        self.settled = settled

    async def response(self) -> bytes:
        """Waits for the function's answer, or for Lambda's own when it gave none."""
        either: set[asyncio.Future[Any]] = {self._call.response, self.settled}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return self._call.response.result() if self._call.response.done() else self.settled.result().payload


class ExecutionEnvironment:
    """A simulated Lambda execution environment, on demand; an async context manager.

    `layers` are directories or zip files, merged in order into /opt. Entering prepares the place and the API but starts
    no process. `records` is the transcript of everything, `log` what CloudWatch would show. Raises `ConfigurationError`
    for what Lambda would refuse and `SandboxError` for what the machine does.
    """

    def __init__(self, function: Function, layers: Sequence[Path] = (), platform: Platform | None = None) -> None:
        self.function, self.layers, self.platform = function, layers, platform or Platform()
        self._transcript = Transcript(function.log_format, self.platform.on_event)
        self._turn = asyncio.Lock()
        self._life: Life | None = None
        self._told: list[Event] = []
        self._setting: Setting | None = None
        self._retired = self._initialised = False
        self.init_result: InitResult | None = None

    async def __aenter__(self) -> Self:
        self._sandbox = Sandbox(self.function, self.platform, self._exited)
        self._server = ApiServer(self.platform, lambda: self._life)
        try:
            await self._sandbox.open(self.layers)
            listening = self._sandbox.listen(self._sandbox.address, API_PORT if self._sandbox.isolated else 0)
            await self._server.open(listening)
            prepare(self._sandbox)
        except BaseException:
            self._sandbox.close()
            raise
        api = f"{self._sandbox.address}:{listening.getsockname()[1]}"
        instance = uuid.uuid4().hex
        self._setting = Setting(self.function, self.platform, self._sandbox, self._transcript, api, instance)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await (self.shutdown() if kind is None else self.kill())
        finally:
            if self._life is not None:
                await self._life.close()
            await self._server.close()
            self._sandbox.close()

    @property
    def records(self) -> list[Record]:
        """Everything the platform emitted or saw, in order."""
        return self._transcript.records

    @property
    def log(self) -> list[str]:
        """What the function's log stream shows."""
        return self._transcript.log

    @property
    def isolated(self) -> bool:
        """Whether this environment has namespaces of its own."""
        return self._sandbox.isolated

    @property
    def api(self) -> str:
        """Host and port of Lambda's APIs, as AWS_LAMBDA_RUNTIME_API has it."""
        assert self._setting is not None
        return self._setting.api

    @property
    def sandbox(self) -> Sandbox:
        """The place itself: directories, cgroups, sockets."""
        return self._sandbox

    @property
    def life(self) -> Life | None:
        """The present life, None before the first init and after a reset."""
        return self._life

    @property
    def frozen(self) -> bool:
        """Whether the environment's processes are stopped."""
        return self._life is not None and self._life.frozen

    def pids(self) -> dict[str, int]:
        """The host's pids of the running extensions, by name, and of the `runtime`."""
        running = self._life.processes if self._life else []
        return {process.name: process.pid for process in running if process.alive}

    def listen(self, host: str, port: int) -> socket.socket:
        """A listening TCP socket inside the environment's network, for a server that runs in this process."""
        return self._sandbox.listen(host, port)

    def inject(self, kind: str, record: Mapping[str, Any]) -> None:
        """A platform event of any type and shape into the telemetry stream, as a later Lambda might send."""
        if self._life is not None:
            self._life.emit(kind, record)

    async def init(self) -> InitResult:
        """Initialises ahead of the first invocation, which does it itself otherwise."""
        async with self._turn:
            if self.init_result is None:
                await self._first_init()
                self.freeze()
            assert self.init_result is not None
            return self.init_result

    async def invoke(
        self, payload: bytes = b"{}", *, trace_header: str | None = None, client_context: str | None = None
    ) -> Invocation:
        """Invokes the function and waits until the environment is at rest again."""
        dispatched = self.dispatch(payload, trace_header=trace_header, client_context=client_context)
        return await dispatched.settled

    def dispatch(
        self, payload: bytes = b"{}", *, trace_header: str | None = None, client_context: str | None = None
    ) -> Dispatched:
        """Invokes the function without waiting; a further invocation waits for its turn. Raises `Retired`."""
        if self._retired:
            raise Retired("this environment was shut down; make a new one")
        response: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        call = Call(str(uuid.uuid4()), payload, response, trace_header, client_context)
        return Dispatched(call, asyncio.create_task(self._invoke(call)))

    async def _invoke(self, call: Call) -> Invocation:
        async with self._turn:
            call.received_ns = time.monotonic_ns()
            first = self.init_result is None
            if self._life is not None and self._life.broken:
                await self._end("failure")
            if first:
                await self._first_init()
            invoke = Invoke(call, self.function, self._transcript)
            suppressed = self._life is None
            invoke.begin(None if suppressed or not first else self.init_result)
            if suppressed:
                await self._begin("invoke", invoke.left_s)
            life = self._life
            assert life is not None
            self.thaw()
            await invoke.run(life)
            if invoke.status in ("timeout", "failure") or life.broken:
                reason: Reason = "timeout" if invoke.status == "timeout" else "failure"
                await self._end(reason, invoke)
            else:
                invoke.report()
                self.freeze()
            return invoke.result(cold=first)

    async def _first_init(self) -> None:
        self.init_result = await self._begin("init", self.platform.init_timeout_s)
        life = self._life
        if life is not None and self.init_result.status != "success":
            self._told = life.hub.history
            await self._abandon(life)

    async def _begin(self, phase: str, limit_s: float) -> InitResult:
        assert self._setting is not None
        self._life = Life(self._setting)
        self._life.hub.replay(self._told)
        self._told = []
        return await self._life.init(phase, limit_s)

    async def _abandon(self, life: Life) -> None:
        """After a failed init: those who never came up are killed; others learn of a failure as in any shutdown."""
        if life.broken and life.first_error != "Extension.LaunchError":
            await shut_down(life, "failure")
        else:
            await kill(life)
        self._life = None

    async def _end(self, reason: Reason, invoke: Invoke | None = None) -> None:
        """Shutdown sequence; the report of a failed invocation goes out while extensions may listen."""
        if (life := self._life) is None:
            return
        self.thaw()
        self._transcript.note("phase", "shutdown", {"reason": reason})
        if life.first_error == "Extension.LaunchError":
            if invoke is not None:
                invoke.report()
            await kill(life)
        else:
            await shut_down(life, reason, invoke.report if invoke else lambda: None)
        self._life = None

    def _exited(self, id_: int, code: int, ns: int) -> None:
        if self._life is not None:
            self._life.exited(id_, code, ns)

    def freeze(self) -> None:
        """Stops every process, as Lambda does once all are waiting for the next event."""
        if self._life is not None and not self._life.frozen:
            self._life.frozen = True
            self._life.hub.thawed.clear()
            self._sandbox.signal(signal.SIGSTOP)
            self._transcript.note("phase", "freeze", {})

    def thaw(self) -> None:
        """Lets every process go on."""
        if self._life is not None and self._life.frozen:
            self._transcript.note("phase", "thaw", {})
            self._life.frozen = False
            self._sandbox.signal(signal.SIGCONT)
            self._life.hub.thawed.set()

    async def idle(self, seconds: float) -> None:
        """Lets wall-clock time pass; processes stay stopped if they were."""
        async with self._turn:
            await asyncio.sleep(seconds)

    async def shutdown(self, reason: Reason = "spindown") -> None:
        """Retires the environment: SHUTDOWN to extensions within the budget, then SIGKILL. Twice does no harm."""
        async with self._turn:
            self._retired = True
            await self._end(reason)

    async def kill(self) -> None:
        """Retires the environment without a word: SIGKILL while frozen, as Lambda may do."""
        async with self._turn:
            self._retired = True
            if self._life is not None:
                self._transcript.note("phase", "kill", {})
                await kill(self._life)
                self._life = None
