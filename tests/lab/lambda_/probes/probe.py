"""An extension and a runtime that do what a list of steps says, and print what came of each as a line of JSON.

Standard library only: it runs inside the simulated environment, as an extension (`probe.py extension <script>`) or as
the runtime (`probe.py runtime <script>`, steps also from each invocation's payload).
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# Importing pathlib would be a good part of a probe's start.
# ruff: noqa: PTH109, PTH110, PTH118, PTH123, PTH208

API = os.environ["AWS_LAMBDA_RUNTIME_API"]
EXTENSION, RUNTIME = "/2020-01-01/extension", "/2018-06-01/runtime"
SUBSCRIPTION = {
    "schemaVersion": "2025-01-29",
    "types": ["platform", "function", "extension"],
    "buffering": {"maxItems": 1000, "maxBytes": 262144, "timeoutMs": 25},
    "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:8124/here"},
}


Steps = Sequence[Sequence[Any]]
Headers = Mapping[str, str | None] | None


def placed(path: str) -> str:
    """Where /tmp is shared with the host, a test has a place of its own instead."""
    return path.replace("/tmp", os.environ.get("PROBE_TMP", "/tmp"), 1)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str


class Probe:
    def __init__(self, name: str) -> None:
        self.name, self.id = name, ""
        self.connection = http.client.HTTPConnection(API)

    def say(self, did: str, **what: Any) -> None:
        line = json.dumps({"who": self.name, "did": did, "ns": time.monotonic_ns(), "pid": os.getpid(), **what})
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def http(self, method: str, path: str, body: Any = None, headers: Headers = None) -> Answer:
        if isinstance(body, dict | list):
            body = json.dumps(body)
        own = {"Lambda-Extension-Identifier": self.id} if self.id else {}
        sent = {name: value for name, value in {**own, **(headers or {})}.items() if value is not None}
        self.connection.request(method, path, body, sent)
        response = self.connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read().decode())

    def ask(self, did: str, *request: Any) -> Answer:
        """A request whose answer is said."""
        answer = self.http(*request)
        self.say(did, status=answer.status, headers=answer.headers, body=answer.body)
        return answer

    def do(self, steps: Steps) -> None:
        for name, *arguments in steps:
            getattr(self, "do_" + name)(*arguments)

    def do_register(self, events: Sequence[str] = ("INVOKE", "SHUTDOWN")) -> None:
        headers = {"Lambda-Extension-Name": self.name, "Lambda-Extension-Accept-Feature": "accountId"}
        answer = self.ask("register", "POST", EXTENSION + "/register", {"events": events}, headers)
        self.id = answer.headers.get("Lambda-Extension-Identifier", self.id)

    def do_subscribe(self, changes: Any = None, path: str = "/2022-07-01/telemetry") -> None:
        self.ask("subscribe", "PUT", path, {**SUBSCRIPTION, **(changes or {})})

    def do_subscribe_beside(self, path: str) -> None:
        """Subscribes on a connection of its own, while the probe goes on; then there is a file."""
        beside = Probe(self.name)
        beside.id = self.id

        def subscribe() -> None:
            beside.do_subscribe()
            beside.do_touch(path)

        threading.Thread(target=subscribe, daemon=True).start()

    def do_http(self, method: str, path: str, body: Any = None, headers: Headers = None) -> None:
        self.ask("http", method, path, body, headers)

    def do_error(self, phase: str, error_type: str, body: Any = None) -> None:
        self.ask(
            "http", "POST", f"{EXTENSION}/{phase}/error", body, {"Lambda-Extension-Function-Error-Type": error_type}
        )

    def do_next(self) -> None:
        self.ask("next", "GET", EXTENSION + "/event/next")

    def do_sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def do_print(self, text: str, times: int = 1) -> None:
        sys.stdout.write(text * times)
        sys.stdout.flush()

    def do_complain(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()

    def do_exit(self, code: int) -> None:
        os._exit(code)

    def do_die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def do_hang(self) -> None:
        while True:
            time.sleep(1000)

    def do_on_term(self, code: int | None = None) -> None:
        """SIGTERM is said; then ignored, or obeyed with an exit code."""

        def caught(*_: Any) -> None:
            os.write(1, json.dumps({"who": self.name, "did": "sigterm"}).encode() + b"\n")
            if code is not None:
                os._exit(code)

        signal.signal(signal.SIGTERM, caught)

    def do_child(self) -> None:
        seconds = f"1000.{time.monotonic_ns()}"
        subprocess.Popen(["/bin/sleep", seconds])
        self.say("child", seconds=seconds)

    def do_heartbeat(self) -> None:
        """Says the time every 10 ms, from a thread."""

        def beat() -> None:
            while True:
                self.say("beat", wall=time.time())
                time.sleep(0.01)

        threading.Thread(target=beat, daemon=True).start()

    def do_environment(self) -> None:
        self.say("environment", variables=dict(os.environ), argv=sys.argv)

    def do_place(self) -> None:
        """Who and where it is, and what it may write."""
        writable = {}
        for folder in ("/opt", "/var/task", "/", "/usr", "/etc", "/home", "/var/tmp", "/tmp"):
            try:
                with open(os.path.join(folder, "probe-" + self.name), "w"):
                    writable[folder] = True
            except OSError:
                writable[folder] = False
        with open("/proc/self/status") as file:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        import resource

        files = resource.getrlimit(resource.RLIMIT_NOFILE)
        shm, opt = os.path.exists("/dev/shm"), sorted(os.listdir("/opt"))
        who = {"uid": os.getuid(), "gid": os.getgid(), "capabilities": status["CapEff"].strip()}
        self.say("place", writable=writable, shm=shm, opt=opt, files=files, cwd=os.getcwd(), **who)

    def do_touch(self, path: str, text: str = "") -> None:
        with open(placed(path), "a") as file:
            file.write(text)

    def do_read(self, path: str) -> None:
        try:
            with open(placed(path)) as file:
                self.say("read", path=path, text=file.read())
        except OSError as error:
            self.say("read", path=path, text=None, error=str(error))

    def do_resolve(self, name: str) -> None:
        self.say("resolve", name=name, address=socket.gethostbyname(name))

    def do_burn(self, seconds: float) -> None:
        """Wall time that a given amount of CPU time takes."""
        begun, used = time.monotonic(), time.process_time()
        while time.process_time() - used < seconds:
            pass
        self.say("burn", wall=time.monotonic() - begun)

    def do_spend(self, seconds: float) -> None:
        """CPU time of a child, which is over when this is."""
        program = f"import time\nwhile time.process_time() < {seconds}: pass"
        subprocess.run([sys.executable, "-ES", "-c", program], check=True)

    def do_eat(self, megabytes: int) -> None:
        self.eaten = bytearray(os.urandom(1 << 20)) * megabytes

    def do_wait(self, path: str) -> None:
        while not os.path.exists(placed(path)):
            time.sleep(0.002)

    def do_init_error(self, error_type: str, body: Any) -> None:
        headers = {"Lambda-Runtime-Function-Error-Type": error_type}
        self.ask("http", "POST", RUNTIME + "/init/error", body, headers)

    def do_internal(self, name: str, events: Sequence[str] = ("INVOKE",), parked: bool = True) -> None:
        """An internal extension: registers, and waits for its events in a thread unless told not to."""
        inner = Probe(name)
        inner.do_register(list(events))
        if inner.id and parked:
            threading.Thread(target=inner.serve, args=({},), daemon=True).start()

    def do_first(self, path: str, steps: Steps) -> None:
        """Only where nobody has been before."""
        if not os.path.exists(placed(path)):
            self.do_touch(path)
            self.do(steps)

    def serve(self, script: Mapping[str, Any]) -> None:
        """An extension's loop."""
        for number in range(1 << 30):
            event = json.loads(self.ask("next", "GET", EXTENSION + "/event/next").body)
            if event.get("eventType") == "SHUTDOWN":
                self.do(script.get("shutdown", []))
                return
            if event.get("eventType") != "INVOKE":
                return
            steps = script.get("invoke", [])
            self.do(steps[number] if number < len(steps) else script.get("always", []))

    def run(self) -> None:
        """The runtime's loop: the payload says what to do before and after responding."""
        while True:
            answer = self.ask("invocation", "GET", RUNTIME + "/invocation/next")
            request_id = answer.headers["Lambda-Runtime-Aws-Request-Id"]
            order = json.loads(answer.body or "{}")
            self.do(order.get("before", []))
            path = f"{RUNTIME}/invocation/{request_id}/"
            if "error" in order:
                headers = {"Lambda-Runtime-Function-Error-Type": order["error"]}
                self.http("POST", path + "error", {"errorMessage": "no", "errorType": "No"}, headers)
            else:
                self.http("POST", path + "response", order.get("response", '"fine"'))
            self.do(order.get("after", []))


def main() -> None:
    with open(sys.argv[2]) as file:
        script: dict[str, Any] = json.load(file)
    probe = Probe(script["name"])
    probe.do(script["init"])
    if sys.argv[1] == "runtime":
        probe.run()
    probe.serve(script)


main()
