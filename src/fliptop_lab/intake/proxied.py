"""What an extension passes on unread: profiles, LLM observability, the debugger, telemetry of libraries, data streams.

Each is taken apart far enough to tell in a line what it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgpack

from fliptop_lab.intake.body import load_json
from fliptop_lab.intake.refusals import Refusal


@dataclass(frozen=True)
class Proxied:
    """One payload of ``product``. ``told`` is the line, ``document`` what was decoded, ``attachments`` the bytes
    of each file beside it (how many). ``headers`` have lower-case names; ``query`` is what came behind the path.
    """

    path: str
    product: str
    told: str
    document: Any = field(repr=False)
    attachments: dict[str, int]
    headers: Mapping[str, str] = field(repr=False)
    query: str = ""


PRODUCTS = {
    "/api/v2/profile": "profiling",
    "/api/v2/llmobs": "llm spans",
    "/api/intake/llm-obs/v1/eval-metric": "llm evaluations",
    "/api/intake/llm-obs/v2/eval-metric": "llm evaluations",
    "/api/v2/debugger": "debugger",
    "/api/v2/apmtelemetry": "telemetry",
    "/api/v0.1/pipeline_stats": "data streams",
}
"""What each path is for."""


def decode_proxied(path: str, query: str, headers: Mapping[str, str], body: bytes) -> list[Proxied]:
    """One payload as a list of one; ``Refusal`` 400 when it is not what its path and content type say."""
    product = PRODUCTS[path]
    document, attachments = _opened(product, headers.get("content-type", ""), body)
    try:
        told = _TOLD[product](document)
    except (LookupError, TypeError, AttributeError) as error:
        raise Refusal(400, f"the body is not one of {product}: {error!r}") from error
    return [Proxied(path, product, told, document, attachments, dict(headers), query)]


def _opened(product: str, content_type: str, body: bytes) -> tuple[Any, dict[str, int]]:
    if content_type.lower().startswith("multipart/form-data"):
        files = form_data(content_type, body)
        if "event" not in files:
            raise Refusal(400, f"the form has no part 'event', but {', '.join(files) or 'none at all'}")
        return load_json(files.pop("event")), {name: len(content) for name, content in files.items()}
    if product == "profiling":
        raise Refusal(415, f"a profile is multipart/form-data, not {content_type or 'absent'!r}")
    if product != "data streams":
        return load_json(body), {}
    try:
        return msgpack.unpackb(body, strict_map_key=False), {}
    except (ValueError, msgpack.UnpackException) as error:
        raise Refusal(400, f"the body is not msgpack: {error!r}") from error


def form_data(content_type: str, body: bytes) -> dict[str, bytes]:
    """The parts of a form (RFC 7578) by name; ``Refusal`` 400 when it is none."""
    boundary = re.search(r'boundary="?([^";,]+)', content_type, re.IGNORECASE)
    if boundary is None:
        raise Refusal(400, f"no boundary in {content_type!r}")
    marker = b"\r\n--" + boundary[1].encode()
    first, *parts = (b"\r\n" + body).split(marker)
    if first.strip() or not parts or not parts[-1].startswith(b"--"):
        raise Refusal(400, "the form does not begin and end with its boundary")
    return dict(_part(part) for part in parts[:-1])


def _part(part: bytes) -> tuple[str, bytes]:
    head, separator, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
    name = re.search(rb'content-disposition:[^\r\n]*\bname="?([^";\r\n]*)', head, re.IGNORECASE)
    if not separator or name is None:
        raise Refusal(400, f"a part of the form has no name: {head[:100]!r}")
    return name[1].decode(errors="replace"), content


def _profile(event: Any) -> str:
    return f"{event['family']}, {event['start']} to {event['end']}"


def _llm_spans(document: Any) -> str:
    events = document if isinstance(document, list) else [document]
    return ", ".join(span["name"] for event in events for span in event["spans"])


def _llm_evaluations(document: Any) -> str:
    return ", ".join(metric["label"] for metric in document["data"]["attributes"]["metrics"])


def _debugger(document: Any) -> str:
    kinds = [", ".join(sorted(entry["debugger"])) for entry in document]
    return "; ".join(f"{kind} of {entry['service']}" for kind, entry in zip(kinds, document, strict=True))


def _telemetry(document: Any) -> str:
    batch = [each["request_type"] for each in document["payload"]] if isinstance(document["payload"], list) else []
    within = f" ({', '.join(batch)})" if batch else ""
    return f"{document['request_type']}{within} from {document['application']['service_name']}"


def _data_streams(document: Any) -> str:
    return f"{len(document['Stats'])} buckets from {document['Service']}"


_TOLD: dict[str, Callable[[Any], str]] = {
    "profiling": _profile,
    "llm spans": _llm_spans,
    "llm evaluations": _llm_evaluations,
    "debugger": _debugger,
    "telemetry": _telemetry,
    "data streams": _data_streams,
}
