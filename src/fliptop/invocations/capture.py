"""Payloads as tags: what the function was given and what it has answered. Source: extension-behaviour, 8.13.

Unlike there, what looks like a secret is left out whatever its value and wherever it stands, and there is an end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import orjson

LONGEST: Final = 4096
# Of one payload. A span with more than this would be none that anybody reads.
MOST_TAGS: Final = 1000
DEEPEST: Final = 64
_SECRETS: Final = frozenset(
    {"password", "passwd", "pwd", "secret", "token", "authorization", "x-authorization", "api_key"}
)
_REDACTED: Final = "redacted"


def captured(root: str, payload: Any, depth: int) -> dict[str, str]:
    """The tags for `payload`, named `root` and what is below; what is deeper than `depth` is told as JSON. Of more than
    `MOST_TAGS` the rest is left out, and `root` says so.
    """
    tags: dict[str, str] = {}
    for name, text in _flat(root, payload, min(depth, DEEPEST)):
        if len(tags) >= MOST_TAGS:
            tags[root] = "truncated"
            break
        tags[name] = text[:LONGEST]
    return tags


def _flat(name: str, value: Any, left: int) -> Iterator[tuple[str, str]]:
    """Pairs of a name and a text, depth first; `left` levels may be taken apart."""
    if _is_secret(name.rpartition(".")[2]):
        yield name, _REDACTED
    elif isinstance(value, str):
        inner = _inner(value) if left > 0 else value
        if isinstance(inner, str):
            yield name, inner
        else:
            yield from _flat(name, inner, left - 1)
    elif not isinstance(value, dict | list):
        yield name, _json(value)
    elif left <= 0:
        yield name, _json(_without_secrets(value, DEEPEST))
    elif value == []:
        yield name, "[]"
    else:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from _flat(f"{name}.{key}", inner, left - 1)


def _inner(text: str) -> Any:
    """What `text` says if it is JSON, else `text`."""
    try:
        return orjson.loads(text)
    except ValueError:
        return text


def _without_secrets(value: Any, left: int) -> Any:
    if left <= 0:
        return "…"
    if isinstance(value, dict):
        return {
            key: _REDACTED if _is_secret(key) else _without_secrets(inner, left - 1) for key, inner in value.items()
        }
    return [_without_secrets(inner, left - 1) for inner in value] if isinstance(value, list) else value


def _is_secret(key: str) -> bool:
    return key.lower() in _SECRETS


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
