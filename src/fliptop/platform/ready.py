"""Ready first: listen, register, subscribe and ask for the first event with plain sockets, before anything is loaded.

Lambda delays the function until each extension has asked for its first event; what happens after that overlaps with
the function's own initialisation. The telemetry listener is open before the platform is asked to deliver to it, so
that the kernel keeps what arrives before the event loop runs.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Final

from fliptop.platform import extensions_api
from fliptop.platform.api import RuntimeApi
from fliptop.platform.extensions_api import Refused, Registration

TELEMETRY_PORT: Final = 8999
BACKLOG: Final = 128
ALL_TYPES: Final = ("platform", "function", "extension")


@dataclass(frozen=True)
class Handover:
    """All that a ready extension holds: what stage one leaves and the event loop goes on with.

    `api` has `/event/next` pending. `telemetry` is the listening socket, None when its port was taken or the platform
    has no telemetry. `warnings` are sentences to log once settings (and with them the log level) are known.
    """

    api: RuntimeApi
    registration: Registration
    telemetry: socket.socket | None
    warnings: tuple[str, ...] = field(default=())


def become_ready(environ: Mapping[str, str], name: str) -> Handover:
    """Do all that Lambda waits for, as the extension called `name`.

    Raises `Unreachable` or `Refused` when the platform does not let the extension register: there is nothing that an
    extension could do without that. Everything else only costs the part that it concerns.
    """
    with ExitStack() as on_failure:
        warnings: list[str] = []
        listener = _listen(TELEMETRY_PORT, warnings)
        if listener is not None:
            on_failure.callback(listener.close)
        api = RuntimeApi(environ.get("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001"))
        on_failure.callback(api.close)
        registration = extensions_api.registration(api.call(extensions_api.register(name)))
        if listener is not None and not _subscribe(api, registration, environ, warnings):
            listener.close()
            listener = None
        api.send(extensions_api.next_event(registration.identifier))
        on_failure.pop_all()
        return Handover(api, registration, listener, tuple(warnings))


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


def _subscribe(api: RuntimeApi, registration: Registration, environ: Mapping[str, str], warnings: list[str]) -> bool:
    request = extensions_api.subscribe(registration.identifier, TELEMETRY_PORT, telemetry_types(environ))
    try:
        if extensions_api.subscribed(api.call(request)):
            return True
    except Refused as refusal:
        warnings.append(f"the platform refused the telemetry subscription ({refusal}): no logs will be collected")
        return False
    warnings.append("this platform has no telemetry: no logs will be collected")
    return False


def telemetry_types(environ: Mapping[str, str]) -> tuple[str, ...]:
    """What to subscribe to: only `platform` when the environment switches logs off, so that no log line is delivered
    in vain. (A switch in `datadog.yaml` is honoured later, by discarding.)
    """
    off = {"false", "0", "0.0"}
    named = {key.upper(): value.strip().lower() for key, value in environ.items()}
    values = [
        named.get(f"DD_{name}", named.get(f"DATADOG_{name}")) for name in ("LOGS_ENABLED", "SERVERLESS_LOGS_ENABLED")
    ]
    given = [value for value in values if value is not None]
    return ("platform",) if given and all(value in off for value in given) else ALL_TYPES


def environment() -> Mapping[str, str]:
    """The process's environment, broken UTF-8 included (as surrogates), as the rest of the extension reads it."""
    return os.environ
