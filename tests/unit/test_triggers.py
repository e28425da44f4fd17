"""The catalogue of triggers: what is read from an event of each kind, whole, maimed, or of any other shape."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fliptop.invocations.arrival import Arrival, arrival
from fliptop.invocations.context import Context
from fliptop.invocations.options import InvocationOptions, Naming
from fliptop.invocations.triggers.http import parameterised
from fliptop.invocations.triggers.messages import xray
from fliptop.invocations.triggers.reading import LONGEST_TEXT, from_iso, from_ms, from_seconds

NAMING = Naming("shop", "orders", "eu-west-1", {})
CARRIER = {"x-datadog-trace-id": "1234", "x-datadog-parent-id": "56", "x-datadog-sampling-priority": "1"}
CONTEXT = Context(1234, 56, {}, 1)


def arrived(event: Any, naming: Naming = NAMING, headers: Any = None) -> Arrival:
    return arrival(event, headers or {}, InvocationOptions(naming))


def packed(value: Any) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


# --- one event of each kind, in the shape that AWS documents ---

HTTP_API = {
    "version": "2.0",
    "routeKey": "GET /users/{id}",
    "rawPath": "/users/17",
    "rawQueryString": "a=1&b=2",
    "headers": {
        "x-datadog-trace-id": "1234",
        "X-Datadog-Parent-Id": "56",
        "x-datadog-sampling-priority": "1",
        "Referer": "r",
    },
    "requestContext": {
        "accountId": "123456789012",
        "apiId": "api-id",
        "domainName": "id.execute-api.eu-west-1.amazonaws.com",
        "domainPrefix": "id",
        "http": {
            "method": "GET",
            "path": "/users/17",
            "protocol": "HTTP/1.1",
            "sourceIp": "192.0.2.1",
            "userAgent": "curl/8",
        },
        "requestId": "JKJaXmPLvHcESHA=",
        "routeKey": "GET /users/{id}",
        "stage": "$default",
        "time": "10/Mar/2020:05:16:23 +0000",
        "timeEpoch": 1583817383220,
    },
    "isBase64Encoded": False,
}
REST_API = {
    "resource": "/users/{id}",
    "path": "/users/17",
    "httpMethod": "POST",
    "headers": {**CARRIER, "User-Agent": "curl/8"},
    "multiValueHeaders": {"User-Agent": ["curl/8"]},
    "requestContext": {
        "accountId": "123456789012",
        "apiId": "id",
        "domainName": "id.execute-api.eu-west-1.amazonaws.com",
        "httpMethod": "POST",
        "identity": {"sourceIp": "192.0.2.1", "userAgent": "curl/8"},
        "path": "/prod/users/17",
        "protocol": "HTTP/1.1",
        "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
        "requestTimeEpoch": 1583798639428,
        "resourcePath": "/users/{id}",
        "stage": "prod",
    },
}
WEBSOCKET = {
    "headers": CARRIER,
    "requestContext": {
        "routeKey": "sendMessage",
        "messageId": "Ut8dQfhvoAMCFOA=",
        "eventType": "MESSAGE",
        "messageDirection": "IN",
        "stage": "dev",
        "requestTimeEpoch": 1583798639428,
        "requestId": "Ut8dQF9noAMFvtg=",
        "domainName": "ws.execute-api.eu-west-1.amazonaws.com",
        "connectionId": "Ut8dQfhvoAMCFOA=",
        "apiId": "ws",
    },
    "body": "{}",
}
LOAD_BALANCER = {
    "requestContext": {
        "elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/tg/49e9d65c"}
    },
    "httpMethod": "GET",
    "path": "/lambda",
    "multiValueHeaders": {name: [value] for name, value in CARRIER.items()},
}
FUNCTION_URL = {
    **HTTP_API,
    "routeKey": "$default",
    "requestContext": {**HTTP_API["requestContext"], "domainName": "id.lambda-url.eu-west-1.on.aws", "apiId": "id"},  # type: ignore[dict-item]
}
ATTRIBUTE = {"stringValue": json.dumps(CARRIER), "stringListValues": [], "binaryListValues": [], "dataType": "String"}
QUEUE = {
    "Records": [
        {
            "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
            "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...",
            "body": "Test message.",
            "attributes": {
                "ApproximateReceiveCount": "1",
                "SentTimestamp": "1545082649183",
                "SenderId": "AIDAIENQZJOLO23YVJ4VO",
                "ApproximateFirstReceiveTimestamp": "1545082649185",
            },
            "messageAttributes": {"_datadog": ATTRIBUTE},
            "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-2:123456789012:my-queue",
            "awsRegion": "us-east-2",
        }
    ]
}
ENVELOPE = {
    "Type": "Notification",
    "MessageId": "95df01b4-ee98-5cb9-9903-4c221d41eb5e",
    "TopicArn": "arn:aws:sns:eu-west-1:123456789012:news",
    "Subject": "TestInvoke",
    "Message": "Hello from SNS!",
    "Timestamp": "2019-01-02T12:45:07.000Z",
    "MessageAttributes": {"_datadog": {"Type": "Binary", "Value": packed(CARRIER)}},
}
TOPIC = {
    "Records": [
        {
            "EventVersion": "1.0",
            "EventSubscriptionArn": "arn:aws:sns:eu-west-1:123456789012:news:21be56ed",
            "EventSource": "aws:sns",
            "Sns": ENVELOPE,
        }
    ]
}
TABLE = {
    "Records": [
        {
            "eventID": "c4ca4238a0b923820dcc509a6f75849b",
            "eventName": "INSERT",
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": "eu-west-1",
            "dynamodb": {
                "Keys": {"Id": {"N": "101"}},
                "NewImage": {"Message": {"S": "New item!"}, "Id": {"N": "101"}},
                "ApproximateCreationDateTime": 1428537600,
                "SequenceNumber": "4421584500000000017450439091",
                "SizeBytes": 26,
                "StreamViewType": "NEW_AND_OLD_IMAGES",
            },
            "eventSourceARN": "arn:aws:dynamodb:eu-west-1:123456789012:table/things/stream/2015-06-27T00:48:05.899",
        }
    ]
}
BUCKET = {
    "Records": [
        {
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": "eu-west-1",
            "eventTime": "2019-09-03T19:37:27.192Z",
            "eventName": "ObjectCreated:Put",
            "s3": {
                "bucket": {
                    "name": "pictures",
                    "ownerIdentity": {"principalId": "A3I5"},
                    "arn": "arn:aws:s3:::pictures",
                },
                "object": {
                    "key": "b21b84d6",
                    "size": 1305107,
                    "eTag": "b21b84d653bb07b05b1e6b33684dc11b",
                    "sequencer": "0C0F",
                },
            },
        }
    ]
}
BUS = {
    "version": "0",
    "id": "bd3c8258-8d30-007c-2562-64715b2d0ea8",
    "detail-type": "OrderPlaced",
    "source": "shop.orders",
    "account": "123456789012",
    "time": "2022-01-24T16:00:10Z",
    "region": "eu-west-1",
    "resources": [],
    "detail": {"_datadog": {**CARRIER, "x-datadog-start-time": "1643040010000", "x-datadog-resource-name": "my-bus"}},
}
STREAM = {
    "Records": [
        {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": "1",
                "sequenceNumber": "49590338271490256608559692538361571095921575989136588898",
                "data": packed({"_datadog": CARRIER}),
                "approximateArrivalTimestamp": 1545084650.987,
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": "shardId-000000000006:49590338271490256608559692538361571095921575989136588898",
            "eventName": "aws:kinesis:record",
            "awsRegion": "eu-west-1",
            "eventSourceARN": "arn:aws:kinesis:eu-west-1:123456789012:stream/clicks",
        }
    ]
}
KAFKA = {
    "eventSource": "aws:kafka",
    "eventSourceArn": "arn:aws:kafka:eu-west-1:123456789012:cluster/vpc-2priv-2pub/751d2973-2",
    "bootstrapServers": "b-2.demo-cluster-1.a1bcde.c1.kafka.eu-west-1.amazonaws.com:9092",
    "records": {
        "mytopic-0": [
            {
                "topic": "mytopic",
                "partition": 0,
                "offset": 15,
                "timestamp": 1545084650987,
                "value": "SGVsbG8=",
                "headers": [],
            },
            {
                "topic": "mytopic",
                "partition": 3,
                "offset": 16,
                "timestamp": 1545084650988,
                "headers": [{name: list(value.encode())} for name, value in CARRIER.items()],
            },
        ]
    },
}
STEP = {
    "Execution": {"Id": "arn:aws:states:eu-west-1:123456789012:execution:machine:run-1", "RedriveCount": 0},
    "StateMachine": {"Id": "arn:aws:states:eu-west-1:123456789012:stateMachine:machine", "Name": "machine"},
    "State": {"Name": "Task", "EnteredTime": "2024-06-04T19:11:53.432Z", "RetryCount": 0},
}
STEP_IDS = (8620688728279447705, 1078601379373846996, {"_dd.p.tid": "7fb335ce3dbae887"})
ALL: dict[str, dict[str, Any]] = {
    "http": HTTP_API,
    "rest": REST_API,
    "websocket": WEBSOCKET,
    "alb": LOAD_BALANCER,
    "url": FUNCTION_URL,
    "sqs": QUEUE,
    "sns": TOPIC,
    "dynamodb": TABLE,
    "s3": BUCKET,
    "eventbridge": BUS,
    "kinesis": STREAM,
    "msk": KAFKA,
    "states": STEP,
}
SOURCES = dict(zip(ALL, ALL, strict=True)) | {
    **dict.fromkeys(("http", "rest", "websocket"), "api-gateway"),
    "alb": "application-load-balancer",
    "url": "lambda-function-url",
}


# --- what is the same for all ---


@pytest.mark.parametrize("kind", ALL)
def test_each_event_is_known_by_its_source(kind: str) -> None:
    assert arrived(ALL[kind]).origin.tags["function_trigger.event_source"] == SOURCES[kind]


@pytest.mark.parametrize("kind", set(ALL) - {"dynamodb", "s3", "states"})
def test_each_carries_a_trace_context(kind: str) -> None:
    assert arrived(ALL[kind]).context == CONTEXT


@pytest.mark.parametrize("kind", set(ALL) - {"alb", "states"})
def test_each_has_a_span(kind: str) -> None:
    span = arrived(ALL[kind]).origin.span
    assert span is not None
    assert span.start > 1_400_000_000_000_000_000
    assert span.service and span.name.startswith("aws.") and span.resource


@pytest.mark.parametrize("kind", ALL)
def test_who_waits_for_the_answer(kind: str) -> None:
    assert arrived(ALL[kind]).origin.waits == (kind in {"http", "rest", "url"})


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield (*path, name)
        yield from places(inner, (*path, name))


def without(event: Any, path: tuple[Any, ...], instead: Any) -> Any:
    maimed = copy.deepcopy(event)
    inner = maimed
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = instead
    return maimed


@pytest.mark.parametrize("kind", ALL)
def test_what_is_missing_costs_what_it_would_have_been(kind: str, said: list[str]) -> None:
    """Whatever one field holds: nothing is raised, on the outside or within."""
    from fliptop import report

    report.set_level("debug")
    for path in places(ALL[kind]):
        for instead in (None, {}, [], "", "x", 5, -1.5, True, {"a": "b"}, ["a"], "Ünï", 10**30):
            found = arrived(without(ALL[kind], path, instead))
            assert isinstance(found.origin.tags, dict)
    assert said == []


@pytest.mark.parametrize("kind", set(ALL) - {"alb", "states"})
def test_optional_fields_are_optional(kind: str) -> None:
    """Few fields are what makes the event what it is. There, most are."""
    left = [arrived(without(ALL[kind], path, None)).origin.span is not None for path in places(ALL[kind])]
    assert sum(left) / len(left) > 0.7


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
keys = st.sampled_from(sorted({str(name) for event in ALL.values() for path in places(event) for name in path}))
eventlike = st.recursive(
    anything, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=6), max_leaves=30
)


@settings(max_examples=300)
@given(
    eventlike
    | st.sampled_from(list(ALL.values())).flatmap(
        lambda event: st.tuples(st.just(event), st.sampled_from(list(places(event))), anything).map(
            lambda change: without(*change)
        )
    )
)
def test_any_event_gives_a_bounded_answer(event: Any) -> None:
    found = arrived(event)
    spans = [span for span in (found.origin.span, found.origin.wrapped) if span]
    for meta in (found.origin.tags, *(span.meta for span in spans)):
        assert all(isinstance(value, str) and len(value) <= 4 * LONGEST_TEXT for value in meta.values())
        assert len(meta) < 20
    assert all(0 <= span.start < 2**63 for span in spans)
    assert found.context is None or 0 < found.context.trace_id < 2**64


@pytest.mark.parametrize(
    "event", [{}, [], None, "text", 5, {"Records": []}, {"detail-type": "Scheduled Event", "source": "aws.events"}]
)
def test_other_events_say_nothing(event: Any) -> None:
    found = arrived(event)
    assert (found.origin.tags, found.origin.span, found.context) == ({}, None, None)


# --- each by itself ---


def test_http_api() -> None:
    origin = arrived(HTTP_API).origin
    assert origin.span is not None
    domain, url = "id.execute-api.eu-west-1.amazonaws.com", "https://id.execute-api.eu-west-1.amazonaws.com/users/17"
    assert (origin.span.name, origin.span.resource, origin.span.service) == (
        "aws.httpapi",
        "GET /users/{user_id}",
        domain,
    )
    assert (origin.span.start, origin.span.type) == (1583817383220_000_000, "web")
    assert origin.span.meta == {
        "endpoint": "/users/17",
        "http.url": url,
        "http.method": "GET",
        "http.protocol": "HTTP/1.1",
        "http.source_ip": "192.0.2.1",
        "http.user_agent": "curl/8",
        "request_id": "JKJaXmPLvHcESHA=",
        "dd_resource_key": "arn:aws:apigateway:eu-west-1::/apis/api-id",
    }
    assert origin.tags == {
        "function_trigger.event_source": "api-gateway",
        "function_trigger.event_source_arn": "arn:aws:apigateway:eu-west-1::/apis/api-id/stages/$default",
        "http.url": url,
        "http.url_details.path": "/users/17",
        "http.method": "GET",
        "http.route": "/users/{id}",
        "http.referer": "r",
        "http.user_agent": "curl/8",
    }


def test_rest_api() -> None:
    origin = arrived(REST_API).origin
    assert origin.span is not None
    assert (origin.span.name, origin.span.resource) == ("aws.apigateway", "POST /prod/users/{user_id}")
    assert origin.span.meta["http.route"] == origin.tags["http.route"] == "/users/{id}"
    assert origin.span.meta["dd_resource_key"] == "arn:aws:apigateway:eu-west-1::/restapis/id"
    assert origin.tags["function_trigger.event_source_arn"] == "arn:aws:apigateway:eu-west-1::/restapis/id/stages/prod"


def test_the_console_s_test_of_a_rest_api_has_no_headers() -> None:
    """What Datadog's extension makes nothing of."""
    found = arrived(REST_API | {"headers": None, "multiValueHeaders": None})
    assert found.origin.span is not None
    assert found.context is None


