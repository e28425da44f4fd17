"""What the launcher left open: a `datadog.yaml` that its scanner does not understand, settled with a real parser.

Happens before anything is registered, so that the launcher can take this process over again and do the rest, as if its
scan had found what was found here: fall back, with the line and the counter, or become ready and guard us.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from fliptop import report
from fliptop.settings.rules import decide
from fliptop.settings.sources import BadYaml, read_yaml, yaml_path

# What the launcher adds (launcher/README.md). The user's own FLIPTOP_HANDOVER is none of these.
OURS = frozenset({"FLIPTOP_SCAN", "FLIPTOP_UNSURE", "FLIPTOP_LAYER", "FLIPTOP_NAME", "FLIPTOP_STARTED_NS"})


def settle(environ: Mapping[str, str]) -> None:
    """Give this process back to the launcher, with the reasons for legacy that there are. Returns if it cannot be."""
    reasons = _reasons(environ)
    launcher = Path(environ.get("FLIPTOP_LAYER", "/opt")) / "extensions" / environ.get("FLIPTOP_NAME", "datadog-agent")
    untouched = {key: value for key, value in environ.items() if key not in OURS}
    try:
        os.execve(launcher, [str(launcher), "--settled", *reasons], untouched)  # noqa: S606 -- see above
    except OSError as problem:
        needs = f"datadog.yaml needs the legacy extension ({', '.join(reasons)}), but " if reasons else ""
        report.error(f"{needs}{launcher} cannot be executed ({problem.strerror}): running the new extension without it")


def _reasons(environ: Mapping[str, str]) -> tuple[str, ...]:
    try:
        document: object = read_yaml(yaml_path(environ))
    except BadYaml:  # the settings, which are read next, say so
        document = None
    return decide(environ, document)
