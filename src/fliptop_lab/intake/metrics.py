"""Metrics: ``/api/v2/series`` in JSON and protobuf, and the sketches of ``/api/beta/sketches``."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

from fliptop_lab.intake.protobuf import Message, read, unpacked, unpacked_signed
from fliptop_lab.intake.refusals import Refusal

TYPES = {0: "unspecified", 1: "count", 2: "rate", 3: "gauge"}
"""Metric types of the v2 API by number."""


@dataclass(frozen=True)
class Series:
    """One metric series; ``points`` are (seconds since the epoch, value)."""

    metric: str
    type: str
    points: tuple[tuple[int, float], ...]
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Sketch:
    """One distribution within one bucket of time, which began at ``time`` (seconds since the epoch)."""

    metric: str
    time: int
    count: int
    sum: float
    min: float
    max: float
    tags: tuple[str, ...]
    bins: dict[int, int] = field(default_factory=dict, repr=False)


def decode_series(document: Any) -> list[Series]:
    """Turn the JSON body of ``/api/v2/series`` into series; ``Refusal`` 400 when it has another shape."""
    try:
        return [_series(item) for item in document["series"]]
    except (KeyError, TypeError, ValueError) as error:
        raise Refusal(400, f"the body is not a series payload: {error!r}") from error


def _series(item: dict[str, Any]) -> Series:
    return Series(
        metric=str(item["metric"]),
        type=TYPES[int(item.get("type", 0))],
        points=tuple((int(point["timestamp"]), float(point["value"])) for point in item["points"]),
        tags=tuple(str(tag) for tag in item.get("tags") or ()),
    )


def decode_series_protobuf(body: bytes) -> list[Series]:
    """Turn a ``MetricPayload`` into series; ``Refusal`` 400 when it is none."""
    try:
        return [_protobuf_series(read(entry)) for entry in read(body).get(1, ())]  # type: ignore[arg-type]
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise Refusal(400, f"the body is not a MetricPayload: {error!r}") from error


def _protobuf_series(entry: Message) -> Series:
    points = [read(point) for point in entry[4]]  # type: ignore[arg-type]
    return Series(
        metric=_text(entry[2][0]),
        type=TYPES[_number(entry, 5)],
        points=tuple((_number(point, 2), float(point.get(1, [0.0])[0])) for point in points),
        tags=_texts(entry, 3),
    )


def decode_sketches(body: bytes) -> list[Sketch]:
    """Turn a ``SketchPayload`` into sketches, one for each dogsketch; ``Refusal`` 400 when it is none."""
    try:
        entries = [read(entry) for entry in read(body).get(1, ())]  # type: ignore[arg-type]
        return [_sketch(entry, read(dogsketch)) for entry in entries for dogsketch in entry[7]]  # type: ignore[arg-type]
    except (LookupError, TypeError, AttributeError, ValueError, struct.error) as error:
        raise Refusal(400, f"the body is not a SketchPayload: {error!r}") from error


def _sketch(entry: Message, dogsketch: Message) -> Sketch:
    bins: dict[int, int] = {}
    for key, count in zip(unpacked_signed(_packed(dogsketch, 7)), unpacked(_packed(dogsketch, 8)), strict=True):
        bins[key] = bins.get(key, 0) + count
    count = _number(dogsketch, 2)
    if sum(bins.values()) != count:
        raise ValueError(f"{sum(bins.values())} values in bins, but a count of {count}")
    return Sketch(
        metric=_text(entry[1][0]),
        time=_number(dogsketch, 1),
        count=count,
        sum=float(dogsketch.get(6, [0.0])[0]),
        min=float(dogsketch.get(3, [0.0])[0]),
        max=float(dogsketch.get(4, [0.0])[0]),
        tags=_texts(entry, 4),
        bins=bins,
    )


def _number(message: Message, number: int) -> int:
    return int(message.get(number, [0])[0])


def _packed(message: Message, number: int) -> bytes:
    return b"".join(message.get(number, []))  # type: ignore[arg-type]


def _text(value: Any) -> str:
    return str(value.decode())


def _texts(message: Message, number: int) -> tuple[str, ...]:
    return tuple(_text(value) for value in message.get(number, ()))