def test_websocket() -> None:
    origin = arrived(WEBSOCKET).origin
    assert origin.span is not None
    assert (origin.span.name, origin.span.resource) == ("aws.apigateway", "sendMessage")
    assert origin.span.meta.keys() >= {"connection_id", "message_direction", "event_type", "apiid", "stage", "endpoint"}
    assert origin.tags["function_trigger.event_source_arn"] == "arn:aws:apigateway:eu-west-1::/apis/ws/stages/dev"


def test_load_balancer() -> None:
    origin = arrived(LOAD_BALANCER).origin
    assert origin.span is None
    assert origin.tags["http.method"] == "GET"
    assert origin.tags["function_trigger.event_source_arn"].endswith("targetgroup/tg/49e9d65c")


def test_function_url() -> None:
    china = Naming("shop", "orders", "cn-north-1", {})
    origin = arrived(FUNCTION_URL, china).origin
    assert origin.span is not None
    assert (origin.span.name, origin.span.type, origin.span.resource) == ("aws.lambda.url", "http", "GET /users/17")
    arn = "arn:aws-cn:lambda:cn-north-1:123456789012:url:orders"
    assert origin.tags["function_trigger.event_source_arn"] == arn


@pytest.mark.parametrize("name", ["headers", "multiValueHeaders"])
def test_who_calls_an_api_without_waiting_says_so(name: str) -> None:
    value = "Event" if name == "headers" else ["Event"]
    assert not arrived(HTTP_API | {"headers": {}} | {name: {"X-Amz-Invocation-Type": value}}).origin.waits


