"""Exports of logs → records (function, time, message), one at a time, whatever tool wrote them.

An export is JSON (what `aws logs filter-log-events`, `get-log-events`, `get-query-results`, Logs Insights' console,
Firehose or jq give), CSV (Logs Insights' console), or lines (`aws logs tail`, `sam logs`, an export to S3, the bare
messages, one JSON object per line). Which one it is, its first bytes tell. Only messages that may tell something
about a start are passed on, and memory does not grow with the export.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NamedTuple, cast

import orjson

from fliptop_lab.fallbacks.json_stream import begins_container, elements
from fliptop_lab.fallbacks.shapes import Context, Fields, from_value, function_of_group, function_of_stream, seconds
from fliptop_lab.fallbacks.sightings import MARKERS, may_tell

CHUNK = 1 << 18
LONGEST_LINE = 16 << 20
"""Bytes; the rest of a longer line is read as a line of its own."""
_BYTE_MARKERS = tuple(marker.encode() for marker in MARKERS)
_STREAM = r"\d{4}/\d\d/\d\d/\S*\[\S+"
_TIME = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"
# What tools write before a message: time, log stream, or both, in either order.
_PREFIX = re.compile(rf"(?:(?P<before>{_STREAM})\s+)?(?P<time>{_TIME})\s+(?:(?P<stream>{_STREAM})\s+)?")
_DOCUMENT = re.compile(r"\{\s*[\"}]|\[\s*[\[{\]]")
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_NOT_A_NAME = re.compile(r"\d+|\d{4}-\d\d-\d\d-\S*\[.*|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SUFFIXES = re.compile(r"(\.(json|jsonl|ndjson|log|txt|csv|gz))+$")


class Record(NamedTuple):
    """One message. `time` in seconds since 1970, None where the export does not say it."""

    function: str
    time: float | None
    message: str


@dataclass(frozen=True)
class Export:
    """An open export and what its name says about the function, for exports that do not say it themselves."""

    stream: io.RawIOBase
    function: str


def name_of(path: PurePath) -> str:
    """Return the function that a file's name stands for, by convention `<function>.<json|log|…>[.gz]`; `-` is stdin.

    An export to S3 is `<prefix>/<task>/<log stream>/000000.gz`: there it is the prefix.
    """
    if path == PurePath("-"):
        return "standard input"
    for part in reversed(path.parts):
        name = _SUFFIXES.sub("", part)
        if not _NOT_A_NAME.fullmatch(name):
            return name
    return path.name


def records(export: Export) -> Iterator[Record]:
    """Yield the records that may tell something. OSError and EOFError: the export cannot be read, or ends too early."""
    stream = _clear_text(export.stream)
    for fields in _reader_for(stream.peek(CHUNK)[:CHUNK].decode("utf-8", "replace").lstrip())(stream):
        if may_tell(fields.message):
            function = function_of_group(fields.group) or function_of_stream(fields.stream) or export.function
            yield Record(function, fields.time, fields.message)


def _clear_text(stream: io.RawIOBase) -> io.BufferedReader:
    """Undo gzip and UTF-16 (what PowerShell's `>` writes); skip a byte order mark."""
    reader: io.BufferedReader = io.BufferedReader(_Filling(stream), CHUNK)
    if reader.peek(2)[:2] == b"\x1f\x8b":
        reader = io.BufferedReader(_Filling(cast(io.RawIOBase, gzip.GzipFile(fileobj=reader))), CHUNK)
    start = reader.peek(3)[:3]
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return io.BufferedReader(_Recoder(reader), CHUNK)
    if start == codecs.BOM_UTF8:
        reader.read(3)
    return reader


class _Filling(io.RawIOBase):
    """Reads until as much is there as is asked for: the first piece of a pipe may be too short to tell what it is."""

    def __init__(self, source: io.RawIOBase) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        filled = 0
        while filled < len(buffer) and (count := self._source.readinto(memoryview(buffer)[filled:])):
            filled += count
        return filled


class _Recoder(io.RawIOBase):
    """UTF-16 read as UTF-8."""

    def __init__(self, source: io.BufferedReader) -> None:
        self._source = source
        self._decoder = codecs.getincrementaldecoder("utf-16")("replace")
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and (chunk := self._source.read(CHUNK)):
            self._ready = self._decoder.decode(chunk).encode()
        taken, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)


def _reader_for(head: str) -> Callable[[io.BufferedReader], Iterator[Fields]]:
    if _is_document(head):
        return _from_json
    return _from_csv if "@message" in head.partition("\n")[0] else _from_lines


def _is_document(text: str) -> bool:
    """Say whether this is JSON as a whole, rather than lines each of which may be JSON."""
    if not _DOCUMENT.match(text):
        return False
    try:
        orjson.loads(text.partition("\n")[0])
    except ValueError:
        return True
    return begins_container(text) or text.startswith("[")


def _from_json(stream: io.BufferedReader) -> Iterator[Fields]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    chunks = (decoder.decode(chunk) for chunk in iter(lambda: stream.read(CHUNK), b""))
    for context, value in elements(chunks, MARKERS):
        yield from from_value(value, Context.of(context))


def _from_csv(stream: io.BufferedReader) -> Iterator[Fields]:
    csv.field_size_limit(LONGEST_LINE)
    with io.TextIOWrapper(stream, "utf-8", "replace", newline="") as text:
        rows = csv.reader(text)
        names = next(rows)
        message = names.index("@message")
        for row in rows:
            if len(row) > message and may_tell(row[message]):
                yield from from_value(dict(zip(names, row, strict=False)), Context())


def _from_lines(stream: io.BufferedReader) -> Iterator[Fields]:
    for line in _lines_that_may_tell(stream):
        text = line.decode("utf-8", "replace").strip()
        if "\x1b" in text:
            text = _ESCAPES.sub("", text)
        if text.startswith("{") and (found := _from_json_line(text)) is not None:
            yield from found
            continue
        prefix = _PREFIX.match(text)
        if prefix is None:
            yield Fields(text)
        else:
            stream_name = prefix["before"] or prefix["stream"] or ""
            yield Fields(text[prefix.end() :], seconds(prefix["time"]), stream=stream_name)


def _lines_that_may_tell(stream: io.BufferedReader) -> Iterator[bytes]:
    """Yield the lines that have a marker. Searching blocks of many lines at once takes a tenth of the time."""
    while block := stream.read(CHUNK):
        block += stream.readline(LONGEST_LINE)
        spans = sorted({span for marker in _BYTE_MARKERS for span in _lines_with(marker, block)})
        yield from (block[start:end] for start, end in spans)


def _lines_with(marker: bytes, block: bytes) -> Iterator[tuple[int, int]]:
    at = block.find(marker)
    while at >= 0:
        end = block.find(b"\n", at)
        end = len(block) if end < 0 else end
        yield block.rfind(b"\n", 0, at) + 1, end
        at = block.find(marker, end)


def _from_json_line(text: str) -> Iterator[Fields] | None:
    try:
        value = orjson.loads(text)
    except ValueError:
        return None
    return from_value(value, Context.of(value))
