#!/usr/bin/env python3
"""Legacy stand-in: what the lab puts where a layer has Datadog's previous extension. It is not Datadog's.

It does just enough to prove that it ran: registers, takes telemetry, sends the function's logs to
``DD_LOGS_CONFIG_LOGS_DD_URL`` with the tag ``extension:legacy-stand-in``, counts what it hears as DogStatsD on UDP
port 8125 and sends that to ``DD_DD_URL``, flushes at the end of every invocation, and leaves with status 0 at
SHUTDOWN. One file, standard library only, so that it runs wherever a python3 is.
"""

# ruff: noqa: T201 - stdout is an extension's log
from __future__ import annotations

import http.client
import json
import os
import queue
import socket
import sys
import threading
import time
from collections import Counter
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TAG = "extension:legacy-stand-in"
TELEMETRY_PORT = 8999
STATSD_PORT = 8125
CONTENT = {"Content-Type": "application/json"}


def main() -> int:
    """Live from start to SHUTDOWN, as Lambda wants it."""
    say("started; this is the lab's stand-in, not Datadog's extension")
    counters = Counters()
    inbox = Inbox()
    outbox = Outbox(counters)
    extension = Extension(own_name())
    extension.subscribe()
    while True:
        event = extension.next()
        if event["eventType"] == "SHUTDOWN":
            inbox.drain(outbox, until=time.time() + 0.2)
            outbox.flush(time.time() + 1)
            say(f"leaving after {outbox.sent} logs and {counters.sent} counters")
            return 0
        deadline = event["deadlineMs"] / 1000 - 0.1
        inbox.drain(outbox, until=deadline, request_id=event["requestId"])
        outbox.flush(deadline)


def say(text: str) -> None:
    """One line on stdout, under the stand-in's own name."""
    print(f"legacy stand-in | {text}", flush=True)


def own_name() -> str:
    """The name to register: that of the file Lambda started.

    Started by the launcher, in its place, that was ``datadog-agent``; started by Lambda, it is this file.
    """
    script = Path(sys.argv[0])
    return script.name if script.parent.name == "extensions" else "datadog-agent"


class Extension:
    """The Extensions API and the Telemetry API, on one connection."""

    def __init__(self, name: str) -> None:
        self._connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
        headers = {"Lambda-Extension-Name": name, **CONTENT}
        path = "/2020-01-01/extension/register"
        answer = self._call("POST", path, {"events": ["INVOKE", "SHUTDOWN"]}, headers)
        self._identity = {"Lambda-Extension-Identifier": answer.getheader("Lambda-Extension-Identifier", "")}

    def subscribe(self) -> None:
        """Have function and platform records posted to this process."""
        wish = {
            "schemaVersion": "2022-12-13",
            "types": ["platform", "function"],
            "buffering": {"maxItems": 1000, "maxBytes": 262144, "timeoutMs": 25},
            "destination": {"protocol": "HTTP", "URI": f"http://sandbox.localdomain:{TELEMETRY_PORT}/"},
        }
        self._call("PUT", "/2022-07-01/telemetry", wish, {**self._identity, **CONTENT})

    def next(self) -> dict[str, Any]:
        """Wait for the next event."""
        self._connection.request("GET", "/2020-01-01/extension/event/next", headers=self._identity)
        event: dict[str, Any] = json.load(self._connection.getresponse())
        return event

    def _call(self, method: str, path: str, body: object, headers: dict[str, str]) -> http.client.HTTPResponse:
        self._connection.request(method, path, json.dumps(body), headers)
        answer = self._connection.getresponse()
        text = answer.read().decode(errors="replace")
        if answer.status >= 300:
            sys.exit(f"legacy stand-in | {method} {path}: {answer.status} {text}")
        return answer


