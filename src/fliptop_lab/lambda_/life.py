"""One life of an environment: from its init to its shutdown, and whatever lives and dies with it.

After a reset a new life begins in the same place. Order of steps and first-error-wins follow Lambda's own core.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fliptop_lab.lambda_ import environ
from fliptop_lab.lambda_.answers import Answer, Changes
from fliptop_lab.lambda_.config import Function, InitResult, Platform, Status
from fliptop_lab.lambda_.delivery import OK, Outside, TelemetryHub
from fliptop_lab.lambda_.events import outcome
from fliptop_lab.lambda_.extensions_api import MAX_EXTENSIONS, Extension, ExtensionsApi, Identity
from fliptop_lab.lambda_.launch import LaunchError, Program
from fliptop_lab.lambda_.processes import Process
from fliptop_lab.lambda_.runtime_api import RuntimeApi
from fliptop_lab.lambda_.sandbox import Sandbox
from fliptop_lab.lambda_.server import gone
from fliptop_lab.lambda_.telemetry import Api
from fliptop_lab.lambda_.transcript import Transcript

DISABLE_FILE = "disable-extensions-jwigqn8j"


@dataclass(frozen=True)
class Setting:
    """What outlives a life: the function, the platform, the place, the transcript."""

    function: Function
    platform: Platform
    sandbox: Sandbox
    transcript: Transcript
    api: str
    instance: str

    @property
    def log_stream(self) -> str:
        """The CloudWatch stream's name."""
        return f"{time.strftime('%Y/%m/%d', time.gmtime())}/[{self.function.version}]{self.instance}"


