"""What a start imports, and what it must not: CPU that is taken from somebody's function.

The extension runs from its sources, in an interpreter of its own, against a scripted platform; what it has imported is
written down when its loop serves, and again when the first flush is done.
"""

from __future__ import annotations

import ast
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import fliptop

Imported = Mapping[str, str]
"""Module → who imported it first."""

PATIENCE_S = 50
# Each is here because its import was measured and found to be worth avoiding (docs/cold-start.md).
FORBIDDEN = (
    *("pydantic", "pydantic_core", "pydantic_settings", "annotated_types", "typing_inspection", "dotenv", "yaml"),
    *("urllib.request", "http.client", "http.cookiejar", "email.message", "email.parser", "email.utils", "calendar"),
    *("tempfile", "shutil", "bz2", "lzma", "zipfile", "argparse", "gettext", "multiprocessing", "pickle", "unittest"),
    *("importlib.metadata", "importlib.resources", "certifi", "idna", "hmac", "asyncio.windows_events"),
    *("concurrent.futures.process", "anyio.to_process", "anyio._core._fileio", "fliptop.aws", "fliptop.settings.model"),
    *("fliptop.settings.rules", "fliptop.settings.failover", "fliptop.lifecycle.bare", "fliptop_lab"),
    *("msgpack", "fliptop.traces.pipeline", "fliptop.traces.span", "fliptop.stats", "fliptop.proxied"),
    *("fliptop.invocations.tracing", "fliptop.invocations.options", "fliptop.invocations.triggers"),
)
PACKAGES = {"anyio", "backports", "fliptop", "h11", "httpcore", "httpx", "orjson", "typing_extensions"}
"""Not of the standard library. `backports` before Python 3.14, `typing_extensions` for anyio before 3.15."""

# The environment that the tests run in has more than the extension's layer: what httpcore takes if it is there.
ONLY_IF_PRESENT = {"h2", "hpack", "hyperframe", "sniffio", "trio", "rich", "click", "pygments", "typer"}


@dataclass
class Platform:
    """Plays Lambda and the intake for one life, on threads; `seen` tells what has been imported by when."""

    directory: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    seen: dict[str, Imported] = field(default_factory=dict)
    questions: int = 0

    def answer(self, method: str, path: str) -> Any:
        """The body of the answer to a request of the extension."""
        if method != "GET":
            return {"functionName": "f", "accountId": "111122223333"}
        self.questions += 1
        deadline = {"deadlineMs": int(time.time() * 1000) + 30_000}
        if self.questions == 1:
            self.deliver([{"type": "platform.initStart", "record": {}}])
            self.seen["serves"] = self._imported(1)
            return {"eventType": "INVOKE", "requestId": "r", "invokedFunctionArn": "", **deadline}
        self.seen["flushed"] = self._imported(2)
        return {"eventType": "SHUTDOWN", "shutdownReason": "spindown", **deadline}

    def answered(self, path: str) -> None:
        """After an answer: the function has been invoked, logs and is done."""
        if path.endswith("/event/next") and self.questions == 1:
            said = {"type": "function", "record": {"requestId": "r", "message": "hello"}}
            self.deliver([said, {"type": "platform.runtimeDone", "record": {"requestId": "r", "status": "success"}}])

    def deliver(self, records: list[dict[str, Any]]) -> None:
        """What the Telemetry API does."""
        body = json.dumps([{"time": "2026-01-01T00:00:00Z", **record} for record in records]).encode()
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            assert b" 200 " in connection.recv(4096)

    def _imported(self, number: int) -> Imported:
        assert self.process is not None
        self.process.send_signal(signal.SIGUSR1)
        written = self.directory / str(number)
        while not written.exists():
            assert self.process.poll() is None
            time.sleep(0.01)
        found: Imported = json.loads(written.read_text())
        return found


@contextmanager
def served(platform: Platform) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = json.dumps(
                {} if self.path.startswith("/api/") else platform.answer(self.command, self.path)
            ).encode()
            self.send_response(200)
            self.send_header("Lambda-Extension-Identifier", "id-1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            platform.answered(self.path)

        do_GET = do_POST = do_PUT = handle_any  # noqa: N815 -- names that http.server calls

        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    platform = Platform(tmp_path_factory.mktemp("imported"), free_port())
    paths = [Path(fliptop.__file__).parent.parent, sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    command = [sys.executable, "-I", "-S", str(Path(__file__).with_name("imported.py")), str(platform.directory)]
    with served(platform) as address:
        environment = {
            "AWS_LAMBDA_RUNTIME_API": address,
            "AWS_LAMBDA_FUNCTION_NAME": "f",
            "DD_API_KEY": "0" * 32,
            "DD_LOGS_CONFIG_LOGS_DD_URL": f"http://{address}",
            "DD_DD_URL": f"http://{address}",
            "DD_TAGS": "team:a",
            "LAMBDA_TASK_ROOT": "/nonexistent",
            "PATH": os.environ["PATH"],
        }
        command += [str(platform.port), *map(str, paths)]
        platform.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        with platform.process as process:
            said = process.communicate(timeout=PATIENCE_S)[0].decode()
    assert process.returncode == 0, said
    assert '"delivered\\":3' in said, said
    return platform


def offenders(imported: Imported, is_one: Callable[[str], bool]) -> list[str]:
    return [f"{name} (imported by {importer})" for name, importer in imported.items() if is_one(name)]


@pytest.mark.parametrize("moment", ["serves", "flushed"])
def test_what_costs_much_is_not_imported(life: Platform, moment: str) -> None:
    assert offenders(life.seen[moment], FORBIDDEN.__contains__) == []


@pytest.mark.parametrize("moment", ["serves", "flushed"])
def test_no_other_package_is_imported(life: Platform, moment: str) -> None:
    known = PACKAGES | ONLY_IF_PRESENT | set(sys.stdlib_module_names)

    def is_foreign(name: str) -> bool:
        return name.partition(".")[0] not in known and not name.startswith("_")

    assert offenders(life.seen[moment], is_foreign) == []


def test_the_first_flush_imports_next_to_nothing(life: Platform) -> None:
    """Nobody should wait for an import when the function has been answered."""
    late = life.seen["flushed"].keys() - life.seen["serves"].keys()
    allowed = {"encodings.idna", "stringprep", "unicodedata", "concurrent.futures.thread", "queue", "_queue"}
    assert {name for name in late if name.partition(".")[0] not in ONLY_IF_PRESENT} <= allowed


def test_all_of_it_is_there(life: Platform) -> None:
    """So that the tests above look at something: the loop has run, and something has been sent."""
    assert {"anyio._backends._asyncio", "httpx", "httpcore", "fliptop.service"} <= life.seen["serves"].keys()


def test_modules_with_named_tuples_keep_their_annotations_as_they_are() -> None:
    """typing.NamedTuple compiles every annotation that is text, which is what the future import makes of all."""
    found = []
    for path in Path(fliptop.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text())
        classes = [base for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for base in node.bases]
        futures = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
        if futures and any(isinstance(base, ast.Name) and base.id == "NamedTuple" for base in classes):
            found.append(f"{path}: remove `from __future__ import annotations`")
    assert found == []
