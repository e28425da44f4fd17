"""Every rule, every spelling, in the environment and in datadog.yaml: the launcher and `rules.decide` agree on each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import yaml
from tests.launcher.conftest import ROOT, Scan, load_build

from fliptop.settings import rules

Decide = Callable[..., tuple[str, ...]]


@pytest.fixture
def decided(scan: Scan) -> Decide:
    """Both implementations' answer, which must be one."""

    def ask(environ: Mapping[str, str] | None = None, file: str = "") -> tuple[str, ...]:
        verdict = scan(environ or {}, file.encode())
        assert not verdict.unsure
        assert verdict.reasons == rules.decide(environ or {}, yaml.safe_load(file))
        return verdict.reasons

    return ask


def test_nothing_set_gives_no_reason(decided: Decide) -> None:
    assert decided() == ()


SWITCHES = {
    "SERVERLESS_APPSEC_ENABLED": "appsec_enabled",
    "APPSEC_ENABLED": "appsec_enabled",
    "TRACE_OTEL_ENABLED": "otel",
    "LAMBDA_FIPS_MODE": "fips",
}
OTLP = (
    "RECEIVER_PROTOCOLS_HTTP_ENDPOINT",
    "RECEIVER_PROTOCOLS_GRPC_ENDPOINT",
    "TRACES_ENABLED",
    "METRICS_SUMS_INITIAL_CUMULATIV_MONOTONIC_VALUE",
    "ANYTHING_AT_ALL",
)
PREFIXES = ("DD_", "DATADOG_", "dd_", "datadog_", "Dd_", "DataDog_")
TRUE = ("true", "True", "TRUE", "t", "yes", "Y", "on", "1", "1.0", " true ", '"true"', ' "1" ', "\ttrue\n")
FALSE = ("false", "FALSE", "f", "no", "N", "off", "0", "0.0", '"false"')
NEITHER = ("", " ", '""', "banana", "2", "truetrue", "tru", "\udcff", '"true', "1.00")


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("key", SWITCHES)
def test_switch_by_every_prefix(decided: Decide, prefix: str, key: str) -> None:
    assert decided({prefix + key: "true"}) == (SWITCHES[key],)
    assert decided({prefix + key.lower(): "true"}) == (SWITCHES[key],)
    assert decided({prefix + key: "false"}) == ()


@pytest.mark.parametrize("key", SWITCHES)
def test_switch_by_every_word(decided: Decide, key: str) -> None:
    for value in TRUE:
        assert decided({"DD_" + key: value}) == (SWITCHES[key],), value
    for value in (*FALSE, *NEITHER):
        assert decided({"DD_" + key: value}) == (), value


@pytest.mark.parametrize("prefix", PREFIXES)
def test_compatibility(decided: Decide, prefix: str) -> None:
    for value in ("compatibility", "Compatibility", "COMPATIBILITY", "  compatibility ", '"compatibility"'):
        assert decided({prefix + "EXTENSION_VERSION": value}) == ("extension_version",), value
    for value in ("next", "", "compat", "compatibility2", "true"):
        assert decided({prefix + "EXTENSION_VERSION": value}) == (), value


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("key", OTLP)
def test_otlp_setting(decided: Decide, prefix: str, key: str) -> None:
    assert decided({prefix + "OTLP_CONFIG_" + key: "0.0.0.0:4318"}) == ("otel",)
    assert decided({prefix + "otlp_config_" + key.lower(): "true"}) == ("otel",)
    for value in (*FALSE, "", "  ", '""'):
        assert decided({prefix + "OTLP_CONFIG_" + key: value}) == (), value


def test_otlp_names_that_are_none(decided: Decide) -> None:
    assert decided({"OTLP_CONFIG_X": "1", "DD_OTLP_CONFI": "1", "XDD_OTLP_CONFIG_A": "1", "DD_OTLP_CONFIG": "1"}) == ()


@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_region(decided: Decide, name: str) -> None:
    for value in ("us-gov-west-1", "US-GOV-EAST-1"):
        assert decided({name: value}) == ("fips",)
    for value in ("us-east-1", "us-gov", "xus-gov-west-1", ""):
        assert decided({name: value}) == ()
    assert decided({name.lower(): "us-gov-west-1", "DD_" + name: "us-gov-west-1"}) == ()


@pytest.mark.parametrize("key", [key for key in SWITCHES if key != "LAMBDA_FIPS_MODE"])
def test_switch_in_yaml(decided: Decide, key: str) -> None:
    name, reason = key.lower(), SWITCHES[key]
    for value in ("true", "True", "yes", "on", "'true'", '"1"', "1", "1.0", "y", "' TRUE '"):
        assert decided({}, f"site: x\n{name}: {value}\n") == (reason,), value
    for value in ("false", "no", "'false'", "0", "", "~", "null", "banana", "[true]", "{a: true}", "\n  a: true", '""'):
        assert decided({}, f"site: x\n{name}: {value}\n") == (), value
    assert decided({}, f"nested:\n  {name}: true\n") == ()
    assert decided({}, f"- {name}: true\n") == ()
    assert decided({}, f"{name.upper()}: true\n") == ()


