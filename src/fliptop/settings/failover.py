"""What the launcher left open: a `datadog.yaml` that its scanner does not understand, settled with a real parser.

Happens before anything is registered, so that the legacy extension can still take this process over.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from fliptop import __version__, report
from fliptop.settings.rules import decide
from fliptop.settings.sources import BadYaml, read_yaml, yaml_path

OURS = "FLIPTOP_"


def settle(environ: Mapping[str, str]) -> None:
    """Become the legacy extension if the configuration needs it; return if it does not, or there is none."""
    reasons = _reasons(environ)
    if not reasons:
        return
    legacy = Path(environ.get("FLIPTOP_LAYER", "/opt")) / "datadog-agent-go"
    if not os.access(legacy, os.X_OK):
        _tell("DD_EXTENSION_FALLBACK_UNAVAILABLE", reasons)
        return
    _tell("DD_EXTENSION_FALLBACK_REASON", reasons)
    untouched = {key: value for key, value in environ.items() if not key.startswith(OURS)}
    try:
        os.execve(legacy, [str(legacy)], untouched)  # noqa: S606 -- its place is what we were started for
    except OSError as problem:
        report.error(f"{legacy} cannot be executed ({problem.strerror}): running the new extension instead")


def _reasons(environ: Mapping[str, str]) -> tuple[str, ...]:
    try:
        document: object = read_yaml(yaml_path(environ))
    except BadYaml as problem:
        report.warn(f"{problem}; the file is ignored")
        document = None
    return decide(environ, document)


def _tell(key: str, reasons: tuple[str, ...]) -> None:
    report.line(json.dumps({key: reasons[0], "reasons": reasons, "layer_version": __version__}))
