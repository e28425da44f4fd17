"""How the values that people write become values of a type. Source: extension-behaviour, 1.2 and 1.3."""

from __future__ import annotations

import json
import math
from typing import Any, Final

from fliptop.lifecycle.strategy import Strategy
from fliptop.lifecycle.strategy import parse as parse_strategy

AGGREGATES: Final = ("max", "min", "median", "avg", "sum", "count")
PROPAGATION_STYLES: Final = ("datadog", "tracecontext", "b3", "b3multi", "baggage", "none")
LOG_LEVELS: Final = ("error", "warn", "info", "debug", "trace")
# Beyond this zstd takes seconds for what the invocation has milliseconds for, and saves next to nothing.
HIGHEST_COMPRESSION: Final = 9


def boolean(value: Any) -> bool:
    """`true`/`false`, `1`/`0`, `yes`/`no`, `on`/`off`, `t`/`f` in any case, and YAML's own booleans."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in {"true", "1", "1.0", "yes", "on", "t"}:
        return True
    if word in {"false", "0", "0.0", "no", "off", "f"}:
        return False
    raise ValueError("expected true or false")


def text(value: Any) -> str:
    """A scalar as it was written. YAML numbers are taken for what they look like."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("expected text")
    return _encodable(str(value).strip())


def _encodable(written: str) -> str:
    # Bytes that are no UTF-8 arrive as lone surrogates, which nothing beyond this point could encode.
    return written.encode("utf-8", "replace").decode()


def log_level(value: Any) -> str:
    """One of `LOG_LEVELS`, in any case."""
    level = text(value).lower()
    if level not in LOG_LEVELS:
        raise ValueError(f"expected one of {', '.join(LOG_LEVELS)}")
    return level


def seconds(value: Any) -> float:
    """A number greater than 0, as text or as YAML's own."""
    duration = _number(value)
    if not 0 < duration < math.inf:
        raise ValueError("expected a number of seconds greater than 0")
    return duration


def compression_level(value: Any) -> int:
    """A zstd level from 1 to `HIGHEST_COMPRESSION`, as text or as YAML's own number."""
    level = _number(value)
    if not (1 <= level <= HIGHEST_COMPRESSION and level == int(level)):
        raise ValueError(f"expected a whole number from 1 to {HIGHEST_COMPRESSION}")
    return int(level)


def flush_strategy(value: Any) -> Strategy:
    """When to flush: see `lifecycle.strategy.parse`."""
    return parse_strategy(text(value))


def size(value: Any) -> int:
    """A number of bytes or of things; 0 for the default. At most what fits into 31 bits."""
    number = _number(value)
    if not (0 <= number < 2**31 and number == int(number)):
        raise ValueError("expected a whole number, 0 for the default")
    return int(number)


def words(value: Any) -> tuple[str, ...]:
    """Words with spaces or commas between them, or a list."""
    pieces = value if isinstance(value, list) else text(value).replace(",", " ").split()
    return tuple(_encodable(str(piece)).strip() for piece in pieces)


def tokens(value: Any) -> tuple[str, ...]:
    """Words with spaces between them, or a list; a comma is part of a word."""
    pieces = value if isinstance(value, list) else text(value).split()
    return tuple(_encodable(str(piece)).strip() for piece in pieces)


def aggregates(value: Any) -> tuple[str, ...]:
    """Some of `AGGREGATES`."""
    names = tuple(name.lower() for name in words(value))
    if not set(names) <= set(AGGREGATES):
        raise ValueError(f"expected some of {', '.join(AGGREGATES)}")
    return names


def percentiles(value: Any) -> tuple[int, ...]:
    """Percentiles as Datadog's agent takes them, from 0.01 to 1, or in percent; returned in percent."""
    numbers = [_number(word) for word in words(value)]
    if not all(0.01 <= number <= 100 for number in numbers):
        raise ValueError("expected numbers from 0.01 to 1")
    return tuple(round(number * 100 if number <= 1 else number) for number in numbers)


def _number(value: Any) -> float:
    """What `value` says as a number; not a number (which compares with nothing) for everything else."""
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (ValueError, TypeError, OverflowError):
        return math.nan


def tags(value: Any) -> dict[str, str]:
    """`k:v,k:v` (commas or spaces), or a list of `k:v`. A piece without a key or a value is left out."""
    pieces = value if isinstance(value, list) else text(value).replace(",", " ").split()
    pairs = (_encodable(str(piece)).partition(":") for piece in pieces)
    return {key.strip(): found.strip() for key, _, found in pairs if key.strip() and found.strip()}


def mapping(value: Any) -> dict[str, str]:
    """`from:to,from2:to2`, or a map; what follows a second colon is left out, and so is a piece that lacks a side."""
    if isinstance(value, dict):
        return {str(key): _encodable(str(name)) for key, name in value.items()}
    pairs = (piece.split(":") for piece in text(value).split(","))
    named = ((pair[0].strip(), pair[1].strip()) for pair in pairs if len(pair) > 1)
    return {key: name for key, name in named if key and name}


def propagation_styles(value: Any) -> tuple[str, ...]:
    """Some of `PROPAGATION_STYLES`; others are left out."""
    styles = tuple(style for word in words(value) if (style := word.lower()) in PROPAGATION_STYLES)
    if not styles:
        raise ValueError(f"expected some of {', '.join(PROPAGATION_STYLES)}")
    return styles


def json_list(value: Any) -> list[Any]:
    """A list, or the JSON text of one (the only way to write it in an environment variable)."""
    if isinstance(value, list):
        return value
    try:
        parsed = json.loads(value)
    except (ValueError, TypeError, RecursionError):
        parsed = None
    if not isinstance(parsed, list):
        raise ValueError("expected a JSON array")
    return parsed


def json_map(value: Any) -> dict[str, Any]:
    """A mapping, or the JSON text of one (the only way to write it in an environment variable)."""
    try:
        parsed = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        raise ValueError("expected a JSON object")
    return {str(key): item for key, item in parsed.items()}


def base_url(value: Any) -> str:
    """A URL prefix without trailing slashes; `https://` is assumed when no scheme is written."""
    written = text(value).rstrip("/")
    url = written if written.startswith(("http://", "https://")) else f"https://{written}"
    host = url.split("://", 1)[1]
    if not host or "://" in host or any(character.isspace() or ord(character) < 32 for character in host):
        raise ValueError("expected a URL such as https://host:port")
    return _ascii(url)


def _ascii(host: str) -> str:
    # The layer goes without the tables of Unicode that translating such a name takes: half a megabyte.
    if not host.isascii():
        raise ValueError("expected ASCII; write a host like bücher.example as xn--bcher-kva.example")
    return host


def proxy_url(value: Any) -> str:
    """The URL of a proxy; `http://` is assumed when no scheme is written."""
    written = text(value)
    return base_url(written if "://" in written else f"http://{written}")


def site(value: Any) -> str:
    """A Datadog site such as `datadoghq.eu`: letters, digits, dots, dashes, with a port where a test needs one."""
    written = text(value)
    if not written or not all(character.isalnum() or character in "._:-" for character in written):
        raise ValueError("expected a host name such as datadoghq.com")
    return _ascii(written)


def api_key(value: Any) -> str:
    """An API key, cleaned of the spaces and newlines that secrets stores leave around it."""
    key = text(value).replace(" ", "").strip()
    if not key.isascii() or not key.isprintable():
        raise ValueError("expected printable characters")
    return key
