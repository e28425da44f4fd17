"""A Datadog log entry, in the shape that Datadog's own extension sends: the text lives inside a `message` object."""

from typing import Final, NamedTuple

import orjson

# The intake truncates an entry over 1 MB. Cutting it here keeps the rest of the batch within the intake's limits, and
# the mark is the one that Datadog's agent uses.
MAX_TEXT_BYTES: Final = 900_000
CUT_MARK: Final = "...TRUNCATED..."


class LogEntry(NamedTuple):
    """One log line on its way: what it says (`shorten`ed), how bad it is, when, and for which request (None: not known
    yet).
    """

    text: str
    status: str
    time_ms: int
    request_id: str | None = None
    tags: str = ""


class LogSource(NamedTuple):
    """What all entries of this function have in common. `tags` is `key:value,…`."""

    arn: str
    service: str
    tags: str


def encode(entry: LogEntry, source: LogSource) -> bytes:
    """The entry as one JSON object (extension-behaviour, 6.1). `request_id` is always present, null when unknown."""
    tags = f"{source.tags},{entry.tags}" if entry.tags else source.tags
    return orjson.dumps(
        {
            "message": {
                "message": entry.text,
                "lambda": {"arn": source.arn, "request_id": entry.request_id},
                "timestamp": entry.time_ms,
                "status": entry.status,
            },
            "hostname": source.arn,
            "service": source.service,
            "ddtags": tags,
            "ddsource": "lambda",
        }
    )


def shorten(text: str) -> str:
    """`text` in at most `MAX_TEXT_BYTES` of UTF-8, marked where it was cut. Lone surrogates become U+FFFD."""
    if text.isascii() and len(text) <= MAX_TEXT_BYTES:
        return text
    encoded = text.encode("utf-8", "surrogatepass")
    if len(encoded) <= MAX_TEXT_BYTES:
        return encoded.decode("utf-8", "replace")
    return encoded[:MAX_TEXT_BYTES].decode("utf-8", "ignore") + CUT_MARK
