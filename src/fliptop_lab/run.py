"""One run: an extension, a function and the intake together in one simulated execution environment."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fliptop_lab.functions import Prepared
from fliptop_lab.intake import Intake, LogEntry, Proxied, Series, Sketch, Span, StatsGroup
from fliptop_lab.lambda_ import ExecutionEnvironment, Function, InitResult, Invocation, Platform, Record
from fliptop_lab.routes import ROUTES, Route, route_for
from fliptop_lab.staging import PROJECT, Ingredients, staged, task_root_with

API_KEY = "1ab0000000000000000000000000dead"
"""The key functions get unless they bring one; it belongs to nobody."""
Isolation = Literal["auto", "namespaces", "none"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to run. ``think_s`` is the frozen time between invocations; ``faults`` are written as for ``Fault.parse``.

    ``environment`` overrides what the lab sets. ``kill`` ends the environment by SIGKILL while it is frozen, as
    Lambda may, so that no extension can flush. ``route`` is one of ``ROUTES``, or empty for the one that the faults
    need. The latencies are how long the platform takes to answer. ``on_step`` is
    told what is happening, ``on_event`` gets every record of the transcript at once.
    """

    function: Prepared
    ingredients: Ingredients
    invocations: int = 3
    memory_mb: int = 512
    timeout_s: float = 3.0
    think_s: float = 0.0
    environment: Mapping[str, str] = field(default_factory=dict)
    yaml: Path | None = None
    payload: bytes = b"{}"
    faults: Sequence[str] = ()
    route: str = ""
    isolation: Isolation = "auto"
    kill: bool = False
    register_latency_ms: float = 0.0
    subscribe_latency_ms: float = 0.0
    on_event: Callable[[Record], None] | None = None
    on_step: Callable[[str], None] = lambda _: None


@dataclass(frozen=True)
class Outcome:
    """Everything one run left behind; ``summary.summarise`` makes figures of it."""

    plan: Plan
    invocations: list[Invocation]
    records: list[Record]
    logs: list[LogEntry]
    series: list[Series]
    sketches: list[Sketch]
    spans: list[Span]
    stats: list[StatsGroup]
    proxied: list[Proxied]
    counts: dict[str, int]
    refused: int
    duplicates: int
    init: InitResult | None
    isolated: bool


@dataclass(frozen=True)
class Stage:
    """A plan that is set up: the environment, in which nothing runs yet, and the intake that can be reached from it."""

    environment: ExecutionEnvironment
    intake: Intake


async def run(plan: Plan) -> Outcome:
    """Carry out a plan from the first invocation to the end of the environment.

    Raises ``LayerError``, ``ConfigurationError`` (the plan breaks one of Lambda's rules) and ``SandboxError`` (the
    machine does not allow it).
    """
    async with opened(plan) as stage:
        done = await _invoke_all(stage.environment, plan)
        plan.on_step("shutting down")
        await (stage.environment.kill() if plan.kill else stage.environment.shutdown())
    return outcome(plan, done, stage)


@asynccontextmanager
async def opened(plan: Plan) -> AsyncIterator[Stage]:
    """Set up what a plan needs, for as long as the block lasts. Raises as ``run``."""
    with ExitStack() as stack:
        plan.on_step("preparing the layer")
        layers = stack.enter_context(staged(plan.ingredients))
        task_root = stack.enter_context(task_root_with(plan.function.task_root, plan.yaml))
        route = ROUTES[plan.route or route_for(plan.faults)]
        async with Intake(certificate=route.certificate) as intake:
            for fault in plan.faults:
                intake.faults.inject(fault)
            function = _function(plan, task_root, route.environment(_port(intake)))
            async with ExecutionEnvironment(function, layers, _platform(plan, route)) as environment:
                if environment.isolated:
                    intake.add_listener(environment.listen("127.0.0.1", _port(intake)))
                async with route.open(environment, intake):
                    yield Stage(environment, intake)


def _port(intake: Intake) -> int:
    """The intake has the same one in the environment's network."""
    return int(intake.url.rpartition(":")[2])


def _function(plan: Plan, task_root: Path, pointers: Mapping[str, str]) -> Function:
    return Function(
        command=plan.function.command,
        task_root=task_root,
        handler=plan.function.handler,
        name=f"lab-{plan.function.name}",
        memory_mb=plan.memory_mb,
        timeout_s=plan.timeout_s,
        environment={**pointers, "DD_API_KEY": API_KEY, **plan.environment},
    )


def _platform(plan: Plan, route: Route) -> Platform:
    return Platform(
        isolation=plan.isolation,
        visible=(*plan.function.visible, *_checkout()),
        name_server=route.name_server,
        register_latency_s=plan.register_latency_ms / 1000,
        subscribe_latency_s=plan.subscribe_latency_ms / 1000,
        on_event=plan.on_event,
    )


def _checkout() -> list[Path]:
    """What a layer made of sources needs to see: the sources and their interpreter."""
    return [path for path in (PROJECT / "src", Path(sys.prefix)) if path.exists()]


async def _invoke_all(environment: ExecutionEnvironment, plan: Plan) -> list[Invocation]:
    done: list[Invocation] = []
    for number in range(1, plan.invocations + 1):
        if number > 1 and plan.think_s:
            plan.on_step(f"frozen for {plan.think_s:g} s before invocation {number}")
            await environment.idle(plan.think_s)
        plan.on_step(f"invocation {number} of {plan.invocations}")
        done.append(await environment.invoke(plan.payload))
    return done


def outcome(plan: Plan, done: list[Invocation], stage: Stage) -> Outcome:
    """What has happened on a stage so far."""
    environment, intake = stage.environment, stage.intake
    return Outcome(
        plan=plan,
        invocations=done,
        records=environment.records,
        logs=list(intake.received.logs),
        series=list(intake.received.series),
        sketches=list(intake.received.sketches),
        spans=list(intake.received.spans),
        stats=list(intake.received.stats),
        proxied=list(intake.received.proxied),
        counts={signal: count for signal, count in intake.store.counts.items() if count},
        refused=intake.store.refused,
        duplicates=intake.duplicates,
        init=environment.init_result,
        isolated=environment.isolated,
    )
