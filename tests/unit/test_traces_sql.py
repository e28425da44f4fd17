"""Statements without literals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fliptop.traces.sql import HIDDEN, obfuscated


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT * FROM users WHERE id = 42 AND name='joe'", "SELECT * FROM users WHERE id = ? AND name = ?"),
        ("select a.b,count(*) from t", "select a.b, count ( * ) from t"),
        ("SELECT * FROM t WHERE id IN (1, 2,$3) LIMIT 5, 6;", "SELECT * FROM t WHERE id IN ( ? ) LIMIT ?;"),
        ("INSERT INTO t (a,b) VALUES (1,'x'),(2,'y') , (3,'z')", "INSERT INTO t ( a, b ) VALUES ( ? )"),
        ("/* by joe */ SELECT 1 -- joe\n , 'x' # joe", "SELECT ?"),
        ("SELECT /* joe", "SELECT"),
        ("SELECT 'abc", "SELECT ?"),
        ("SELECT 'it''s' || N'x' || E'it\\'s'", "SELECT ? || ? || ?"),
        ("SELECT null, TRUE, -1.5e-3, .5, 0xFF, b'01', $1, :name, %s, %(name)s, ?", "SELECT ?, - ?"),
        ("SELECT $$joe$$ WHERE x = $of$ joe $$ joe $of$ AND y", "SELECT ? WHERE x = ? AND y"),
        ("SELECT $tag$ joe", "SELECT ?"),
        ("SELECT data->>'name', a::text, '5'::int FROM t", "SELECT data ->> ?, a::text, ?::int FROM t"),
        ("SELECT table1.x2 FROM s3.t4", "SELECT table1.x2 FROM s3.t4"),
        ("EXEC proc @p1 = 5", "EXEC proc @p1 = ?"),
        ("SELECT [id] FROM [dbo].[Users] WHERE [id]=7", "SELECT id FROM dbo.Users WHERE id = ?"),
        ("SELECT a[1] FROM t", "SELECT a [ ? ] FROM t"),
        ("SELECT * FROM `t` WHERE `a b` = 1", "SELECT * FROM t WHERE ? = ?"),
        ("", ""),
        ("größe = 5", "größe = ?"),
    ],
)
def test_literals_and_comments(statement: str, expected: str) -> None:
    assert obfuscated(statement) == expected


@pytest.mark.parametrize(
    ("statement", "dialect", "expected"),
    [
        ('select "a", "u"."b" from "u" where "a" = "u"."c"', "", "select a, u.b from u where a = u.c"),
        ('select "a" from u where "a" = "joe" or x like "joe"', "", "select a from u where a = ? or x like ?"),
        ('insert into u ("a") values ("joe", "b") returning "a"', "", "insert into u ( a ) values ( ? ) returning a"),
        ('select * from u where a in ("joe") and "b" = 1', "", "select * from u where a in ( ? ) and b = ?"),
        ('select concat(a, "joe") from u', "mysql", "select concat ( a, ? ) from u"),
        ('select concat(a, "joe") from `u`', "", "select concat ( a, ? ) from u"),
        ('select "u"."a" from `u` where "u"."a" = "joe"', "mysql", "select u.a from u where u.a = ?"),
        ('select * from u where "a" = "b"', "postgresql", "select * from u where a = b"),
        ('select "joe@example.com", "true"', "postgres", "select ?"),
    ],
)
def test_double_quotes_stand_around_names_or_literals(statement: str, dialect: str, expected: str) -> None:
    assert obfuscated(statement, dialect) == expected


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (r"x = 'C:\' AND y = 'joe'", "x = ? AND y = ?"),
        (r"x = 'it\'s' AND y = 'joe'", "x = ? AND y = ?"),
        (r"x = 'it\'s' AND y = 'it\'s joe'", "x = ? AND y = ?"),
        (r"x = '\\' AND y = 'joe'", "x = ? AND y = ?"),
        (r"x = 'joe\' AND y = \'joe' AND z = 'joe", HIDDEN),
        (r"x \ y", HIDDEN),
    ],
)
def test_a_backslash_means_what_makes_sense_or_hides_everything(statement: str, expected: str) -> None:
    assert obfuscated(statement) == expected


SECRET = "joe"
TEXTS = st.text(alphabet="ab '\"\\-/*#$%`();=?\n9,.[]", max_size=8)
NAMES = st.sampled_from(["a", "users", "u.id", "COUNT", '"u"."id"', "t1", "größe"])
KEYWORDS = st.sampled_from(["SELECT", "from", "WHERE", "IN (", "VALUES (", ")", "(", ",", "=", ">=", "AND", "::", "."])
NUMBERS = st.integers(0, 10**9).map(lambda number: f"{number}1234567")
QUOTED = TEXTS.map(lambda text: "'" + (text.replace("\\", "") + SECRET).replace("'", "''") + "'")
BETWEEN_DOLLARS = TEXTS.map(lambda text: "$q$" + text.replace("$", "") + SECRET + "$q$")
COMMENTS = TEXTS.map(lambda text: "/*" + text.replace("*", "").replace("\\", "") + SECRET + "*/")
STATEMENTS = st.lists(st.one_of(NAMES, KEYWORDS, NUMBERS, QUOTED, BETWEEN_DOLLARS, COMMENTS), max_size=20)


@given(STATEMENTS)
def test_no_literal_and_no_comment_survives(pieces: list[str]) -> None:
    result = obfuscated(" ".join(pieces))
    assert SECRET not in result
    assert "1234567" not in result


@given(st.lists(TEXTS, max_size=5), st.booleans())
def test_no_literal_of_mysql_survives(texts: list[str], double: bool) -> None:
    quote = '"' if double else "'"
    escaped = (text.replace("\\", "\\\\").replace(quote, "\\" + quote) for text in texts)
    result = obfuscated(" AND ".join(f"`a` = {quote}{text}{SECRET}{quote}" for text in escaped), "mysql")
    assert SECRET not in result


ANYTHING = st.one_of(
    st.text(max_size=40), STATEMENTS.map(" ".join), st.text(alphabet="ae'\"\\`$[]-:.?,()#/*\n 1@Null", max_size=30)
)


@given(ANYTHING, st.sampled_from(["", "mysql", "postgres"]))
def test_nothing_changes_the_second_time(statement: str, dialect: str) -> None:
    once = obfuscated(statement, dialect)
    assert obfuscated(once, dialect) == once


@pytest.mark.parametrize(
    "piece", ["'", '"', "$a$", "$b", "/*", "[a ", "`", "\\'", "%(", "(", "?,", "(?),", "--", "a\n#", "$1$"]
)
def test_the_time_is_in_proportion_to_the_length(piece: str) -> None:
    """Anything worse would take minutes for this, and end at the timeout of all tests."""
    assert len(obfuscated(piece * 50_000)) <= len(piece) * 150_000


@pytest.mark.parametrize("dialect", ["", "mysql", "postgres"])
@pytest.mark.parametrize("before", ["", "\\' "])
def test_of_a_long_statement_the_beginning_is_read(dialect: str, before: str) -> None:
    written = obfuscated(f"INSERT INTO t VALUES ('{before}{'secret ' * 20_000}')", dialect)
    assert written in {"INSERT INTO t VALUES ( ?", "?"}
