"""The rules that send a configuration to the legacy extension, declared once.

`build/rules_header.py` writes this table into `launcher/rules.h`, where the launcher applies it in microseconds. The
extension applies it here, with a real YAML parser, when the launcher's scanner was unsure (`fliptop --settle`).

How a value is read:

* Environment names are a prefix, `DATADOG_` or `DD_` in any letter case, and a key, also in any case. `DD_` hides
  `DATADOG_` for the same key, even when its value is empty. Of spellings that differ in case only, the first counts.
* Environment values lose outer white space and one pair of double quotes around them.
* The environment beats datadog.yaml for the same field. An empty value says nothing, and neither does a value that is
  no boolean where one is expected: the file then speaks.
* Words for true and false are wider than the ones Datadog's extension accepts (`yes`, `on`, `t` …). What such a value
  asks for is clear, and the legacy extension serves everything, so falling back is the safe reading.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

MINIMUM_GLIBC = (2, 34)
"""The oldest GNU C library that the frozen extension runs on."""

PREFIXES = ("dd_", "datadog_")
"""What a field's key follows in the environment; an earlier one hides a later one."""

TRUE_WORDS = ("true", "t", "yes", "y", "on", "1", "1.0")
FALSE_WORDS = ("false", "f", "no", "n", "off", "0", "0.0")

_SPACE = " \t\n\v\f\r"
# ASCII only, as the launcher does it: str.lower() also turns a Kelvin sign into "k".
_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


class Predicate(Enum):
    """What a field's value must be for its rule to match."""

    IS_TRUE = "is true"
    EQUALS = "equals"
    STARTS_WITH = "starts with"
    IN_USE = "is in use"
    """Anything but null, empty text, an empty collection, and an explicit false or 0. Collections: any part of them."""


@dataclass(frozen=True, slots=True)
class Field:
    """One setting that a rule watches, in the environment and in datadog.yaml."""

    key: str
    """Lower case and without prefix; `*` at the end: every key that starts so."""
    predicate: Predicate
    operand: str = ""
    yaml: str = ""
    """Top-level key in datadog.yaml, empty if it has none there; with `*` in `key`, everything below it."""
    prefixed: bool = True
    """False: `key` is the whole name, upper-cased, not Datadog's own."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One reason for falling back: it matches when any of its fields does."""

    reason: str
    """Stable: users search for it."""
    what_to_do: str
    fields: tuple[Field, ...] = ()
    """None: a fact about the layer, found out by the launcher, not configuration."""


RULES = (
    Rule(
        "extension_version",
        "To use the new extension, remove DD_EXTENSION_VERSION or set it to next.",
        (Field("extension_version", Predicate.EQUALS, "compatibility", yaml="extension_version"),),
    ),
    Rule(
        "appsec_enabled",
        "App and API Protection needs the legacy extension. To use the new one, set DD_SERVERLESS_APPSEC_ENABLED and "
        "DD_APPSEC_ENABLED to false.",
        (
            Field("serverless_appsec_enabled", Predicate.IS_TRUE, yaml="serverless_appsec_enabled"),
            Field("appsec_enabled", Predicate.IS_TRUE, yaml="appsec_enabled"),
        ),
    ),
    Rule(
        "otel",
        "OpenTelemetry ingestion needs the legacy extension. To use the new one, remove DD_TRACE_OTEL_ENABLED, every "
        "DD_OTLP_CONFIG_ variable, and otlp_config from datadog.yaml.",
        (
            Field("otlp_config_*", Predicate.IN_USE, yaml="otlp_config"),
            Field("trace_otel_enabled", Predicate.IS_TRUE, yaml="trace_otel_enabled"),
        ),
    ),
    Rule(
        "fips",
        "FIPS cryptography needs the legacy extension. To use the new one, run outside GovCloud regions and remove "
        "DD_LAMBDA_FIPS_MODE.",
        (
            Field("lambda_fips_mode", Predicate.IS_TRUE),
            Field("aws_region", Predicate.STARTS_WITH, "us-gov-", prefixed=False),
            Field("aws_default_region", Predicate.STARTS_WITH, "us-gov-", prefixed=False),
        ),
    ),
    Rule(
        "libc",
        f"The new extension needs glibc {MINIMUM_GLIBC[0]}.{MINIMUM_GLIBC[1]} or newer. To use it, choose a runtime on "
        "Amazon Linux 2023 (python3.12, nodejs20.x, java21, provided.al2023, or newer).",
    ),
    Rule(
        "extension_missing",
        "The layer does not hold a new extension that can be started. Attach the published layer for the function's "
        "architecture again.",
    ),
    Rule(
        "architecture",
        "The new extension in this layer is for another architecture. Attach the published layer for the function's "
        "architecture.",
    ),
    Rule(
        "loader",
        "The file that loads the new extension is missing on this machine. To use it, choose a base image with a "
        "complete glibc, such as those of AWS.",
    ),
    Rule(
        "failed_to_start",
        "The new extension has died in this environment each time it was started. The lines before tell what it died "
        "of; a new environment tries it again.",
    ),
)
"""In the order of decision: the first that matches is the headline, all that match are listed."""