def test_queue() -> None:
    origin = arrived(QUEUE).origin
    assert origin.span is not None
    assert (origin.span.name, origin.span.resource, origin.span.service) == ("aws.sqs", "my-queue", "my-queue")
    assert origin.span.start == 1545082649183_000_000
    assert origin.span.meta == {
        "operation_name": "aws.sqs",
        "receipt_handle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...",
        "retry_count": "1",
        "sender_id": "AIDAIENQZJOLO23YVJ4VO",
        "source_arn": "arn:aws:sqs:us-east-2:123456789012:my-queue",
        "aws_region": "us-east-2",
    }
    assert origin.tags["function_trigger.event_source_arn"] == "arn:aws:sqs:us-east-2:123456789012:my-queue"
    assert origin.tags["retry_count"] == "1"


def message(body: Any, **more: Any) -> Any:
    return {"Records": [QUEUE["Records"][0] | {"body": json.dumps(body), "messageAttributes": {}} | more]}


def test_a_topic_s_message_in_a_queue() -> None:
    found = arrived(message(ENVELOPE))
    assert found.context == CONTEXT
    assert found.origin.span is not None
    assert found.origin.wrapped is not None
    assert (found.origin.span.name, found.origin.wrapped.name) == ("aws.sqs", "aws.sns")
    assert found.origin.span.meta["function_trigger.event_source"] == "sns"
    assert found.origin.wrapped.meta["topicname"] == "news"


