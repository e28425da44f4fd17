"""What changes in stores: DynamoDB tables and S3 buckets. Neither carries a trace context."""

from __future__ import annotations

from typing import Any, Final

from fliptop.invocations.options import Naming
from fliptop.invocations.triggers.origin import Origin, inferred
from fliptop.invocations.triggers.pointers import pointers
from fliptop.invocations.triggers.reading import at, from_iso, from_seconds, given, part, picked, text


def is_table(event: Any) -> bool:
    """A DynamoDB table's stream."""
    return isinstance(at(event, "Records.0.dynamodb"), dict)


def table(event: Any, naming: Naming) -> Origin:
    """See `is_table`."""
    record = at(event, "Records.0")
    arn = text(record, "eventSourceARN")
    name = part(arn, 1)
    meta = picked(record, _TABLE) | given(operation_name="aws.dynamodb", table_name=name)
    tags = given(function_trigger__event_source="dynamodb", function_trigger__event_source_arn=arn) | pointers(event)
    service = naming.resolve(name, (name, "lambda_dynamodb"), "dynamodb")
    start = from_seconds(at(record, "dynamodb.ApproximateCreationDateTime"))
    return Origin(tags, inferred("aws.dynamodb", f"{text(record, 'eventName')} {name}".strip(), service, start, meta))


_TABLE: Final = {
    "event_id": "eventID",
    "event_name": "eventName",
    "event_version": "eventVersion",
    "event_source_arn": "eventSourceARN",
    "size_bytes": "dynamodb.SizeBytes",
    "stream_view_type": "dynamodb.StreamViewType",
}


def is_bucket(event: Any) -> bool:
    """An S3 bucket."""
    return isinstance(at(event, "Records.0.s3"), dict)


def bucket(event: Any, naming: Naming) -> Origin:
    """See `is_bucket`."""
    record = at(event, "Records.0")
    name = text(record, "s3.bucket.name")
    meta = picked(record, _BUCKET) | given(operation_name="aws.s3")
    arn = text(record, "s3.bucket.arn") or text(record, "eventSource")
    tags = given(function_trigger__event_source="s3", function_trigger__event_source_arn=arn) | pointers(event)
    service = naming.resolve(name, (name, "lambda_s3"), "s3")
    return Origin(tags, inferred("aws.s3", name, service, from_iso(at(record, "eventTime")), meta))


_BUCKET: Final = {
    "event_name": "eventName",
    "bucketname": "s3.bucket.name",
    "bucket_arn": "s3.bucket.arn",
    "object_key": "s3.object.key",
    "object_size": "s3.object.size",
    "object_etag": "s3.object.eTag",
}
