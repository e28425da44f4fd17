"""Payloads as tags: flat, bounded, and without what looks like a secret."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fliptop.invocations.capture import DEEPEST, LONGEST, MOST_TAGS, captured


def tags(payload: Any, depth: int = 10) -> dict[str, str]:
    """Those for `payload`, without their root's name."""
    found = captured("function.request", payload, depth)
    assert all(name.startswith("function.request") for name in found)
    return {name.removeprefix("function.request").removeprefix("."): text for name, text in found.items()}


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (
            {"a": {"b": [1, "two", True, None, 2.5]}},
            {f"a.b.{n}": t for n, t in enumerate(("1", "two", "true", "null", "2.5"))},
        ),
        ({"a": [], "b": {}}, {"a": "[]"}),
        ({"a": '{"b": [1]}'}, {"a.b.0": "1"}),
        ({"a": "5"}, {"a": "5"}),
        ({"a": "x" * 5000}, {"a": "x" * LONGEST}),
        ("text", {"": "text"}),
        (None, {"": "null"}),
        ({}, {}),
    ],
)
def test_payloads_become_flat(payload: Any, expected: dict[str, str]) -> None:
    assert tags(payload) == expected


def test_what_is_deep_is_told_as_json() -> None:
    assert tags({"a": {"b": {"c": 1}}}, 2) == {"a.b": '{"c":1}'}
    assert tags({"a": '{"b": 1}'}, 1) == {"a": '{"b": 1}'}
    assert tags({"a": 1}, 0) == {"": '{"a":1}'}


@pytest.mark.parametrize("value", ["s3cret", 5, ["s3cret"], {"a": "s3cret"}, '{"a": "s3cret"}', None])
@pytest.mark.parametrize("key", ["password", "Authorization", "API_KEY", "token"])
def test_secrets_are_left_out(key: str, value: Any) -> None:
    assert tags({"a": {key: value}}) == {f"a.{key}": "redacted"}
    assert tags({"a": {key: value}}, 1) == {"a": json.dumps({key: "redacted"}, separators=(",", ":"))}


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_secrets_in_json_that_is_not_taken_apart_are_left_out(depth: int) -> None:
    body = json.dumps({"user": {"password": "s3cret"}})
    found = tags({"a": {"body": body, "more": [body], "twice": json.dumps(body)}}, depth)
    assert "s3cret" not in json.dumps(found)
    assert "redacted" in json.dumps(found)


@pytest.mark.parametrize("depth", [0, 1, 10])
@pytest.mark.parametrize("item", ["{}", "[]", "[[]]", '{"a":{}}', "0"])
def test_no_payload_takes_more_time_than_what_is_told_of_it(item: str, depth: int) -> None:
    """Time is that of the function, which waits. So what is looked at is counted, not timed."""

    class Counted(list[Any]):
        looked_at = 0

        def __iter__(self) -> Iterator[Any]:
            for one in super().__iter__():
                Counted.looked_at += 1
                yield one

    captured("function.request", {"k" * 1000: Counted([json.loads(item)] * 1_000_000)}, depth)
    assert Counted.looked_at < 20_000


def test_there_is_an_end() -> None:
    found = captured("function.response", list(range(MOST_TAGS + 5)), 10)
    assert len(found) == MOST_TAGS + 1
    assert found["function.response"] == "truncated"
    found = captured("function.response", ["x" * LONGEST] * 100, 10)
    assert len(found) < 66
    assert found["function.response"] == "truncated"


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner) | inner.map(json.dumps)
    ),
)


@given(anything, st.integers(0, 20))
def test_any_payload_gives_bounded_tags(payload: Any, depth: int) -> None:
    found = captured("r", payload, depth)
    assert len(found) <= MOST_TAGS + 1
    assert all(len(text) <= LONGEST for text in found.values())


def test_no_depth_is_too_deep() -> None:
    payload: Any = 1
    for _ in range(900):
        payload = [payload]
    for depth in (0, DEEPEST, 10**9):
        assert len(captured("r", payload, depth)) == 1