@pytest.mark.parametrize("outer", ["aws.sqs", "aws.sns"])
def test_a_bus_s_event_in_a_queue_or_a_topic(outer: str) -> None:
    inner = ENVELOPE | {"Message": json.dumps(BUS), "MessageAttributes": {}}
    found = arrived(message(BUS) if outer == "aws.sqs" else {"Records": [{"Sns": inner}]})
    assert found.context == CONTEXT
    assert found.origin.span is not None
    assert found.origin.wrapped is not None
    assert (found.origin.span.name, found.origin.wrapped.name) == (outer, "aws.eventbridge")
    assert found.origin.wrapped.service == "my-bus"


def test_a_bus_s_event_in_a_topic_s_message_in_a_queue_s() -> None:
    found = arrived(message(ENVELOPE | {"Message": json.dumps(BUS), "MessageAttributes": {}}))
    assert found.context == arrived(BUS).context is not None


def test_a_binary_attribute() -> None:
    attribute = {"dataType": "Binary", "binaryValue": packed(CARRIER)}
    assert arrived(message({}, messageAttributes={"_datadog": attribute})).context == CONTEXT


def test_a_number_in_a_carrier_costs_nothing_else() -> None:
    """There, one value that is no text discards all."""
    attribute = ATTRIBUTE | {"stringValue": json.dumps({**CARRIER, "retries": 3, "x-datadog-sampling-priority": 1})}
    assert arrived(message({}, messageAttributes={"_datadog": attribute})).context == CONTEXT


