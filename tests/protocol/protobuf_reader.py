"""A reader of protobuf for tests, independent of the writer, and of the two messages that carry metrics."""

from __future__ import annotations

import struct
from typing import Any

Message = dict[int, list[Any]]


def read(data: bytes) -> Message:
    """The fields of one message: ints for varints, floats for doubles, bytes for the rest. Strict: raises for junk."""
    message: Message = {}
    position = 0
    while position < len(data):
        key, position = read_varint(data, position)
        value: int | float | bytes
        if key & 7 == 0:
            value, position = read_varint(data, position)
        elif key & 7 == 1:
            (value,) = struct.unpack_from("<d", data, position)
            position += 8
        elif key & 7 == 2:
            size, position = read_varint(data, position)
            value = data[position : position + size]
            assert len(value) == size, "cut off"
            position += size
        else:
            raise AssertionError(f"wire type {key & 7}")
        message.setdefault(key >> 3, []).append(value)
    return message


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """One varint from `position`, and where the next thing begins."""
    number = shift = 0
    while True:
        byte = data[position]
        position += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, position


def unpacked(data: bytes) -> list[int]:
    """A packed field of varints."""
    numbers, position = [], 0
    while position < len(data):
        number, position = read_varint(data, position)
        numbers.append(number)
    return numbers


def signed(number: int) -> int:
    """A `sint32` as it was before zigzag."""
    return number >> 1 if number % 2 == 0 else -((number + 1) >> 1)


def series(body: bytes) -> list[dict[str, Any]]:
    """A `MetricPayload` (intake-wire, 3.3)."""
    assert set(read(body)) <= {1}
    return [_series(read(entry)) for entry in read(body).get(1, [])]


def _series(entry: Message) -> dict[str, Any]:
    assert set(entry) <= {1, 2, 3, 4, 5, 8, 9}
    (point,) = (read(point) for point in entry[4])
    resources = [read(resource) for resource in entry.get(1, [])]
    return {
        "metric": entry[2][0].decode(),
        "tags": [tag.decode() for tag in entry.get(3, [])],
        "value": point[1][0],
        "time": point[2][0],
        "type": entry[5][0],
        "interval": entry.get(8, [0])[0],
        "origin": _origin(entry.get(9)),
        "resources": [(resource[1][0].decode(), resource[2][0].decode()) for resource in resources],
    }


def sketches(body: bytes) -> list[dict[str, Any]]:
    """A `SketchPayload` (intake-wire, 4.2). Bins with the same key are added up."""
    assert set(read(body)) <= {1}
    return [_sketch(read(entry)) for entry in read(body).get(1, [])]


def _sketch(entry: Message) -> dict[str, Any]:
    assert set(entry) <= {1, 4, 7, 8}
    (dogsketch,) = (read(dogsketch) for dogsketch in entry[7])
    keys = [signed(key) for key in unpacked(dogsketch[7][0])]
    counts = unpacked(dogsketch[8][0])
    assert keys == sorted(keys)
    assert len(keys) == len(counts)
    assert all(0 < count < 2**32 for count in counts)
    bins: dict[int, int] = {}
    for key, count in zip(keys, counts, strict=True):
        bins[key] = bins.get(key, 0) + count
    numbers = {"time": 1, "count": 2, "min": 3, "max": 4, "avg": 5, "sum": 6}
    return {
        "metric": entry[1][0].decode(),
        "tags": [tag.decode() for tag in entry.get(4, [])],
        "origin": _origin(entry.get(8)),
        "bins": bins,
        **{name: dogsketch[field][0] for name, field in numbers.items()},
    }


def _origin(metadata: list[bytes] | None) -> tuple[int, ...] | None:
    if metadata is None:
        return None
    origin = read(read(metadata[0])[1][0])
    return tuple(origin[field][0] for field in (4, 5, 6))