def decide(environ: Mapping[str, str], document: object = None) -> tuple[str, ...]:
    """Return the reasons, in order, for which this configuration needs the legacy extension; none: it does not.

    `document` is what a YAML parser made of datadog.yaml: None without a file, or with one that is not valid. Facts
    about the layer and the machine (libc and what follows it) are not considered.
    """
    variables = _variables(environ)
    root = document if isinstance(document, Mapping) else {}
    return tuple(rule.reason for rule in RULES if any(_matches(field, variables, root) for field in rule.fields))


def _variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Datadog's variables by key: lower case, without prefix. Those in upper case by their whole name too."""
    found: dict[str, str] = {}
    for prefix in PREFIXES:
        own: dict[str, str] = {}
        for name, value in environ.items():
            lower = name.translate(_LOWER)
            if lower.startswith(prefix):
                own.setdefault(lower.removeprefix(prefix), value)
        found = own | found
    return found | {name: value for name, value in environ.items() if name.isupper()}


def _matches(field: Field, variables: Mapping[str, str], root: Mapping[object, object]) -> bool:
    if field.key.endswith("*"):
        return _any_in_use(field, variables, root)
    name = field.key if field.prefixed else field.key.upper()
    answer = _variable_says(field, _text(variables.get(name, "")))
    if answer is None and field.yaml:
        return _file_says(field, root.get(field.yaml))
    return bool(answer)


def _variable_says(field: Field, text: str) -> bool | None:
    """What a variable says about its field; None: nothing, so that the file may."""
    if field.predicate is Predicate.IS_TRUE:
        return True if text in TRUE_WORDS else False if text in FALSE_WORDS else None
    if not text:
        return None
    if field.predicate is Predicate.IN_USE:
        return text not in FALSE_WORDS
    return text.startswith(field.operand) if field.predicate is Predicate.STARTS_WITH else text == field.operand


def _file_says(field: Field, value: object) -> bool:
    if isinstance(value, str):
        return bool(_variable_says(field, _trim(value)))
    # Also 1 and 1.0, which a YAML parser makes numbers of.
    return field.predicate is Predicate.IS_TRUE and value == 1


def _any_in_use(field: Field, variables: Mapping[str, str], root: Mapping[object, object]) -> bool:
    start = field.key.removesuffix("*")
    if any(_variable_says(field, _text(value)) for name, value in variables.items() if name.startswith(start)):
        return True
    for name, value in _leaves(field.yaml, root.get(field.yaml)):
        overriding = _variable_says(field, _text(variables.get(name, ""))) if name else None
        if overriding is None and _in_use(value):
            return True
    return False


def _leaves(top: str, value: object) -> Iterator[tuple[str, object]]:
    """Every scalar at or below `value`, and the environment key of the same field ("" inside a list)."""
    pending: list[tuple[str, object]] = [(top, value)]
    seen: set[int] = set()  # YAML aliases can make a document that contains itself
    while pending:
        name, node = pending.pop()
        if not isinstance(node, Mapping | list):
            yield name, node
        elif id(node) not in seen:
            seen.add(id(node))
            pending.extend(_children(name, node))


def _children(name: str, node: Mapping[object, object] | list[object]) -> Iterator[tuple[str, object]]:
    if isinstance(node, list):
        yield from (("", item) for item in node)
        return
    for key, item in node.items():
        yield (f"{name}_{key}".translate(_LOWER) if name and isinstance(key, str) else ""), item


def _in_use(value: object) -> bool:
    if isinstance(value, str):
        text = _trim(value)
        return bool(text) and text not in FALSE_WORDS
    return value is not None and (not isinstance(value, int | float) or value != 0)


def _text(value: str) -> str:
    """A variable's value in lower case, without outer white space and one pair of double quotes."""
    text = value.strip(_SPACE)
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1]
    return _trim(text)


def _trim(text: str) -> str:
    return text.strip(_SPACE).translate(_LOWER)
