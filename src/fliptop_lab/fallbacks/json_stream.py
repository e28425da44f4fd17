"""Read JSON documents of any size element by element: pretty or compact, one or many, with or without an array around.

The documents of CloudWatch Logs hold one long array of small elements, of which few matter. The scanner looks for the
next marker, goes back to where its element begins, has Python's decoder read it at C speed, and forgets it. What is
between elements is skipped, so that trailing fields, commas and damage do no harm.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from fliptop_lab.fallbacks.shapes import ARRAYS

LONGEST_ELEMENT = 4 << 20
"""Characters that one element may have; CloudWatch takes events of up to 1 MiB."""
LONGEST_HEAD = 1 << 16
"""Characters that may precede the array in a document."""
_STRING = r'"(?:[^"\\]|\\.)*+"'
_SCALAR = rf'{_STRING}\s*+:\s*+(?:{_STRING}|\[(?:{_STRING}|[^\[\]"])*+\]|[^\s",\[\]{{}}]++)'
_CONTAINER = re.compile(rf'\{{\s*+((?:{_SCALAR}\s*+,\s*+)*+)"({"|".join(ARRAYS)})"\s*+:\s*+\[')
_NEXT = re.compile(r"[\[\]{]")
# Where an element ends and another begins. Neither can be inside of a string: its quotes would be escaped, and the one
# that ends it is not followed by a name and a colon.
_BETWEEN_OBJECTS = re.compile(r'\}\s*+,?\s*+(\{)\s*+"[@\w]+"\s*+:')
_BETWEEN_ROWS = re.compile(r'\}\s*+\]\s*+,\s*+(\[)\s*+\{\s*+"field"\s*+:')
_DECODER = json.JSONDecoder()


def begins_container(text: str) -> bool:
    """Say whether the text begins with a document that holds log events in an array."""
    return _CONTAINER.match(text) is not None


def elements(chunks: Iterator[str], markers: Sequence[str]) -> Iterator[tuple[dict[str, Any], Any]]:
    """Yield each element, and the plain fields that precede the array which it is in (none: an empty mapping).

    Elements that contain none of the markers may be left out. EOFError, at the end, if one could not be read: the
    document is cut off or damaged.
    """
    scanner = _Scanner(chunks, markers)
    context: dict[str, Any] = {}
    is_inside = has_rows = is_known = False
    while mark := scanner.find():
        if mark == "]":
            is_inside = has_rows = False
            scanner.at += 1
        elif mark == "{" and not is_inside and (container := scanner.container()):
            context = json.loads("{" + container[1].rstrip().rstrip(",") + "}")
            is_inside, has_rows = True, container[2] == "results"
            is_known = not context.keys() & {"logGroup", "logStream"}
        elif mark == "[" and not has_rows:
            scanner.at += 1
        else:
            yield from ((context, value) for value in scanner.element())
            is_known = is_known or not is_inside
        if is_known:  # what is skipped holds nothing that what follows depends on
            scanner.skip(_BETWEEN_ROWS if has_rows else _BETWEEN_OBJECTS)
    if scanner.is_damaged:
        raise EOFError("the JSON is damaged or ends in the middle of an event")


class _Scanner:
    """A window on the text, from `at` on."""

    def __init__(self, chunks: Iterator[str], markers: Sequence[str]) -> None:
        self._chunks = chunks
        self._text = ""
        self._markers = dict.fromkeys(markers, -1)
        self.at = 0
        self.is_damaged = False

    def find(self) -> str:
        """Go to the next bracket of interest and return it; "" at the end."""
        while True:
            if found := _NEXT.search(self._text, self.at):
                self.at = found.start()
                return found[0]
            self.at = len(self._text)
            if not self._read():
                return ""

    def skip(self, between: re.Pattern[str]) -> None:
        """Go to the beginning of the last element before the next marker, if that is further on."""
        while True:
            marked = self._next_marker()
            until = len(self._text) if marked is None else marked
            at = self._text.rfind("}", self.at, until)
            while at >= 0 and not (found := between.match(self._text, at)):
                at = self._text.rfind("}", self.at, at)
            if at >= 0 and found:
                self.at = found.start(1)
            elif len(self._text) - self.at > LONGEST_ELEMENT:  # no log event is as long as that
                self.at = until
            if marked is not None or not self._read():
                return

    def _next_marker(self) -> int | None:
        """Where the next marker is. Each remembers its place, so that no text is searched twice for the same."""
        text, at = self._text, self.at
        for marker, place in self._markers.items():
            if place < at:
                found = text.find(marker, at)
                self._markers[marker] = found if found >= 0 else len(text)
        nearest = min(self._markers.values())
        return nearest if nearest < len(text) else None

    def container(self) -> re.Match[str] | None:
        """Go into the array of the document that begins here, if it is one that holds log events."""
        while len(self._text) - self.at < LONGEST_HEAD and self._read():
            pass
        found = _CONTAINER.match(self._text, self.at)
        if found:
            self.at = found.end()
        return found

    def element(self) -> Iterator[Any]:
        """Yield the value that begins here, if there is one, and go behind it."""
        while True:
            try:
                value, self.at = _DECODER.raw_decode(self._text, self.at)
            except (ValueError, RecursionError):
                if len(self._text) - self.at > LONGEST_ELEMENT or not self._read():
                    self.at += 1
                    self.is_damaged = True
                    return
            else:
                yield value
                return

    def _read(self) -> bool:
        """Take one more chunk, forgetting what is behind; False at the end."""
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        self._text, self.at = self._text[self.at :] + chunk, 0
        self._markers = dict.fromkeys(self._markers, -1)
        return True
