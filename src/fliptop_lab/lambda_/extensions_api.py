"""The Extensions API, 2020-01-01: registration, the extensions' states, the refusals. No sockets, no processes.

Source of states, messages and error types: Lambda's Extensions API and the core of its runtime interface emulator.
"""

import asyncio
import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fliptop_lab.lambda_.answers import Answer, Changes, Parked, accepted, document, refused

IDENTIFIER = "Lambda-Extension-Identifier"
ERROR_TYPE = "Lambda-Extension-Function-Error-Type"
MAX_EXTENSIONS = 10
State = Literal[
    "Started", "Registered", "Ready", "Running", "InitError", "ExitError", "LaunchError", "Exited", "ShutdownFailed"
]
# The states from which each call is legal; the state it leads to is the key.
LEGAL: Mapping[State, frozenset[State]] = {
    "Registered": frozenset({"Started"}),
    "Ready": frozenset({"Registered", "Running"}),
    "InitError": frozenset({"Registered", "InitError"}),
    "ExitError": frozenset({"Registered", "Ready", "Running", "ExitError"}),
}


@dataclass(eq=False)
class Extension:
    """One extension as the platform sees it. `parked` is its waiting `/event/next`, `queued` what its next one gets."""

    name: str
    external: bool
    state: State = "Started"
    id: str = ""
    events: Sequence[str] = ()
    error_type: str | None = None
    parked: Parked | None = None
    queued: Answer | None = None

    def wants(self, event: str) -> bool:
        """Whether it subscribed to the event."""
        return event in self.events


@dataclass(frozen=True)
class Identity:
    """What `/register` tells about the function."""

    name: str
    version: str
    handler: str
    account_id: str


