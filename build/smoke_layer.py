"""Start a layer zip in a bare environment and watch it register, ask for its first event and obey SHUTDOWN.

    python build/smoke_layer.py dist/fliptop-<arch>.zip

Where the machine allows namespaces (usually: as root), the layer is at a read-only /opt, the process is user 993, there
is no /dev/shm, and the network is one of its own. Elsewhere it runs from a temporary directory as the present user, and
the last line says so. The environment holds next to nothing, and no HOME.
"""

from __future__ import annotations

import fcntl
import http.server
import json
import os
import platform
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import zipfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from build import emulate
from build.unpack import unpack

UNSHARE = ("unshare", "--mount", "--net", "--pid", "--ipc", "--fork", "--kill-child")
USER = 993
PATIENCE_S = 30.0
EXTENSION_ID = "00000000-0000-4000-8000-000000000000"
DEADLINE = {"deadlineMs": 4_000_000_000_000}
INVOKE = {"eventType": "INVOKE", "requestId": EXTENSION_ID, "invokedFunctionArn": "arn:aws:lambda:::function:smoke"}
SHUTDOWN = {"eventType": "SHUTDOWN", "shutdownReason": "spindown"}
# What the guard and the extension print when the Python part did not live through it all.
TROUBLE = (
    *("Traceback", "Extension loop failed", "ModuleNotFoundError", "ImportError", "crashed", "cannot be spoken to"),
    "could not be served",
)


class RuntimeApi(http.server.ThreadingHTTPServer):
    """The few answers of Lambda that an extension needs to come up and go down (Extensions and Telemetry API)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[str] = []

    @property
    def address(self) -> str:
        """Host and port, as AWS_LAMBDA_RUNTIME_API has them."""
        return f"127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:
        """Say nothing of connections that end in the middle: an extension that dies is reported as such."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RuntimeApi

    def do_GET(self) -> None:
        event = SHUTDOWN if "next" in self.server.seen else INVOKE
        self._answer({**event, **DEADLINE})

    def do_POST(self) -> None:
        self._answer({"functionName": "smoke", "functionVersion": "$LATEST", "handler": "smoke.handler"})

    def do_PUT(self) -> None:
        self._answer("OK")

    def _answer(self, body: Any) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append(self.path.rsplit("/", 1)[-1])
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Lambda-Extension-Identifier", EXTENSION_ID)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing: what matters is in `seen`."""


def main(arguments: list[str]) -> int:
    """Run the smoke test on the zip named on the command line; return the exit code."""
    bare = arguments[:1] == ["--bare"]
    if len(arguments) != 1 + bare:
        print("usage: python build/smoke_layer.py LAYER.zip", file=sys.stderr)
        return 2
    if emulate.is_needed(architecture(Path(arguments[-1]))):
        return subprocess.run([sys.executable, emulate.__file__, __file__, *arguments], check=False).returncode
    if not bare and may_unshare():
        return subprocess.run([*UNSHARE, sys.executable, __file__, "--bare", arguments[0]], check=False).returncode
    os.umask(0o022)  # user 993 must be able to read what is written for it
    with tempfile.TemporaryDirectory() as directory:
        # Lambda's users may read what is below /opt; the temporary directory is ours alone until told otherwise.
        Path(directory).chmod(0o755)
        root = Path(directory) / "opt"
        unpack(Path(arguments[-1]), root)
        if bare:
            _isolate(root)
            root = Path("/opt")
        problems = smoke(root, Path(directory) / "task", USER if bare else None)
    for problem in problems:
        print(f"smoke: {problem}", file=sys.stderr)
    where = "read-only /opt, user 993, no HOME, no /dev/shm" if bare else "no namespaces here, so not isolated; no HOME"
    if architecture(Path(arguments[-1])) != platform.machine():
        where += "; emulated"
    if not problems:
        print(f"smoke: registers, asks for its first event, judges settings, obeys SHUTDOWN ({where})")
    return 1 if problems else 0


def architecture(layer: Path) -> str:
    """Return the architecture that the manifest of a layer zip names."""
    with zipfile.ZipFile(layer) as archive:
        return str(json.loads(archive.read("fliptop/manifest.json"))["arch"])


