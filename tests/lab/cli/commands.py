"""`fliptop-lab bench`, called in this process."""

from __future__ import annotations

import json
from typing import Any

from typer.testing import CliRunner, Result

from fliptop_lab.cli import app


def lab(*arguments: str) -> Result:
    """Run `fliptop-lab bench` with these arguments."""
    return CliRunner().invoke(app, ["bench", *arguments])


def last_line(result: Result) -> dict[str, Any]:
    """What `--json` ends with."""
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found
