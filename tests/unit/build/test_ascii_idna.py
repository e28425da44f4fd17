"""The layer's codec for host names against Python's own, which it stands in for."""

from __future__ import annotations

import codecs
import runpy
from collections.abc import Callable
from encodings import idna
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

SOURCE = Path(__file__).resolve().parents[3] / "build" / "nuitka" / "ascii_idna.py"
OURS: codecs.CodecInfo = runpy.run_path(str(SOURCE))["getregentry"]()
THEIRS = idna.getregentry()
LABELS = st.one_of(
    st.text("ab-1_X", max_size=5),
    st.integers(60, 66).map(lambda length: "a" * length),
    st.text(st.characters(max_codepoint=127), max_size=5),
)
NAMES = st.lists(LABELS, max_size=4).map(".".join)


def outcome(function: Callable[[Any], Any], name: str | bytes) -> Any:
    try:
        return function(name)
    except UnicodeError:
        return UnicodeError


@given(NAMES)
@example("")
@example(".")
@example("http-intake.logs.datadoghq.com")
def test_ascii_names_are_encoded_as_ever(name: str) -> None:
    assert outcome(OURS.encode, name) == outcome(THEIRS.encode, name)


@given(NAMES.filter(lambda name: "xn--" not in name.lower() and outcome(THEIRS.encode, name) is not UnicodeError))
def test_what_was_encoded_is_decoded(name: str) -> None:
    assert OURS.decode(name.encode()) == (name, len(name))


@pytest.mark.parametrize("name", ["bücher.example", "。", "\udcff"])
def test_other_names_are_refused_as_errors_of_unicode(name: str) -> None:
    with pytest.raises(UnicodeError):
        OURS.encode(name)


def test_punycode_is_not_taken_for_what_it_says() -> None:
    with pytest.raises(UnicodeError):
        OURS.decode(b"XN--bcher-kva.example")
