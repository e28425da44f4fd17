"""Trace context: what headers and messages say about the trace that they belong to. No I/O, and nothing raises.

Sources: extension-behaviour, 8.8; W3C Trace Context; B3 propagation. Names are taken in any letter case.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from fliptop.invocations.options import Propagation

_LONGEST_TAGS: Final = 512
_LONGEST_VALUE: Final = 512
_MOST_BAGGAGE: Final = 64
_BAGGAGE: Final = "ot-baggage-"
_HEX: Final = frozenset("0123456789abcdef")
_ALL_64_BITS: Final = 2**64 - 1
TID: Final = "_dd.p.tid"
LAST_PARENT: Final = "_dd.parent_id"
ERROR: Final = "_dd.propagation_error"
KNOWN: Final = frozenset(
    {
        *(f"x-datadog-{name}" for name in ("trace-id", "parent-id", "sampling-priority", "origin", "tags")),
        *("traceparent", "tracestate", "b3"),
        *(f"x-b3-{name}" for name in ("traceid", "spanid", "sampled", "flags")),
    }
)


class Context(NamedTuple):
    """Where in which trace something happens. Ids are the lower 64 bits; `parent_id` may be 0. `tags` go into the meta
    of the trace's first span here; the upper half of the trace id is among them. `priority` is the sampling decision,
    None if there is none yet.
    """

    trace_id: int
    parent_id: int
    tags: dict[str, str]
    priority: int | None = None
    origin: str = ""


Carrier = dict[str, str]
"""What may hold a trace context: names in lower case, those alone that are of use."""


def carrier_of(headers: Any) -> Carrier:
    """The part of `headers` that is of use, whatever they are; of a list of values the first. Anything but text and
    numbers is left out, and costs nothing else.
    """
    items: Iterable[tuple[Any, Any]] = headers.items() if isinstance(headers, Mapping) else ()
    found: Carrier = {}
    for name, value in items:
        key = name.lower() if isinstance(name, str) else ""
        text = _text(value[0] if isinstance(value, list) and value else value)
        if text is not None and (key in KNOWN or (key.startswith(_BAGGAGE) and len(found) < _MOST_BAGGAGE)):
            found[key] = text
    return found


def _text(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip() if isinstance(value, str) or abs(value) <= _ALL_64_BITS else None


def extract(carrier: Carrier, how: Propagation) -> Context | None:
    """The context that `carrier` holds, None if there is none."""
    found: Context | None = None
    for style in how.styles:
        read = _READERS.get(style)
        context = read(carrier) if read else None
        if found is None:
            found = context
            if found is not None and how.first_only:
                break
        elif context is not None and style == "tracecontext" and context.trace_id == found.trace_id:
            found = _resolve(found, context)
    return found._replace(tags=found.tags | _baggage(carrier)) if found and how.baggage else found


def _resolve(first: Context, w3c: Context) -> Context:
    """Two styles tell of one trace. If they do not agree on the parent, somebody who only speaks W3C came between."""
    tags = dict(first.tags)
    if TID in w3c.tags:
        tags.setdefault(TID, w3c.tags[TID])
    if w3c.parent_id == first.parent_id:
        return first._replace(tags=tags)
    tags[LAST_PARENT] = w3c.tags.get(LAST_PARENT) or f"{first.parent_id:016x}"
    return first._replace(parent_id=w3c.parent_id, tags=tags)


def _baggage(carrier: Carrier) -> dict[str, str]:
    return {
        name.removeprefix(_BAGGAGE): value[:_LONGEST_VALUE]
        for name, value in carrier.items()
        if name.startswith(_BAGGAGE) and len(name) > len(_BAGGAGE)
    }


# --- Datadog ---


def _datadog(carrier: Carrier) -> Context | None:
    trace_id = decimal_id(carrier.get("x-datadog-trace-id", ""))
    if not trace_id:
        return None
    return Context(
        trace_id,
        decimal_id(carrier.get("x-datadog-parent-id", "")),
        propagated(carrier.get("x-datadog-tags", "")),
        priority(carrier.get("x-datadog-sampling-priority", "")),
        _plain(carrier.get("x-datadog-origin", "")),
    )


def decimal_id(text: str) -> int:
    """The unsigned 64-bit number that `text` writes, 0 if it does not."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else 0
    return number if number <= _ALL_64_BITS else 0