@dataclass
class ExtensionsApi:
    """All extensions of one initialised environment. `fail` receives fatal error types; `told` every accepted call."""

    identity: Identity
    changes: Changes
    fail: Callable[[str], None]
    told: Callable[[str, Extension], None] = lambda _call, _extension: None
    open: bool = True
    all: list[Extension] = field(default_factory=list)

    def expect(self, names: Iterable[str]) -> None:
        """Declares the external extensions: the base names in /opt/extensions."""
        self.all += [Extension(name, external=True) for name in names]

    @property
    def registered(self) -> list[Extension]:
        """Those that have an identifier."""
        return [extension for extension in self.all if extension.id]

    def find(self, headers: Mapping[str, str]) -> Extension | Answer:
        """Whom the identifier header means, or the refusal that Lambda gives."""
        identifier = headers.get(IDENTIFIER)
        if not identifier:
            return refused(403, "Extension.MissingExtensionIdentifier", f"Missing {IDENTIFIER} header")
        try:
            wanted = str(uuid.UUID(identifier))
        except ValueError:
            return refused(403, "Extension.InvalidExtensionIdentifier", f"Invalid {IDENTIFIER}")
        for extension in self.registered:
            if extension.id == wanted:
                return extension
        return refused(403, "Extension.UnknownExtensionIdentifier", f"Unknown extension {identifier}")

    def register(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """`POST /extension/register`."""
        name = headers.get("Lambda-Extension-Name", "")
        if not name:
            return refused(403, "Extension.InvalidExtensionName", "Empty extension name")
        events = _requested_events(body)
        if isinstance(events, Answer):
            return events
        extension = self._candidate(name, events)
        if isinstance(extension, Answer):
            return extension
        extension.id, extension.events, extension.state = str(uuid.uuid4()), tuple(events), "Registered"
        self.told("register", extension)
        self.changes.notify()
        return document(200, self._described(headers), {IDENTIFIER: extension.id})

    def _candidate(self, name: str, events: Sequence[str]) -> Extension | Answer:
        known = next((extension for extension in self.all if extension.name == name), None)
        wrong = _wrong_event(events, external=known is not None and known.external)
        if wrong is not None:
            return wrong
        if not self.open:
            return refused(403, "Extension.RegistrationClosed", "Extension registration closed already")
        if known is None:
            return self._internal(name)
        if not known.external:
            return refused(403, "Extension.InvalidExtensionState", "Extension with this name already registered")
        return known if known.state in LEGAL["Registered"] else _illegal(known, "Registered", name)

    def _internal(self, name: str) -> Extension | Answer:
        if len(self.all) >= MAX_EXTENSIONS:
            return refused(403, "Extension.TooManyExtensions", f"Extension limit ({MAX_EXTENSIONS}) reached")
        self.all.append(Extension(name, external=False))
        return self.all[-1]

    def _described(self, headers: Mapping[str, str]) -> dict[str, str]:
        who = self.identity
        told = {"functionName": who.name, "functionVersion": who.version, "handler": who.handler}
        features = headers.get("Lambda-Extension-Accept-Feature", "").split(",")
        return {"accountId": who.account_id, **told} if "accountId" in map(str.strip, features) else told

    def next(self, headers: Mapping[str, str]) -> Answer | Parked:
        """`GET /extension/event/next`: the event, or a future of it."""
        extension = self.find(headers)
        if isinstance(extension, Answer):
            return extension
        if extension.state not in LEGAL["Ready"]:
            return _illegal(extension, "Ready", extension.id)
        extension.state = "Ready"
        self.told("next", extension)
        self.changes.notify()
        if (queued := extension.queued) is not None:
            extension.state, extension.queued = "Running", None
            return queued
        extension.parked = asyncio.get_running_loop().create_future()
        return extension.parked

    def deliver(self, extension: Extension, event: Mapping[str, Any]) -> None:
        """Hands an event to a waiting extension, or keeps it for its next call."""
        answer = document(200, event, {"Lambda-Extension-Event-Identifier": str(uuid.uuid4())})
        parked, extension.parked = extension.parked, None
        if parked is None or parked.done():
            extension.queued = answer
            return
        extension.state = "Running"
        parked.set_result(answer)

    def init_error(self, headers: Mapping[str, str]) -> Answer:
        """`POST /extension/init/error`."""
        return self._report(headers, "InitError")

    def exit_error(self, headers: Mapping[str, str]) -> Answer:
        """`POST /extension/exit/error`."""
        return self._report(headers, "ExitError")

    def _report(self, headers: Mapping[str, str], state: Literal["InitError", "ExitError"]) -> Answer:
        extension = self.find(headers)
        if isinstance(extension, Answer):
            return extension
        error_type = headers.get(ERROR_TYPE)
        if not error_type:
            return refused(403, "Extension.MissingHeader", f"{ERROR_TYPE} not found")
        if extension.state not in LEGAL[state]:
            return _illegal(extension, state, extension.id)
        extension.state = state
        extension.error_type = extension.error_type or error_type
        self.told("init/error" if state == "InitError" else "exit/error", extension)
        self.fail(f"Extension.{state}")
        return accepted()


def _wrong_event(events: Sequence[str], *, external: bool) -> Answer | None:
    for event in events:
        if event not in ("INVOKE", "SHUTDOWN"):
            return refused(403, "Extension.InvalidEventType", f"{event}: ErrorInvalidEventType")
        if event == "SHUTDOWN" and not external:
            message = f"{event}: ShutdownEventNotSupportedForInternalExtension"
            return refused(403, "Extension.InvalidEventType", message)
    return None


def _illegal(extension: Extension, to: State, subject: str) -> Answer:
    transition = f"State transition from {extension.state} to {to} failed for extension {subject}"
    return refused(403, "Extension.InvalidExtensionState", f"{transition}. Error: State transition is not allowed")


def _requested_events(body: bytes) -> Sequence[str] | Answer:
    try:
        asked = json.loads(body) if body.strip() else None
    except ValueError as error:
        return refused(403, "InvalidRequestFormat", str(error))
    if not isinstance(asked, dict):
        what = "unexpected end of JSON input" if asked is None else "the body must be a JSON object"
        return refused(403, "InvalidRequestFormat", what)
    if "configurationKeys" in asked:
        message = "configurationKeys are deprecated; use environment variables instead"
        return refused(403, "InvalidRequestFormat", message)
    events = asked.get("events") or []
    if not isinstance(events, list) or not all(isinstance(event, str) for event in events):
        return refused(403, "InvalidRequestFormat", "events must be a list of strings")
    return events
