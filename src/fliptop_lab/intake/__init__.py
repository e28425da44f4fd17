"""A local Datadog intake: takes what Datadog takes, refuses what it refuses, and misbehaves on request."""

from fliptop_lab.intake.events import Event, ServiceCheck
from fliptop_lab.intake.faults import Fault, Faults
from fliptop_lab.intake.logs import LogEntry
from fliptop_lab.intake.metrics import Series, Sketch
from fliptop_lab.intake.proxied import Proxied
from fliptop_lab.intake.server import Intake
from fliptop_lab.intake.stats import StatsGroup, Summary
from fliptop_lab.intake.store import Request
from fliptop_lab.intake.traces import Span, TraceChunk, TracerPayload

__all__ = [
    "Event",
    "Fault",
    "Faults",
    "Intake",
    "LogEntry",
    "Proxied",
    "Request",
    "Series",
    "ServiceCheck",
    "Sketch",
    "Span",
    "StatsGroup",
    "Summary",
    "TraceChunk",
    "TracerPayload",
]
