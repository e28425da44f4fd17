"""A function and its tracer, as those of Java, .NET and Go work: the extension makes the invocation's span.

Fields of the event: `hang`, seconds to wait; `raise`, a message to fail with; `status`, the HTTP status to answer;
`untold`: do not say that it is over; `named`: send the request id along.
"""

import http.client
import json
import random
import time
from collections.abc import Mapping
from typing import Any

import msgpack


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Lambda's entry point."""
    named = {"Lambda-Runtime-Aws-Request-Id": context.aws_request_id} if event.get("named") else {}
    said = post(8124, "/lambda/start-invocation", json.dumps(event).encode(), named)
    time.sleep(event.get("hang", 0))
    began, span_id = time.time_ns(), random.getrandbits(63)
    trace_id = int(said.get("x-datadog-trace-id") or random.getrandbits(63))
    own = {
        "resource": "dd-tracer-serverless-span",
        "meta": {"request_id": context.aws_request_id, "language": "jvm"},
        "metrics": {"_sampling_priority_v1": 1.0, "process_id": 8.0},
    }
    order = {"name": "shop.order", "resource": "POST /orders", "parent_id": span_id, "meta": {}, "metrics": {}}
    common = {"service": "shop", "trace_id": trace_id, "start": began, "duration": time.time_ns() - began, "error": 0}
    spans = [
        {**common, "name": "aws.lambda", "span_id": span_id, "parent_id": 0, **own},
        {**common, "span_id": random.getrandbits(63), **order},
    ]
    post(8126, "/v0.4/traces", msgpack.packb([spans]), {"Content-Type": "application/msgpack"})
    failed = {"x-datadog-invocation-error": "true", "x-datadog-invocation-error-msg": event.get("raise", "")}
    ids = {"x-datadog-trace-id": str(trace_id), "x-datadog-span-id": str(span_id), "x-datadog-sampling-priority": "1"}
    answer = {"statusCode": event.get("status", 200)}
    if not event.get("untold"):
        headers = {**named, **ids, **(failed if "raise" in event else {})}
        post(8124, "/lambda/end-invocation", json.dumps(answer).encode(), headers)
    if "raise" in event:
        raise RuntimeError(event["raise"])
    return answer


def post(port: int, path: str, body: bytes, headers: Mapping[str, str]) -> Mapping[str, str]:
    """The headers of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", path, body, dict(headers))
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return {name.lower(): value for name, value in answer.getheaders()}
