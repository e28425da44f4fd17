"""Ready first: listen, register, subscribe and ask for the first event with plain sockets, before anything is loaded.

Lambda delays the function until each extension has asked for its first event; what happens after that overlaps with
the function's own initialisation. The listeners are open before that, so that the kernel keeps what the platform,
tracers and other clients bring before the event loop runs.

The launcher does the same (`launcher/ready.c`), before an interpreter could have started, and hands over what it holds:
`adopt`. Without a launcher, or where it left this to us, `become_ready` does it here.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from fliptop.http1 import Request, Response
from fliptop.platform import extensions_api
from fliptop.platform.api import HungUp, RuntimeApi, Unreachable
from fliptop.platform.extensions_api import Refused, Registration

TELEMETRY_PORT: Final = 8999
LIFECYCLE_PORT: Final = 8124
TRACE_AGENT_PORT: Final = 8126
DOGSTATSD_PORT: Final = 8125
# In the order in which the ports are opened.
LISTENERS: Final = ("telemetry", "lifecycle", "trace_agent", "dogstatsd")
LOOPBACK: Final = "127.0.0.1"
# What waits while we load or work waits in the kernel, which gives as much of this as net.core.rmem_max allows.
DATAGRAM_BUFFER: Final = 4 * 1024 * 1024
BACKLOG: Final = 128
ALL_TYPES: Final = ("platform", "function", "extension")
# Half of what Lambda gives to init. Without telemetry the function runs, without an answer it would not.
SUBSCRIBE_TIMEOUT_S: Final = 5.0
MANAGED_INSTANCES: Final = "lambda-managed-instances"
FIRST_INHERITED: Final = 3


@dataclass(frozen=True)
class Handover:
    """All that a ready extension holds: what stage one leaves and the event loop goes on with.

    `api` has `/event/next` pending, unless `guarded`: then it leads to the guard, which speaks with the platform for us
    and has asked for nothing in our name. `telemetry`, `lifecycle` and `trace_agent` are listening sockets, `dogstatsd`
    is bound for datagrams; None when the port was taken or, for telemetry, the platform has none. `books` is the
    descriptor of the memory that the guard shares (`outbox.books`).
    `warnings` are sentences to log once settings (and with them the log level) are known.
    """

    api: RuntimeApi
    registration: Registration
    telemetry: socket.socket | None = None
    lifecycle: socket.socket | None = None
    trace_agent: socket.socket | None = None
    dogstatsd: socket.socket | None = None
    warnings: tuple[str, ...] = ()
    guarded: bool = False
    books: int | None = None

    def refuse(self) -> None:
        """Close all ports for good: whoever comes from now on, or waits already, is better refused than left waiting
        for an answer that nobody gives. Not for a guarded extension: the next life shall find the sockets open.
        """
        for listener in filter(None, (self.telemetry, self.lifecycle, self.trace_agent, self.dogstatsd)):
            refuse(listener)


def refuse(listener: socket.socket) -> None:
    """Close it for all who have a copy, with the connections that wait in its backlog."""
    with suppress(OSError):  # nobody waits for an answer to a datagram
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def adopt(environ: MutableMapping[str, str]) -> Handover | None:
    """Take over what the launcher made ready for this process, None if it did not.

    Sockets come by the protocol of sd_listen_fds(3), the registration in `FLIPTOP_REGISTRATION` and
    `FLIPTOP_REGISTRATION_BODY` (launcher/README.md). All of these variables are removed from `environ`, and the sockets
    closed on exec: no other program shall take them for its own. The launcher has told what it had to warn of.
    """
    count, pid, names, identifier, body = (
        environ.pop(name, "")
        for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "FLIPTOP_REGISTRATION", "FLIPTOP_REGISTRATION_BODY")
    )
    named = names.split(":")
    if pid != str(os.getpid()) or count != str(len(named)) or not identifier:
        return None
    numbers = {name: FIRST_INHERITED + place for place, name in enumerate(named)}
    books = _open_file(numbers.pop("books", None))
    sockets = {name: inherited for name, number in numbers.items() if (inherited := _open_socket(number))}
    guard = sockets.pop("guard", None)
    connection = guard or sockets.pop("next", None)
    if connection is None:
        _close(sockets.values())
        return None
    telemetry, lifecycle, trace_agent, dogstatsd = (sockets.pop(name, None) for name in LISTENERS)
    _close(sockets.values())
    api = RuntimeApi(_address(environ), connection)
    if guard is None:
        api.expect(extensions_api.next_event(identifier))
    registration = extensions_api.registered(identifier, os.fsencode(body))
    is_guarded = guard is not None
    return Handover(api, registration, telemetry, lifecycle, trace_agent, dogstatsd, guarded=is_guarded, books=books)


def _close(sockets: Iterable[socket.socket | None]) -> None:
    for each in filter(None, sockets):
        each.close()


def _open_file(number: int | None) -> int | None:
    try:
        if number is None or not stat.S_ISREG(os.fstat(number).st_mode):
            return None
    except OSError:
        return None
    os.set_inheritable(number, False)
    return number


def _open_socket(number: int) -> socket.socket | None:
    try:
        if not stat.S_ISSOCK(os.fstat(number).st_mode):
            return None
    except OSError:
        return None
    os.set_inheritable(number, False)
    return socket.socket(fileno=number)


def become_ready(environ: Mapping[str, str], name: str, first: Callable[[], None] | None = None) -> Handover:
    """Do all that Lambda waits for, as the extension called `name`; `first` is done while the function initialises,
    before the first event is asked for.

    Raises `Unreachable` or `Refused` when the platform does not let the extension register: there is nothing that an
    extension could do without that. Everything else only costs the part that it concerns.
    """
    with ExitStack() as on_failure:
        warnings: list[str] = []
        telemetry, lifecycle, trace_agent, dogstatsd = listeners = _listeners(warnings)
        on_failure.callback(_close, listeners)
        api = RuntimeApi(_address(environ))
        on_failure.callback(api.close)
        registration, managed = _register(api, name, environ)
        if telemetry is not None:
            types = telemetry_types(environ)
            request = extensions_api.subscribe(registration.identifier, TELEMETRY_PORT, types, managed=managed)
            if not _subscribe(api, request, warnings):
                telemetry.close()
                telemetry = None
        if first is not None:
            first()
        api.send(extensions_api.next_event(registration.identifier))
        on_failure.pop_all()
        return Handover(api, registration, telemetry, lifecycle, trace_agent, dogstatsd, tuple(warnings))


def extension_name(environ: Mapping[str, str], argv0: str) -> str:
    """The name to register: the base name of the file that Lambda started, which the launcher passes on."""
    return environ.get("FLIPTOP_NAME") or PurePath(argv0).name


def _listeners(warnings: list[str]) -> tuple[socket.socket | None, ...]:
    """All ports, in the order of `LISTENERS`; None for what cannot be had, which `warnings` then tells."""
    stream, datagrams = socket.SOCK_STREAM, socket.SOCK_DGRAM
    anywhere = "0.0.0.0"  # noqa: S104 -- the platform delivers from outside the sandbox's loopback
    without_lifecycle = "no spans will be made of invocations for tracers that leave that to the extension"
    return (
        _listening(stream, anywhere, TELEMETRY_PORT, "no logs will be collected", warnings),
        _listening(stream, LOOPBACK, LIFECYCLE_PORT, without_lifecycle, warnings),
        _listening(stream, LOOPBACK, TRACE_AGENT_PORT, "no traces will be collected", warnings),
        _listening(datagrams, LOOPBACK, DOGSTATSD_PORT, "no DogStatsD metrics will be collected", warnings),
    )


def _listening(
    kind: socket.SocketKind, address: str, port: int, loss: str, warnings: list[str]
) -> socket.socket | None:
    # The protocol is spelled out: asyncio sets TCP_NODELAY only on sockets that carry it.
    is_stream = kind is socket.SOCK_STREAM
    made = socket.socket(socket.AF_INET, kind, socket.IPPROTO_TCP if is_stream else socket.IPPROTO_UDP)
    try:
        if is_stream:  # two sockets for datagrams would share the port, unnoticed
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DATAGRAM_BUFFER)
        made.bind((address, port))
        if is_stream:
            made.listen(BACKLOG)
    except OSError as problem:
        made.close()
        warnings.append(f"port {port} cannot be listened on ({problem}): {loss}")
        return None
    return made


def _register(api: RuntimeApi, name: str, environ: Mapping[str, str]) -> tuple[Registration, bool]:
    """Register for the events that this platform has, and say whether it is Managed Instances."""
    if environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") != MANAGED_INSTANCES:
        try:
            return extensions_api.registration(api.call(extensions_api.register(name))), False
        except Refused as refusal:
            if (refusal.status, refusal.error_type) != (403, "Extension.InvalidEventType"):
                raise
    # Many invocations run there at once, and extensions are told of none.
    request = extensions_api.register(name, ("SHUTDOWN",))
    return extensions_api.registration(api.call(request)), True


def _subscribe(api: RuntimeApi, request: Request, warnings: list[str]) -> bool:
    try:
        if extensions_api.subscribed(_answer_in_time(api, request)):
            return True
    except Refused as refusal:
        warnings.append(f"the platform refused the telemetry subscription ({refusal}): no logs will be collected")
        return False
    except Unreachable as problem:
        warnings.append(f"the telemetry subscription got no answer ({problem}): no logs will be collected")
        api.reopen()
        return False
    warnings.append("this platform has no telemetry: no logs will be collected")
    return False


def _answer_in_time(api: RuntimeApi, request: Request) -> Response:
    try:
        return _call_in_time(api, request)
    except HungUp:  # to subscribe twice is to subscribe
        api.reopen()
        return _call_in_time(api, request)


def _call_in_time(api: RuntimeApi, request: Request) -> Response:
    api.send(request)
    api.socket.settimeout(SUBSCRIBE_TIMEOUT_S)
    answer = api.receive()
    api.socket.settimeout(None)
    return answer


def telemetry_types(environ: Mapping[str, str]) -> tuple[str, ...]:
    """What to subscribe to: only `platform` when the environment switches logs off, so that no log line is delivered
    in vain. (A switch in `datadog.yaml` is honoured later, by discarding.)
    """
    off = {"false", "0", "0.0", "no", "off", "f"}
    named = {key.upper(): value.strip().lower() for key, value in environ.items()}
    values = [
        named.get(f"DD_{name}", named.get(f"DATADOG_{name}")) for name in ("LOGS_ENABLED", "SERVERLESS_LOGS_ENABLED")
    ]
    given = [value for value in values if value is not None]
    return ("platform",) if given and all(value in off for value in given) else ALL_TYPES


def _address(environ: Mapping[str, str]) -> str:
    return environ.get("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")


def environment() -> MutableMapping[str, str]:
    """The process's environment, broken UTF-8 included (as surrogates), as the rest of the extension reads it."""
    return os.environ
