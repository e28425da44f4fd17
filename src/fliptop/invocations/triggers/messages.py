"""Messages and streams: SQS, SNS, EventBridge, Kinesis, Kafka. Of a batch, the first record speaks for all.

Messages come wrapped: a topic's in a queue's, a bus's in a topic's or a queue's. The outer layer is a span,
and so is the one in it; a third one gives its trace context alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from fliptop.invocations.context import Context, carrier_of
from fliptop.invocations.options import Naming
from fliptop.invocations.triggers.origin import Origin, inferred
from fliptop.invocations.triggers.reading import (
    at,
    from_iso,
    from_ms,
    from_seconds,
    given,
    last_part,
    parsed,
    part,
    picked,
    text,
    unpacked,
)
from fliptop.traces.span import Span

_HEX: Final = frozenset("0123456789abcdef")


# --- SQS ---


def is_queue(event: Any) -> bool:
    """An SQS queue."""
    return text(event, "Records.0.eventSource") == "aws:sqs"


def queue(event: Any, naming: Naming) -> Origin:
    """See `is_queue`."""
    record = at(event, "Records.0")
    arn = text(record, "eventSourceARN")
    name = last_part(arn)
    meta = picked(record, _QUEUE) | given(operation_name="aws.sqs")
    said = picked(record, {tag: _QUEUE[tag] for tag in ("retry_count", "sender_id", "source_arn", "aws_region")})
    tags = _source("sqs", arn) | said
    service = naming.resolve(name, (name, "lambda_sqs"), "sqs")
    span = inferred("aws.sqs", name, service, from_ms(at(record, "attributes.SentTimestamp")), meta)
    body = parsed(at(record, "body"))
    wrapped = _wrapped(body, naming)
    if wrapped is not None and wrapped.name == "aws.sns":
        span.meta["function_trigger.event_source"] = "sns"
    headers = _attribute(at(record, "messageAttributes._datadog")) or _wrapped_headers(body)
    return Origin(tags, span, wrapped, headers, xray(text(record, "attributes.AWSTraceHeader")))


_QUEUE: Final = {
    "receipt_handle": "receiptHandle",
    "retry_count": "attributes.ApproximateReceiveCount",
    "sender_id": "attributes.SenderId",
    "source_arn": "eventSourceARN",
    "aws_region": "awsRegion",
}


def _attribute(attribute: Any) -> Any:
    """The carrier in a message attribute, which SQS and SNS spell differently; None if there is none."""
    kind = text(attribute, "dataType") or text(attribute, "Type")
    if kind.startswith("String"):
        return parsed(at(attribute, "stringValue") or at(attribute, "Value"))
    if kind.startswith("Binary"):
        return unpacked(at(attribute, "binaryValue") or at(attribute, "Value"))
    return None


def xray(value: str) -> Context | None:
    """The context that an X-Ray header writes. Datadog's tracers leave the time in it 0; in any other header the
    decision to sample is X-Ray's own, and says nothing about ours if it is a no.
    """
    fields = dict(piece.strip().partition("=")[::2] for piece in value.split(";"))
    root, parent = fields.get("Root", ""), fields.get("Parent", "")
    trace = part(root, 2, "-")[8:]
    if len(trace) != 16 or len(parent) != 16 or not _HEX.issuperset(trace + parent):
        return None
    trace_id, parent_id = int(trace, 16), int(parent, 16)
    sampled = 1 if fields.get("Sampled") == "1" else 0 if root.startswith(_DATADOGS) else None
    return Context(trace_id, parent_id, {}, sampled) if trace_id and parent_id else None


_DATADOGS: Final = "1-00000000-00000000"


# --- SNS ---


def is_topic(event: Any) -> bool:
    """An SNS topic."""
    return isinstance(at(event, "Records.0.Sns"), dict)


def topic(event: Any, naming: Naming) -> Origin:
    """See `is_topic`."""
    record = at(event, "Records.0")
    envelope = at(record, "Sns")
    span = _topic_span(envelope, naming)
    span.meta |= picked(record, {"event_subscription_arn": "EventSubscriptionArn"})
    message = parsed(at(envelope, "Message"))
    wrapped = _bus_span(message, naming) if _is_from_a_bus(message) else None
    headers = _attribute(at(envelope, "MessageAttributes._datadog")) or _wrapped_headers(message)
    return Origin(_source("sns", text(envelope, "TopicArn")), span, wrapped, headers)


def _topic_span(envelope: Any, naming: Naming) -> Span:
    name = last_part(text(envelope, "TopicArn"))
    service = naming.resolve(name, (name, "lambda_sns"), "sns")
    meta = picked(envelope, _TOPIC) | given(operation_name="aws.sns", topicname=name)
    return inferred("aws.sns", name, service, from_iso(at(envelope, "Timestamp")), meta)


_TOPIC: Final = {"topic_arn": "TopicArn", "message_id": "MessageId", "type": "Type", "subject": "Subject"}


def _wrapped(body: Any, naming: Naming) -> Span | None:
    """The span for what a queue's message has in it, if that is a message too."""
    if text(body, "TopicArn"):
        return _topic_span(body, naming)
    return _bus_span(body, naming) if _is_from_a_bus(body) else None


