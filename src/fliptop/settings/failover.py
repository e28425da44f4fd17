"""What the launcher left open: a `datadog.yaml` that its scanner does not understand, settled with a real parser.

Happens before anything is registered, so that the legacy extension can still take this process over. The launcher does
the rest, as if its scan had found the reasons: the line, the counter, and what to do when there is no legacy.
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
    """Give this process back to the launcher if the configuration needs legacy; return if it does not."""
    reasons = _reasons(environ)
    if not reasons:
        return
    launcher = Path(environ.get("FLIPTOP_LAYER", "/opt")) / "extensions" / environ.get("FLIPTOP_NAME", "datadog-agent")
    untouched = {key: value for key, value in environ.items() if key not in OURS}
    try:
        os.execve(launcher, [str(launcher), "--settled", *reasons], untouched)  # noqa: S606 -- see above
    except OSError as problem:
        report.error(
            f"datadog.yaml needs the legacy extension ({', '.join(reasons)}), but {launcher} cannot be executed "
            f"({problem.strerror}): running the new extension instead"
        )


def _reasons(environ: Mapping[str, str]) -> tuple[str, ...]:
    try:
        document: object = read_yaml(yaml_path(environ))
    except BadYaml:  # the settings, which are read next, say so
        document = None
    return decide(environ, document)
