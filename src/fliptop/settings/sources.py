"""Where settings come from, strongest first: `DD_…`, then `DATADOG_…` in the environment, then `datadog.yaml`.

A source yields candidates: raw values for a field, with the name that the user wrote, so that a message can name it.
Source of the rules: extension-behaviour, 1.1. Unlike there, an environment value is a string until its field says
otherwise, so a key of digits stays a key and `1.10` stays `1.10`.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

PREFIXES: Final = ("DD_", "DATADOG_")


class Candidate(NamedTuple):
    """A value that some source offers for `field`; `name` is what the user calls it (`DD_SITE`, `logs_config.…`)."""

    field: str
    name: str
    value: Any


def from_environment(environ: Mapping[str, str], fields: Iterable[str]) -> list[Candidate]:
    """Candidates from variables of any case, `DD_` ones first. Empty values count as not set."""
    wanted = set(fields)
    found: list[Candidate] = []
    for prefix in PREFIXES:
        for name in sorted(environ):
            field = name[len(prefix) :].lower()
            if name.upper().startswith(prefix) and field in wanted and environ[name].strip():
                found.append(Candidate(field, name, environ[name].strip()))
    return found


def from_yaml(document: Mapping[str, Any], paths: Mapping[str, str]) -> list[Candidate]:
    """Candidates from a parsed `datadog.yaml`. `paths` maps each field to its dotted path there; nulls are not set."""
    found: list[Candidate] = []
    for field, path in paths.items():
        value: Any = document
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            found.append(Candidate(field, path, value))
    return found


class BadYaml(Exception):
    """`datadog.yaml` exists and cannot be used. The message names the file and what is wrong with it."""


def yaml_path(environ: Mapping[str, str]) -> Path:
    """Where `datadog.yaml` would be: beside the function's code."""
    return Path(environ.get("LAMBDA_TASK_ROOT") or "/var/task") / "datadog.yaml"


def read_yaml(path: Path) -> Mapping[str, Any]:
    """The mapping in the file at `path`; empty when there is no such file. Raises `BadYaml`."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as problem:
        raise BadYaml(f"{path}: {problem.strerror}") from problem
    import yaml  # noqa: PLC0415 -- 25 ms, and most functions have no such file

    try:
        document = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 -- both are safe loaders
    except Exception as problem:
        raise BadYaml(f"{path}: {type(problem).__name__}: {' '.join(str(problem).split())[:300]}") from problem
    if document is None:
        return {}
    if not isinstance(document, Mapping):
        raise BadYaml(f"{path}: a mapping of settings is expected, not a {type(document).__name__}")
    return document
