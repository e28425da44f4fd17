"""Ready first: listen, register, subscribe and ask for the first event with plain sockets, before anything is loaded.

Lambda delays the function until each extension has asked for its first event; what happens after that overlaps with
the function's own initialisation. The telemetry listener is open before the platform is asked to deliver to it, so
that the kernel keeps what arrives before the event loop runs.

The launcher does the same (`launcher/ready.c`), before an interpreter could have started, and hands over what it holds:
`adopt`. Without a launcher, or where it left this to us, `become_ready` does it here.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from fliptop.http1 import Request
from fliptop.platform import extensions_api
from fliptop.platform.api import RuntimeApi, Unreachable
from fliptop.platform.extensions_api import Refused, Registration

TELEMETRY_PORT: Final = 8999
DOGSTATSD_PORT: Final = 8125
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
    and has asked for nothing in our name. `telemetry` is the listening socket, None when its port was taken or the
    platform has no telemetry; `dogstatsd` is bound for datagrams, None when its port was taken; `trace_agent` and
    `lifecycle` listen for tracers, None likewise. `books` is the descriptor of the memory that the guard shares
    (`outbox.books`).
    `warnings` are sentences to log once settings (and with them the log level) are known.
    """

    api: RuntimeApi
    registration: Registration
    telemetry: socket.socket | None
    dogstatsd: socket.socket | None = None
    warnings: tuple[str, ...] = ()
    guarded: bool = False
    books: int | None = None
    trace_agent: socket.socket | None = None
    lifecycle: socket.socket | None = None


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
    telemetry, dogstatsd = (sockets.pop(name, None) if connection else None for name in ("telemetry", "dogstatsd"))
    for unserved in sockets.values():
        unserved.close()
    if connection is None:
        return None
    api = RuntimeApi(_address(environ), connection)
    if guard is None:
        api.expect(extensions_api.next_event(identifier))
    registration = extensions_api.registered(identifier, os.fsencode(body))
    return Handover(api, registration, telemetry, dogstatsd, guarded=guard is not None, books=books)


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
        listener = _listen(TELEMETRY_PORT, warnings)
        if listener is not None:
            on_failure.callback(listener.close)
        dogstatsd = _bind(DOGSTATSD_PORT, warnings)
        if dogstatsd is not None:
            on_failure.callback(dogstatsd.close)
        api = RuntimeApi(_address(environ))
        on_failure.callback(api.close)
        registration, managed = _register(api, name, environ)
        if listener is not None:
            types = telemetry_types(environ)
            request = extensions_api.subscribe(registration.identifier, TELEMETRY_PORT, types, managed=managed)
            if not _subscribe(api, request, warnings):
                listener.close()
                listener = None
        if first is not None:
            first()
        api.send(extensions_api.next_event(registration.identifier))
        on_failure.pop_all()
        return Handover(api, registration, listener, dogstatsd, tuple(warnings))


def extension_name(environ: Mapping[str, str], argv0: str) -> str:
    """The name to register: the base name of the file that Lambda started, which the launcher passes on."""
    return environ.get("FLIPTOP_NAME") or PurePath(argv0).name


def _listen(port: int, warnings: list[str]) -> socket.socket | None:
    # The protocol is spelled out: asyncio sets TCP_NODELAY only on sockets that carry it.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # The platform delivers from outside the sandbox's loopback, so all addresses it is.
        listener.bind(("0.0.0.0", port))  # noqa: S104
        listener.listen(BACKLOG)
    except OSError as problem:
        listener.close()
        warnings.append(f"port {port} cannot be listened on ({problem}): no logs will be collected")
        return None
    return listener


def _bind(port: int, warnings: list[str]) -> socket.socket | None:
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP)
    try:
        datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DATAGRAM_BUFFER)
        datagrams.bind(("127.0.0.1", port))
    except OSError as problem:
        datagrams.close()
        warnings.append(f"port {port} cannot be listened on ({problem}): no DogStatsD metrics will be collected")
        return None
    return datagrams


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
        api.send(request)
        api.socket.settimeout(SUBSCRIBE_TIMEOUT_S)
        answer = api.receive()
        api.socket.settimeout(None)
        if extensions_api.subscribed(answer):
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