@pytest.mark.parametrize(
    ("header", "context"),
    [
        ("Root=1-00000000-000000000000000000000abc;Parent=000000000000000f;Sampled=1", Context(0xABC, 15, {}, 1)),
        ("Root=1-00000000-000000000000000000000abc;Parent=000000000000000f;Sampled=0", Context(0xABC, 15, {}, 0)),
        (
            "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
            Context(0xE1BE46A994272793, 0x53995C3F42CD8AD8, {}, 1),
        ),
        (
            "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0",
            Context(0xE1BE46A994272793, 0x53995C3F42CD8AD8, {}, None),
        ),
        ("Root=1-5759e988-bd86;Parent=53995c3f42cd8ad8;Sampled=1", None),
        ("Root=1-00000000-000000000000000000000000;Parent=000000000000000f;Sampled=1", None),
        ("Root=", None),
        ("", None),
    ],
)
def test_xray_headers(header: str, context: Context | None) -> None:
    assert xray(header) == context
    attributes = {"AWSTraceHeader": header, "SentTimestamp": "1545082649183"}
    assert arrived(message("text", attributes=attributes)).context == context


def test_topic() -> None:
    origin = arrived(TOPIC).origin
    assert origin.span is not None
    assert (origin.span.name, origin.span.resource) == ("aws.sns", "news")
    assert origin.span.start == 1546433107_000_000_000
    assert origin.span.meta.keys() == {
        *("operation_name", "topicname", "topic_arn", "message_id", "type", "subject", "event_subscription_arn")
    }


