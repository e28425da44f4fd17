"""The counter of fallbacks reaches an extension that opens its socket later, and leaves no trace otherwise."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.launcher.conftest import Layer

from fliptop import __version__

COMPATIBILITY = {"DD_EXTENSION_VERSION": "compatibility", "AWS_LAMBDA_FUNCTION_NAME": "My,function|x"}
METRIC = (
    f"fliptop.fallback:1|c|#reason:extension_version,layer_version:{__version__},functionname:my_function_x".encode()
)


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    """A free port; bound, it refuses nothing, so it is bound late: by the test."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        address = probe.getsockname()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as late:
        late.settimeout(15)
        late.connect(address)  # only to keep the address; it is bound by `listen`
        yield late


def port_of(receiver: socket.socket) -> int:
    return int(receiver.getpeername()[1])


def listen(receiver: socket.socket) -> socket.socket:
    """Open the socket that the extension would have opened."""
    late = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    late.settimeout(15)
    late.bind(("127.0.0.1", port_of(receiver)))
    return late


@pytest.fixture
def waiting(layer: Layer, receiver: socket.socket) -> Layer:
    """A layer whose extensions stay until their stdin ends."""
    for program in (layer.legacy, layer.extension):
        program.write_text("#!/bin/sh\necho ready\nread line\n")
        program.chmod(0o755)
    return replace(layer, extra={**layer.extra, "FLIPTOP_TEST_STATSD_PORT": str(port_of(receiver))})


def start(layer: Layer) -> subprocess.Popen[str]:
    """Run until the extension says that it is ready."""
    pipe = subprocess.PIPE
    process = subprocess.Popen([layer.launcher], env=layer.environ(COMPATIBILITY), stdin=pipe, stdout=pipe, text=True)
    assert process.stdout is not None
    assert "reasons" in process.stdout.readline()
    assert process.stdout.readline() == "ready\n"
    return process


def counters(layer: Layer) -> list[int]:
    """Processes that came from this layer's launcher and count."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "comm").read_text() == "fliptop-count\n" and str(layer.root) in (
                folder / "cmdline"
            ).read_text():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def wait_until_gone(layer: Layer) -> None:
    # Shorter than the ten seconds for which the counter would try.
    deadline = time.monotonic() + 7
    while counters(layer):
        assert time.monotonic() < deadline, "the counting process stays"
        time.sleep(0.01)


def finish(process: subprocess.Popen[str]) -> None:
    process.communicate("\n", timeout=15)
    assert process.returncode == 0


@pytest.mark.parametrize("legacy", ["legacy there", "legacy missing"])
def test_counter_arrives_at_a_socket_opened_late(waiting: Layer, receiver: socket.socket, legacy: str) -> None:
    if legacy == "legacy missing":
        waiting.legacy.unlink()
    process = start(waiting)
    with listen(receiver) as late:
        assert late.recv(2048) == METRIC
        wait_until_gone(waiting)
        late.setblocking(False)
        with pytest.raises(BlockingIOError):
            late.recv(2048)
    finish(process)


def test_the_extension_has_no_child_and_nobody_holds_its_files(waiting: Layer) -> None:
    process = start(waiting)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    assert children.split() == []
    held = [sorted(path.name for path in Path(f"/proc/{pid}/fd").iterdir()) for pid in counters(waiting)]
    assert held in ([], [["0"]])
    finish(process)  # communicate() sees the end of stdout while the counter still tries


def test_the_counter_ends_with_the_extension(waiting: Layer) -> None:
    finish(start(waiting))
    wait_until_gone(waiting)


def test_no_counter_without_a_fallback(layer: Layer, receiver: socket.socket) -> None:
    quiet = replace(layer, extra={**layer.extra, "FLIPTOP_TEST_STATSD_PORT": str(port_of(receiver))})
    with listen(receiver) as late:
        assert quiet.run().extension is not None
        wait_until_gone(quiet)
        late.setblocking(False)
        with pytest.raises(BlockingIOError):
            late.recv(2048)
