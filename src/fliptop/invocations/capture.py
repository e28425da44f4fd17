"""Payloads as tags: what the function was given and what it has answered. Source: extension-behaviour, 8.13.

Unlike there, what looks like a secret is left out whatever its value and wherever it stands, and there is an end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import Any, Final, TypeVar

import orjson

LONGEST: Final = 4096
# Of one payload. A span with more than this would be none that anybody reads.
MOST_TAGS: Final = 1000
MOST_TEXT: Final = 256 * 1024
DEEPEST: Final = 64
_SECRETS: Final = frozenset(
    {"password", "passwd", "pwd", "secret", "token", "authorization", "x-authorization", "api_key"}
)
_REDACTED: Final = "redacted"

T = TypeVar("T")


def captured(root: str, payload: Any, depth: int) -> dict[str, str]:
    """The tags for `payload`, named `root` and what is below; what is deeper than `depth` is told as JSON. Of more than
    `MOST_TAGS`, or `MOST_TEXT` characters, the rest is left out, and `root` says so.
    """
    tags: dict[str, str] = {}
    size = 0
    for name, text in _flat(root, payload, min(depth, DEEPEST)):
        size += len(name) + min(len(text or ""), LONGEST)
        if len(tags) >= MOST_TAGS or size > MOST_TEXT:
            tags[root] = "truncated"
            break
        if text is not None:
            tags[name] = text[:LONGEST]
    return tags


def _flat(name: str, value: Any, left: int) -> Iterator[tuple[str, str | None]]:
    """Pairs of a name and a text, depth first; `left` levels may be taken apart. An empty object is no text, but takes
    its time: the function waits, and a payload can be millions of them.
    """
    if _is_secret(name.rpartition(".")[2]):
        yield name, _REDACTED
    elif isinstance(value, str):
        inner = _inner(value) if left > 0 else _Cut().of(value)
        if isinstance(inner, str):
            yield name, inner
        else:
            yield from _flat(name, inner, left - 1)
    elif not isinstance(value, dict | list):
        yield name, _json(value)
    elif left <= 0:
        yield name, _json(_Cut().of(value))
    elif not value:
        yield name, "[]" if isinstance(value, list) else None
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


class _Cut:
    """A copy of a value without secrets, in JSON texts inside it too, and without what would be too far behind to be
    told: whatever is looked at takes a character at least.
    """

    def __init__(self) -> None:
        self._left = LONGEST

    def of(self, value: Any, levels: int = DEEPEST) -> Any:
        """The copy of `value`; what is deeper than `levels` is left out."""
        self._left -= 1
        if isinstance(value, str):
            return self._text(value, levels)
        if not isinstance(value, dict | list):
            return value
        if levels <= 0:
            return "…"
        if isinstance(value, list):
            return [self.of(inner, levels - 1) for inner in self._near(value)]
        return {
            key: _REDACTED if _is_secret(key) else self.of(inner, levels - 1)
            for key, inner in self._near(value.items())
        }

    def _near(self, items: Iterable[T]) -> Iterator[T]:
        return takewhile(lambda _: self._left > 0, items)

    def _text(self, text: str, levels: int) -> str:
        """`text`, as it is unless it is JSON that must be cut."""
        inner = _inner(text) if text.lstrip().startswith(("{", "[", '"')) else text
        cut = inner if inner is text else self.of(inner, levels - 1)
        return text if cut == inner else _json(cut)


def _is_secret(key: str) -> bool:
    return key.lower() in _SECRETS


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