def priority(text: str) -> int | None:
    """A sampling priority, None if `text` is none."""
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) <= 2 else None


def propagated(text: str) -> dict[str, str]:
    """The tags `_dd.p.…` in a header `x-datadog-tags`; of one that is too long none."""
    if len(text) > _LONGEST_TAGS:
        return {ERROR: "extract_max_size"}
    pairs = (piece.strip().partition("=") for piece in text.split(","))
    tags = {key: value for key, _, value in pairs if key.startswith("_dd.p.") and _plain(value) == value != ""}
    if TID in tags and not is_upper_half(tags[TID]):
        del tags[TID]
        tags[ERROR] = "malformed_tid"
    return tags


def is_upper_half(text: str) -> bool:
    """True for the 16 hexadecimal digits of a trace id's upper half."""
    return len(text) == 16 and _HEX.issuperset(text)


def _plain(text: str) -> str:
    """`text`, if a header and a tag can both hold it, else nothing."""
    return text if text.isascii() and text.isprintable() and len(text) <= _LONGEST_VALUE else ""


# --- W3C ---


def _tracecontext(carrier: Carrier) -> Context | None:
    version, trace_id, parent, flags, *more = [*carrier.get("traceparent", "").split("-"), "", "", "", ""][:5]
    lengths = (len(version), len(trace_id), len(parent), len(flags))
    if lengths != (2, 32, 16, 2) or not _HEX.issuperset(version + trace_id + parent + flags) or version == "ff":
        return None
    if version == "00" and more != [""]:
        return None
    low = int(trace_id[16:], 16)
    if not low or not int(parent, 16):
        return None
    tags, stated, origin = _tracestate(carrier.get("tracestate", ""))
    sampled = int(flags, 16) & 1
    if stated is None or (stated > 0) != bool(sampled):
        stated = sampled
        tags.pop("_dd.p.dm", None)
    return Context(low, int(parent, 16), tags | _upper_half(trace_id[:16]), stated, origin)


def _tracestate(text: str) -> tuple[dict[str, str], int | None, str]:
    """Datadog's member of a tracestate: tags, sampling priority, origin."""
    members = (member.strip() for member in text.split(","))
    ours = next((member[3:] for member in members if member.startswith("dd=")), "")
    pieces = (piece.partition(":") for piece in ours.split(";")) if len(ours) <= _LONGEST_TAGS else ()
    said = {key: value for key, _, value in pieces if _plain(value)}
    tags = {f"_dd.p.{key[2:]}": value.replace("~", "=") for key, value in said.items() if key.startswith("t.")}
    tags.pop(TID, None)  # the traceparent has it
    if is_upper_half(said.get("p", "")) and int(said["p"], 16):
        tags[LAST_PARENT] = said["p"]
    return tags, priority(said.get("s", "")), said.get("o", "").replace("~", "=")


def _upper_half(digits: str) -> dict[str, str]:
    return {TID: digits} if is_upper_half(digits) and int(digits, 16) else {}


# --- B3 ---


def _b3_single(carrier: Carrier) -> Context | None:
    trace_id, span_id, sampled, *_ = [*carrier.get("b3", "").split("-"), "", ""]
    return _b3(trace_id, span_id, 2 if sampled.lower() == "d" else _sampled(sampled))


def _b3_multi(carrier: Carrier) -> Context | None:
    sampled = 2 if carrier.get("x-b3-flags") == "1" else _sampled(carrier.get("x-b3-sampled", ""))
    return _b3(carrier.get("x-b3-traceid", ""), carrier.get("x-b3-spanid", ""), sampled)


def _sampled(text: str) -> int | None:
    return {"1": 1, "true": 1, "0": 0, "false": 0}.get(text.lower())


def _b3(trace_id: str, span_id: str, sampled: int | None) -> Context | None:
    trace, span = trace_id.lower(), span_id.lower()
    if not (0 < len(trace) <= 32 and 0 < len(span) <= 16 and _HEX.issuperset(trace + span)):
        return None
    padded = trace.zfill(32)
    low, parent = int(padded[16:], 16), int(span, 16)
    return Context(low, parent, _upper_half(padded[:16]), sampled) if low and parent else None


_READERS: Final[Mapping[str, Callable[[Carrier], Context | None]]] = {
    "datadog": _datadog,
    "tracecontext": _tracecontext,
    "b3": _b3_single,
    "b3multi": _b3_multi,
}
