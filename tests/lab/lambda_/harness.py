"""Builds layers and functions out of probes, runs them in the simulated Lambda, reads what they said."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from fliptop_lab.lambda_ import ExecutionEnvironment, Function, Platform, Record
from fliptop_lab.lambda_.sandbox import refusal

PROBE = Path(__file__).parent / "probes" / "probe.py"
QUICK = Platform(init_timeout_s=5.0, shutdown_budget_s=1.0)
Script = Mapping[str, Any]
FOLDERS: list[str] = []


def layer(folder: Path, extensions: Mapping[str, Script]) -> Path:
    """A layer whose extensions are probes with these scripts (`init`, `invoke`, `always`, `shutdown`)."""
    (folder / "extensions").mkdir(parents=True)
    (folder / "probe").mkdir()
    shutil.copy(PROBE, folder / "probe" / "probe.py")
    for name, script in extensions.items():
        complete = {"name": name, "init": [["register"]], **script}
        (folder / "probe" / f"{name}.json").write_text(json.dumps(complete))
        executable = folder / "extensions" / name
        executable.write_text(
            f"#!{sys.executable} -ES\nimport os, runpy, sys\n"
            "root = os.path.dirname(os.path.dirname(os.path.abspath(sys.argv[0])))\n"
            f"sys.argv = [sys.argv[0], 'extension', root + '/probe/{name}.json']\n"
            "runpy.run_path(root + '/probe/probe.py', run_name='__main__')\n"
        )
        executable.chmod(0o755)
    return folder


def function(folder: Path, init: list[Any] | None = None, **settings: Any) -> Function:
    """A function whose runtime is a probe; `init` are the steps it takes before its first `/next`."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(PROBE, folder / "probe.py")
    (folder / "runtime.json").write_text(json.dumps({"name": "runtime", "init": init or []}))
    command = [sys.executable, "-ES", "probe.py", "runtime", "runtime.json"]
    return Function(command=command, task_root=folder, **settings)


@asynccontextmanager
async def lab(
    folder: Path,
    extensions: Mapping[str, Script] | None = None,
    platform: Platform = QUICK,
    **settings: Any,
) -> AsyncIterator[ExecutionEnvironment]:
    """An environment of probes."""
    layers = [layer(folder / "layer", extensions)] if extensions else []
    if platform.isolation == "none" or refusal() is not None:
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        settings["environment"] = {**settings.get("environment", {}), "PROBE_TMP": str(folder / "tmp")}
    async with ExecutionEnvironment(function(folder / "task", **settings), layers, platform) as environment:
        FOLDERS.append(environment.sandbox.folder.name)
        yield environment


def tmp_path_of(environment: ExecutionEnvironment) -> Path:
    """Where the host finds what the environment sees as /tmp."""
    own = environment.function.environment.get("PROBE_TMP")
    return Path(own) if own else environment.sandbox.folder / "tmp"


def order(**steps: Any) -> bytes:
    """An invocation's payload for the runtime probe: `before`, `after`, `response`, `error`."""
    return json.dumps(steps).encode()


def said(environment: ExecutionEnvironment, who: str | None = None, did: str | None = None) -> list[dict[str, Any]]:
    """What probes have said, in order."""
    return [
        line
        for line in said_lines(environment)
        if (who is None or line["who"] == who) and (did is None or line["did"] == did)
    ]


def said_lines(environment: ExecutionEnvironment) -> Iterator[dict[str, Any]]:
    """Every line of a probe."""
    for record in environment.records:
        if record.kind == "telemetry" and "line" in record.data and record.data["line"].startswith('{"who"'):
            yield json.loads(record.data["line"])


def records(environment: ExecutionEnvironment, kind: str, name: str | None = None) -> list[Record]:
    """The transcript's records of one kind."""
    return [record for record in environment.records if record.kind == kind and name in (None, record.name)]


def names(environment: ExecutionEnvironment) -> list[str]:
    """Telemetry event types in order of emission, log lines left out."""
    return [
        record.name.removeprefix("platform.")
        for record in records(environment, "telemetry")
        if "line" not in record.data
    ]


def data(environment: ExecutionEnvironment, name: str, number: int = 0) -> Mapping[str, Any]:
    """The n-th record of a telemetry event type."""
    return records(environment, "telemetry", f"platform.{name}")[number].data


def body(line: Mapping[str, Any]) -> Any:
    """The JSON that an API answered."""
    return json.loads(line["body"])


def order_of(environment: ExecutionEnvironment, *wanted: tuple[str, str]) -> list[int]:
    """Positions in the transcript of the first records with these kinds and names."""
    keys = [(record.kind, record.name) for record in environment.records]
    return [keys.index(key) for key in wanted]


class Listener:
    """A telemetry listener in the environment's network, run by the test: it can refuse, dawdle, is never frozen."""

    def __init__(self) -> None:
        self.posts: list[web.BaseRequest] = []
        self.batches: list[list[dict[str, Any]]] = []
        self.bodies: list[bytes] = []
        self.statuses: list[int] = []
        self.in_flight = self.most_in_flight = 0
        self.before_answer: Callable[[], Awaitable[object]] = lambda: asyncio.sleep(0)
        self._changed = asyncio.Condition()

    async def start(self, environment: ExecutionEnvironment, port: int = 8124) -> None:
        """Listens; the environment must be open."""
        self._server = web.Server(self._handle, access_log=None)
        listening = environment.listen("0.0.0.0", port)
        self._listening = await asyncio.get_running_loop().create_server(self._server, sock=listening)

    async def stop(self) -> None:
        """Refuses connections from now on."""
        self._listening.close()
        await self._server.shutdown(0.01)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            chunks = [chunk async for chunk in request.content.iter_any()]
            await self.before_answer()
        finally:
            self.in_flight -= 1
        status = self.statuses.pop(0) if self.statuses else 200
        self.posts.append(request)
        if status == 200:
            self.bodies.append(b"".join(chunks))
            self.batches.append(json.loads(self.bodies[-1]))
        async with self._changed:
            self._changed.notify_all()
        return web.Response(status=status)

    @property
    def events(self) -> list[dict[str, Any]]:
        """All events received, in order."""
        return [event for batch in self.batches for event in batch]

    @property
    def types(self) -> list[str]:
        """Their types."""
        return [event["type"] for event in self.events]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits for a condition over what was received; ten seconds is a hang."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(condition)


@asynccontextmanager
async def listening(environment: ExecutionEnvironment, port: int = 8124) -> AsyncIterator[Listener]:
    """A `Listener` for the length of a block."""
    listener = Listener()
    await listener.start(environment, port)
    try:
        yield listener
    finally:
        await listener.stop()
