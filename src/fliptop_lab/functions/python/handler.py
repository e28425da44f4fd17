"""The lab's Python function: writes the logs people write, and misbehaves when the event asks for it.

Each invocation also sends metrics as DogStatsD, like any client library: a count, a gauge and a distribution. And
when its work is done, it sends a trace to the trace agent's port, as a tracer would: its spans, as msgpack; but for
``LAB_TRACES=off`` in the environment.

Fields of the event, all optional, in the order they act:

``lines``     that many numbered lines on stdout
``bytes``     one line of that many bytes
``allocate``  MB to allocate and touch
``metrics``   that many more distributions, a datagram each
``sleep``     seconds to sleep
``spans``     that many more spans in the trace
``raise``     message of an exception to raise
``exit``      status to exit the process with, at once

The answer is ``{"ok": true, "invocations": n}``, with the number of invocations this process has served.
"""

# ruff: noqa: T201 - stdout is a function's log
import contextlib
import http.client
import json
import logging
import os
import random
import socket
import time
from typing import Any

import msgpack

logger = logging.getLogger()
logger.setLevel(logging.INFO)
statsd = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
state: dict[str, Any] = {"invocations": 0, "ballast": []}

print("function is initialising")


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Lambda's entry point."""
    state["invocations"] += 1
    began = time.time_ns()
    write_logs(context.aws_request_id)
    send_metrics(event.get("metrics", 0))
    for index in range(event.get("lines", 0)):
        print(f"line {index}")
    if "bytes" in event:
        print("x" * event["bytes"])
    state["ballast"].append(bytearray(os.urandom(4096) * (event.get("allocate", 0) * 256)))
    time.sleep(event.get("sleep", 0))
    if os.environ.get("LAB_TRACES") != "off":
        send_trace(began, context, event)
    if "raise" in event:
        raise RuntimeError(event["raise"])
    if "exit" in event:
        os._exit(event["exit"])
    return {"ok": True, "invocations": state["invocations"]}


def send_metrics(more: int) -> None:
    """Nobody need listen: datagrams are sent whether or not they arrive."""
    lines = ["shop.orders:1|c|#kind:book", f"shop.stock:{100 - state['invocations']}|g", "shop.price:12.5:8:30|d"]
    for line in [*lines, *(f"shop.load:{number}|d" for number in range(more))]:
        statsd.sendto(line.encode(), ("127.0.0.1", 8125))


def send_trace(began: int, context: Any, event: dict[str, Any]) -> None:
    """What a tracer sends when an invocation ends. Whether anybody takes it must not matter to the function."""
    root = span("aws.lambda", context.function_name, began, type="serverless")
    root["meta"].update({"request_id": context.aws_request_id, "span.kind": "server"})
    root["metrics"]["_sampling_priority_v1"] = 1.0
    if "raise" in event:
        root["error"] = 1
        root["meta"].update({"error.message": event["raise"], "error.type": "RuntimeError"})
    order = span("shop.order", "POST /orders", began + 100_000, root, type="web")
    query = span("shop.query", "SELECT * FROM books WHERE id = 7", began + 200_000, order, type="sql")
    more = [span("shop.item", f"item {number}", began, order) for number in range(event.get("spans", 0))]
    headers = {"Content-Type": "application/msgpack", "X-Datadog-Trace-Count": "1", "Datadog-Meta-Lang": "python"}
    agent = http.client.HTTPConnection("127.0.0.1", 8126, timeout=1)
    with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(agent):
        agent.request("PUT", "/v0.4/traces", msgpack.packb([[root, order, query, *more]]), headers)
        agent.getresponse().read()


def span(name: str, resource: str, start: int, parent: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A span that lasts from `start` (ns since the epoch) until now, in the words of a tracer."""
    return {
        "service": os.environ.get("DD_SERVICE", "lab"),
        "name": name,
        "resource": resource,
        "trace_id": parent["trace_id"] if parent else random.getrandbits(63),
        "span_id": random.getrandbits(63),
        "parent_id": parent["span_id"] if parent else 0,
        "start": start,
        "duration": max(0, time.time_ns() - start),
        "error": 0,
        "meta": {"language": "python"},
        "metrics": {},
        **more,
    }


def write_logs(request_id: str) -> None:
    """One of each: a print, the levels, JSON, several lines at once."""
    print(f"hello from Python, invocation {state['invocations']}")
    logger.info("an order has arrived")
    logger.warning("stock is low")
    if state["invocations"] == 1:
        logger.error("the first order is always late")
    order = {"id": 7, "items": 3, "request": request_id}
    print(json.dumps({"level": "debug", "message": "order stored", "order": order}))
    print("two lines\nin one write")