class Inbox:
    """Telemetry as it is posted, in order, from a server thread."""

    def __init__(self) -> None:
        self._records: queue.Queue[dict[str, Any]] = queue.Queue(maxsize=100_000)
        self._request_id = ""
        records = self._records

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()
                for record in json.loads(body):
                    records.put(record)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("0.0.0.0", TELEMETRY_PORT), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def drain(self, outbox: Outbox, until: float, request_id: str | None = None) -> None:
        """Move records to the outbox until the invocation is done or, in seconds since the epoch, ``until``."""
        while (left := until - time.time()) > 0:
            try:
                record = self._records.get(timeout=left)
            except queue.Empty:
                return
            self._take(record, outbox)
            if record["type"] == "platform.runtimeDone" and record["record"]["requestId"] == request_id:
                return

    def _take(self, record: dict[str, Any], outbox: Outbox) -> None:
        if record["type"] == "platform.start":
            self._request_id = record["record"]["requestId"]
        if record["type"] == "function":
            outbox.add(record, self._request_id)


class Outbox:
    """Logs waiting to be sent; what cannot be sent waits for the next flush, up to a limit."""

    def __init__(self, counters: Counters) -> None:
        self._logs: list[dict[str, Any]] = []
        self._counters = counters
        self.sent = 0

    def add(self, record: dict[str, Any], request_id: str) -> None:
        """Make a log entry, in the flat shape of the public API, of a function record."""
        text = record["record"]
        moment = datetime.fromisoformat(record["time"].replace("Z", "+00:00"))
        entry = {
            "message": text if isinstance(text, str) else json.dumps(text),
            "status": "info",
            "timestamp": int(moment.timestamp() * 1000),
            "hostname": os.environ.get("AWS_LAMBDA_FUNCTION_NAME", ""),
            "service": os.environ.get("DD_SERVICE") or os.environ.get("AWS_LAMBDA_FUNCTION_NAME", ""),
            "ddsource": "lambda",
            "ddtags": TAG,
            "lambda": {"request_id": request_id},
        }
        self._logs = [*self._logs[-9_999:], entry]

    def flush(self, deadline: float) -> None:
        """Send everything, giving up at ``deadline`` (seconds since the epoch)."""
        while self._logs and post("DD_LOGS_CONFIG_LOGS_DD_URL", "/api/v2/logs", self._logs[:1000], deadline):
            self.sent += len(self._logs[:1000])
            self._logs = self._logs[1000:]
        self._counters.flush(deadline)


class Counters:
    """DogStatsD counters heard on UDP, summed by name and tags."""

    def __init__(self) -> None:
        self._sums: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", STATSD_PORT))
        self.sent = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def flush(self, deadline: float) -> None:
        """Send the sums as one series payload."""
        with self._lock:
            sums, self._sums = self._sums, Counter()
        series = [self._series(name, tags, value) for (name, tags), value in sums.items()]
        if series and post("DD_DD_URL", "/api/v2/series", {"series": series}, deadline):
            self.sent += len(series)

    def _listen(self) -> None:
        while True:
            for line in self._socket.recv(65_536).decode(errors="replace").splitlines():
                self._count(line)

    def _count(self, line: str) -> None:
        name, _, rest = line.partition(":")
        value, *fields = rest.split("|")
        if fields[:1] != ["c"]:
            return
        tags = next((field[1:] for field in fields if field.startswith("#")), "")
        try:
            with self._lock:
                self._sums[name, tags] += int(value)
        except ValueError:
            say(f"not a counter: {line[:80]!r}")

    def _series(self, name: str, tags: str, value: int) -> dict[str, Any]:
        point = {"timestamp": int(time.time()), "value": value}
        return {"metric": name, "type": 1, "points": [point], "tags": [*tags.split(","), TAG] if tags else [TAG]}


def post(variable: str, path: str, body: object, deadline: float) -> bool:
    """Send JSON to the intake that the environment variable names; False, and one line, when that did not work."""
    url = urlsplit(os.environ.get(variable, ""))
    seconds = deadline - time.time()
    if not url.hostname or seconds <= 0:
        say(f"nothing sent to {path}: " + (f"{variable} is not set" if not url.hostname else "no time left"))
        return False
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname, url.port, timeout=seconds)
    try:
        connection.request("POST", path, json.dumps(body), {"DD-API-KEY": os.environ.get("DD_API_KEY", ""), **CONTENT})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        say(f"nothing sent to {path}: {error!r}")
        return False
    finally:
        connection.close()
    if status >= 300:
        say(f"{path} answered {status}")
    return status < 300


if __name__ == "__main__":
    sys.exit(main())
