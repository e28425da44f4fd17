"""Values that nobody should read, hidden: in URLs, statements and wherever the user's rules say.

Source: extension-behaviour, 8.6.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from fliptop.traces.span import Span

URL: Final = "http.url"
HIDDEN: Final = "?"
MOST_COMMANDS: Final = 3
TRUNCATED: Final = "..."
IN_TWO_WORDS: Final = frozenset({"CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DEBUG", "SCRIPT"})

_URL: Final = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*:)?(//)(?:[^/?#]*@)?([^/?#]*))?([^?#]*)(\?[^#]*)?(#.*)?\Z")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f]")
_NOT_IN_PATHS: Final = re.compile(r"[^A-Za-z0-9\-._~!$&'()*+,;=:@/%\[\]]+")
_DIGIT: Final = re.compile(r"\d")
_ESCAPED: Final = re.compile(r"%(?!3\d)[0-9A-Fa-f]{2}")  # but digits
_REFERENCE: Final = re.compile(r"\$(?:\$|(\w+)|\{(\w+)\})")

Hide = Callable[[str], str]


class UrlRules(NamedTuple):
    """What else is hidden in a URL, besides credentials."""

    query: bool = False
    digits: bool = False


class Replacement(NamedTuple):
    """One rule: what `hide` makes of the tag `name`; `*` stands for all tags and the resource, `resource.name` for
    that.
    """

    name: str
    hide: Hide


class Obfuscator:
    """Hides values in spans, in place."""

    def __init__(self, urls: UrlRules, replacements: Iterable[Replacement]) -> None:
        self._urls = urls
        self._replacements = tuple(replacements)

    def obfuscate(self, span: Span) -> None:
        """Hide what is to be hidden in `span`."""
        kind = span.type
        if kind in {"http", "web"}:
            if URL in span.meta:
                span.meta[URL] = url(span.meta[URL], self._urls)
        elif kind in {"redis", "valkey"}:
            span.resource = redis(span.resource)
        elif kind in {"sql", "cassandra"}:
            _hide_statement(span)
        for name, hide in self._replacements:
            _replace(span, name, hide)


def _hide_statement(span: Span) -> None:
    from fliptop.traces.sql import obfuscated  # noqa: PLC0415 -- many functions have no such spans

    dialect = span.meta.get("db.system") or span.meta.get("db.type") or ""
    span.resource = span.meta["sql.query"] = obfuscated(span.resource, dialect)


def _replace(span: Span, name: str, hide: Hide) -> None:
    if name in {"*", "resource.name"}:
        span.resource = hide(span.resource)
    if name == "*":
        span.meta = {key: hide(value) for key, value in span.meta.items()}
    elif name in span.meta:
        span.meta[name] = hide(span.meta[name])


def url(written: str, rules: UrlRules) -> str:
    """A URL without credentials, with its scheme in lower case and its path in ASCII; and without what `rules` hide."""
    match = None if _UNPRINTABLE.search(written) else _URL.match(written)
    if match is None:
        return HIDDEN if any(rules) else written
    scheme, slashes, host, path, query, fragment = (part or "" for part in match.groups())
    segments = [_NOT_IN_PATHS.sub(_percent, segment) for segment in path.split("/")]
    if rules.digits:
        segments = [HIDDEN if _DIGIT.search(_ESCAPED.sub("", segment)) else segment for segment in segments]
    query = HIDDEN if query and rules.query else query
    return f"{scheme.lower()}{slashes}{host}{'/'.join(segments)}{query}{fragment}"


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "replace"))


def redis(written: str) -> str:
    """The names of the first commands in `written`, one command a line."""
    named: list[str] = []
    more = False
    for line in written.split("\n"):
        words = line.split()
        if not words:
            continue
        if len(named) == MOST_COMMANDS:
            more = True
            break
        command = _command(words)
        more = command is None
        if command is not None:
            named.append(command)
    return " ".join([*named, TRUNCATED] if more else named)


def _command(words: list[str]) -> str | None:
    """The name of a command; None if it is cut off."""
    name = words[:2] if words[0].upper() in IN_TWO_WORDS else words[:1]
    return None if name[-1].endswith(TRUNCATED) else " ".join(name).upper()


def replacements(written: Iterable[Any]) -> tuple[list[Replacement], list[str]]:
    """The rules of `DD_APM_REPLACE_TAGS`, and a sentence for each that cannot be used."""
    found, complaints = [], []
    for number, rule in enumerate(written, 1):
        try:
            found.append(_replacement(rule))
        except (ValueError, RecursionError, OverflowError) as problem:
            complaints.append(f"DD_APM_REPLACE_TAGS: rule {number} is ignored: {problem}")
    return found, complaints


def _replacement(rule: Any) -> Replacement:
    fields = rule if isinstance(rule, Mapping) else {}
    name, pattern, repl = fields.get("name"), fields.get("pattern"), fields.get("repl", "")
    if not (isinstance(name, str) and name and isinstance(pattern, str) and isinstance(repl, str)):
        raise ValueError("expected name, pattern and repl")
    try:
        compiled = re.compile(pattern)
    except re.error as problem:
        raise ValueError(f"{problem} in {pattern!r:.100}") from problem
    pieces = list(_pieces(repl, compiled))

    def expand(match: re.Match[str]) -> str:
        return "".join(piece if isinstance(piece, str) else match[piece[0]] or "" for piece in pieces)

    return Replacement(name, lambda value: compiled.sub(expand, value))


def _pieces(repl: str, pattern: re.Pattern[str]) -> Iterator[str | tuple[int]]:
    """The text of a replacement, and the numbers of groups in it (`$1`, `${name}`; `$$` is a dollar)."""
    end = 0
    for match in _REFERENCE.finditer(repl):
        yield repl[end : match.start()]
        end = match.end()
        name = match[1] or match[2]
        if name is None:
            yield "$"
        elif (group := _group(name, pattern)) is not None:
            yield (group,)
    yield repl[end:]


def _group(name: str, pattern: re.Pattern[str]) -> int | None:
    number = int(name) if name.isascii() and name.isdigit() and len(name) < 3 else pattern.groupindex.get(name, -1)
    return number if 0 <= number <= pattern.groups else None
