"""One log message → what it tells about a start of the extension, if anything."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

import orjson

EXTENSION = "datadog-agent"
"""The name that the layer's extension registers, whichever of the two serves."""
# Whatever tells something contains one of these. Messages are many and sightings are few, so this is asked first.
MARKERS = (
    *("DD_EXTENSION_FALLBACK_", "INIT_START", "platform.initStart", "platform.extension"),
    *(f"Name: {EXTENSION}", "Init Duration", "initDurationMs"),
)
# Without the brace: a line of its own in what `aws logs tail --format json` makes of it.
_FALLBACK = re.compile(r'(?:\{|^)\s*"DD_EXTENSION_FALLBACK_(REASON|UNAVAILABLE|TOO_LATE)"\s*:\s*"([^"\\]+)"')
_REGISTERED = re.compile(rf"EXTENSION\s+Name: {EXTENSION}\s+State: ")
_JSON = json.JSONDecoder()


class Kind(Enum):
    """What was seen."""

    FALLBACK = "fallback"
    """The launcher went to legacy."""
    UNAVAILABLE = "unavailable"
    """There is a reason, but no legacy extension in the layer: the new one runs."""
    TOO_LATE = "too late"
    """The new extension cannot be started here, which was found out when it had been registered: nobody serves."""
    EXTENSION = "extension"
    """Lambda tells, once per start, that the extension has registered, whichever of the two it is."""
    INIT = "init"
    """Lambda begins a start of the function, with or without our layer."""
    COLD_REPORT = "cold report"
    """The report of the first invocation after a start."""


_TOLD = {"REASON": Kind.FALLBACK, "UNAVAILABLE": Kind.UNAVAILABLE, "TOO_LATE": Kind.TOO_LATE}


@dataclass(frozen=True, slots=True)
class Sighting:
    """One thing seen. `reasons` are those for legacy, the headline first; none for other kinds."""

    kind: Kind
    reasons: tuple[str, ...] = ()


def may_tell(text: str) -> bool:
    """Say, quickly, whether `sighting` could find anything in this text."""
    return any(marker in text for marker in MARKERS)


def sighting(message: str) -> Sighting | None:
    """Return what a log message tells, None for nothing.

    Sources: launcher/README.md (Outcomes) for our lines; Lambda's system log events, as text and as JSON.
    """
    if found := _FALLBACK.search(message):
        reasons = _reasons(message[found.start() :], found[2])
        return Sighting(_TOLD[found[1]], reasons)
    if message.startswith("{"):
        return _platform_event(message)
    if message.startswith("INIT_START"):
        return Sighting(Kind.INIT)
    if message.startswith("REPORT RequestId") and "Init Duration" in message:
        return Sighting(Kind.COLD_REPORT)
    return Sighting(Kind.EXTENSION) if _REGISTERED.match(message) else None


def _reasons(text: str, headline: str) -> tuple[str, ...]:
    """All reasons of a fallback line; the headline alone where the line is cut, or its version tells no more."""
    try:
        line, _ = _JSON.raw_decode(text)
    except ValueError:
        return (headline,)
    listed = line.get("reasons") if isinstance(line, dict) else None
    texts = [each for each in listed if isinstance(each, str)] if isinstance(listed, list) else []
    return tuple(dict.fromkeys([headline, *texts]))


def _platform_event(message: str) -> Sighting | None:
    """Lambda's JSON log format (Telemetry API schema)."""
    try:
        event = orjson.loads(message)
    except ValueError:
        return None
    record = event.get("record")
    if event.get("type") == "extension" and isinstance(record, str):
        return sighting(record)
    if not isinstance(record, dict):
        return None
    if event.get("type") == "platform.initStart":
        return Sighting(Kind.INIT)
    if event.get("type") == "platform.extension":
        return Sighting(Kind.EXTENSION) if record.get("name") == EXTENSION else None
    return Sighting(Kind.COLD_REPORT) if _is_cold(event.get("type"), record.get("metrics")) else None


def _is_cold(kind: object, metrics: Any) -> bool:
    return kind == "platform.report" and isinstance(metrics, dict) and "initDurationMs" in metrics