def test_table() -> None:
    origin = arrived(TABLE).origin
    assert origin.span is not None
    assert (origin.span.name, origin.span.resource, origin.span.start) == (
        "aws.dynamodb",
        "INSERT things",
        1428537600_000_000_000,
    )
    assert (origin.span.meta["table_name"], origin.span.meta["size_bytes"]) == ("things", "26")


def test_bucket() -> None:
    origin = arrived(BUCKET).origin
    assert origin.span is not None
    assert (origin.span.name, origin.span.resource) == ("aws.s3", "pictures")
    assert (origin.span.meta["object_key"], origin.span.meta["object_size"]) == ("b21b84d6", "1305107")
    assert origin.tags["function_trigger.event_source_arn"] == "arn:aws:s3:::pictures"


def pointed(event: Any) -> list[tuple[str, str]]:
    links = json.loads(arrived(event).origin.tags.get("_dd.span_links", "[]"))
    assert all((link["trace_id"], link["attributes"]["ptr.dir"]) == ("0", "u") for link in links)
    return [(link["attributes"]["ptr.kind"], link["attributes"]["ptr.hash"]) for link in links]


def stored(key: str, etag: str) -> dict[str, Any]:
    return {"s3": {"bucket": {"name": "some-bucket"}, "object": {"key": key, "eTag": etag}}}


def test_pointers_to_objects() -> None:
    """The hash is the one in Datadog's documents."""
    known = ("aws.s3.object", "e721375466d4116ab551213fdea08413")
    event = {"Records": [stored("some-key.data", '"ab12ef34"'), stored("some%2Dkey.data", "ab12ef34"), stored("x", "")]}
    assert pointed(event) == [known, known]


def changed(keys: Any) -> dict[str, Any]:
    arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/some-table/stream/2015"
    return {"Records": [{"eventSourceARN": arn, "dynamodb": {"Keys": keys}}]}


@pytest.mark.parametrize(
    "value", [{"S": "some-value"}, {"N": "some-value"}, {"B": base64.b64encode(b"some-value").decode()}]
)
def test_pointers_to_items(value: dict[str, str]) -> None:
    assert pointed(changed({"some-key": value})) == [("aws.dynamodb.item", "7f1aee721472bcb48701d45c7c7f7821")]


def test_an_item_may_have_two_keys_in_any_order() -> None:
    one, two = {"a": {"S": "x"}, "b": {"N": "1"}}, {"b": {"N": "1"}, "a": {"S": "x"}}
    assert pointed(changed(one)) == pointed(changed(two)) != pointed(changed({"a": {"S": "x"}}))


@pytest.mark.parametrize(
    "keys", [{}, None, {"a": {}}, {"a": {"B": "?"}}, {"a": {"S": 1}}, {key: {"S": "x"} for key in "abc"}]
)
def test_what_is_no_key_points_nowhere(keys: Any) -> None:
    assert pointed(changed(keys)) == []


def test_bus() -> None:
    origin = arrived(BUS).origin
    assert origin.span is not None
    assert (origin.span.resource, origin.span.service, origin.span.start) == (
        "my-bus",
        "my-bus",
        1643040010_000_000_000,
    )
    plain = arrived(BUS | {"detail": {}, "resources": ["arn:aws:events:eu-west-1:1:rule/r"]}).origin
    assert plain.span is not None
    assert (plain.span.resource, plain.span.start) == ("shop.orders", 1643040010_000_000_000)
    assert plain.tags["function_trigger.event_source_arn"] == "arn:aws:events:eu-west-1:1:rule/r"


def test_stream() -> None:
    origin = arrived(STREAM).origin
    assert origin.span is not None
    assert (origin.span.resource, origin.span.meta["shard_id"]) == ("clicks", "shardId-000000000006")
    assert origin.span.start == 1545084650987_000_000


