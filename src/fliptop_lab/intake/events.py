"""Events and service checks as Datadog's public API takes them: ``/api/v1/events`` and ``/api/v1/check_run``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fliptop_lab.intake.refusals import Refusal

PRIORITIES = ("normal", "low")
ALERT_TYPES = ("error", "warning", "info", "success", "user_update", "recommendation", "snapshot")
STATUSES = ("ok", "warning", "critical", "unknown")
"""States of a service check, by number."""


@dataclass(frozen=True)
class Event:
    """One event of the event stream; ``time`` is in seconds since the epoch, None for "when it came"."""

    title: str
    text: str
    time: int | None
    priority: str
    alert_type: str
    tags: tuple[str, ...] = ()
    host: str = ""
    key: str = ""
    source: str = ""


@dataclass(frozen=True)
class ServiceCheck:
    """The state of something, one of ``STATUSES``; ``time`` as in ``Event``."""

    check: str
    status: str
    time: int | None
    message: str = ""
    tags: tuple[str, ...] = ()
    host: str = ""


def decode_event(document: Any) -> list[Event]:
    """Turn the JSON body of ``/api/v1/events``, one event, into a list of one; ``Refusal`` 400 for another shape."""
    fields = _object(document)
    return [
        Event(
            title=_text(fields, "title", required=True),
            text=_text(fields, "text", required=True),
            time=_time(fields, "date_happened"),
            priority=_one_of(fields, "priority", PRIORITIES, "normal"),
            alert_type=_one_of(fields, "alert_type", ALERT_TYPES, "info"),
            tags=_tags(fields),
            host=_text(fields, "host"),
            key=_text(fields, "aggregation_key"),
            source=_text(fields, "source_type_name"),
        )
    ]


def decode_service_checks(document: Any) -> list[ServiceCheck]:
    """Turn the JSON body of ``/api/v1/check_run`` into service checks; ``Refusal`` 400 when it has another shape."""
    if not isinstance(document, list):
        raise Refusal(400, f"the body must be a JSON array of service checks, not {type(document).__name__}")
    return [_service_check(_object(item)) for item in document]


def _service_check(fields: dict[str, Any]) -> ServiceCheck:
    status = fields.get("status")
    if not isinstance(status, int) or isinstance(status, bool) or not 0 <= status < len(STATUSES):
        raise Refusal(400, f"status must be a number from 0 to 3, not {status!r}")
    return ServiceCheck(
        check=_text(fields, "check", required=True),
        status=STATUSES[status],
        time=_time(fields, "timestamp"),
        message=_text(fields, "message"),
        tags=_tags(fields),
        host=_text(fields, "host_name"),
    )


def _object(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise Refusal(400, f"an object is expected, not {type(document).__name__}")
    return document


def _text(fields: dict[str, Any], name: str, *, required: bool = False) -> str:
    value = fields.get(name, None if required else "")
    if not isinstance(value, str) or (required and not value and name != "text"):
        raise Refusal(400, f"{name} must be text, not {value!r}")
    return value


def _one_of(fields: dict[str, Any], name: str, allowed: tuple[str, ...], default: str) -> str:
    value = fields.get(name, default)
    if value not in allowed:
        raise Refusal(400, f"{name} must be one of {', '.join(allowed)}, not {value!r}")
    return str(value)


def _time(fields: dict[str, Any], name: str) -> int | None:
    value = fields.get(name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise Refusal(400, f"{name} must be a whole number of seconds, not {value!r}")
    return value


def _tags(fields: dict[str, Any]) -> tuple[str, ...]:
    tags = fields.get("tags") or []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise Refusal(400, "tags must be a list of text")
    return tuple(tags)
