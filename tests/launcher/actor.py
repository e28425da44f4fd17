"""Stands for a guarded extension: does what the file <its own path>.acts says, one list of acts for each life.

Acts: "serve" events until SHUTDOWN, or in single steps: "ask" for the next event, wait for the "event" and write it
down, "beat" now and from then on, or "beat once", "count" an item in the books, ["accept", listener] (take a connection
and write down what it says), "receive" (the same for a datagram), ["sleep", seconds], "wait" for the file <its own
path>.go, "hang", "close" the guard's connection, ["exit", code], ["kill", signal]. As nobody should: ["say", text,
times] to the guard, be "deaf" to it, "gorge" on memory, "fork" a child that keeps the sockets open, "scribble" all over
the books, "blot" their first row, "shrink" them.
What happens goes into <its own path>.seen, a line of JSON for each.
"""

import fcntl
import json
import mmap
import os
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

SEEN = Path(sys.argv[0] + ".seen")
LIVES = Path(sys.argv[0] + ".lives")
ASK = b"GET /2020-01-01/extension/event/next HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"


def note(what: str, **more: Any) -> None:
    """Write down what happens."""
    with SEEN.open("a") as file:
        file.write(json.dumps({"what": what, **more}) + "\n")


def life() -> int:
    """Say which life this is, from 0 on."""
    with LIVES.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("x")
        file.flush()
        return file.tell() - 1


class Actor:
    """What it inherited."""

    def __init__(self) -> None:
        files = [number for number in range(64) if Path(f"/proc/self/fd/{number}").exists()]
        names = os.environ["LISTEN_FDNAMES"].split(":")
        numbers = {name: 3 + place for place, name in enumerate(names)}
        self.guard = socket.socket(fileno=numbers["guard"])
        streams = ("telemetry", "lifecycle", "trace_agent")
        self.streams = {name: socket.socket(fileno=numbers[name]) for name in streams if name in numbers}
        self.dogstatsd = socket.socket(fileno=numbers["dogstatsd"])
        self.books_file = numbers.get("books", -1)  # without: memory that nobody else sees
        self.books = mmap.mmap(self.books_file, 16384)
        note("born", pid=os.getpid(), parent=os.getppid(), names=names, files=files, environ=dict(os.environ))

    def ask(self) -> None:
        self.guard.sendall(ASK)

    def serve(self) -> None:
        self.beat()
        while True:
            self.ask()
            if self.event()["eventType"] == "SHUTDOWN":
                os._exit(0)

    def event(self) -> Any:
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._some()
        head, _, body = received.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split()[0])
        while len(body) < length:
            body += self._some()
        event = json.loads(body)
        note("event", event=event)
        return event

    def _some(self) -> bytes:
        received = self.guard.recv(65536)
        if not received:
            note("guard gone")
            os._exit(3)
        return received

    def beat(self) -> None:
        def forever() -> None:
            while True:
                self.books[0] = (self.books[0] + 1) % 256
                time.sleep(0.1)

        self.books[0] = (self.books[0] + 1) % 256
        threading.Thread(target=forever, daemon=True).start()

    def beat_once(self) -> None:
        self.books[0] = 1

    def count(self) -> None:
        self.books[64:77] = b"logs accepted"
        self.books[120] += 1

    def accept(self, listener: str) -> None:
        connection, _ = self.streams[listener].accept()
        note(listener, said=connection.recv(100).decode())

    def receive(self) -> None:
        note("dogstatsd", said=self.dogstatsd.recv(1000).decode())

    def wait(self) -> None:
        while not Path(sys.argv[0] + ".go").exists():
            time.sleep(0.01)

    def hang(self) -> None:
        time.sleep(60)

    def close(self) -> None:
        self.guard.close()

    def say(self, text: str, times: int) -> None:
        for _ in range(times):
            self.guard.sendall(text.encode())

    def deaf(self) -> None:
        self.guard.shutdown(socket.SHUT_RD)

    def fork(self) -> None:
        if pid := os.fork():
            note("forked", pid=pid)
            return
        os.closerange(0, 3)  # the test waits for their ends
        time.sleep(60)
        os._exit(0)

    def gorge(self) -> None:
        hoard = []
        while True:
            hoard.append(bytearray(1 << 20))

    def scribble(self) -> None:
        self.books[64:] = b"\x07" * (len(self.books) - 64)

    def blot(self) -> None:
        self.books[8:64] = b"\x07" * 56

    def shrink(self) -> None:
        with suppress(PermissionError):
            os.ftruncate(self.books_file, 0)


def main() -> None:
    """Act."""
    lives: list[list[Any]] = json.loads(Path(sys.argv[0] + ".acts").read_text())
    actor = Actor()
    for act in lives[min(life(), len(lives) - 1)]:
        match act:
            case ["exit", code]:
                os._exit(code)
            case ["kill", signal]:
                os.kill(os.getpid(), signal)
                time.sleep(60)
            case ["sleep", seconds]:
                time.sleep(seconds)
            case ["accept", listener]:
                actor.accept(listener)
            case ["say", text, times]:
                actor.say(text, times)
            case _:
                getattr(actor, act.replace(" ", "_"))()


main()
