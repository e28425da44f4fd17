"""Every item of the checklist is a test, or is listed in docs/lab.md with the reason why not."""

import re
from pathlib import Path

HERE = Path(__file__).parent
ITEMS = range(1, 70)


def test_every_item_is_a_test_or_is_left_out_with_a_reason() -> None:
    sources = "\n".join(path.read_text() for path in HERE.glob("test_*.py"))
    tested = {int(number) for number in re.findall(r"def test_item_(\d+)_", sources)}
    text = (HERE.parents[2] / "docs" / "lab.md").read_text()
    left_out = {int(number) for number in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert not tested & left_out
    assert tested | left_out >= set(ITEMS)