def test_fips_and_region_are_not_read_from_yaml(decided: Decide) -> None:
    assert decided({}, "lambda_fips_mode: true\naws_region: us-gov-west-1\n") == ()


def test_compatibility_in_yaml(decided: Decide) -> None:
    for value in ("compatibility", "'Compatibility'", '" compatibility"'):
        assert decided({}, f"extension_version: {value}  # for now\n") == ("extension_version",)
    for value in ("next", "~", "[compatibility]", "compatibility 2"):
        assert decided({}, f"extension_version: {value}\n") == ()


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("otlp_config:\n  receiver:\n    protocols:\n      http:\n        endpoint: 0.0.0.0:4318\n", True),
        ("otlp_config: {receiver: {protocols: {grpc: {endpoint: 'localhost:4317'}}}}\n", True),
        ("otlp_config:\n  traces:\n    span_name_remappings:\n      a.b: c\n", True),
        ("otlp_config:\n  metrics:\n    resource_attributes: [false, x]\n", True),
        ("otlp_config: true\n", True),
        ("otlp_config:\n  traces:\n    enabled: true\n", True),
        ("otlp_config:\n  traces:\n    enabled: false\n", False),
        ("otlp_config:\n  traces:\n  logs: {enabled: no, x: 0}\n  metrics: []\n", False),
        ("otlp_config:\n", False),
        ("otlp_config: {}\n", False),
        ("otlp_config: ''\n", False),
        ("x:\n  otlp_config:\n    a: 1\n", False),
        ("- otlp_config:\n    a: 1\n", False),
    ],
)
def test_otlp_in_yaml(decided: Decide, file: str, expected: bool) -> None:
    assert decided({}, file) == (("otel",) if expected else ())


# --- precedence ---


def test_dd_hides_datadog(decided: Decide) -> None:
    assert decided({"DATADOG_APPSEC_ENABLED": "true", "DD_APPSEC_ENABLED": "false"}) == ()
    assert decided({"DD_APPSEC_ENABLED": "true", "DATADOG_APPSEC_ENABLED": "false"}) == ("appsec_enabled",)
    assert decided({"DATADOG_APPSEC_ENABLED": "true", "dd_appsec_enabled": ""}) == ()
    assert decided({"DATADOG_OTLP_CONFIG_X": "1", "DD_OTLP_CONFIG_X": ""}) == ()
    assert decided({"DATADOG_OTLP_CONFIG_X": "1", "DD_OTLP_CONFIG_Y": ""}) == ("otel",)


def test_first_of_two_cases_counts(decided: Decide) -> None:
    assert decided({"dd_appsec_enabled": "true", "DD_APPSEC_ENABLED": "false"}) == ("appsec_enabled",)
    assert decided({"DD_APPSEC_ENABLED": "false", "dd_appsec_enabled": "true"}) == ()


def test_environment_beats_yaml_field_by_field(decided: Decide) -> None:
    file = "appsec_enabled: true\nextension_version: compatibility\n"
    assert decided({}, file) == ("extension_version", "appsec_enabled")
    assert decided({"DD_APPSEC_ENABLED": "false"}, file) == ("extension_version",)
    assert decided({"DATADOG_EXTENSION_VERSION": "next"}, file) == ("appsec_enabled",)
    assert decided({"DD_APPSEC_ENABLED": "true"}, "appsec_enabled: false\n") == ("appsec_enabled",)


@pytest.mark.parametrize("value", ["", "  ", "banana"])
def test_a_value_that_says_nothing_leaves_it_to_yaml(decided: Decide, value: str) -> None:
    assert decided({"DD_APPSEC_ENABLED": value}, "appsec_enabled: true\n") == ("appsec_enabled",)


def test_environment_beats_yaml_inside_otlp_config(decided: Decide) -> None:
    file = "otlp_config:\n  traces:\n    enabled: true\n"
    assert decided({"DD_OTLP_CONFIG_TRACES_ENABLED": "false"}, file) == ()
    assert decided({"datadog_otlp_config_traces_enabled": "0"}, file) == ()
    assert decided({"DD_OTLP_CONFIG_TRACES_ENABLED": ""}, file) == ("otel",)
    assert decided({"DD_OTLP_CONFIG_TRACES": "false"}, file) == ("otel",)
    assert decided({"DD_OTLP_CONFIG_TRACES_ENABLED": "false"}, file + "    probabilistic_sampler: 5\n") == ("otel",)


def test_environment_has_no_names_for_what_lists_hold(decided: Decide) -> None:
    file = "otlp_config:\n  traces:\n  - enabled: true\n"
    assert decided({"DD_OTLP_CONFIG_TRACES_ENABLED": "false"}, file) == ("otel",)


