"""A local Datadog intake: takes what Datadog takes, refuses what it refuses, and misbehaves on request."""

from fliptop_lab.intake.events import Event, ServiceCheck
from fliptop_lab.intake.faults import Fault, Faults
from fliptop_lab.intake.logs import LogEntry
from fliptop_lab.intake.metrics import Series, Sketch
from fliptop_lab.intake.server import Intake
from fliptop_lab.intake.store import RawPayload, Request

__all__ = [
    "Event",
    "Fault",
    "Faults",
    "Intake",
    "LogEntry",
    "RawPayload",
    "Request",
    "Series",
    "ServiceCheck",
    "Sketch",
]
