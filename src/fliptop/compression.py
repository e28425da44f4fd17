"""What payloads are compressed with: zstd, from the standard library where it has it (Python 3.14), else from its
backport; gzip where the intake knows nothing else.
"""

import sys
import zlib
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

if sys.version_info >= (3, 14):
    from compression.zstd import compress as _compress
    from compression.zstd import decompress as _decompress
else:
    from backports.zstd import compress as _compress
    from backports.zstd import decompress as _decompress

Coding = Literal["zstd", "gzip"]
_GZIP: Final = zlib.MAX_WBITS | 16


class Codec(NamedTuple):
    """`pack` takes bytes and a level, `unpack` what `pack` has made."""

    pack: Callable[[bytes, int], bytes]
    unpack: Callable[[bytes], bytes]


def zstd(data: bytes, level: int) -> bytes:
    """`data` as one zstd frame. `level` as zstd counts them (1 to 22; 3 is Datadog's default)."""
    return _compress(data, level)


def unzstd(data: bytes) -> bytes:
    """What `zstd` was given. For our own frames only: their size has no ceiling here."""
    return _decompress(data)


def gzip(data: bytes, level: int) -> bytes:
    """`data` as gzip. `level` as zlib counts them (1 to 9)."""
    return zlib.compress(data, level, _GZIP)


def ungzip(data: bytes) -> bytes:
    """What `gzip` was given. Likewise for our own alone."""
    return zlib.decompress(data, _GZIP)


CODINGS: Final = {"zstd": Codec(zstd, unzstd), "gzip": Codec(gzip, ungzip)}
"""By their names in `Content-Encoding`."""