def test_no_variable_has_an_equals_sign_in_its_name(decided: Decide) -> None:
    assert decided({"DD_OTLP_CONFIG_A": "b=false"}, "otlp_config: {'a=b': x}\n") == ("otel",)
    assert decided({"DD_OTLP_CONFIG_A": "0"}, "otlp_config: {'a=b': x}\n") == ("otel",)


def test_all_reasons_in_order(decided: Decide) -> None:
    environ = {"AWS_REGION": "us-gov-west-1", "DD_TRACE_OTEL_ENABLED": "1", "DD_EXTENSION_VERSION": "compatibility"}
    assert decided(environ, "appsec_enabled: true") == ("extension_version", "appsec_enabled", "otel", "fips")


def test_order_of_the_table() -> None:
    configuration = ["extension_version", "appsec_enabled", "otel", "fips"]
    expected = [*configuration, "libc", "extension_missing", "architecture", "loader", "failed_to_start"]
    assert [rule.reason for rule in rules.RULES] == expected
    assert all(rule.what_to_do.endswith(".") for rule in rules.RULES)


# --- what a parser has to settle ---


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("a: &x 1\n", "line 1: anchor"),
        ("a: 1\nb: *x\n", "line 2: alias"),
        ("a: !!str 1\n", "line 1: tag"),
        ("appsec_enabled: |\n  true\n", "line 1: block scalar in a watched key"),
        ("otlp_config:\n  x: >-\n    true\n", "line 2: block scalar in a watched key"),
        ("a:\n\tb: 1\n", "line 2: tab"),
        ("a:\tb\n", "line 1: tab"),
        ("a: b\tc\n", "line 1: tab"),
        ("a: 1\n---\nb: 2\n", "line 2: more than one document"),
        ("a: 1\n...\n", "line 2: more than one document"),
        ("appsec_enabled: false\nx: y\nappsec_enabled: true\n", "line 3: key occurs twice"),
        ("otlp_config:\n  a: 1\n  a: ~\n", "line 3: key occurs twice"),
        ("<<: {appsec_enabled: true}\n", "line 1: merge key"),
        ("? a\n: b\n", "line 1: complex key"),
        ("%YAML 1.2\n---\na: 1\n", "line 1: directive"),
        ('"appsec\\x5fenabled": true\n', "line 1: escape in a key"),
        ('appsec_enabled: "tr\\x75e"\n', "line 1: escape in a watched value"),
        ("a: 'x\n  y'\n", "line 1: quoted text over several lines"),
        ("a: x\n  y\n", "line 2: unexpected indentation"),
        ("a: b: c\n", "line 1: text after a value"),
        ("a: [1, 2\n", "line 2: unclosed bracket"),
        ("a: [b:, c]\n", "line 1: missing comma or bracket"),
        ("a: |\n    b\n  c\n", "line 3: unclear indentation of a block scalar"),
        ("a: |\n     \n  b\n", "line 3: unclear indentation of a block scalar"),
        ("a: |2\n  b\n", "line 1: unusual block scalar"),
        ("appsec_enabled: 01\n", "line 1: number where true or false is expected"),
        ("a: 2024-13-45\n", "line 1: date without quotes"),
        ("a: \x07\n", "line 1: control character"),
        ("a:\n" + "".join(f"{' ' * n}k:\n" for n in range(1, 60)), "line 33: nested too deeply"),
        ("a: " + "[" * 100 + "]" * 100 + "\n", "line 1: nested too deeply"),
        ("k" * 1100 + ": 1\n", "line 1: long key"),
    ],
)
def test_unsure(scan: Scan, file: str, why: str) -> None:
    assert scan({}, file.encode()).unsure == why


@pytest.mark.parametrize("broken", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xc0\xaf", b"\xe2\x82"])
def test_broken_utf8_is_unsure(scan: Scan, broken: bytes) -> None:
    assert scan({}, b"site: x\nappsec_enabled: true # " + broken + b"\n").unsure == "line 2: not UTF-8"


def test_what_an_unsure_scan_saw_does_not_count_but_the_environment_does(scan: Scan) -> None:
    verdict = scan({"DD_LAMBDA_FIPS_MODE": "true"}, b"appsec_enabled: true\nx: &a 1\n")
    assert verdict.reasons == ("fips",)
    assert verdict.unsure == "line 2: anchor"


def test_decide_survives_a_document_that_contains_itself() -> None:
    document = yaml.safe_load("otlp_config: &x\n  a: *x\n  b: [*x, false]\n")
    assert rules.decide({}, document) == ()


def test_decide_ignores_documents_that_are_no_mapping() -> None:
    assert rules.decide({}, ["appsec_enabled"]) == rules.decide({}, "appsec_enabled: true") == ()


def test_the_header_is_current() -> None:
    build = load_build("rules_header")
    assert (ROOT / "launcher" / "rules.h").read_text() == build.header(), "run: python build/rules_header.py"
