"""The lab's Python function: writes the logs people write, and misbehaves when the event asks for it.

Fields of the event, all optional, in the order they act:

``lines``     that many numbered lines on stdout
``bytes``     one line of that many bytes
``allocate``  MB to allocate and touch
``sleep``     seconds to sleep
``raise``     message of an exception to raise
``exit``      status to exit the process with, at once

The answer is ``{"ok": true, "invocations": n}``, with the number of invocations this process has served.
"""

# ruff: noqa: T201 - stdout is a function's log
import json
import logging
import os
import time
from typing import Any

logger = logging.getLogger()
logger.setLevel(logging.INFO)
state: dict[str, Any] = {"invocations": 0, "ballast": []}

print("function is initialising")


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Lambda's entry point."""
    state["invocations"] += 1
    write_logs(context.aws_request_id)
    for index in range(event.get("lines", 0)):
        print(f"line {index}")
    if "bytes" in event:
        print("x" * event["bytes"])
    state["ballast"].append(bytearray(os.urandom(4096) * (event.get("allocate", 0) * 256)))
    time.sleep(event.get("sleep", 0))
    if "raise" in event:
        raise RuntimeError(event["raise"])
    if "exit" in event:
        os._exit(event["exit"])
    return {"ok": True, "invocations": state["invocations"]}


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
