"""``fliptop-lab bench steady``, ``throughput`` and ``fault``: what an extension costs while a function is at work."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from fliptop_lab.bench import fault as fault_bench
from fliptop_lab.bench import plot, report, serving
from fliptop_lab.bench import steady as steady_bench
from fliptop_lab.bench import throughput as throughput_bench
from fliptop_lab.bench.variants import unpacked
from fliptop_lab.commands.common import pairs, usage_errors
from fliptop_lab.commands.session import (
    UNTRACED,
    AsJson,
    Env,
    Layer,
    Only,
    Peers,
    PlotFile,
    Runs,
    Session,
    Timeout,
    chosen,
    numbers,
)
from fliptop_lab.functions import find
from fliptop_lab.intake import Fault
from fliptop_lab.run import Plan
from fliptop_lab.staging import Ingredients

OneMemory = Annotated[int, typer.Option(help="MB. Decides the CPU share after init.")]


def steady(  # noqa: PLR0913, PLR0917 - one argument per option
    layer: Layer = None,
    peer: Peers = None,
    only: Only = None,
    strategy: Annotated[
        list[str] | None, typer.Option(help="As in `DD_SERVERLESS_FLUSH_STRATEGY`, or `adaptive`; may be repeated.")
    ] = None,
    rate: Annotated[str, typer.Option(help="Invocations per second; several with commas.")] = "1,10,100",
    load: Annotated[str, typer.Option(help="Lines, and metrics, per invocation; several with commas.")] = "0,10,1000",
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each run goes on.")] = 3.0,
    runs: Runs = 1,
    memory: OneMemory = 1024,
    timeout: Timeout = 10.0,
    env: Env = None,
    plot_file: PlotFile = None,
    as_json: AsJson = False,
) -> None:
    """Measure what each invocation costs when a function has been at work for a while, with every flush strategy.

    The time from the runtime's end until the environment is free, which is billed, and the CPU of the extension's
    processes. Each run is an environment: 25 invocations that do not count, then some that do, as often per second as
    `--rate` says, or as often as the environment is free. The defaults take five minutes for each variant; without
    `--only` these are `fliptop` and the peers. Exit status: 0 fine, 1 a run failed, 2 used wrongly.

    Examples:

    * `fliptop-lab bench steady`
    * `fliptop-lab bench steady --strategy end --rate 10 --load 10 -n 10`
    * `fliptop-lab bench steady --peer theirs=./their-layer.zip --rate 10 --load 10,1000 --plot steady.svg`
    """
    with usage_errors():
        plot_to = plot.checked(plot_file)
        axes = steady_bench.Axes(strategy or steady_bench.STRATEGIES, numbers(rate, "--rate"), numbers(load, "--load"))
        if 0 in axes.rates:
            raise ValueError("--rate 0: an environment that is never invoked costs nothing. Take 1 or more.")
        base = _plan(memory, timeout, env)
        with unpacked(chosen(_ours_and(only, peer), layer, peer)) as (variants, told):
            session = Session("steady state", axes.cells(base, variants), steady_bench.METRICS, runs, told)
            session.carry_out(partial(steady_bench.observe, seconds=seconds), rehearsed=False)
    session.tell([report.one_below_the_other(session.cells, session.metrics)], plot_to, as_json)


def throughput(  # noqa: PLR0913, PLR0917 - one argument per option
    layer: Layer = None,
    peer: Peers = None,
    only: Only = None,
    datagrams: Annotated[int, typer.Option(min=0, help="Per invocation, as fast as the function can.")] = 4000,
    lines: Annotated[int, typer.Option(min=0, help="Likewise.")] = 2000,
    spans: Annotated[int, typer.Option(min=0, help="Likewise, in traces of fifty.")] = 2000,
    invocations: Annotated[int, typer.Option(min=1, help="That are measured in each run, after a first one.")] = 20,
    runs: Runs = 3,
    memory: OneMemory = 1769,
    timeout: Timeout = 30.0,
    env: Env = None,
    plot_file: PlotFile = None,
    as_json: AsJson = False,
) -> None:
    """Measure how many datagrams, log lines and spans go through the extension per second of its CPU.

    In each invocation a burst of them. `missing` is what the intake has not got after SHUTDOWN; `no room` is what the
    kernel's socket buffer could not hold; `lost` is the rest, and should be 0. Without `--only`: `fliptop` and the
    peers. Exit status: 0 fine, 1 a run failed, 2 used wrongly.

    Examples:

    * `fliptop-lab bench throughput`
    * `fliptop-lab bench throughput --lines 0 --spans 0 --datagrams 100000 --invocations 1`: more than a buffer holds
    * `fliptop-lab bench throughput --peer theirs=./their-layer.zip --json`
    """
    with usage_errors():
        plot_to = plot.checked(plot_file)
        bursts = {throughput_bench.DATAGRAMS: datagrams, throughput_bench.LINES: lines, throughput_bench.SPANS: spans}
        if not any(bursts.values()):
            raise ValueError("--datagrams 0 --lines 0 --spans 0: there is nothing to measure. Leave one of them out.")
        base = _plan(memory, timeout, env)
        with unpacked(chosen(_ours_and(only, peer), layer, peer)) as (variants, told):
            cells = throughput_bench.cells(base, variants, bursts)
            session = Session("throughput", cells, throughput_bench.METRICS, runs, told)
            session.carry_out(partial(throughput_bench.observe, count=invocations))
    session.tell([report.one_below_the_other(session.cells, session.metrics)], plot_to, as_json)


def fault(  # noqa: PLR0913, PLR0917 - one argument per option
    layer: Layer = None,
    peer: Peers = None,
    only: Only = None,
    faults: Annotated[
        list[str] | None,
        typer.Option("--fault", help="As for `fliptop-lab run`, or `ok`; may be repeated. Default: all kinds."),
    ] = None,
    function: Annotated[str, typer.Option(help="`c`, `python`, `node`, or a directory.")] = "c",
    invocations: Annotated[int, typer.Option(min=1, help="That are measured in each run, after a first one.")] = 100,
    runs: Runs = 3,
    memory: OneMemory = 1024,
    timeout: Timeout = 10.0,
    env: Env = None,
    plot_file: PlotFile = None,
    as_json: AsJson = False,
) -> None:
    """Measure what a function, and its caller, notice of faults between the extension and Datadog.

    Latency as callers see it, the time that is billed, and errors, with each fault there from the start, and without
    any extension beside it. Without `--only`: `none`, `fliptop` and the peers. Exit status: 0 fine, 1 a run failed,
    2 used wrongly.

    Examples:

    * `fliptop-lab bench fault`
    * `fliptop-lab bench fault --fault blackhole --fault dead-dns --memory 128`
    * `fliptop-lab bench fault --peer theirs=./their-layer.zip --json`
    """
    with usage_errors():
        plot_to = plot.checked(plot_file)
        wanted = [text if text == fault_bench.OK else str(Fault.parse(text)) for text in faults or fault_bench.FAULTS]
        base = Plan(
            function=find(function),
            ingredients=Ingredients(),
            memory_mb=memory,
            timeout_s=timeout,
            environment={**UNTRACED, **pairs(env or [])},
        )
        with unpacked(chosen(only or ["none", *_ours_and(only, peer)], layer, peer)) as (variants, told):
            session = Session("faults", fault_bench.cells(base, variants, wanted), fault_bench.METRICS, runs, told)
            session.carry_out(partial(fault_bench.observe, count=invocations), rehearsed=False)
    session.tell([report.one_below_the_other(session.cells, session.metrics)], plot_to, as_json)


def _plan(memory: int, timeout: float, env: list[str] | None) -> Plan:
    return Plan(
        function=serving.function(),
        ingredients=Ingredients(),
        memory_mb=memory,
        timeout_s=timeout,
        environment=pairs(env or []),
    )


def _ours_and(only: list[str] | None, peers: list[str] | None) -> list[str]:
    """What is measured when nobody says: the layer as it is, beside the peers."""
    return only or ["fliptop", *pairs(peers or [], "--peer")]
