"""What the launcher left open: a `datadog.yaml` that its scanner does not understand, settled with a real parser.

The launcher asks before anything is registered (`fliptop --settle`), and goes on as if its scan had found what is found
here: it falls back, with the line and the counter, or becomes ready and guards us (launcher/settle.c).
"""

from __future__ import annotations

from collections.abc import Mapping

from fliptop.settings.rules import decide
from fliptop.settings.sources import BadYaml, read_yaml, yaml_path


def settled(environ: Mapping[str, str]) -> str:
    """Return the line that answers the launcher: `settled`, and the reasons for legacy that there are, if any."""
    try:
        document: object = read_yaml(yaml_path(environ))
    except BadYaml:  # the settings, which the extension reads when it serves, say so
        document = None
    return " ".join(("settled", *decide(environ, document))) + "\n"
