"""What a start costs, from exec to the end of the first flush: instructions, CPU time, memory.

    python build/first_flush.py [dist/fliptop-<arch>.zip] [-n TIMES] [--intake http|datadog|other]...
    python build/first_flush.py --command PROGRAM [ARGUMENT...]

One life with one invocation and four log lines, in a Lambda that answers at once. Instructions in user mode, from exec
to exit, depend on neither the machine's speed nor its load; valgrind's callgrind counts them in a life of their own,
and they are held against build/budget.json. CPU time and memory are for information. Intakes: plain HTTP (what the
budget is about); one of Datadog's hosts over TLS, with the roots that the extension knows it by; any other host over
TLS. The last two need namespaces (usually: root).
"""

from __future__ import annotations

import argparse
import http.server
import json
import os
import platform
import re
import shutil
import signal
import socket
import ssl
import statistics
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


@dataclass
class Moment:
    """What the process had cost by then: ms of CPU, MB resident."""

    cpu_ms: float
    rss_mb: float


@dataclass
class Life:
    """One run of the extension: the moments when its loop served, and when the first flush was done."""

    pid: int = 0
    payloads: int = 0
    questions: int = 0
    moments: dict[str, Moment] = field(default_factory=dict)

    def note(self, name: str) -> None:
        """Keep what the process has cost so far."""
        threads = Path(f"/proc/{self.pid}/task").iterdir()
        cpu_ns = sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)
        status = Path(f"/proc/{self.pid}/status").read_text()
        rss_kb = int(status.split("VmRSS:")[1].split()[0])
        self.moments[name] = Moment(cpu_ns / 1e6, rss_kb / 1024)


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
    """Run `command` and return its exit status."""
    with subprocess.Popen(command, env=environment, stdout=output, stderr=output) as process:
        life.pid = process.pid
        try:
            return process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def count(command: list[str], intake: str) -> float | None:
    """Return the million instructions of one life in user mode; None where valgrind is not installed."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        return None
    with tempfile.TemporaryDirectory() as directory:
        counts = Path(directory) / "counts"
        live([valgrind, "--tool=callgrind", f"--callgrind-out-file={counts}", *command], intake)
        found = re.search(r"^totals: (\d+)", counts.read_text(), re.MULTILINE)
    if found is None:
        sys.exit(f"valgrind counted nothing of {command[0]}")
    return int(found[1]) / 1e6


def measure(command: list[str], intake: str, times: int) -> None:
    """Live `times` lives and print what they cost."""
    lives = [live(command, intake) for _ in range(times)]
    for name, words in (("serves", "to a loop that serves"), ("flushed", "to the first flush done")):
        moments = [life.moments[name] for life in lives]
        cpu = [moment.cpu_ms for moment in moments]
        rss = statistics.median(moment.rss_mb for moment in moments)
        print(
            f"{intake:8} {words:24} {min(cpu):4.0f} ms CPU at best, {statistics.median(cpu):4.0f} in the middle, "
            f"{rss:5.1f} MB resident"
        )


def _isolate() -> None:
    """In a network of our own: bring loopback up, and let Datadog's host be this machine."""
    bring_loopback_up()
    hosts = Path(tempfile.mkdtemp()) / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {DATADOG}\n")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "--bind", str(hosts), "/etc/hosts"], check=True)


def _judge(counted: float) -> int:
    limit = json.loads(BUDGET.read_text()).get(ARCH, {}).get("life_million_instructions")
    if limit is None:
        print(f"instructions: build/budget.json says nothing about {ARCH}")
    elif counted > limit:
        print(
            f"instructions: {counted:.0f} M exceed the budget of {limit} M; find what costs (docs/cold-start.md), "
            "or raise build/budget.json with a reason",
            file=sys.stderr,
        )
        return 1
    return 0


def _counted(command: list[str], intake: str) -> int:
    """Print what a life takes in instructions; return 1 if that is over the budget (which is about plain HTTP)."""
    counted = count(command, intake)
    if counted is None:
        print(
            f"{intake:8} instructions neither counted nor judged: "
            "valgrind is not installed (Fix: apt-get install valgrind)"
        )
        return 0
    print(f"{intake:8} {'from exec to exit':24} {counted:4.0f} M instructions")
    return _judge(counted) if intake == "http" else 0


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
        over = 0
        for intake in intakes:
            measure(command, intake, options.times)
            over |= _counted(command, intake)
    return 0 if options.command else over


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
