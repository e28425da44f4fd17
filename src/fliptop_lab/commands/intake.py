"""``fliptop-lab intake``: the local intake on its own, with its page."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from fliptop_lab.commands.common import print_json, stdout, usage_errors
from fliptop_lab.intake import Fault, Intake, Request
from fliptop_lab.intake.faults import ON_THE_WAY
from fliptop_lab.routes import pointers


def intake(
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8400,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    key: Annotated[str | None, typer.Option(help="The only API key to accept. Default: any.")] = None,
    certificate: Annotated[
        Path | None, typer.Option(exists=True, help="PEM file of certificate and key: serve TLS with it.")
    ] = None,
    fault: Annotated[list[str] | None, typer.Option(help="What goes wrong from the start; may be repeated.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print an object with the URL first and one with the counts last.")
    ] = False,
) -> None:
    """Take what extensions send, decode it, and show it on a page. Ctrl-C ends it.

    It answers as Datadog does and refuses what Datadog refuses, over HTTP/1.1 and HTTP/2.

    A **fault** is a status (`503`) or one of `delay`, `blackhole`, `reset-headers`, `reset-body`, `reset-response`,
    `trickle`, `refuse`, `untrusted`, `garbage`, then options: `path=/api/v2/logs`, `times=3`, `delay=0.5` (seconds),
    `retry-after=2`. The page and `POST /lab/faults` change them while it runs. `fliptop-lab run` also knows what goes
    wrong on the way: `no-dns`, `dead-dns`, `proxy-down`.

    Examples:

    * `fliptop-lab intake`: then open http://127.0.0.1:8400/
    * `fliptop-lab intake --port 0 --key secret --json`
    * `fliptop-lab intake --fault 503,times=3 --fault delay=1,path=/api/v0.2/traces`
    """
    with usage_errors():
        faults = [_at_the_intake(Fault.parse(spec)) for spec in fault or []]
        try:
            server = _Session(host, port, key, certificate, faults, as_json)
            asyncio.run(server.serve())
        except OSError as error:
            raise ValueError(f"cannot listen on {host}:{port}: {error}. Choose another --port, or 0.") from error


def _at_the_intake(fault: Fault) -> Fault:
    if fault.kind in ON_THE_WAY:
        raise ValueError(
            f"{fault.kind} happens on the way to the intake: `fliptop-lab run --fault {fault.kind}` has one."
        )
    return fault


@dataclass
class _Session:
    host: str
    port: int
    key: str | None
    certificate: Path | None
    faults: Sequence[Fault]
    as_json: bool
    shown: int = 0
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop.set)
        console = stdout(quiet=self.as_json)
        async with Intake(self.key, self.host, self.port, self.certificate) as intake:
            for fault in self.faults:
                intake.faults.inject(fault)
            self._open(console, intake)
            while not self.stop.is_set():
                await asyncio.wait({loop.create_task(self.stop.wait())}, timeout=0.2)
                self._show_new(console, intake)
            self._close(console, intake)

    def _open(self, console: Console, intake: Intake) -> None:
        lines = [f"page   {intake.url}/"]
        lines += [
            f"{'to it' if not at else '     '}  {name}={url}"
            for at, (name, url) in enumerate(pointers(intake.url).items())
        ]
        lines += [f"fault  {fault}" for fault in intake.faults.active]
        body = Text("\n".join(lines))
        console.print(Panel(body, title="[bold]intake[/] · Ctrl-C ends it", title_align="left", border_style="magenta"))
        if self.as_json:
            print_json({"url": intake.url})

    def _show_new(self, console: Console, intake: Intake) -> None:
        for request in intake.requests:
            if request.number > self.shown and (request.status or request.error):
                console.print(_line(request))
                self.shown = request.number

    def _close(self, console: Console, intake: Intake) -> None:
        counts: dict[str, Any] = {"logs": 0, **intake.store.counts}
        summary = {"received": counts, "refused": intake.store.refused, "duplicates": intake.duplicates}
        if self.as_json:
            print_json({"url": intake.url, "requests": len(intake.requests), **summary})
        else:
            console.print("received " + ", ".join(f"{count} {name}" for name, count in counts.items()))


def _line(request: Request) -> Text:
    good = request.status is not None and request.status < 300
    status = (f"{request.status or '---'}", "green" if good else "red")
    details = [f"{request.items} items", f"{request.wire_bytes} B {request.encoding}", request.error, request.fault]
    return Text.assemble(status, f" {request.method} {request.path}  ", (" · ".join(filter(None, details)), "dim"))
