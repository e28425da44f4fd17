"""Settings: sources, precedence, and a bad value that costs its field alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fliptop.settings.fields import FIELDS, Settings, effective
from fliptop.settings.load import load, quick
from fliptop.settings.model import judge
from fliptop.settings.sources import from_environment, from_yaml

TEXT = st.text(st.characters(blacklist_characters="\0"), max_size=30)
WRITTEN = st.one_of(
    TEXT,
    st.sampled_from(["", "true", "No", "0", "1", "1.0", "3", " 9 ", "10", "2.5", "1e3", "nan", "-inf", "1_0", "info"]),
    st.sampled_from(
        ["a:b,c:d", "[]", "[1", "http://user:pass@host:1/", "datadoghq.eu", "Debug", '"', "\udcff", "x:\udcff"]
    ),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.integers(0, 10), st.floats(), WRITTEN)
IN_YAML = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=2))


@pytest.fixture
def task_root(tmp_path: Path) -> Path:
    return tmp_path


def test_defaults_without_any_source(task_root: Path) -> None:
    settings, complaints = load({"LAMBDA_TASK_ROOT": str(task_root)})
    assert complaints == []
    assert settings.logs_url == "https://http-intake.logs.datadoghq.com/api/v2/logs"
    assert settings.logs_wanted
    assert settings.logs_compression == 3
    assert settings.api_key == ""


@pytest.mark.parametrize(
    "environ",
    [
        {"DD_SITE": "datadoghq.eu"},
        {"DATADOG_SITE": "datadoghq.eu"},
        {"dd_site": "datadoghq.eu"},
        {"Dd_SiTe": " datadoghq.eu "},
        {"DATADOG_SITE": "us3.datadoghq.com", "DD_SITE": "datadoghq.eu"},
        {"DATADOG_SITE": "datadoghq.eu", "DD_SITE": ""},
        {"DATADOG_SITE": "datadoghq.eu", "DD_SITE": "not a site"},
    ],
)
def test_the_spellings_of_an_environment_variable(environ: dict[str, str]) -> None:
    assert load({"LAMBDA_TASK_ROOT": "/nowhere", **environ})[0].site == "datadoghq.eu"


@pytest.mark.parametrize("key", ["DD_SITE", "DD_DD_URL", "DD_LOGS_CONFIG_LOGS_DD_URL", "DD_PROXY_HTTPS"])
def test_a_host_beyond_ascii_is_to_be_written_in_punycode(key: str) -> None:
    settings, [complaint] = load({"LAMBDA_TASK_ROOT": "/nowhere", key: "bücher.example"})
    assert key in complaint
    assert "xn--" in complaint
    assert (settings.site, settings.dd_url, settings.proxy_https) == ("datadoghq.com", None, None)
    assert settings.logs_config_logs_dd_url is None


def test_the_environment_beats_the_file_field_by_field(task_root: Path) -> None:
    (task_root / "datadog.yaml").write_text(
        "site: datadoghq.eu\nservice: from-file\nlogs_config:\n  logs_dd_url: intake:8080\n  use_compression: no\n"
    )
    settings, _ = load({"LAMBDA_TASK_ROOT": str(task_root), "DD_SERVICE": "from-environment"})
    assert settings.service == "from-environment"
    assert settings.site == "datadoghq.eu"
    assert settings.logs_url == "https://intake:8080/api/v2/logs"
    assert settings.logs_compression is None


def test_a_bad_value_costs_its_field_alone_and_says_what_is_used(task_root: Path) -> None:
    (task_root / "datadog.yaml").write_text("flush_timeout: 12\n")
    environ = {"LAMBDA_TASK_ROOT": str(task_root), "DD_FLUSH_TIMEOUT": "soon", "DD_SITE": "a b", "DD_ENV": "prod"}
    settings, complaints = load(environ)
    assert (settings.flush_timeout, settings.site, settings.env) == (12, "datadoghq.com", "prod")
    assert len(complaints) == 2
    assert any("DD_FLUSH_TIMEOUT='soon'" in text and "flush_timeout is used instead" in text for text in complaints)
    assert any("DD_SITE='a b'" in text and "the default is used instead" in text for text in complaints)


@pytest.mark.parametrize("key", ["12345678901234567890123456789012", "0123", "1.10"])
def test_values_are_strings_until_their_field_says_otherwise(key: str) -> None:
    settings, complaints = load({"DD_API_KEY": f" {key}\n", "DD_VERSION": key, "LAMBDA_TASK_ROOT": "/nowhere"})
    assert (settings.api_key, settings.version, complaints) == (key, key, [])


def test_secrets_are_masked_wherever_they_are_printed() -> None:
    environ = {
        "DD_API_KEY": "0123456789abcdef",
        "DD_ADDITIONAL_ENDPOINTS": '{"https://other": ["0123456789abcdef"]}',
        "DD_LOGS_CONFIG_ADDITIONAL_ENDPOINTS": '[{"api_key": "0123456789abcdef"}]',
        "DD_APM_ADDITIONAL_ENDPOINTS": '{"https://other": ["0123456789abcdef"]}',
        "LAMBDA_TASK_ROOT": "/nowhere",
    }
    settings, _ = load(environ)
    assert (len(settings.additional_endpoints), len(settings.logs_config_additional_endpoints)) == (1, 1)
    assert len(settings.apm_additional_endpoints) == 1
    assert "0123456789abcdef" not in f"{effective(settings)} {settings!r}"
    _, complaints = load({"DD_API_KEY": "secret\x07key", "LAMBDA_TASK_ROOT": "/nowhere"})
    assert "DD_API_KEY=(hidden)" in complaints[0]
    assert "secret" not in complaints[0]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"site: [", "the file is ignored"),
        (b"- a\n- b\n", "a mapping of settings is expected"),
        (b"site: \xff\xfe", "the file is ignored"),
        (b"service: !!bool maybe\n", "the file is ignored"),
        (b"service: !!int ''\n", "the file is ignored"),
        (b"service: !!timestamp foo\n", "the file is ignored"),
        (b"a: " + b"[" * 100_000, "more than 100 levels"),
        (b"- " * 100_000, "more than 100 levels"),
        (b"", None),
        (b"# nothing\n", None),
    ],
)
def test_files_that_cannot_be_used_are_named_and_ignored(task_root: Path, content: bytes, expected: str | None) -> None:
    (task_root / "datadog.yaml").write_bytes(content)
    settings, complaints = load({"LAMBDA_TASK_ROOT": str(task_root), "DD_ENV": "prod"})
    assert settings.env == "prod"
    assert [expected in text for text in complaints if expected] == ([True] if expected else [])
    assert bool(complaints) == bool(expected)


def test_a_directory_in_the_files_place_is_named(task_root: Path) -> None:
    (task_root / "datadog.yaml").mkdir()
    _, complaints = load({"LAMBDA_TASK_ROOT": str(task_root)})
    assert "datadog.yaml: Is a directory" in complaints[0]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("from:to", {"from": "to"}),
        (" lambda_sqs : queues , a.b:c:d", {"lambda_sqs": "queues", "a.b": "c"}),
        ("nothing,:x,y:", {}),
    ],
)
def test_services_are_mapped(written: str, read: dict[str, str]) -> None:
    assert load({"LAMBDA_TASK_ROOT": "/nowhere", "DD_SERVICE_MAPPING": written})[0].service_mapping == read


def test_services_are_mapped_in_the_file(task_root: Path) -> None:
    (task_root / "datadog.yaml").write_text("service_mapping:\n  from: to\n")
    assert load({"LAMBDA_TASK_ROOT": str(task_root)})[0].service_mapping == {"from": "to"}


@pytest.mark.parametrize(
    ("written", "read", "complaints"),
    [
        ("b3,TraceContext", ("b3", "tracecontext"), 0),
        ("b3 unheard-of", ("b3",), 0),
        ("unheard-of", ("datadog", "tracecontext"), 1),
        ("none", ("none",), 0),
    ],
)
def test_propagation_styles(written: str, read: tuple[str, ...], complaints: int) -> None:
    settings, said = load({"LAMBDA_TASK_ROOT": "/nowhere", "DD_TRACE_PROPAGATION_STYLE": written})
    assert (settings.trace_propagation_style, len(said)) == (read, complaints)


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, True),
        ({"DD_LOGS_ENABLED": "false"}, False),
        ({"DD_SERVERLESS_LOGS_ENABLED": "false"}, False),
        ({"DD_LOGS_ENABLED": "false", "DD_SERVERLESS_LOGS_ENABLED": "true"}, True),
        ({"DD_LOGS_ENABLED": "perhaps"}, True),
        ({"DD_LOGS_ENABLED": "0"}, False),
    ],
)
def test_switching_logs_off(environ: dict[str, str], wanted: bool) -> None:
    assert load({"LAMBDA_TASK_ROOT": "/nowhere", **environ})[0].logs_wanted is wanted


def test_tags() -> None:
    environ = {"DD_TAGS": "team:a, cost:b  broken url:http://x:1 :y z:", "DD_ENV": "prod", "DD_SERVICE": "Shop"}
    settings, _ = load({"LAMBDA_TASK_ROOT": "/nowhere", **environ})
    assert settings.all_tags == {"env": "prod", "service": "shop", "team": "a", "cost": "b", "url": "http://x:1"}


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), TEXT, max_size=8))
def test_no_value_of_any_field_makes_it_raise(values: dict[str, str]) -> None:
    environ = {f"DD_{field.upper()}": value for field, value in values.items()}
    settings, complaints = load({**environ, "LAMBDA_TASK_ROOT": "/nowhere"})
    assert isinstance(settings, Settings)
    assert all(text.startswith("DD_") and "is used instead" in text for text in complaints)


ENVIRONS = st.dictionaries(
    st.builds("".join, st.tuples(st.sampled_from(["DD_", "DATADOG_", "dd_"]), st.sampled_from(sorted(FIELDS)))),
    WRITTEN,
    max_size=2,
)
DOCUMENTS = st.dictionaries(st.sampled_from(sorted(field.path for field in FIELDS.values())), IN_YAML, max_size=2)


@hypothesis.settings(max_examples=500, deadline=None)
@given(ENVIRONS, DOCUMENTS)
def test_the_quick_reader_answers_what_the_model_would_and_whenever_it_may(
    environ: dict[str, str], document: dict[str, object]
) -> None:
    """It answers if and only if the model has nothing to complain of, and then gives the same settings."""
    candidates = [
        *from_environment(environ, FIELDS),
        *from_yaml(nested(document), {n: f.path for n, f in FIELDS.items()}),
    ]
    answer = quick(candidates)
    judged, complaints = judge(candidates)
    assert (answer is not None) == (complaints == [])
    if answer is not None:
        assert values_of(answer) == values_of(judged)


@pytest.mark.parametrize("number", ["", "0", "-1", "nan", "inf", "soon", "1e999"])
def test_a_timeout_that_is_none_is_refused(number: str) -> None:
    settings, complaints = load({"DD_FLUSH_TIMEOUT": number or '""', "LAMBDA_TASK_ROOT": "/nowhere"})
    assert settings.flush_timeout == 30
    assert "expected a number of seconds greater than 0; the default is used instead" in complaints[0]


@pytest.mark.parametrize("written", ["0", "10", "2.5", "true", "high", "nan"])
def test_a_compression_level_that_is_none_is_refused(written: str) -> None:
    settings, complaints = load({"DD_COMPRESSION_LEVEL": written, "LAMBDA_TASK_ROOT": "/nowhere"})
    assert settings.logs_compression == 3
    assert "expected a whole number from 1 to 9" in complaints[0]


def test_numbers_may_be_written_as_yaml_and_as_text(task_root: Path) -> None:
    (task_root / "datadog.yaml").write_text("flush_timeout: 2.5\nlogs_config:\n  compression_level: 7\n")
    settings, complaints = load({"LAMBDA_TASK_ROOT": str(task_root), "DD_COMPRESSION_LEVEL": "5"})
    assert (settings.flush_timeout, settings.logs_compression, settings.compression_level) == (2.5, 7, 5)
    assert complaints == []


def test_settings_do_not_change() -> None:
    with pytest.raises(AttributeError, match="site: settings do not change"):
        Settings().site = "example.com"


@pytest.mark.parametrize(("extra", "judged"), [({}, False), ({"DD_SITE": "not a site"}, True)])
def test_pydantic_is_imported_only_when_a_value_is_in_doubt(extra: dict[str, str], judged: bool) -> None:
    """In an interpreter of its own, because this one has it already."""
    environ = {"DD_TAGS": "a:b", "DD_FLUSH_TIMEOUT": "3", "LAMBDA_TASK_ROOT": "/nowhere", **extra}
    program = (
        "import sys; from fliptop.settings.load import load; "
        f"load({environ!r}); print({{'pydantic', 'pydantic_settings'}} & sys.modules.keys() != set())"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(judged)


def values_of(settings: Settings) -> dict[str, object]:
    return {name: getattr(settings, name) for name in FIELDS}


def nested(flat: dict[str, object]) -> dict[str, object]:
    """`{"a.b": 1}` as `{"a": {"b": 1}}`."""
    document: dict[str, object] = {}
    for path, value in flat.items():
        top, _, below = path.partition(".")
        if below:
            inner = document.setdefault(top, {})
            assert isinstance(inner, dict)
            inner[below] = value
        else:
            document[top] = value
    return document


def metric_settings(**environ: str) -> tuple[Settings, list[str]]:
    return load({"LAMBDA_TASK_ROOT": "/nowhere", **environ})


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "https://api.datadoghq.com"),
        ({"DD_SITE": "datadoghq.eu"}, "https://api.datadoghq.eu"),
        ({"DD_URL": "https://one"}, "https://one"),
        ({"DD_URL": "https://one", "DD_DD_URL": "http://two:1/"}, "http://two:1"),
    ],
)
def test_where_metrics_go(environ: dict[str, str], url: str) -> None:
    assert metric_settings(**environ)[0].metrics_url == url


def test_the_compression_of_metrics() -> None:
    assert metric_settings()[0].metrics_compression == 3
    assert metric_settings(DD_COMPRESSION_LEVEL="5")[0].metrics_compression == 5
    both = {"DD_COMPRESSION_LEVEL": "5", "DD_METRICS_CONFIG_COMPRESSION_LEVEL": "7"}
    assert metric_settings(**both)[0].metrics_compression == 7


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("DD_HISTOGRAM_PERCENTILES", "0.95 0.99", (95, 99)),
        ("DD_HISTOGRAM_PERCENTILES", "0.5,1", (50, 100)),
        ("DD_HISTOGRAM_PERCENTILES", "75", (75,)),
        ("DD_HISTOGRAM_AGGREGATES", "MAX, sum", ("max", "sum")),
        ("DD_LAMBDA_CUSTOMER_METRICS_EXCLUDE_TAGS", "region, env", ("region", "env")),
        ("DD_DOGSTATSD_QUEUE_SIZE", "0", 0),
        ("DD_DOGSTATSD_SO_RCVBUF", "1048576", 1048576),
    ],
)
def test_settings_of_metrics(name: str, value: str, expected: object) -> None:
    settings, complaints = metric_settings(**{name: value})
    assert getattr(settings, name[3:].lower()) == expected
    assert complaints == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DD_HISTOGRAM_PERCENTILES", "0.95 x"),
        ("DD_HISTOGRAM_PERCENTILES", "0"),
        ("DD_HISTOGRAM_PERCENTILES", "101"),
        ("DD_HISTOGRAM_PERCENTILES", "nan"),
        ("DD_HISTOGRAM_AGGREGATES", "max p99"),
        ("DD_DOGSTATSD_QUEUE_SIZE", "-1"),
        ("DD_DOGSTATSD_BUFFER_SIZE", "1.5"),
        ("DD_DOGSTATSD_SO_RCVBUF", "1e99"),
    ],
)
def test_settings_of_metrics_that_cannot_be_used(name: str, value: str) -> None:
    settings, (complaint,) = metric_settings(**{name: value})
    assert getattr(settings, name[3:].lower()) == getattr(Settings(), name[3:].lower())
    assert name in complaint


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "https://trace.agent.datadoghq.com"),
        ({"DD_SITE": "datadoghq.eu"}, "https://trace.agent.datadoghq.eu"),
        ({"DD_SITE": "datadoghq.eu", "DD_APM_DD_URL": " http://one:1// "}, "http://one:1"),
        ({"DD_APM_DD_URL": "not a url"}, "https://trace.agent.datadoghq.com"),
    ],
)
def test_where_traces_go(environ: dict[str, str], url: str) -> None:
    assert load({"LAMBDA_TASK_ROOT": "/nowhere", **environ})[0].apm_url == url


def test_the_compression_of_traces() -> None:
    assert Settings().apm_compression == 3
    both = {"DD_COMPRESSION_LEVEL": "5", "DD_APM_CONFIG_COMPRESSION_LEVEL": "7", "LAMBDA_TASK_ROOT": "/nowhere"}
    assert load(both)[0].apm_compression == 7


def test_settings_of_traces_in_the_file(task_root: Path) -> None:
    (task_root / "datadog.yaml").write_text("""
