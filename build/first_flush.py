"""What a start costs, from exec to the end of the first flush: instructions, CPU time, memory.

    python build/first_flush.py [dist/fliptop-<arch>.zip] [-n TIMES] [--intake http|datadog|other]...
    python build/first_flush.py --command PROGRAM [ARGUMENT...]

One life with one invocation and four log lines, in a Lambda that answers at once. Instructions in user mode depend on
neither the machine's speed nor its load, and are held against build/budget.json; CPU time and memory are for
information. Intakes: plain HTTP (what the budget is about); one of Datadog's hosts over TLS, with the roots that the
extension knows it by; any other host over TLS. The last two need namespaces (usually: root).
"""

from __future__ import annotations

import argparse
import ctypes
import http.server
import json
import os
import platform
import signal
import socket
import ssl
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from build.smoke_layer import UNSHARE, bring_loopback_up, may_unshare  # noqa: E402
from build.unpack import unpack  # noqa: E402

ARCH = platform.machine()
BUDGET = ROOT / "build" / "budget.json"
CERTIFICATES = ROOT / "tests" / "unit" / "tls"
DATADOG = "http-intake.logs.datadoghq.com"
TELEMETRY = ("127.0.0.1", 8999)
PATIENCE_S = 60.0
REQUEST = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
BEFORE: list[dict[str, Any]] = [
    {"type": "platform.initStart", "record": {"initializationType": "on-demand", "runtimeVersion": "python:3.13.v12"}}
]
MEANWHILE: list[dict[str, Any]] = [
    {"type": "platform.start", "record": {"requestId": REQUEST, "version": "$LATEST"}},
    {"type": "function", "record": "hello from the function\n"},
    {"type": "platform.runtimeDone", "record": {"requestId": REQUEST, "status": "success"}},
]
PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
# struct perf_event_attr: counting instructions, disabled until exec, threads too, neither kernel nor hypervisor.
PERF_ATTRIBUTES = struct.pack("IIQQQQQ", 0, 128, 1, 0, 0, 0, 1 | 1 << 1 | 1 << 5 | 1 << 6 | 1 << 12).ljust(128, b"\0")


@dataclass
class Moment:
    """What the process had cost by then: million instructions (None: cannot be counted here), ms CPU, MB resident."""

    instructions: float | None
    cpu_ms: float
    rss_mb: float


@dataclass
class Life:
    """One run of the extension: the moments when its loop served, and when the first flush was done."""

    pid: int = 0
    counter: int | None = None
    payloads: int = 0
    questions: int = 0
    moments: dict[str, Moment] = field(default_factory=dict)

    def note(self, name: str) -> None:
        """Keep what the process has cost so far."""
        instructions = None
        if self.counter is not None:
            instructions = struct.unpack("Q", os.read(self.counter, 8))[0] / 1e6
        threads = Path(f"/proc/{self.pid}/task").iterdir()
        cpu_ns = sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)
        status = Path(f"/proc/{self.pid}/status").read_text()
        rss_kb = int(status.split("VmRSS:")[1].split()[0])
        self.moments[name] = Moment(instructions, cpu_ns / 1e6, rss_kb / 1024)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    life: Life

    def handle_error(self, *request: Any) -> None:
        """A mistake here, or an extension that went away: either way this life is over."""
        super().handle_error(*request)
        os.kill(self.life.pid, signal.SIGKILL)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _read(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Lambda-Extension-Identifier", REQUEST)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Lambda(_Handler):
    def do_POST(self) -> None:
        self._read()
        self._answer({"functionName": "f", "functionVersion": "$LATEST", "handler": "h", "accountId": "111122223333"})

    def do_PUT(self) -> None:
        self._read()
        self._answer("OK")

    def do_GET(self) -> None:
        life = self.server.life
        life.questions += 1
        deadline_ms = int(time.time() * 1000) + 30_000
        if life.questions == 1:
            _deliver(BEFORE)
            life.note("serves")
            self._answer({"eventType": "INVOKE", "requestId": REQUEST, "deadlineMs": deadline_ms})
            _deliver(MEANWHILE)
        else:
            life.note("flushed")
            self._answer({"eventType": "SHUTDOWN", "shutdownReason": "spindown", "deadlineMs": deadline_ms})


class _Intake(_Handler):
    def do_POST(self) -> None:
        self._read()
        self.server.life.payloads += 1
        self._answer({})


def _deliver(records: list[dict[str, Any]]) -> None:
    """What the Telemetry API does; returns when the extension has answered."""
    body = json.dumps([{"time": "2026-01-01T00:00:00.000Z", **record} for record in records]).encode()
    head = b"POST / HTTP/1.1\r\nHost: sandbox\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(TELEMETRY, timeout=PATIENCE_S) as connection:
        connection.sendall(head + body)
        connection.recv(4096)


def live(command: list[str], intake: str) -> Life:
    """Run `command`, the extension, from exec to SHUTDOWN. Exits when the life did not go as it should."""
    life = Life()
    with _Server(("127.0.0.1", 0), _Lambda) as platform_, _intake(intake) as datadog:
        for server in (platform_, datadog):
            server.life = life
            threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = _environment(platform_.server_address[1], datadog.server_address[1], intake)
        with tempfile.TemporaryFile() as output:
            status = _run(command, environment, life, output.fileno())
            output.seek(0)
            said = output.read().decode(errors="replace")
        for server in (platform_, datadog):
            server.shutdown()
    if status or life.payloads != 1 or "flushed" not in life.moments:
        sys.exit(f"the extension sent {life.payloads} payloads and ended with {status}; it said:\n{said}")
    return life


def _intake(kind: str) -> _Server:
    server = _Server(("127.0.0.1", 443 if kind == "datadog" else 0), _Intake)
    if kind != "http":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATES / "server.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    return server


def _environment(api_port: int, intake_port: int, intake: str) -> dict[str, str]:
    environment = {
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api_port}",
        "AWS_LAMBDA_FUNCTION_NAME": "f",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
        "AWS_REGION": "us-east-1",
        "DD_API_KEY": "0" * 32,
        "DD_ENHANCED_METRICS": "false",  # one payload, of logs: what a flush is counted by
        "DD_ENV": "prod",
        "DD_SERVICE": "shop",
        "DD_TAGS": "team:a",
        "FLIPTOP_NAME": "datadog-agent",
        "LAMBDA_TASK_ROOT": "/nonexistent",
    }
    if intake != "http":
        environment["DD_TLS_CERT_FILE"] = str(CERTIFICATES / "authority.pem")
    if intake != "datadog":
        scheme, host = ("http", "127.0.0.1") if intake == "http" else ("https", "localhost")
        environment["DD_LOGS_CONFIG_LOGS_DD_URL"] = f"{scheme}://{host}:{intake_port}"
        environment["DD_DD_URL"] = f"{scheme}://{host}:{intake_port}"
    return environment


