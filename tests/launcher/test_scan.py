"""The launcher's YAML scanner against a real parser: the same decision, or unsure; never unsure of plain files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.launcher.conftest import Scan
from tests.launcher.yaml_texts import dumped, environments, handwritten, mutated, soup

from fliptop.settings.rules import decide

GENEROUS = settings(
    max_examples=1000 if os.environ.get("CI") else 250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def parsed(file: bytes) -> tuple[bool, Any]:
    """Return whether the file is one valid document, and what it holds."""
    try:
        return True, yaml.safe_load(file)
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError):
        return False, None


def check(scan: Scan, environ: Mapping[str, str], file: bytes) -> str:
    """Assert that the launcher agrees with the parser or is unsure; return why it is."""
    verdict = scan(environ, file)
    if verdict.unsure:
        assert verdict.reasons == decide(environ, None)
        return verdict.unsure
    valid, document = parsed(file)
    assert valid, f"the launcher was sure of a file that is not valid: {file!r}"
    assert verdict.reasons == decide(environ, document), file
    return ""


@GENEROUS
@given(environ=environments, file=dumped())
def test_agrees_with_a_parser_on_what_a_parser_wrote(scan: Scan, environ: dict[str, str], file: bytes) -> None:
    check(scan, environ, file)


@GENEROUS
@given(environ=environments, file=mutated())
def test_agrees_with_a_parser_on_mutations(scan: Scan, environ: dict[str, str], file: bytes) -> None:
    check(scan, environ, file)


@GENEROUS
@given(environ=environments, file=soup)
@example(environ={}, file=b"otlp_config: {a: 1, a: null}")
@example(environ={}, file=b"otlp_config:\n  1: a\n  0x1: null\n")
@example(environ={}, file=b"otlp_config: 1.0e-999\n")
@example(environ={}, file=b"a: &x [*x]\notlp_config: *x\n")
def test_agrees_with_a_parser_on_fragments(scan: Scan, environ: dict[str, str], file: bytes) -> None:
    check(scan, environ, file)


@GENEROUS
@given(file=st.binary(max_size=40))
def test_never_is_sure_of_rubbish(scan: Scan, file: bytes) -> None:
    check(scan, {}, file)


@GENEROUS
@given(environ=environments, file=handwritten())
def test_is_sure_of_what_people_write(scan: Scan, environ: dict[str, str], file: bytes) -> None:
    why = check(scan, environ, file)
    # One thing stays open on purpose: a number without quotes where true or false belongs.
    assert why.partition(": ")[2] in ("", "number where true or false is expected"), file
