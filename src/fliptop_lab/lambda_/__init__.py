"""The simulated Lambda execution environment: Runtime, Extensions and Telemetry API over real processes."""

from fliptop_lab.lambda_.config import ConfigurationError, Function, InitResult, Invocation, Platform
from fliptop_lab.lambda_.environment import Dispatched, ExecutionEnvironment, Retired
from fliptop_lab.lambda_.events import Record
from fliptop_lab.lambda_.sandbox import SandboxError

__all__ = [
    "ConfigurationError",
    "Dispatched",
    "ExecutionEnvironment",
    "Function",
    "InitResult",
    "Invocation",
    "Platform",
    "Record",
    "Retired",
    "SandboxError",
]
