"""zstd, from the standard library where it has it (Python 3.14), else from its backport."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 14):
    from compression.zstd import compress as _compress
    from compression.zstd import decompress as _decompress
else:
    from backports.zstd import compress as _compress
    from backports.zstd import decompress as _decompress


def zstd(data: bytes, level: int) -> bytes:
    """`data` as one zstd frame. `level` as zstd counts them (1 to 22; 3 is Datadog's default)."""
    return _compress(data, level)


def unzstd(data: bytes) -> bytes:
    """What `zstd` was given. For our own frames only: their size has no ceiling here."""
    return _decompress(data)
