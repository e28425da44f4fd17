"""Settings: sources, precedence, and a bad value that costs its field alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fliptop.settings.model import Settings, effective, load

TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=30)


@pytest.fixture
def task_root(tmp_path: Path) -> Path:
    return tmp_path


def test_defaults_without_any_source(task_root: Path) -> None:
    settings, complaints = load({"LAMBDA_TASK_ROOT": str(task_root)})
    assert complaints == []
    assert settings.logs_url == "https://http-intake.logs.datadoghq.com/api/v2/logs"
    assert settings.logs_wanted
    assert settings.logs_compression == 3
    assert settings.api_key is None


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
    assert settings.api_key is not None
    assert (settings.api_key.get_secret_value(), settings.version, complaints) == (key, key, [])


def test_secrets_are_masked_wherever_they_are_printed() -> None:
    environ = {"DD_API_KEY": "0123456789abcdef", "LAMBDA_TASK_ROOT": "/nowhere"}
    settings, _ = load(environ)
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


@given(st.dictionaries(st.sampled_from(sorted(Settings.model_fields)), TEXT, max_size=8))
def test_no_value_of_any_field_makes_it_raise(values: dict[str, str]) -> None:
    environ = {f"DD_{field.upper()}": value for field, value in values.items()}
    settings, complaints = load({**environ, "LAMBDA_TASK_ROOT": "/nowhere"})
    assert isinstance(settings, Settings)
    assert all(text.startswith("DD_") and "is used instead" in text for text in complaints)
