"""The extension's own log lines: one JSON object per line on stdout, in the form Datadog users search for.

The key is `status`, not `level`, because Lambda's own log filtering acts on `level` (extension-behaviour, 6.8). The
lines come back through the Telemetry API as `extension` records and are shipped like any other log, so nothing on
the path of a record may print per record.
"""

from __future__ import annotations

import json
import os
import select
from typing import Final, Literal

Level = Literal["trace", "debug", "info", "warn", "error"]

_RANK: Final = {"trace": 0, "debug": 1, "info": 2, "warn": 3, "error": 4, "critical": 5, "off": 6}
_threshold = _RANK["info"]

STDOUT: Final = 1
# How long a line waits for somebody to read those before it. Blocked in `write`, the event loop would turn no more.
FULL_MS: Final = 100
_patience_ms = FULL_MS


def set_level(level: str) -> None:
    """Print lines from `level` on (`error`, `warn`, `info`, `debug`, `trace`, any case; anything else means `info`)."""
    global _threshold  # noqa: PLW0603 -- a process has one stdout and one verbosity
    _threshold = _RANK.get(level.lower(), _RANK["info"])


def debug(text: str) -> None:
    """Say something only a person who asked for `DD_LOG_LEVEL=debug` wants to read."""
    _say("debug", text)


def info(text: str) -> None:
    """Say something about a healthy extension. At the default level a healthy start prints nothing."""
    _say("info", text)


def warn(text: str) -> None:
    """Say that something was ignored, refused or lost, and what is done instead."""
    _say("warn", text)


def error(text: str) -> None:
    """Say that telemetry does not reach Datadog, or that a part of the extension gave up, and what to do."""
    _say("error", text)


def _say(level: Level, text: str) -> None:
    if _RANK[level] < _threshold:
        return
    name = level.upper()
    line(json.dumps({"status": name, "message": f"DD_EXTENSION | {name} | {text}"}, ensure_ascii=False))


def line(text: str) -> None:
    """Write one line to stdout in a single `write`, so that lines of other processes never cut it in two; a longer one
    than a pipe takes at once, in pieces. What nobody reads is given up.
    """
    said = text.encode("utf-8", "backslashreplace") + b"\n"
    try:
        while said and _has_room():
            said = said[os.write(STDOUT, said[: select.PIPE_BUF]) :]
    except OSError:
        return  # nobody reads stdout: there is nowhere left to say so


def _has_room() -> bool:
    """Wait until `PIPE_BUF` bytes can be written without waiting; no longer, if that was in vain the last time."""
    global _patience_ms  # noqa: PLW0603 -- a process has one stdout
    stdout = select.poll()
    stdout.register(STDOUT, select.POLLOUT)
    ready = bool(stdout.poll(_patience_ms))
    _patience_ms = FULL_MS if ready else 0
    return ready
