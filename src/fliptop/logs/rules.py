"""Processing rules: what the user wants left out, or masked, before a log line leaves the function.

Source: extension-behaviour, 1.3 and 6.5. Applied in the order they are listed, to the text, for every kind of record.
"""

import re
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, get_args

Kind = Literal["exclude_at_match", "include_at_match", "mask_sequences"]


class Rule(NamedTuple):
    """One rule, its pattern compiled. `replacement` is Python's spelling of what masks a match."""

    kind: Kind
    name: str
    pattern: re.Pattern[str]
    replacement: str = ""


def compile_rule(definition: Any) -> Rule:
    """The rule that a settings mapping describes. Raises `ValueError` with a sentence that names what is wrong."""
    if not isinstance(definition, dict):
        raise ValueError(f"a processing rule must be a mapping, not {definition!r:.100}")
    name, kind, pattern = (definition.get(key) for key in ("name", "type", "pattern"))
    if kind not in ("exclude_at_match", "include_at_match", "mask_sequences"):
        raise ValueError(f"processing rule {name!r}: type must be one of {', '.join(get_args(Kind))}, not {kind!r}")
    if not isinstance(pattern, str):
        raise ValueError(f"processing rule {name!r}: pattern is missing")
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError, ImportError) as problem:  # ImportError: \N{NAME}, in the layer
        raise ValueError(f"processing rule {name!r}: pattern cannot be compiled: {problem}") from None
    replacement = _python_replacement(str(definition.get("replace_placeholder", "")), compiled)
    return Rule(kind, str(name), compiled, replacement)


def apply(rules: Iterable[Rule], text: str) -> str | None:
    """`text` after all rules, or None if one of them leaves it out."""
    for rule in rules:
        if rule.kind == "mask_sequences":
            text = rule.pattern.sub(rule.replacement, text)
        elif (rule.pattern.search(text) is not None) == (rule.kind == "exclude_at_match"):
            return None
    return text


def _python_replacement(placeholder: str, pattern: re.Pattern[str]) -> str:
    """`$1` and `${name}` as Datadog's agent writes them become Python's; a group that does not exist gives nothing."""

    def group(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        exists = int(name) <= pattern.groups if name.isdecimal() else name in pattern.groupindex
        return rf"\g<{name}>" if exists else ""

    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", group, placeholder.replace("\\", r"\\"))
