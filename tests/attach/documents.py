"""What docs/attach.md shows, taken out of it: what is tested is what people copy."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def snippet(heading: str, language: str, page: str = "attach.md") -> str:
    """Return the first code block in that language below a heading."""
    text = (DOCS / page).read_text()
    found = re.search(rf"^## {re.escape(heading)}$.*?^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no {language} below {heading!r}"
    return found[1]