def _wrapped_headers(body: Any) -> Any:
    """The carrier in a topic's envelope or in an event of a bus, or in the one that is in the other."""
    found = _attribute(at(body, "MessageAttributes._datadog")) or at(body, "detail._datadog")
    return found or at(parsed(at(body, "Message")), "detail._datadog")


# --- EventBridge ---


def _is_from_a_bus(event: Any) -> bool:
    return bool(text(event, "detail-type") and text(event, "source"))


def is_bus(event: Any) -> bool:
    """EventBridge, but for what it does by the clock."""
    return bool(text(event, "detail-type")) and text(event, "source") != "aws.events"


def bus(event: Any, naming: Naming) -> Origin:
    """See `is_bus`. Where a rule names itself, that is the source's ARN."""
    rule = text(event, "resources.0")
    source = text(event, "source")
    tags = _source("eventbridge", rule if rule.startswith("arn:") else source)
    return Origin(tags, _bus_span(event, naming), headers=at(event, "detail._datadog"))


def _bus_span(event: Any, naming: Naming) -> Span:
    carrier = at(event, "detail._datadog")
    name = text(carrier, "x-datadog-resource-name") or text(event, "source")
    start = from_ms(at(carrier, "x-datadog-start-time")) or from_iso(at(event, "time"))
    meta = picked(event, {"detail_type": "detail-type"}) | given(operation_name="aws.eventbridge")
    service = naming.resolve(name, (name, "lambda_eventbridge"), "eventbridge")
    return inferred("aws.eventbridge", name, service, start, meta)


# --- Kinesis ---


def is_stream(event: Any) -> bool:
    """A Kinesis stream."""
    return isinstance(at(event, "Records.0.kinesis"), dict)


def stream(event: Any, naming: Naming) -> Origin:
    """See `is_stream`."""
    record = at(event, "Records.0")
    arn, number = text(record, "eventSourceARN"), text(record, "eventID")
    name = last_part(arn, "/")
    meta = picked(record, _STREAM) | given(
        operation_name="aws.kinesis", stream_name=name, shard_id=number.partition(":")[0]
    )
    service = naming.resolve(name, (name, "lambda_kinesis"), "kinesis")
    start = from_seconds(at(record, "kinesis.approximateArrivalTimestamp"))
    headers = at(unpacked(at(record, "kinesis.data")), "_datadog")
    return Origin(_source("kinesis", arn), inferred("aws.kinesis", name, service, start, meta), headers=headers)


_STREAM: Final = {
    "event_source_arn": "eventSourceARN",
    "event_id": "eventID",
    "event_name": "eventName",
    "event_version": "eventVersion",
    "partition_key": "kinesis.partitionKey",
}


# --- Kafka ---


def is_kafka(event: Any) -> bool:
    """A Kafka cluster, Amazon's (MSK) or one's own."""
    return any(True for _ in _kafka_records(event))


def _kafka_records(event: Any) -> Iterator[Any]:
    partitions = at(event, "records")
    for records in partitions.values() if isinstance(partitions, dict) else ():
        yield from (record for record in records if text(record, "topic")) if isinstance(records, list) else ()


def kafka(event: Any, naming: Naming) -> Origin:
    """See `is_kafka`. The record that says most is the first that carries a trace context."""
    record, headers = next(_kafka_records(event)), {}
    for candidate in _kafka_records(event):
        carried = carrier_of(_kafka_headers(candidate))
        if {"x-datadog-trace-id", "traceparent"} & carried.keys():
            record, headers = candidate, carried
            break
    arn, name = text(event, "eventSourceArn"), text(record, "topic")
    cluster = part(arn, 1)
    meta = picked(record, {"topic": "topic", "partition": "partition"}) | given(
        operation_name="aws.msk", event_source=text(event, "eventSource"), event_source_arn=arn
    )
    service = naming.resolve(cluster, (cluster, "lambda_msk"), "msk")
    span = inferred("aws.msk", name, service, from_ms(at(record, "timestamp")), meta)
    return Origin(_source("msk", arn), span, headers=headers)


def _kafka_headers(record: Any) -> dict[str, str]:
    headers = at(record, "headers")
    found: dict[str, str] = {}
    for one in headers if isinstance(headers, list) else ():
        for name, value in one.items() if isinstance(one, dict) else ():
            found[name] = _bytes(value).decode("utf-8", "replace")
    return found


def _bytes(value: Any) -> bytes:
    """Bytes as languages write them into JSON: numbers, numbers as text, or a map from places to either."""
    numbers = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    try:
        return bytes(int(number) % 256 for number in numbers)
    except (ValueError, TypeError, OverflowError):
        return b""


def _source(kind: str, arn: str) -> dict[str, str]:
    return given(function_trigger__event_source=kind, function_trigger__event_source_arn=arn)
