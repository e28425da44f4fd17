"""SQL without its literals. Source: extension-behaviour, 8.6.

What a literal is depends on the dialect: in most, double quotes stand around names and a backslash means itself; in
MySQL's, both have to do with literals. What is in doubt is taken for a literal, and hidden.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

HIDDEN: Final = "?"
LONGEST_KEPT: Final = 4096
# Characters. What is longer is a list of values, and would keep everything else waiting.
LONGEST_READ: Final = 65_536
QUOTES_ARE_LITERALS: Final = ("mysql", "maria")
QUOTES_ARE_NAMES: Final = ("postgres", "redshift", "oracle", "mssql", "sqlserver", "db2")
LITERAL_WORDS: Final = frozenset({"TRUE", "FALSE", "NULL"})
LISTS: Final = frozenset({"IN", "VALUES"})
AFTER_LISTS: Final = frozenset({"AND", "FROM", "GROUP", "ON", "OR", "ORDER", "RETURNING", "SELECT", "WHERE"})
BEFORE_LITERALS: Final = frozenset({"BETWEEN", "ILIKE", "LIKE", "REGEXP", "RLIKE"})
GROUP: Final = ("(", HIDDEN, ")")
GLUE: Final = frozenset({".", "::"})
ENDS: Final = frozenset({",", ";"})

# Every alternative takes what it begins, to the end of the text if need be: nothing is read twice.
_TOKEN: Final = re.compile(
    r"""
    (?P<space>\s+|--[^\n]*|\#(?![>-])[^\n]*|/\*(?s:.*?)(?:\*/|\Z))
  | (?P<hidden>\$(?P<tag>[^\W\d]\w*|)\$(?s:.*?)(?:\$(?P=tag)\$|\Z)
      |\?|\$\d+|%\(\w*\)s|%s\b|:\w+|(?:\d|\.\d)[\w.]*(?:(?<=[eE])[+-]\d+)?)
  | (?P<quote>(?:[nbxeNBXE]|[uU]&|_\w+)?'|")
  | (?P<enclosed>`(?:[^`]+|``)*(?:`|\Z)|(?<![\w\])])\[[^\W\d][\w ]*\])
  | (?P<word>[^\W\d][\w$]*|@+[\w$]*)
  | (?P<other>::|->>|->|\#>>|\#>|\#-|[<>=!|&]+|.)
    """,
    re.VERBOSE,
)
# What follows the opening quote. Nothing here can fail, so nothing is tried twice.
_REST: Final = {
    ("'", False): re.compile(r"(?:[^']+|'')*(?:(')|\Z)"),
    ("'", True): re.compile(r"(?:[^'\\]+|''|\\(?s:.))*(?:(')|\\?\Z)"),
    ('"', False): re.compile(r'(?:[^"]+|"")*(?:(")|\Z)'),
    ('"', True): re.compile(r'(?:[^"\\]+|""|\\(?s:.))*(?:(")|\\?\Z)'),
}
_PLAIN: Final = re.compile(r"[^\W\d][\w$]*\Z")
_OPERATOR: Final = re.compile(r"[<>=!|&+]+\Z")
_PART_OF_WORD: Final = re.compile(r"\w")


def obfuscated(statement: str, dialect: str = "") -> str:
    """`statement` without literals and comments, its spaces unified, lists of literals as one. `dialect` is what the
    tracer calls the database. What is beyond `LONGEST_READ` characters is left out. Idempotent; takes time in
    proportion to the length.
    """
    if len(statement) > LONGEST_READ:
        statement = statement[:LONGEST_READ]  # a literal that is cut off is hidden to its end
        if "\\" in statement:
            return HIDDEN  # which reading makes sense, only the end tells
    literals = _quotes_are_literals(statement, dialect.lower())
    return (_kept if len(statement) <= LONGEST_KEPT else _obfuscated)(statement, literals)


def _quotes_are_literals(statement: str, dialect: str) -> bool | None:
    """Whether double quotes stand around literals; None if that is not known."""
    if "`" in statement or dialect.startswith(QUOTES_ARE_LITERALS):
        return True
    return False if dialect.startswith(QUOTES_ARE_NAMES) else None


def _obfuscated(statement: str, literals: bool | None) -> str:
    if "\\" not in statement:
        return _Reading(statement, literals, escapes=False).result()
    readings = [_Reading(statement, literals, escapes=escapes) for escapes in (False, True)]
    results = {result for reading in readings if (result := reading.result()) and reading.sound}
    return results.pop() if len(results) == 1 else HIDDEN


_kept = lru_cache(maxsize=128)(_obfuscated)


class _Reading:
    """One way to read a statement. `escapes`: a backslash makes what follows part of the text. `sound` is False if the
    statement makes no sense in this way.
    """

    def __init__(self, statement: str, literals: bool | None, *, escapes: bool) -> None:
        self.sound = True
        self._statement = statement
        self._literals = literals
        self._escapes = escapes
        self._in_list = False
        self._out: list[str] = []

    def result(self) -> str:
        """The statement, obfuscated."""
        position = 0
        while match := _TOKEN.match(self._statement, position):
            position = match.end()
            kind, text = match.lastgroup, match[0]
            if kind == "quote":
                position = self._quoted(text, position)
            elif kind == "word":
                self._word(text)
            elif kind != "space":
                self._put(HIDDEN if kind == "hidden" else _name(text) if kind == "enclosed" else text)
                self.sound = self.sound and text != "\\"
        return _written(self._out)

    def _quoted(self, opening: str, start: int) -> int:
        """Take what begins with `opening`, and return where it ends."""
        quote = opening[-1]
        rest = _REST[quote, self._escapes or opening in {"e'", "E'"}].match(self._statement, start)
        assert rest is not None, "it takes whatever comes"
        after = self._statement[rest.end() : rest.end() + 1]
        self.sound = self.sound and rest[1] is not None and not _PART_OF_WORD.match(after)
        beside_dot = after == "." or self._out[-1:] == ["."]
        hidden = quote == "'" or (self._is_literal() and not beside_dot)
        self._put(HIDDEN if hidden else _name(opening + rest[0]))
        return rest.end()

    def _is_literal(self) -> bool:
        """Whether a literal in double quotes may stand here."""
        if self._literals is not None:
            return self._literals
        before = self._out[-1].upper() if self._out else ""
        return self._in_list or before in BEFORE_LITERALS or _OPERATOR.match(before) is not None

    def _word(self, word: str) -> None:
        upper = word.upper()
        if upper in LISTS:
            self._in_list = True
        elif upper in AFTER_LISTS:
            self._in_list = False
        self._put(HIDDEN if upper in LITERAL_WORDS else word)

    def _put(self, token: str) -> None:
        """Add a token, and make one of several literals, and of several groups of them."""
        out = self._out
        if token == HIDDEN and out[-1:] == [HIDDEN]:
            return
        if token == HIDDEN and out[-2:] == [HIDDEN, ","]:
            out.pop()
            return
        out.append(token)
        if out[-7:] == [*GROUP, ",", *GROUP]:
            del out[-4:]


def _name(quoted: str) -> str:
    """A name without its quotes; one that is not safe without them is hidden."""
    inner = quoted[1:-1]
    return inner if _PLAIN.match(inner) and inner.upper() not in LITERAL_WORDS else HIDDEN


def _written(tokens: list[str]) -> str:
    """Tokens in a row, with a space between two unless one of them is glue."""
    text, before = [], ""
    for token in tokens:
        if before and token not in GLUE and token not in ENDS and before not in GLUE:
            text.append(" ")
        text.append(token)
        before = token
    return "".join(text)
