"""APM stats: the ``StatsPayload`` of ``/api/v0.2/stats``, msgpack maps whose keys are the names of Go's fields.

Datadog answers 202 whatever is in it; a key in another case, or a value of another type, would be ignored. Here both
are refused (intake-wire, 6.2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgpack

from fliptop_lab.intake.refusals import Refusal
from fliptop_lab.intake.schema import Field, Schema, decode, double, doubles, entry, int32, nested, sint32

Keys = Mapping[str, type | tuple[type, ...]]

PAYLOAD: Keys = {
    "AgentHostname": str,
    "AgentEnv": str,
    "Stats": list,
    "AgentVersion": str,
    "ClientComputed": bool,
    "SplitPayload": bool,
}
CLIENT: Keys = {
    **dict.fromkeys(("Hostname", "Env", "Version", "Lang", "TracerVersion", "RuntimeID"), str),
    **dict.fromkeys(("AgentAggregation", "Service", "ContainerID", "GitCommitSha", "ImageTag", "ProcessTags"), str),
    "Stats": list,
    "Sequence": int,
    "Tags": (list, type(None)),
    "ProcessTagsHash": int,
}
BUCKET: Keys = {"Start": int, "Duration": int, "Stats": list, "AgentTimeShift": int}
GROUP: Keys = {
    **dict.fromkeys(("Service", "Name", "Resource", "Type", "DBType", "SpanKind"), str),
    **dict.fromkeys(("GRPCStatusCode", "HTTPMethod", "HTTPEndpoint", "srv_src"), str),
    **dict.fromkeys(("HTTPStatusCode", "Hits", "Errors", "Duration", "TopLevelHits", "IsTraceRoot"), int),
    **dict.fromkeys(("OkSummary", "ErrorSummary"), bytes),
    **dict.fromkeys(("PeerTags", "SpanDerivedPrimaryTags", "AdditionalMetricTags"), (list, type(None))),
    "Synthetics": bool,
}
_STORE: Schema = {
    1: Field("binCounts", entry(sint32, double, 0.0), "map"),
    2: Field("contiguousBinCounts", doubles),
    3: Field("contiguousBinIndexOffset", sint32),
}
SKETCH: Schema = {
    1: Field("mapping", nested({1: Field("gamma", double), 2: Field("indexOffset", double), 3: Field("kind", int32)})),
    2: Field("positiveValues", nested(_STORE)),
    3: Field("negativeValues", nested(_STORE)),
    4: Field("zeroCount", double),
}


@dataclass(frozen=True)
class Summary:
    """A DDSketch of durations in nanoseconds. A value v is in the bin ⌊log v / log ``gamma`` + ``offset``⌋, as both of
    Datadog's agents count; libraries that round up instead are one bin off (intake-wire, 6.4).
    """

    gamma: float
    offset: float
    interpolation: int
    bins: dict[int, float]
    zeros: float

    @property
    def count(self) -> float:
        """How many values."""
        return sum(self.bins.values()) + self.zeros

    def quantile(self, share: float) -> float | None:
        """The value below which this share, 0 to 1, of all lies; None for an empty sketch, or an interpolated one."""
        if not self.count or self.interpolation:
            return None
        rank = share * (self.count - 1) - self.zeros
        for index in sorted(self.bins):
            rank -= self.bins[index]
            if rank < 0 <= rank + self.bins[index]:
                lower = math.exp((index - self.offset) * math.log(self.gamma))
                return 2 * lower * self.gamma / (1 + self.gamma)
        return 0.0


@dataclass(frozen=True)
class StatsGroup:
    """What was counted of spans that are alike, which ended within one bucket of time: ``start`` and ``length`` in
    nanoseconds. ``duration`` is the sum of theirs, in nanoseconds. ``key`` has what makes them alike beyond service,
    name and resource; ``client`` is what whoever counted said about itself, ``payload`` about the payload.
    """

    service: str
    name: str
    resource: str
    hits: int
    errors: int
    top_level: int
    duration: int
    ok: Summary
    error: Summary
    start: int
    length: int
    key: dict[str, Any] = field(repr=False)
    client: dict[str, Any] = field(repr=False)
    payload: dict[str, Any] = field(repr=False)


def decode_stats(body: bytes) -> list[StatsGroup]:
    """The groups of a ``StatsPayload``; ``Refusal`` 400 for what Datadog would drop without a word."""
    try:
        document = msgpack.unpackb(body, strict_map_key=False)
    except (ValueError, msgpack.UnpackException) as error:
        raise Refusal(400, f"the body is not msgpack: {error!r}") from error
    payload = _checked(document, PAYLOAD, "StatsPayload")
    return [
        group
        for number, client in enumerate(payload.pop("Stats", []))
        for group in _client(_checked(client, CLIENT, f"Stats[{number}]"), payload, f"Stats[{number}]")
    ]


def _client(client: dict[str, Any], payload: dict[str, Any], where: str) -> list[StatsGroup]:
    groups = []
    for number, found in enumerate(client.pop("Stats", [])):
        path = f"{where}.Stats[{number}]"
        bucket = _checked(found, BUCKET, path)
        if bucket.get("Start", 0) <= 0 or bucket.get("Duration", 0) <= 0:
            raise Refusal(400, f"{path}: a bucket needs a start and a duration")
        for index, group in enumerate(bucket.get("Stats", [])):
            within = f"{path}.Stats[{index}]"
            groups.append(_group(_checked(group, GROUP, within), bucket, (client, payload), within))
    return groups


def _group(found: dict[str, Any], bucket: dict[str, Any], around: tuple[Any, Any], where: str) -> StatsGroup:
    taken = ("Service", "Name", "Resource", "Hits", "Errors", "TopLevelHits", "Duration", "OkSummary", "ErrorSummary")
    values = {key: found.get(key) for key in taken}
    hits, errors = values["Hits"] or 0, values["Errors"] or 0
    if not values["Service"] or not values["Name"] or not hits or errors > hits:
        raise Refusal(400, f"{where}: a group needs a service, a name, hits, and no more errors than hits")
    return StatsGroup(
        service=values["Service"],
        name=values["Name"],
        resource=values["Resource"] or "",
        hits=hits,
        errors=errors,
        top_level=values["TopLevelHits"] or 0,
        duration=values["Duration"] or 0,
        ok=_summary(values["OkSummary"] or b"", f"{where}.OkSummary"),
        error=_summary(values["ErrorSummary"] or b"", f"{where}.ErrorSummary"),
        start=bucket["Start"],
        length=bucket["Duration"],
        key={key: value for key, value in found.items() if key not in taken},
        client=around[0],
        payload=around[1],
    )


def _summary(packed: bytes, where: str) -> Summary:
    try:
        found = decode(packed, SKETCH)
    except ValueError as error:
        raise Refusal(400, f"{where} is not a DDSketch: {error}") from error
    mapping, negative = found.get("mapping", {}), _bins(found.get("negativeValues", {}))
    gamma = mapping.get("gamma", 0.0)
    if packed and not gamma > 1:
        raise Refusal(400, f"{where}: gamma is {gamma}")
    if any(negative.values()):
        raise Refusal(400, f"{where} has negative durations")
    bins = _bins(found.get("positiveValues", {}))
    return Summary(gamma, mapping.get("indexOffset", 0.0), mapping.get("kind", 0), bins, found.get("zeroCount", 0.0))


def _bins(store: dict[str, Any]) -> dict[int, float]:
    """Counts in sparse and in contiguous form add up."""
    bins: dict[int, float] = dict(store.get("binCounts", {}))
    first = store.get("contiguousBinIndexOffset", 0)
    for index, count in enumerate(store.get("contiguousBinCounts", []), first):
        bins[index] = bins.get(index, 0.0) + count
    return {index: count for index, count in bins.items() if count}


def _checked(document: Any, keys: Keys, where: str) -> dict[str, Any]:
    """``document`` as a map with only these keys, each with a value of its type."""
    if not isinstance(document, dict):
        raise Refusal(400, f"{where} must be a map, not {type(document).__name__}")
    for key, value in document.items():
        if key not in keys:
            raise Refusal(400, f"{where} has a key {key!r}, which Datadog does not know")
        wanted = keys[key]
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
            raise Refusal(400, f"{where}.{key} is {value!r}")
    return dict(document)
