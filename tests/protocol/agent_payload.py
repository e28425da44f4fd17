"""`AgentPayload` as Google's protobuf library reads it, from a schema of its own (intake-wire, 5.2)."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

TYPES = {
    "string": FieldDescriptorProto.TYPE_STRING,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "double": FieldDescriptorProto.TYPE_DOUBLE,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "uint32": FieldDescriptorProto.TYPE_UINT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "uint64": FieldDescriptorProto.TYPE_UINT64,
    "fixed64": FieldDescriptorProto.TYPE_FIXED64,
}

# One field a line, as in a .proto file: [repeated] type name = number, or map<string,type> name = number.
MESSAGES = {
    "AgentPayload": """
        string hostName = 1
        string env = 2
        repeated TracerPayload tracerPayloads = 5
        map<string,string> tags = 6
        string agentVersion = 7
        double targetTPS = 8
        double errorTPS = 9
        bool rareSamplerEnabled = 10
    """,
    "TracerPayload": """
        string containerID = 1
        string languageName = 2
        string languageVersion = 3
        string tracerVersion = 4
        string runtimeID = 5
        repeated TraceChunk chunks = 6
        map<string,string> tags = 7
        string env = 8
        string hostname = 9
        string appVersion = 10
    """,
    "TraceChunk": """
        int32 priority = 1
        string origin = 2
        repeated Span spans = 3
        map<string,string> tags = 4
        bool droppedTrace = 5
    """,
    "Span": """
        string service = 1
        string name = 2
        string resource = 3
        uint64 traceID = 4
        uint64 spanID = 5
        uint64 parentID = 6
        int64 start = 7
        int64 duration = 8
        int32 error = 9
        map<string,string> meta = 10
        map<string,double> metrics = 11
        string type = 12
        map<string,bytes> meta_struct = 13
        repeated SpanLink spanLinks = 14
        repeated SpanEvent spanEvents = 15
    """,
    "SpanLink": """
        uint64 traceID = 1
        uint64 traceID_high = 2
        uint64 spanID = 3
        map<string,string> attributes = 4
        string tracestate = 5
        uint32 flags = 6
    """,
    "SpanEvent": """
        fixed64 time_unix_nano = 1
        string name = 2
        map<string,AttributeAnyValue> attributes = 3
    """,
    "AttributeAnyValue": """
        int32 type = 1
        string string_value = 2
        bool bool_value = 3
        int64 int_value = 4
        double double_value = 5
        AttributeArray array_value = 6
    """,
    "AttributeArray": "repeated AttributeArrayValue values = 1",
    "AttributeArrayValue": """
        int32 type = 1
        string string_value = 2
        bool bool_value = 3
        int64 int_value = 4
        double double_value = 5
    """,
}


def _schema() -> FileDescriptorProto:
    file = FileDescriptorProto(name="trace.proto", package="datadog.trace", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for line in filter(None, map(str.strip, fields.splitlines())):
            _add_field(message, name, line)
    return file


def _add_field(message: DescriptorProto, owner: str, line: str) -> None:
    written, number = line.split(" = ")
    kind, name = written.rsplit(" ", 1)
    field = message.field.add(name=name, number=int(number), label=FieldDescriptorProto.LABEL_OPTIONAL)
    if kind.startswith(("repeated ", "map<")):
        field.label = FieldDescriptorProto.LABEL_REPEATED
    if kind.startswith("map<"):
        nested = name.replace("_", " ").title().replace(" ", "") + "Entry"
        entry = message.nested_type.add(name=nested)
        entry.options.map_entry = True
        for number_, (part, part_kind) in enumerate(zip(("key", "value"), kind[4:-1].split(","), strict=True), 1):
            _set_type(entry.field.add(name=part, number=number_, label=FieldDescriptorProto.LABEL_OPTIONAL), part_kind)
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".datadog.trace.{owner}.{nested}"
    else:
        _set_type(field, kind.removeprefix("repeated "))


def _set_type(field: FieldDescriptorProto, kind: str) -> None:
    if kind in TYPES:
        field.type = TYPES[kind]
    else:
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".datadog.trace.{kind}"


_POOL = DescriptorPool()
_POOL.AddSerializedFile(_schema().SerializeToString())


def read(message: str, body: bytes) -> Any:
    """`body` as `message`. Raises if it is none, or has fields that the schema does not know."""
    found = GetMessageClass(_POOL.FindMessageTypeByName(f"datadog.trace.{message}"))()
    found.ParseFromString(body)
    known = type(found)()
    known.CopyFrom(found)
    known.DiscardUnknownFields()
    assert known == found, "unknown fields"
    return found


def payload(body: bytes) -> Any:
    """An `AgentPayload`."""
    return read("AgentPayload", body)


def span(body: bytes) -> Any:
    """A `Span`."""
    return read("Span", body)


def spans(agent_payload: Any) -> list[Any]:
    """All spans of a payload, in order."""
    chunks = (chunk for tracer in agent_payload.tracerPayloads for chunk in tracer.chunks)
    return [span for chunk in chunks for span in chunk.spans]
