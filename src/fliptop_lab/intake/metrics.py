"""Metric series in JSON: the part of ``/api/v2/series`` the lab decodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