def _run(command: list[str], environment: dict[str, str], life: Life, output: int) -> int:
    """Run `command` with everything about it counted from its exec on; return its exit status."""
    ready, go = os.pipe()
    life.pid = os.fork()
    if life.pid == 0:
        os.read(ready, 1)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.execve(command[0], command, environment)
    life.counter = _count(life.pid)
    os.write(go, b"!")
    guard = threading.Timer(PATIENCE_S, os.kill, (life.pid, signal.SIGKILL))
    guard.start()
    status = os.waitpid(life.pid, 0)[1]
    guard.cancel()
    for descriptor in (ready, go, *([life.counter] if life.counter is not None else [])):
        os.close(descriptor)
    return status


def _count(pid: int) -> int | None:
    """A descriptor that gives the number of instructions of `pid`; None where they cannot be counted."""
    descriptor = ctypes.CDLL(None).syscall(PERF_EVENT_OPEN[ARCH], ctypes.c_char_p(PERF_ATTRIBUTES), pid, -1, -1, 0)
    return descriptor if descriptor >= 0 else None


def measure(command: list[str], intake: str, times: int) -> float | None:
    """Live `times` lives, print what they cost, and return the least million instructions to the first flush."""
    lives = [live(command, intake) for _ in range(times)]
    for name, words in (("serves", "to a loop that serves"), ("flushed", "to the first flush done")):
        moments = [life.moments[name] for life in lives]
        counted = [moment.instructions for moment in moments if moment.instructions is not None]
        instructions = f"{min(counted):6.0f} M instructions" if counted else "instructions not counted"
        cpu = [moment.cpu_ms for moment in moments]
        rss = statistics.median(moment.rss_mb for moment in moments)
        print(
            f"{intake:8} {words:24} {instructions}, {min(cpu):4.0f} ms CPU at best, {statistics.median(cpu):4.0f} in "
            f"the middle, {rss:5.1f} MB resident"
        )
    return min(counted, default=None)


def _isolate() -> None:
    """In a network of our own: bring loopback up, and let Datadog's host be this machine."""
    bring_loopback_up()
    hosts = Path(tempfile.mkdtemp()) / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {DATADOG}\n")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "--bind", str(hosts), "/etc/hosts"], check=True)


def _judge(counted: float | None) -> int:
    limit = json.loads(BUDGET.read_text()).get(ARCH, {}).get("first_flush_million_instructions")
    if counted is None:
        print("first flush: this machine does not let instructions be counted (perf_event_open), so nothing was judged")
    elif limit is None:
        print(f"first flush: build/budget.json says nothing about instructions on {ARCH}")
    elif counted > limit:
        print(
            f"first flush: {counted:.0f} M instructions exceed the budget of {limit} M; find what costs "
            "(docs/cold-start.md), or raise build/budget.json with a reason",
            file=sys.stderr,
        )
        return 1
    return 0


def main(arguments: list[str]) -> int:
    """Measure what the command line asks for; return 1 if the budget is exceeded."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("layer", nargs="?", type=Path, default=ROOT / "dist" / f"fliptop-{ARCH}.zip")
    parser.add_argument("-n", type=int, default=3, dest="times", help="lives per intake")
    parser.add_argument(
        "--intake", action="append", choices=["http", "datadog", "other"], help="more than one if you like"
    )
    parser.add_argument("--command", nargs=argparse.REMAINDER, help="an extension to start instead of the layer's")
    options = parser.parse_args(arguments)
    isolated = "FLIPTOP_ISOLATED" in os.environ
    if not isolated and may_unshare():
        command = [*UNSHARE, "--mount-proc", sys.executable, __file__, *arguments]
        return subprocess.run(command, env={**os.environ, "FLIPTOP_ISOLATED": "1"}, check=False).returncode
    if isolated:
        _isolate()
    intakes = options.intake or ["http"]
    if "datadog" in intakes and not isolated:
        parser.error("--intake datadog needs namespaces, which this machine does not let us have; run it as root")
    with tempfile.TemporaryDirectory() as directory:
        if not options.command:
            unpack(options.layer, Path(directory))
        command = options.command or [str(Path(directory) / "fliptop" / "fliptop")]
        counted = {intake: measure(command, intake, options.times) for intake in intakes}
    return _judge(counted["http"]) if "http" in counted and not options.command else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
