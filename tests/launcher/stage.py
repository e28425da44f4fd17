"""A stage for the guard: a layer whose extension acts as it is told (actor.py), and a platform that says its lines."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.scripted_api import REGISTERED, SUBSCRIBED, Answer, ScriptedApi, Step

if TYPE_CHECKING:
    from tests.launcher.conftest import Layer

READY: tuple[Answer, ...] = (REGISTERED, SUBSCRIBED)
REGISTER, TELEMETRY, NEXT = "register", "telemetry", "next"
SERVES: list[Any] = ["serve"]
STREAMS = ("telemetry", "lifecycle", "trace_agent")
LISTENERS = [*STREAMS, "dogstatsd"]
ENOUGH_S = 20


@dataclass(frozen=True)
class Stage:
    """A layer whose extension acts as it is told."""

    layer: Layer

    def port(self, listener: str) -> int:
        """Where the launcher listens: for "telemetry", "lifecycle" or "trace_agent"."""
        return int(self.layer.extra[f"FLIPTOP_TEST_{listener.upper()}_PORT"])

    def refuses(self, listener: str) -> bool:
        """Is there nobody who would take a connection?"""
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port(listener))) != 0

    def seen(self) -> list[dict[str, Any]]:
        """What the extensions wrote down, over all of their lives."""
        path = self.layer.extension.with_name("fliptop.seen")
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def births(self) -> list[dict[str, Any]]:
        return [seen for seen in self.seen() if seen["what"] == "born"]

    def datagrams(self) -> list[str]:
        """What extensions received as datagrams."""
        return [seen["said"] for seen in self.seen() if seen["what"] == "dogstatsd"]

    def events(self) -> list[str]:
        """The request ids that extensions were passed, and SHUTDOWN."""
        passed = [seen["event"] for seen in self.seen() if seen["what"] == "event"]
        return [event.get("requestId", event["eventType"]) for event in passed]

    def after(self, condition: Callable[[], bool]) -> Step:
        """A step of an answer: wait for the condition."""

        def wait() -> None:
            give_up = time.monotonic() + ENOUGH_S
            while not condition():
                assert time.monotonic() < give_up, self.seen()
                time.sleep(0.01)

        return wait

    def after_births(self, number: int) -> Step:
        return self.after(lambda: len(self.births()) >= number)

    def rehearse(self, lives: Sequence[Sequence[Any]]) -> None:
        """Lay down what the extension does in each of its lives."""
        self.layer.extension.with_name("fliptop.acts").write_text(json.dumps(lives))

    def play(
        self,
        lives: Sequence[Sequence[Any]],
        *answers: Answer,
        environ: dict[str, str] | None = None,
        **options: object,
    ) -> Played:
        """Start the launcher, wait for its end, and say what it told. `options` are those of `subprocess.Popen`."""
        self.rehearse(lives)
        with ScriptedApi((*READY, *answers)) as api:
            outcome = self.layer.run({"AWS_LAMBDA_RUNTIME_API": api.address, **(environ or {})}, **options)
        return Played(outcome.returncode, [json.loads(line) for line in outcome.lines], api)


@dataclass(frozen=True)
class Played:
    """One life of an environment."""

    returncode: int
    told: list[dict[str, Any]]
    api: ScriptedApi

    @property
    def nexts(self) -> int:
        return self.api.whats().count(NEXT)

    def headlines(self) -> list[tuple[str, str]]:
        """The first key and value of each line."""
        return [next(iter(line.items())) for line in self.told]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
