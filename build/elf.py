"""What a dynamic ELF file asks of the machine it runs on, read without binutils (a fresh machine has none).

Only the dynamic segment is consulted, as the dynamic linker does: section headers may be missing or moved.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

MACHINES = {62: "x86_64", 183: "aarch64"}
PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NEEDED, DT_STRTAB, DT_RPATH, DT_RUNPATH, DT_VERNEED, DT_VERNEEDNUM = 1, 5, 15, 29, 0x6FFFFFFE, 0x6FFFFFFF


class VersionNeed(NamedTuple):
    """One versioned symbol set that a library must offer, for example libm.so.6 and GLIBC_2.35."""

    library: str
    version: str


@dataclass(frozen=True)
class Elf:
    """The demands of one ELF file. `needed` are library names, `rpath` the directories it searches first."""

    machine: str
    interpreter: bool
    needed: tuple[str, ...]
    versions: tuple[VersionNeed, ...]
    rpath: tuple[str, ...]
    rpath_is_inherited: bool

    def newest_glibc(self) -> tuple[tuple[int, ...], VersionNeed | None]:
        """Return the newest GLIBC_ version among the needs as numbers, and the need itself; () and None without any."""
        found = [(glibc_version(need.version), need) for need in self.versions if need.version.startswith("GLIBC_2")]
        return max(found, default=((), None))


def glibc_version(text: str) -> tuple[int, ...]:
    """Turn "GLIBC_2.34" or "2.34" into (2, 34)."""
    return tuple(int(number) for number in re.findall(r"\d+", text))


def is_elf(data: bytes) -> bool:
    """Tell whether `data` begins like an ELF file."""
    return data[:4] == b"\x7fELF"


def read_elf(data: bytes) -> Elf:
    """Read the whole content of an ELF file. ValueError says what is wrong with a damaged or foreign one."""
    try:
        return _Reader(data).read()
    except (struct.error, IndexError) as error:
        raise ValueError(f"damaged ELF file ({error})") from error


def without_sections(data: bytes) -> bytes:
    """Return an ELF file without its section table and all that only sections refer to: symbols and debug information.

    The dynamic linker reads segments alone. `strip` is not on every machine, its result depends on its version, and it
    cannot undo what patchelf does: append a segment behind everything, so that nothing can be cut off the end.
    """
    reader = _Reader(data)
    result = bytearray()
    moves: list[tuple[int, int, int]] = []
    for _, _, offset, _, _, size, _, alignment in sorted(
        (segment for segment in reader.segments if segment[0] == PT_LOAD), key=lambda segment: segment[2]
    ):
        # A segment's place in the file must stay what its address is modulo its alignment.
        result += bytes((offset - len(result)) % max(alignment, 1))
        moves.append((offset, offset + size, len(result) - offset))
        result += data[offset : offset + size]
    if any(following[0] < before[1] for before, following in pairwise(moves)):
        return data
    (headers,) = struct.unpack_from("<Q", data, 32)
    headers = _moved(headers, moves)
    struct.pack_into("<QQ", result, 32, headers, 0)
    struct.pack_into("<HH", result, 60, 0, 0)
    for index, segment in enumerate(reader.segments):
        struct.pack_into("<Q", result, headers + 56 * index + 8, _moved(segment[2], moves))
    return bytes(result)


def _moved(offset: int, moves: list[tuple[int, int, int]]) -> int:
    return next((offset + delta for start, end, delta in moves if start <= offset < end), offset)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        if not is_elf(data) or data[4:6] != b"\x02\x01":
            raise ValueError("not a 64-bit little-endian ELF file")
        (machine,) = struct.unpack_from("<H", data, 18)
        if machine not in MACHINES:
            raise ValueError(f"an ELF file for an unknown machine (e_machine {machine})")
        self._machine = MACHINES[machine]
        (start,) = struct.unpack_from("<Q", data, 32)
        size, count = struct.unpack_from("<HH", data, 54)
        # (type, flags, offset, virtual address, physical address, size in file, size in memory, alignment)
        self.segments = [struct.unpack_from("<IIQQQQQQ", data, start + size * index) for index in range(count)]

    def read(self) -> Elf:
        dynamic = self._dynamic()
        run_path = self._paths(dynamic, DT_RUNPATH)
        return Elf(
            machine=self._machine,
            interpreter=any(segment[0] == PT_INTERP for segment in self.segments),
            needed=tuple(self._string(dynamic, value) for value in dynamic.get(DT_NEEDED, [])),
            versions=tuple(self._versions(dynamic)),
            rpath=run_path or self._paths(dynamic, DT_RPATH),
            rpath_is_inherited=not run_path,
        )

    def _dynamic(self) -> dict[int, list[int]]:
        entries: dict[int, list[int]] = {}
        for segment in self.segments:
            if segment[0] == PT_DYNAMIC:
                for offset in range(segment[2], segment[2] + segment[5], 16):
                    tag, value = struct.unpack_from("<QQ", self._data, offset)
                    if tag == 0:
                        break
                    entries.setdefault(tag, []).append(value)
        return entries

    def _offset(self, address: int) -> int:
        for kind, _, offset, start, _, size, *_ in self.segments:
            if kind == PT_LOAD and start <= address < start + size:
                return int(offset + address - start)
        raise IndexError("an address lies outside of its segments")

    def _string(self, dynamic: dict[int, list[int]], index: int) -> str:
        start = self._offset(dynamic[DT_STRTAB][0]) + index
        return self._data[start : self._data.index(b"\0", start)].decode()

    def _paths(self, dynamic: dict[int, list[int]], tag: int) -> tuple[str, ...]:
        return tuple(path for value in dynamic.get(tag, []) for path in self._string(dynamic, value).split(":"))

    def _versions(self, dynamic: dict[int, list[int]]) -> list[VersionNeed]:
        needs = []
        library = self._offset(dynamic[DT_VERNEED][0]) if DT_VERNEED in dynamic else 0
        for _ in range(dynamic.get(DT_VERNEEDNUM, [0])[0]):
            _, count, name, first, following = struct.unpack_from("<HHIII", self._data, library)
            entry = library + first
            for _ in range(count):
                _, _, _, version, step = struct.unpack_from("<IHHII", self._data, entry)
                needs.append(VersionNeed(self._string(dynamic, name), self._string(dynamic, version)))
                entry += step
            library += following
        return needs