apm_config:
  apm_dd_url: https://one
  compression_level: 5
  replace_tags: [{name: "*", pattern: x, repl: y}]
  obfuscation: {http: {remove_query_string: true, remove_paths_with_digits: "on"}}
  filter_tags: {require: ["a:b, c", d]}
  filter_tags_regex: {reject: ["e:f|g"]}
""")
    settings, complaints = load({"LAMBDA_TASK_ROOT": str(task_root)})
    assert complaints == []
    assert (settings.apm_url, settings.apm_compression, len(settings.apm_replace_tags)) == ("https://one", 5, 1)
    assert settings.apm_config_obfuscation_http_remove_query_string
    assert settings.apm_config_obfuscation_http_remove_paths_with_digits
    assert settings.apm_filter_tags_require == ("a:b, c", "d")
    assert settings.apm_filter_tags_regex_reject == ("e:f|g",)


def test_words_of_filters_may_have_commas(task_root: Path) -> None:
    settings, _ = load({"DD_APM_FILTER_TAGS_REGEX_REQUIRE": " a:^b{1,2}$  c", "LAMBDA_TASK_ROOT": str(task_root)})
    assert settings.apm_filter_tags_regex_require == ("a:^b{1,2}$", "c")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DD_APM_REPLACE_TAGS", "[{"),
        ("DD_APM_CONFIG_COMPRESSION_LEVEL", "22"),
        ("DD_APM_CONFIG_OBFUSCATION_HTTP_REMOVE_QUERY_STRING", "perhaps"),
        ("DD_APM_DD_URL", "ftp://host"),
        ("DD_APM_ADDITIONAL_ENDPOINTS", "https://host"),
    ],
)
def test_settings_of_traces_that_cannot_be_used(name: str, value: str) -> None:
    settings, (complaint,) = load({name: value, "LAMBDA_TASK_ROOT": "/nowhere", "DD_SERVICE": "shop"})
    assert getattr(settings, name[3:].lower()) == getattr(Settings(), name[3:].lower())
    assert settings.service == "shop"
    assert name in complaint
