"""Why two layer zips are not the same: which file, where in it, and what that place looks like on either side."""

from __future__ import annotations

import json
import re
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CONTEXT = 24
"""Bytes shown on each side of the first difference."""


def differences(first: Path, second: Path) -> list[str]:
    """Return one sentence or more per difference, none when the files are the same byte for byte.

    OSError and zipfile.BadZipFile: one of them cannot be read.
    """
    if first.read_bytes() == second.read_bytes():
        return []
    with zipfile.ZipFile(first) as one, zipfile.ZipFile(second) as other:
        found = [*_names(one, other), *_entries(one, other)]
    return found or [
        "Every file in the two is the same, but the zips are not: different versions of libdeflate compressed them."
    ]


def _names(one: zipfile.ZipFile, other: zipfile.ZipFile) -> Iterator[str]:
    names, others = one.namelist(), other.namelist()
    yield from (f"{name} is only in the first" for name in names if name not in others)
    yield from (f"{name} is only in the second" for name in others if name not in names)
    if names != others and sorted(names) == sorted(others):
        yield "the files are in another order"


def _entries(one: zipfile.ZipFile, other: zipfile.ZipFile) -> Iterator[str]:
    for name in one.namelist():
        if name in other.namelist():
            yield from _entry(one.getinfo(name), other.getinfo(name))
            data, others = one.read(name), other.read(name)
            if data != others:
                yield f"{name}: {_content(data, others)}"


def _entry(info: zipfile.ZipInfo, other: zipfile.ZipInfo) -> Iterator[str]:
    for what, value, others in (
        ("time", info.date_time, other.date_time),
        ("mode", oct(info.external_attr >> 16), oct(other.external_attr >> 16)),
        ("compression", info.compress_type, other.compress_type),
    ):
        if value != others:
            yield f"{info.filename}: its {what} in the zip is {value} and {others}"


def _content(data: bytes, other: bytes) -> str:
    if data.startswith(b"{") and (keys := _json_keys(data, other)):
        return f"the values of {', '.join(keys)} differ"
    at = next((n for n, (a, b) in enumerate(zip(data, other, strict=False)) if a != b), min(len(data), len(other)))
    size = f", sizes {len(data)} and {len(other)}" if len(data) != len(other) else ""
    sides = f"\n  {_shown(data, at)}\n  {_shown(other, at)}"
    return f"differs from offset {at:#x} on{_place(data, at)}{size}{sides}{_resized(data, other)}{_hint(data, other)}"


def _json_keys(data: bytes, other: bytes) -> list[str]:
    try:
        one, two = json.loads(data), json.loads(other)
    except ValueError:
        return []
    return list(_differing("", one, two))


def _differing(path: str, one: Any, two: Any) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(two, dict):
        for key in sorted(one.keys() | two.keys()):
            yield from _differing(f"{path}.{key}" if path else key, one.get(key), two.get(key))
    elif one != two:
        yield path


def _shown(data: bytes, at: int) -> str:
    """The bytes around a place, printable ones as they are."""
    piece = data[max(at - CONTEXT, 0) : at + CONTEXT]
    return "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in piece) + "  " + data[at : at + 8].hex(" ")


def _resized(data: bytes, other: bytes) -> str:
    """The sections of an ELF file that are longer on one side: what moved all that comes after them."""
    sizes, others = ({name: size for name, _, size in _sections(side)} for side in (data, other))
    names = (name for name in sizes.keys() | others.keys() if name and sizes.get(name) != others.get(name))
    told = [f"{name} ({sizes.get(name)} and {others.get(name)} bytes)" for name in sorted(names)]
    return f"\n  sections of other sizes: {', '.join(told)}" if told else ""


def _hint(data: bytes, other: bytes) -> str:
    """What the texts that only one side has look like, if that says where they come from."""
    pattern = rb"/[\w.+-]+(?:/[\w.+ -]+)+|(?:19|20)\d\d-\d\d-\d\d[\w:. ]*|X{20,}"  # X: what patchelf has removed
    texts, others = set(re.findall(pattern, data)), set(re.findall(pattern, other))
    only = sorted(texts ^ others)[:4]
    return f"\n  only in one of them: {', '.join(text.decode() for text in only)}" if only else ""


def _place(data: bytes, at: int) -> str:
    for name, start, size in _sections(data):
        if start <= at < start + size:
            return f", in section {name}"
    return ""


def _sections(data: bytes) -> Iterator[tuple[str, int, int]]:
    """Name, offset and size of each section of a 64-bit little-endian ELF file (ELF-64 Object File Format, 4)."""
    if data[:6] != b"\x7fELF\x02\x01" or len(data) < 64:
        return
    table, size, count, names = struct.unpack_from("<Q10xHHH", data, 40)
    if not table or table + size * count > len(data):
        return
    headers = [struct.unpack_from("<IIQQQQ", data, table + n * size) for n in range(count)]
    strings = headers[names][4] if names < count else 0
    for name, kind, _, _, offset, length in headers:
        if kind != 8:  # SHT_NOBITS has no bytes
            end = data.find(b"\0", strings + name)
            yield data[strings + name : end].decode("ascii", "replace"), offset, length
