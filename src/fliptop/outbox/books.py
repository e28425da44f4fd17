"""The memory in which the ledger counts. Shared with the guard, it outlives the process that writes it: the extension
that is started after a crash reads there what the one before had accepted and not delivered, and accounts for it.

The layout is that of `launcher/books.h`: one row of 64 bytes for the heartbeat, then a row for each count, which begins
with its name.
"""

from __future__ import annotations

import mmap
import os
from typing import Final

SIZE: Final = 16384
ROW: Final = 64
NAME: Final = 56
_WORDS: Final = ROW // 8


class Books:
    """Named counts, in memory of `SIZE` bytes: the guard's, if `file` is its descriptor (ours to close), else ours."""

    def __init__(self, file: int | None = None) -> None:
        memory = bytearray(SIZE) if file is None else _shared(file)
        self._bytes = memoryview(memory)
        self._words = self._bytes.cast("Q")
        self._rows = {name: row for row in range(1, SIZE // ROW) if (name := self._name(row))}

    def _name(self, row: int) -> str:
        return bytes(self._bytes[row * ROW : row * ROW + NAME]).rstrip(b"\0").decode("utf-8", "replace")

    def names(self) -> list[str]:
        """All counts that there are, in the order in which they were first used."""
        return list(self._rows)

    def __getitem__(self, name: str) -> int:
        """The count called `name`; 0 if there is none yet."""
        row = self._rows.get(name)
        return 0 if row is None else self._words[row * _WORDS + _WORDS - 1]

    def add(self, name: str, number: int) -> None:
        """Add to the count called `name`. Raises `ValueError` for a name that does not fit, or one too many."""
        row = self._rows.get(name) or self._new(name)
        self._words[row * _WORDS + _WORDS - 1] += number

    def _new(self, name: str) -> int:
        written, row = name.encode(), len(self._rows) + 1
        if not 0 < len(written) < NAME or row == SIZE // ROW:
            raise ValueError(f"the books have no room for {name!r}")
        self._bytes[row * ROW : row * ROW + len(written)] = written
        self._rows[name] = row
        return row

    def beat(self) -> None:
        """A sign of life. The guard kills a process that is at work and gives none."""
        self._words[0] += 1


def _shared(file: int) -> mmap.mmap:
    memory = mmap.mmap(file, SIZE)
    os.close(file)  # mapped it stays
    return memory
