"""Span pointers: the objects and items that an event is about, so that who wrote them is found. Source:
extension-behaviour, 8.11. Unlike there, all records of a batch are looked at.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, Final
from urllib.parse import unquote_plus

import orjson

from fliptop.invocations.triggers.reading import at, part, text

LINKS: Final = "_dd.span_links"
MOST: Final = 50


def pointers(event: Any) -> dict[str, str]:
    """The tag that holds the pointers of `event`, if there are any."""
    records = at(event, "Records")
    found = [link for record in (records[:MOST] if isinstance(records, list) else ()) if (link := _pointer(record))]
    return {LINKS: orjson.dumps(found).decode()} if found else {}


def _pointer(record: Any) -> dict[str, Any] | None:
    if isinstance(at(record, "s3"), dict):
        # In an event, and there alone, the key is written as in a URL.
        bucket, key, etag = (text(record, f"s3.{name}") for name in ("bucket.name", "object.key", "object.eTag"))
        pieces = (bucket, unquote_plus(key), etag.strip('"'))
        return _link("aws.s3.object", [piece.encode("utf-8", "replace") for piece in pieces]) if all(pieces) else None
    keys = at(record, "dynamodb.Keys")
    table = part(text(record, "eventSourceARN"), 1)
    if not isinstance(keys, dict) or not 1 <= len(keys) <= 2 or not table:
        return None
    pairs = [(name.encode("utf-8", "replace"), _key_value(value)) for name, value in sorted(keys.items())]
    if any(value is None for _, value in pairs):
        return None
    said = [piece or b"" for pair in pairs for piece in pair]
    return _link("aws.dynamodb.item", [table.encode("utf-8", "replace"), *said, *[b""] * (4 - len(said))])


def _key_value(value: Any) -> bytes | None:
    """The bytes of a key's value, which is text, a number or binary."""
    for kind in ("S", "N"):
        if isinstance(said := at(value, kind), str):
            return said.encode("utf-8", "replace")
    try:
        return base64.b64decode(at(value, "B"), validate=True) if isinstance(at(value, "B"), str) else None
    except ValueError:
        return None


def _link(kind: str, pieces: Iterable[bytes]) -> dict[str, Any]:
    digest = sha256(b"|".join(pieces)).hexdigest()[:32]
    attributes = {"link.kind": "span-pointer", "ptr.dir": "u", "ptr.hash": digest, "ptr.kind": kind}
    return {"trace_id": "0", "span_id": "0", "attributes": attributes}
