"""A second opinion on traces: `AgentPayload` as Google's own protobuf reads it, by the published field numbers.

It shares nothing with what the extension writes with, or with what the lab reads with.
"""

from __future__ import annotations

import re
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, unknown_fields
from google.protobuf.message import Message

# Source: agent_payload.proto, tracer_payload.proto and span.proto of Datadog's agent (intake-wire, 5.2).
PROTO: Final = """
AgentPayload: 1 hostName string; 2 env string; 5 tracerPayloads TracerPayload[]; 6 tags map string;
 7 agentVersion string; 8 targetTPS double; 9 errorTPS double; 10 rareSamplerEnabled bool
TracerPayload: 1 containerID string; 2 languageName string; 3 languageVersion string; 4 tracerVersion string;
 5 runtimeID string; 6 chunks TraceChunk[]; 7 tags map string; 8 env string; 9 hostname string; 10 appVersion string
TraceChunk: 1 priority int32; 2 origin string; 3 spans Span[]; 4 tags map string; 5 droppedTrace bool
Span: 1 service string; 2 name string; 3 resource string; 4 traceID uint64; 5 spanID uint64; 6 parentID uint64;
 7 start int64; 8 duration int64; 9 error int32; 10 meta map string; 11 metrics map double; 12 type string;
 13 meta_struct map bytes; 14 spanLinks SpanLink[]; 15 spanEvents SpanEvent[]
SpanLink: 1 traceID uint64; 2 traceID_high uint64; 3 spanID uint64; 4 attributes map string; 5 tracestate string;
 6 flags uint32
SpanEvent: 1 time_unix_nano fixed64; 2 name string; 3 attributes map AttributeAnyValue
AttributeAnyValue: 1 type int32; 2 string_value string; 3 bool_value bool; 4 int_value int64; 5 double_value double;
 6 array_value AttributeArray
AttributeArray: 1 values AttributeArrayValue[]
AttributeArrayValue: 1 type int32; 2 string_value string; 3 bool_value bool; 4 int_value int64; 5 double_value double
"""
PACKAGE: Final = "datadog.trace"
Field = descriptor_pb2.FieldDescriptorProto


def parse(body: bytes, message: str = "AgentPayload") -> Any:
    """`body` as `message`. Raises Google's `DecodeError` for what is none, `AssertionError` for unknown fields."""
    parsed = _CLASSES[f"{PACKAGE}.{message}"]()
    parsed.ParseFromString(body)
    _assert_all_known(parsed)
    return parsed


def build(message: str = "AgentPayload", **values: Any) -> bytes:
    """The bytes of a `message` with these fields; messages in them are given as dictionaries."""
    serialized: bytes = _CLASSES[f"{PACKAGE}.{message}"](**values).SerializeToString()
    return serialized


def spans(payload: Any) -> list[Any]:
    """All spans of an `AgentPayload`, in its order."""
    return [span for tracer in payload.tracerPayloads for chunk in tracer.chunks for span in chunk.spans]


def _assert_all_known(message: Message) -> None:
    assert not len(unknown_fields.UnknownFieldSet(message)), type(message).__name__
    for field, value in message.ListFields():
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for each in value if field.is_repeated else [value]:
                _assert_all_known(each)


def _classes() -> dict[str, type[Message]]:
    file = descriptor_pb2.FileDescriptorProto(name="agent_payload.proto", package=PACKAGE, syntax="proto3")
    for name, fields in re.findall(r"^(\w+): ((?:.|\n )+)", PROTO, re.MULTILINE):
        message = file.message_type.add(name=name)
        for text in fields.split(";"):
            _add(message, *text.split())
    classes: dict[str, type[Message]] = message_factory.GetMessages([file], descriptor_pool.DescriptorPool())
    return classes


def _add(message: Any, number: str, name: str, kind: str, of: str = "") -> None:
    if kind == "map":
        entry = message.nested_type.add(name="".join(part.title() for part in name.split("_")) + "Entry")
        entry.options.map_entry = True
        _add(entry, "1", "key", "string")
        _add(entry, "2", "value", of)
        kind = f"{message.name}.{entry.name}[]"
    field = message.field.add(name=name, number=int(number), label=Field.LABEL_REPEATED if "[]" in kind else 1)
    scalar = getattr(Field, f"TYPE_{kind.upper()}", None)
    field.type = scalar or Field.TYPE_MESSAGE
    if scalar is None:
        field.type_name = f".{PACKAGE}.{kind.removesuffix('[]')}"


_CLASSES: Final = _classes()
