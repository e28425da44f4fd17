"""Documents that must agree with tables in the code."""

from __future__ import annotations

import re
from pathlib import Path

from fliptop.settings.rules import RULES

ROOT = Path(__file__).resolve().parents[2]


def sections(text: str) -> dict[str, str]:
    """Text below each heading that is a reason, with all white space alike."""
    parts = re.split(r"^#+ (.*)$", text, flags=re.MULTILINE)
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return {title.strip("`"): " ".join(body.split()) for title, body in pairs if title.startswith("`")}


def test_every_reason_is_documented_in_order_with_its_remedy() -> None:
    found = sections((ROOT / "docs" / "fallback.md").read_text())
    assert list(found) == [rule.reason for rule in RULES]
    for rule in RULES:
        assert rule.what_to_do in found[rule.reason]
        for field in rule.fields:
            key = field.key.removesuffix("*")
            name = f"DD_{key}" if field.prefixed else ""
            assert name.upper() in found[rule.reason], f"{rule.reason} does not name {name}"
            assert field.yaml in found[rule.reason] or "one of the two" in found[rule.reason]


def test_tables_of_reasons_elsewhere_are_complete() -> None:
    for name in ("docs/compatibility.md", "launcher/README.md"):
        listed = re.findall(r"^\| `(\w+)` \|", (ROOT / name).read_text(), re.MULTILINE)
        assert [reason for reason in listed if reason in {rule.reason for rule in RULES}] == [
            rule.reason for rule in RULES
        ]
