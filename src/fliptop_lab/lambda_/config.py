"""What a person chooses: the function, the platform's numbers, and what one invocation looked like afterwards."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fliptop_lab.lambda_.events import Record

RESERVED = frozenset(
    {
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_LAMBDA_RUNTIME_API",
        "LAMBDA_TASK_ROOT",
        "LAMBDA_RUNTIME_DIR",
        "AWS_LAMBDA_MAX_CONCURRENCY",
        "AWS_LAMBDA_METADATA_API",
        "AWS_LAMBDA_METADATA_TOKEN",
    }
)
ENVIRONMENT_BYTES = 4096
Status = Literal["success", "error", "timeout", "failure"]


class ConfigurationError(ValueError):
    """The function cannot exist on Lambda as described; the message says which rule it breaks and what to change."""


@dataclass(frozen=True, kw_only=True)
class Function:
    """A Lambda function: its runtime process, its code and its settings. Raises `ConfigurationError`.

    `command` is the runtime process (for Python `[python, "-m", "awslambdaric", "handler.handler"]`), `task_root`
    becomes `/var/task`, `environment` holds the customer's variables (at most 4 KB, no reserved names), `timeout_s` is
    in seconds, `memory_mb` in MiB (128 to 10 240).
    """

    command: Sequence[str]
    task_root: Path
    handler: str = "handler.handler"
    name: str = "lab-function"
    version: str = "$LATEST"
    memory_mb: int = 512
    timeout_s: float = 3.0
    environment: Mapping[str, str] = field(default_factory=dict)
    region: str = "eu-west-1"
    account_id: str = "111122223333"
    runtime_version: str = "python:3.13.v12"
    log_format: Literal["Text", "JSON"] = "Text"

    def __post_init__(self) -> None:
        if not self.command:
            raise ConfigurationError("command is empty: give the runtime process, for example ['/var/task/bootstrap']")
        if not self.task_root.is_dir():
            raise ConfigurationError(f"task_root {self.task_root} is not a directory")
        if not 128 <= self.memory_mb <= 10_240:
            raise ConfigurationError(f"memory_mb is {self.memory_mb}; Lambda takes 128 to 10240")
        if self.timeout_s <= 0:
            raise ConfigurationError(f"timeout_s is {self.timeout_s}; it must be positive")
        _check_environment(self.environment)

    @property
    def arn(self) -> str:
        """The invoked function's ARN, as events carry it."""
        return f"arn:aws:lambda:{self.region}:{self.account_id}:function:{self.name}"

    @property
    def runtime_version_arn(self) -> str:
        """The ARN that goes with `runtime_version`; its hash is made up."""
        return f"arn:aws:lambda:{self.region}::runtime:{'0' * 64}"


def _check_environment(environment: Mapping[str, str]) -> None:
    if refused := sorted(RESERVED & environment.keys()):
        raise ConfigurationError(f"reserved by Lambda, remove from environment: {', '.join(refused)}")
    size = sum(len(name.encode()) + len(value.encode()) for name, value in environment.items())
    if size > ENVIRONMENT_BYTES:
        raise ConfigurationError(f"environment is {size} bytes; Lambda takes at most {ENVIRONMENT_BYTES}")


@dataclass(frozen=True, kw_only=True)
class Platform:
    """The platform's own numbers, with Lambda's defaults; times in seconds.

    `isolation` "auto" takes namespaces where the machine allows them. `limit_cpu` and `limit_memory` apply where a
    cgroup can be made. `hosts` adds names to the environment's /etc/hosts, `name_server` is the address
    of the only one that /etc/resolv.conf names there (None: as on the host), `visible` adds host paths that its
    processes may see at the same place (interpreters in a home directory). `on_event` is called with every `Record` as
    it happens.
    """

    init_timeout_s: float = 10.0
    shutdown_budget_s: float = 2.0
    shutdown_budget_internal_s: float = 0.5
    runtime_shutdown_share: float = 0.3
    register_latency_s: float = 0.0
    subscribe_latency_s: float = 0.0
    telemetry_timeout_s: float = 2.0
    telemetry_attempts: int = 5
    telemetry_backoff_s: float = 0.1
    telemetry_buffer_bytes: int = 4 << 20
    telemetry_flush_s: float = 0.5
    isolation: Literal["auto", "namespaces", "none"] = "auto"
    limit_cpu: bool = True
    limit_memory: bool = True
    hosts: Mapping[str, str] = field(default_factory=dict)
    name_server: str | None = None
    visible: Sequence[Path] = ()
    on_event: Callable[[Record], None] | None = None


@dataclass(frozen=True)
class Invocation:
    """What the caller and the platform know about one invocation, once everything in it has come to rest.

    `payload` is what the caller received, `responded` whether it was the function's own answer (a timeout or crash
    may come after that). `latency_ms` is the caller's view, dispatch to response; `duration_ms` and `billed_ms` are the
    REPORT's; `post_runtime_ms` is the time from the runtime being done to the last extension's `/event/next`.
    """

    request_id: str
    payload: bytes
    status: Status
    error_type: str | None
    cold: bool
    init_ms: float | None
    latency_ms: float
    duration_ms: float
    billed_ms: int
    post_runtime_ms: float
    max_memory_mb: int
    responded: bool = True


@dataclass(frozen=True)
class InitResult:
    """How an init ended: `phase` is `init` or `invoke` (suppressed), `duration_ms` is from the extensions' start."""

    phase: str
    status: Status
    error_type: str | None
    duration_ms: float