class Life:
    """State machines, processes and telemetry of one initialised environment."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        function, transcript = setting.function, setting.transcript
        self.changes = Changes()
        identity = Identity(function.name, function.version, function.handler, function.account_id)
        self.extensions = ExtensionsApi(identity, self.changes, self.store_error, self._told_by_extension)
        self.runtime = RuntimeApi(self.changes, self.store_error, self._told_by_runtime, time.monotonic_ns)
        outside = Outside(
            setting.sandbox.new_socket,
            setting.sandbox.address,
            lambda name, data: void(transcript.note("delivery", name, data)),
            transcript.stamp,
        )
        self.hub = TelemetryHub(setting.platform, function.log_format, outside)
        self.extensions_enabled = not Path(self._opt, DISABLE_FILE).exists()
        self.processes: list[Process] = []
        self._announced: list[Process] = []
        self.first_error: str | None = None
        self.broken: str | None = None
        self.closing = self.frozen = False

    @property
    def _opt(self) -> Path:
        """Where the host finds what the environment sees as /opt."""
        return self.setting.sandbox.opt_on_host

    @property
    def runtime_process(self) -> Process | None:
        """The runtime's process, once started."""
        return next((process for process in self.processes if process.role == "runtime"), None)

    def process_of(self, extension: Extension) -> Process | None:
        """An external extension's process."""
        mine = (process for process in self.processes if process.role == "extension")
        return next((process for process in mine if extension.external and process.name == extension.name), None)

    # What happens to this life

    def store_error(self, error_type: str) -> None:
        """Only the first fatal error counts; it takes effect when a process ends or time runs out."""
        self.first_error = self.first_error or error_type

    def broke(self, error_type: str, message: str) -> None:
        """Nothing more can be expected of this life."""
        self.store_error(error_type)
        self.broken = self.broken or message
        self.changes.notify()

    def exited(self, id_: int, code: int, ns: int) -> None:
        """A process of the environment ended; those that are not ours are children of ours and their own affair."""
        process = next((process for process in self.processes if process.id == id_ and process.alive), None)
        if process is None:
            return
        process.ended(code)
        if process.refused:
            return
        self._announce(process)
        data = {"name": process.name, "role": process.role, "pid": process.pid}
        signal = {"signal": -code} if code < 0 else {"code": code}
        self.setting.transcript.note("process", "exit", {**data, **signal}, ns)
        if self.closing:
            for extension in self.extensions.all:
                if self.process_of(extension) is process:
                    extension.state = "Exited" if code == 0 else "ShutdownFailed"
            self.changes.notify()
        else:
            self._crashed(process, code)

    def _crashed(self, process: Process, code: int) -> None:
        how = f"signal: {-code}" if code < 0 else f"exit status {code}" if code else "exit code 0"
        how = "signal: killed" if code == -9 else how
        if code == -9 and self.setting.sandbox.cgroups.oom_kills:
            self.broke("Runtime.OutOfMemory", how)
        elif process.role == "extension":
            self.broke("Extension.Crash", how)
        else:
            reason = f"Runtime exited with error: {how}" if code else "Runtime exited without providing a reason"
            self.broke("Runtime.ExitError", reason)

    # What the APIs tell

    def _told_by_extension(self, call: str, extension: Extension) -> None:
        data: dict[str, Any] = {"extension": extension.name, "external": extension.external}
        self._note_call(call, data, self.process_of(extension))

    def _told_by_runtime(self, call: str) -> None:
        if call == "next":
            self.extensions.open = False
        self._note_call(f"runtime/{call}", {}, self.runtime_process)

    def _note_call(self, call: str, data: dict[str, Any], process: Process | None) -> None:
        ns = time.monotonic_ns()
        if process is not None and (started := process.started) is not None:
            self._announce(process)
            data["since_spawn_ms"] = (ns - started.ns) / 1e6
        self.setting.transcript.note("api", call, data, ns)

    def subscribe(self, headers: Mapping[str, str], body: bytes, api: Api) -> Answer:
        """`PUT /telemetry` or `/logs`: checks, announces, begins delivery."""
        extension = self.extensions.find(headers)
        if isinstance(extension, Answer):
            return extension
        wants = self.hub.subscribe(extension.name, body, api)
        if isinstance(wants, Answer):
            return wants
        self._note_call("subscribe", {"extension": extension.name}, self.process_of(extension))
        self.hub.start(extension.name, wants)
        subscribed = {"name": extension.name, "state": "Subscribed", "types": list(wants.types)}
        self.emit("platform.telemetrySubscription", subscribed)
        return OK

    def emit(self, kind: str, record: Any) -> None:
        """A telemetry event: into the transcript and to subscribers."""
        self.hub.publish(self.setting.transcript.stamp(kind, record))

    # Init

    async def init(self, phase: str, limit_s: float) -> InitResult:
        """Starts everything and waits until all are ready. Never raises for what the environment's processes do."""
        self.extensions.expect(external_names(self._opt) if self.extensions_enabled else [])
        prepare(self.setting.sandbox)
        begun = time.monotonic_ns()
        self.emit("platform.initStart", self._init_start(phase))
        self.setting.sandbox.cgroups.boost()
        ready = await self._bring_up(time.monotonic() + limit_s)
        duration_ms = round((time.monotonic_ns() - begun) / 1e6, 3)
        status: Status = "success" if ready else "error" if self.broken else "timeout"
        error_type = self.first_error if status == "error" else None
        self._report_init(phase, outcome(status, error_type), duration_ms)
        if ready:
            self.hub.close_subscriptions()
            self.setting.sandbox.cgroups.throttle(self.setting.function.memory_mb)
        return InitResult(phase, status, error_type, duration_ms)

    def _init_start(self, phase: str) -> dict[str, Any]:
        function = self.setting.function
        return {
            "initializationType": "on-demand",
            "phase": phase,
            "runtimeVersion": function.runtime_version,
            "runtimeVersionArn": function.runtime_version_arn,
            "functionName": function.name,
            "functionVersion": function.version,
            "instanceId": self.setting.instance,
            "instanceMaxMemory": function.memory_mb,
        }

    def _report_init(self, phase: str, result: Mapping[str, Any], duration_ms: float) -> None:
        kind = {"initializationType": "on-demand", "phase": phase}
        if self.runtime_process is not None:
            self.emit("platform.initRuntimeDone", {**kind, **result})
        for extension in self.extensions.all:
            error = {"errorType": extension.error_type} if extension.error_type else {}
            described = {"name": extension.name, "state": extension.state, "events": list(extension.events)}
            self.emit("platform.extension", {**described, **error})
        self.emit("platform.initReport", {**kind, **result, "metrics": {"durationMs": duration_ms}})

    async def _bring_up(self, deadline: float) -> bool:
        """The two barriers. False when something broke or time ran out."""
        if not await self._start_extensions():
            return False
        external = [extension for extension in self.extensions.all if extension.external]
        if not await self._all(lambda: all(extension.id for extension in external), deadline):
            return False
        if not await self._start_runtime():
            return False
        if not await self._all(lambda: self.runtime.state == "Ready", deadline):
            return False
        return await self._all(self.extensions_ready, deadline)

    def extensions_ready(self) -> bool:
        """Barrier B: every registered extension waits in `/event/next`."""
        return all(extension.state == "Ready" for extension in self.extensions.registered)

    async def _all(self, condition: Callable[[], bool], deadline: float) -> bool:
        left = max(0.0, deadline - time.monotonic())
        return await self.changes.until(lambda: bool(self.broken) or condition(), left) and not self.broken

    async def _start_extensions(self) -> bool:
        if len(self.extensions.all) > MAX_EXTENSIONS:
            self.broke("Extension.TooManyExtensions", f"Extension limit ({MAX_EXTENSIONS}) reached")
            return False
        setting = self.setting
        environment = environ.for_extensions(setting.function, setting.api, setting.sandbox.opt)
        if not setting.sandbox.isolated:
            environment["LAMBDA_TASK_ROOT"] = setting.sandbox.task
        for extension in self.extensions.all:
            argv = [f"{setting.sandbox.opt}/extensions/{extension.name}"]
            try:
                await self._start(extension.name, Program("extension", argv, environment, setting.sandbox.task))
            except LaunchError as error:
                extension.state, extension.error_type = "LaunchError", "Extension.LaunchError"
                self.broke("Extension.LaunchError", f"{extension.name}: {error.strerror}")
                return False
        return True

    async def _start_runtime(self) -> bool:
        setting, function = self.setting, self.setting.function
        roots = (setting.sandbox.opt, setting.sandbox.task)
        environment = environ.for_runtime(function, setting.api, setting.log_stream, roots)
        wrapper = function.environment.get("AWS_LAMBDA_EXEC_WRAPPER")
        command = [wrapper, *function.command] if wrapper else function.command
        argv = [setting.sandbox.real(part) for part in command]
        try:
            await self._start(
                "runtime", Program("runtime", argv, environment, setting.sandbox.task, environment["PATH"])
            )
        except LaunchError as error:
            self.broke("Runtime.InvalidEntrypoint", f"{argv[0]}: {error.strerror}")
            return False
        return True

    async def _start(self, name: str, program: Program) -> None:
        """Starts a process and waits for its execve, while calls to the APIs are answered. Raises `LaunchError`."""
        process = Process(name, self.setting.sandbox, program)
        self.processes.append(process)
        kind = "function" if process.role == "runtime" else "extension"
        process.listen(lambda line: self.emit(kind, line))
        try:
            await process.executed()
        except LaunchError:
            self.processes.remove(process)
            process.close()
            raise
        self._announce(process)

    def _announce(self, process: Process) -> None:
        """Notes the start, once, before anything else that the process does."""
        if process in self._announced or (started := process.started) is None:
            return
        self._announced.append(process)
        data = {"name": process.name, "role": process.role, "pid": process.pid, "argv": list(process.argv)}
        self.setting.transcript.note("process", "start", data, started.ns)

    async def close(self) -> None:
        """Leaves nothing behind but the transcript; every process must have ended."""
        self.closing = True
        for parked in (self.runtime.parked, *(extension.parked for extension in self.extensions.all)):
            if parked is not None and not parked.done():
                parked.set_result(gone())
        for process in self.processes:
            process.close()
        await self.hub.close()


def void(_: object) -> None:
    """For callbacks whose result nobody wants."""


def prepare(sandbox: Sandbox) -> None:
    """Makes ready to start every external extension and the runtime."""
    sandbox.prepare("extension", len(external_names(sandbox.opt_on_host)))
    sandbox.prepare("runtime", 1)


def external_names(opt: Path) -> list[str]:
    """Base names of the external extensions: everything in /opt/extensions that is not a directory, by name."""
    folder = opt / "extensions"
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if not entry.is_dir())