@pytest.mark.parametrize(
    "write",
    [
        lambda value: list(value.encode()),
        lambda value: [str(byte) for byte in value.encode()],
        lambda value: {str(place): str(byte) for place, byte in enumerate(value.encode())},
        lambda value: [byte - 256 if byte > 127 else byte for byte in value.encode()],
    ],
)
def test_kafka_headers_are_bytes_in_many_ways(write: Any) -> None:
    headers = [{name.title(): write(value)} for name, value in CARRIER.items()]
    record = KAFKA["records"]["mytopic-0"][1] | {"headers": headers}  # type: ignore[index]
    found = arrived(KAFKA | {"records": {"a-0": [KAFKA["records"]["mytopic-0"][0], record]}})  # type: ignore[index]
    assert found.context == CONTEXT
    assert found.origin.span is not None
    assert (found.origin.span.resource, found.origin.span.meta["partition"]) == ("mytopic", "3")
    assert found.origin.span.service == "vpc-2priv-2pub"


@pytest.mark.parametrize(
    "wrap", [lambda e: e, lambda e: {"Payload": e}, lambda e: {"_datadog": e}, lambda e: {"Payload": {"_datadog": e}}]
)
def test_steps_of_one_execution_share_a_trace(wrap: Any) -> None:
    retried = STEP | {"State": {"Name": "Task", "EnteredTime": "2024-06-04T19:11:53.432Z", "RetryCount": 1}}
    found, again, elsewhere = (arrived(wrap(event)) for event in (STEP, retried, STEP | {"RootExecutionId": "r"}))
    assert found.context is not None
    assert again.context is not None
    assert elsewhere.context is not None
    assert (found.context.priority, found.context.origin) == (1, "states")
    assert found.context.trace_id == again.context.trace_id != elsewhere.context.trace_id
    assert found.context.parent_id != again.context.parent_id
    assert found.origin.tags["function_trigger.event_source_arn"].endswith("stateMachine:machine")


def test_the_ids_of_an_execution_are_those_that_datadog_gives_its_spans() -> None:
    """SHA-256 of the name: computed beside the code, by hand."""
    context = arrived(STEP).context
    assert context is not None
    assert context == Context(*STEP_IDS, 1, "states")


def test_an_execution_that_a_function_began_is_in_its_trace() -> None:
    context = arrived(
        STEP | {"x-datadog-trace-id": "77", "x-datadog-tags": "_dd.p.tid=66fcb5eb00000000,_dd.p.x=\r"}
    ).context
    assert context is not None
    assert (context.trace_id, context.tags) == (77, {"_dd.p.tid": "66fcb5eb00000000"})


def test_any_event_may_have_headers() -> None:
    assert arrived({"request": {"headers": CARRIER}}).context == CONTEXT
    assert arrived({"headers": {name.upper(): value for name, value in CARRIER.items()}}).context == CONTEXT
    assert arrived({}, headers=CARRIER).context == CONTEXT
    assert arrived({"headers": CARRIER}, headers={"x-datadog-trace-id": "5"}).context == CONTEXT


# --- names ---


@pytest.mark.parametrize(
    ("mapping", "by_instance", "service"),
    [
        ({}, True, "my-queue"),
        ({}, False, "sqs"),
        ({"lambda_sqs": "queues"}, True, "queues"),
        ({"lambda_sqs": "queues", "my-queue": "mine"}, False, "mine"),
        ({"lambda_sns": "topics"}, True, "my-queue"),
    ],
)
def test_services_are_named_as_the_user_says(mapping: dict[str, str], by_instance: bool, service: str) -> None:
    span = arrived(QUEUE, NAMING._replace(mapping=mapping, by_instance=by_instance)).origin.span
    assert span is not None
    assert span.service == service


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/", "/"),
        ("", "/"),
        ("/users", "/users"),
        ("/users/17", "/users/{user_id}"),
        ("/17", "/{id}"),
        ("/id/17", "/id/{id}"),
        ("/users/17/18", "/users/{user_id}/{id}"),
        ("/users/a17/", "/users/a17"),
        ("/a//b", "/a/b"),
        ("/users/{id}", "/users/{id}"),
        ("/x/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/x/{x_id}"),
        ("/orders/order-123e4567-e89b-12d3-a456-426614174000", "/orders/{order_id}"),
    ],
)
def test_values_in_paths_get_names(path: str, named: str) -> None:
    assert parameterised(path) == named


@given(anything | st.floats() | st.integers())
def test_times_are_sound_or_nothing(value: Any) -> None:
    assert all(0 <= read(value) < 2**63 for read in (from_ms, from_seconds, from_iso))
