"""The legacy stand-in, and how it gets into a layer."""

from __future__ import annotations

import sys
from pathlib import Path

LEGACY_NAME = "datadog-agent-go"
"""Where a layer keeps the legacy extension, relative to its root."""
TAG = "extension:legacy-stand-in"
"""The tag on every log and metric the stand-in sends."""


def install(layer: Path, interpreter: str = sys.executable) -> Path:
    """Put the stand-in into the layer under ``layer``, to be run by ``interpreter``; returns its path."""
    source = (Path(__file__).parent / "standin.py").read_text("utf-8")
    target = layer / LEGACY_NAME
    target.write_text(f"#!{interpreter} -I\n" + source.partition("\n")[2], "utf-8")
    target.chmod(0o755)
    return target
