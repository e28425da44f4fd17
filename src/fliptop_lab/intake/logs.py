"""Log entries: the two shapes that arrive at ``/api/v2/logs`` and what the intake makes of them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import orjson

from fliptop_lab.intake.refusals import Refusal

MAX_ENTRIES = 1_000
"""Entries in one payload (Logs API v2)."""
MAX_ENTRY_BYTES = 1 << 20
"""A longer entry is kept, but cut (Logs API v2)."""
MAX_AGE_S = 18 * 3600
"""Older entries are not indexed under their own time (Logs API v2)."""

_STRINGS = ("ddsource", "ddtags", "hostname", "service")


@dataclass(frozen=True)
class LogEntry:
    """One log as Datadog would show it.

    ``shape`` is ``nested`` (the text sits in a ``message`` object, as Datadog's own Lambda extension sends it) or
    ``flat`` (the public API). ``timestamp`` is in ms since the epoch. ``notes`` say what the backend would do to
    the entry: cut it, or distrust its time. ``raw`` is the entry as it came.
    """

    text: str
    status: str
    service: str
    source: str
    hostname: str
    tags: tuple[str, ...]
    request_id: str | None
    arn: str | None
    timestamp: int | None
    shape: str
    notes: tuple[str, ...] = ()
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def tag(self, key: str) -> str | None:
        """The value of the first ``key:value`` tag, or None."""
        return next((tag[len(key) + 1 :] for tag in self.tags if tag.startswith(key + ":")), None)


def decode_logs(document: Any) -> list[LogEntry]:
    """Turn the JSON body of ``/api/v2/logs`` into entries.

    An object counts as one entry and an empty one, the agent's connectivity check, as none. Raises ``Refusal``: 400
    for anything that is not a list of objects with string attributes, 413 above ``MAX_ENTRIES``.
    """
    if isinstance(document, dict):
        document = [document] if document else []
    if not isinstance(document, list):
        raise Refusal(400, f"the body must be a JSON array of logs, not {type(document).__name__}")
    if len(document) > MAX_ENTRIES:
        raise Refusal(413, f"{len(document)} entries in one payload, {MAX_ENTRIES} are allowed")
    return [_entry(index, raw) for index, raw in enumerate(document)]


def _entry(index: int, raw: Any) -> LogEntry:
    if not isinstance(raw, dict):
        raise Refusal(400, f"entry {index} must be an object, not {type(raw).__name__}")
    for key in _STRINGS:
        if not isinstance(raw.get(key, ""), str):
            raise Refusal(400, f"entry {index}: {key} must be a string")
    nested = isinstance(raw.get("message"), dict)
    inner = raw["message"] if nested else raw
    lambda_ = inner.get("lambda")
    lambda_ = lambda_ if isinstance(lambda_, dict) else {}
    timestamp = _timestamp(inner)
    text, notes = _text(raw, inner)
    return LogEntry(
        text=text,
        status=str(inner.get("status") or "info"),
        service=raw.get("service", ""),
        source=raw.get("ddsource", ""),
        hostname=raw.get("hostname", ""),
        tags=tuple(tag for tag in raw.get("ddtags", "").split(",") if tag),
        request_id=lambda_.get("request_id") or None,
        arn=lambda_.get("arn") or None,
        timestamp=timestamp,
        shape="nested" if nested else "flat",
        notes=notes + _age_note(timestamp),
        raw=raw,
    )


def _timestamp(inner: dict[str, Any]) -> int | None:
    value = inner.get("timestamp")
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(raw: dict[str, Any], inner: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    message = inner.get("message", "")
    text = message if isinstance(message, str) else orjson.dumps(message).decode()
    excess = len(orjson.dumps(raw)) - MAX_ENTRY_BYTES
    if excess <= 0:
        return text, ()
    encoded = text.encode()
    kept = encoded[: max(0, len(encoded) - excess)].decode(errors="ignore")
    return kept, (f"truncated: the entry is {excess} bytes over {MAX_ENTRY_BYTES}",)


def _age_note(timestamp: int | None) -> tuple[str, ...]:
    if timestamp is None:
        return ()
    age = time.time() - timestamp / 1000
    return (f"older than 18 hours: {age / 3600:.1f} h",) if age > MAX_AGE_S else ()