def may_unshare() -> bool:
    """True where this process can have namespaces of its own (UNSHARE), and be somebody else in them."""
    somebody_else = ("chroot", f"--userspec={USER}:{USER}", "--groups=", "/", "true")
    return (
        os.geteuid() == 0
        and shutil.which("unshare") is not None
        and subprocess.run([*UNSHARE, *somebody_else], capture_output=True, check=False).returncode == 0
    )


def _isolate(root: Path) -> None:
    """Make /opt this layer, read-only; take /dev/shm away; bring the loopback interface of the new network up."""
    for command in (
        ["mount", "--make-rprivate", "/"],
        ["mount", "--bind", str(root), "/opt"],
        ["mount", "-o", "remount,bind,ro", "/opt"],
        ["mount", "-t", "tmpfs", "-o", "mode=000,ro", "none", "/dev/shm"],
    ):
        subprocess.run(command, check=True)
    bring_loopback_up()


def bring_loopback_up() -> None:
    """Let 127.0.0.1 work in a network namespace that is new."""
    request = struct.pack("16sh14x", b"lo", 0x1 | 0x40)  # IFF_UP, IFF_RUNNING
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, request)  # SIOCSIFFLAGS


def smoke(root: Path, task: Path, user: int | None) -> list[str]:
    """Start the layer at `root`, as `user` if one is given, for the functions below; return what went wrong."""
    version = json.loads((root / "fliptop" / "manifest.json").read_text())["version"]
    told = _run([root / "fliptop" / "fliptop", "--version"], {}, user)
    problems = []
    if told.stdout.strip() != version:
        problems.append(f"`fliptop --version` said {told.stdout + told.stderr!r} where the manifest has {version}")
    # With a key, the extension prepares to speak to Datadog: TLS and its roots. Emulated, it meets an old processor.
    environment = {"DD_LOG_LEVEL": "debug", "DD_API_KEY": "0" * 32, **emulate.OLDEST}
    problems += _live(root, environment, user)[0]
    # A value that cannot be used brings pydantic in, and a file a YAML parser.
    task.mkdir()
    (task / "datadog.yaml").write_text("site: no site\n")
    found, said = _live(root, {**environment, "LAMBDA_TASK_ROOT": str(task)}, user)
    if "site='no site' is ignored" not in said:
        found.append(f"the extension did not complain of a setting that cannot be used; it said:\n{said}")
    # What the launcher's scan would leave open.
    (task / "datadog.yaml").write_text("otlp_config: &anchor {logs: {enabled: true}}\n")
    told = _run([root / "fliptop" / "fliptop", "--settle"], {"LAMBDA_TASK_ROOT": str(task)}, user)
    if told.stdout != "settled otel\n":
        found.append(f"`fliptop --settle` said {told.stdout + told.stderr!r} of a file that needs legacy")
    return problems + found


def _live(root: Path, environment: dict[str, str], user: int | None) -> tuple[list[str], str]:
    """Run the layer from start to SHUTDOWN; return what went wrong, and what it said."""
    with RuntimeApi() as api:
        threading.Thread(target=api.serve_forever, daemon=True).start()
        environment = {"AWS_LAMBDA_RUNTIME_API": api.address, **environment}
        ran = _run([root / "extensions" / "datadog-agent"], environment, user)
        api.shutdown()
    said = ran.stdout + ran.stderr
    problems = []
    if ran.returncode:
        problems.append(f"the extension exited with {ran.returncode} after SHUTDOWN; it said:\n{said}")
    if [step for step in api.seen if step in ("register", "next")] != ["register", "next", "next"]:
        problems.append(f"the extension called {api.seen} where register and two times next were due; it said:\n{said}")
    if any(mark in said for mark in TROUBLE):
        problems.append(f"the extension met an error:\n{said}")
    return problems, said


def _run(command: list[Path | str], environment: dict[str, str], user: int | None) -> subprocess.CompletedProcess[str]:
    identity: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if user else {}
    try:
        how: dict[str, Any] = {"capture_output": True, "text": True, "timeout": PATIENCE_S, **identity}
        return subprocess.run(command, env=environment, cwd="/", check=False, **how)
    except subprocess.TimeoutExpired as late:
        said = (late.stdout or b"") + (late.stderr or b"")
        waited = f"(still running after {PATIENCE_S} s)"
        return subprocess.CompletedProcess(command, 124, said.decode(errors="replace"), waited)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
