"""Normalising, filtering and hiding, by the tables of the reference."""

from __future__ import annotations

import copy

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fliptop.traces import normalise
from fliptop.traces.filters import Filter, TagRules, own_addresses, own_traffic
from fliptop.traces.obfuscate import Obfuscator, UrlRules, redis, replacements, url
from fliptop.traces.span import Chunk, Span
from tests.unit.spans import SPANS, START, span

NOW = START + 10**9


def normalised(**fields: object) -> Span:
    found = span(**fields)
    normalise.normalise(found, NOW)
    return found


@pytest.mark.parametrize(
    ("field", "written", "expected"),
    [
        ("service", "My Shop!", "my_shop"),
        ("service", "", "unnamed-service"),
        ("service", "!!!", "unnamed-service"),
        ("service", "a" * 150, "a" * 100),
        ("service", "ä" * 60, "ä" * 50),
        ("service", "aa" + "中" * 50, "aa" + "中" * 32),
        ("name", "http.request", "http.request"),
        ("name", "1. web request__x_.y._z_", "web_request_x.y.z"),
        ("name", "", "unnamed_operation"),
        ("name", "größe", "gr_e"),
        ("name", "n" * 150, "n" * 100),
        ("resource", "", "web.request"),
        ("type", "t" * 150, "t" * 100),
        ("duration", -1, 0),
        ("duration", 2**63 - 1, 0),
        ("start", 5, NOW - 1_000),
        ("start", -(2**63), NOW - 1_000),
        ("start", 946_684_800_000_000_000, 946_684_800_000_000_000),
        ("parent_id", 9, 9),
    ],
)
def test_fields(field: str, written: object, expected: object) -> None:
    assert getattr(normalised(**{field: written}), field) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("prod", "prod"),
        ("  Über Größe:x/y-z.1 ", "über_größe:x/y-z.1"),
        ("42:x_", ":x"),
        ("fun:ky__tag/1", "fun:ky_tag/1"),
        ("a" * 300, "a" * 200),
        ("__--..1", ""),
    ],
)
def test_tags(written: str, expected: str) -> None:
    assert normalise.tag(written) == expected
    assert normalised(meta={"env": written}).meta == {"env": expected}


def test_a_span_that_is_its_own_parent_and_trace_is_a_root() -> None:
    assert normalised(trace_id=7, span_id=7, parent_id=7).parent_id == 0
    assert normalised(trace_id=7, span_id=8, parent_id=8).parent_id == 8


@pytest.mark.parametrize("code", ["99", "600", "abc", "", "20.0", "٢٠٠", "1000"])
def test_status_codes_that_are_none_are_removed(code: str) -> None:
    assert normalised(meta={"http.status_code": code}).meta == {}
    assert normalised(meta={"http.status_code": "404"}).meta == {"http.status_code": "404"}


def test_a_span_that_would_have_begun_before_the_year_2000_begins_now() -> None:
    found = normalised(start=0, duration=NOW)
    assert (found.start, found.duration) == (NOW, NOW)


@given(SPANS)
@example(span(start=0, duration=2**63 - 2**60))
def test_what_is_normalised_stays_as_it_is(any_span: Span) -> None:
    normalise.normalise(any_span, NOW)
    once = copy.deepcopy(any_span)
    normalise.normalise(any_span, NOW)
    assert any_span == once
    assert any_span.service
    assert any_span.name
    assert any_span.duration >= 0
    assert any_span.start >= normalise.YEAR_2000_NS


def family(*parents: int) -> Chunk:
    """Spans with ids from 1 on, and these parents."""
    return [span(span_id=number, parent_id=parent) for number, parent in enumerate(parents, 1)]


@pytest.mark.parametrize(
    ("parents", "root"),
    [((0, 1), 1), ((2, 0, 0), 3), ((77, 1, 88, 3), 3), ((2, 1), 2), ((5,), 1)],
)
def test_the_root_of_a_chunk(parents: tuple[int, ...], root: int) -> None:
    assert normalise.root_of(family(*parents)).span_id == root


def test_the_priority_is_the_roots_or_the_first_one_said() -> None:
    chunk = family(2, 0, 2)
    assert normalise.priority(chunk, chunk[1]) == -128
    chunk[2].metrics = {"_sampling_priority_v1": 2.0}
    assert normalise.priority(chunk, chunk[1]) == 2
    chunk[1].metrics = {"_sampling_priority_v1": -1.0}
    assert normalise.priority(chunk, chunk[1]) == -1
    chunk[1].metrics = {"_sampling_priority_v1": -1e300}
    assert normalise.priority(chunk, chunk[1]) == -(2**31)


def test_top_level_spans_begin_the_work_of_a_service() -> None:
    chunk = [*family(0, 1, 1, 99), span(span_id=5, parent_id=1, service="other")]
    normalise.mark_top_level(chunk, computed=False)
    assert [one.span_id for one in chunk if one.metrics.get("_top_level") == 1.0] == [1, 4, 5]


def test_a_tracer_may_have_found_the_top_level_itself() -> None:
    chunk = family(0, 1)
    chunk[1].metrics = {"_dd.top_level": 1.0}
    normalise.mark_top_level(chunk, computed=True)
    assert [one.metrics.get("_top_level") for one in chunk] == [None, 1.0]


def test_a_chunk_of_several_traces_becomes_one_of_each() -> None:
    chunk = [span(trace_id=1), span(trace_id=2), span(trace_id=1, span_id=9)]
    assert [[one.trace_id for one in part] for part in normalise.by_trace(chunk)] == [[1, 1], [2]]


ROOT = {"resource": "GET /health", "meta": {"team": "a:b", "empty": ""}}


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        (TagRules(), True),
        (TagRules(require=["team"]), True),
        (TagRules(require=["team:a:b", "service:shop"]), True),
        (TagRules(require=["team:a:b", "service:other"]), False),
        (TagRules(require=["missing"]), False),
        (TagRules(require=["empty"]), False),
        (TagRules(reject=["team:x", "missing"]), True),
        (TagRules(reject=["name:web.request"]), False),
        (TagRules(reject=["team"]), False),
        (TagRules(regex_require=["team:^a", "resource:health$"]), True),
        (TagRules(regex_require=["team:^b"]), False),
        (TagRules(regex_reject=["resource:heal"]), False),
        (TagRules(regex_reject=["missing:.*", "empty:.*"]), True),
        (TagRules(regex_reject=["team"]), False),
    ],
)
def test_traces_are_filtered_by_their_root(rules: TagRules, wanted: bool) -> None:
    assert Filter(rules).wants(span(**ROOT)) == wanted


def test_a_regular_expression_that_is_none_is_named_and_ignored() -> None:
    chosen = Filter(TagRules(regex_require=["team:(", "team:a"], regex_reject=["x:["]))
    assert chosen.wants(span(**ROOT))
    assert [complaint.partition(" ")[0] for complaint in chosen.complaints] == [
        "DD_APM_FILTER_TAGS_REGEX_REQUIRE:",
        "DD_APM_FILTER_TAGS_REGEX_REJECT:",
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"meta": {"http.url": "http://127.0.0.1:8124/lambda/hello"}},
        {"meta": {"http.url": "http://localhost:8126/v0.4/traces"}},
        {"meta": {"http.url": "http://169.254.100.1:9001/2018-06-01/runtime/invocation/next"}},
        {"meta": {"http.url": "http://user@127.0.0.1:8125?x"}},
        {"meta": {"tcp.remote.host": "127.0.0.1", "tcp.remote.port": "8125"}},
        {"meta": {"tcp.remote.host": "127.0.0.1"}, "metrics": {"tcp.remote.port": 8126.0}},
        {"meta": {"dns.address": "127.0.0.1"}},
        {"meta": {"dns.address": "169.254.79.129"}},
        {"name": "dns.lookup"},
        {"resource": "0.0.0.0"},
    ],
)
def test_spans_about_the_extension_itself(fields: dict[str, object]) -> None:
    assert own_traffic(span(**fields), own_addresses({"AWS_LAMBDA_RUNTIME_API": "169.254.100.1:9001"}))


@pytest.mark.parametrize(
    "fields",
    [
        {"meta": {"http.url": "http://127.0.0.1:81240/"}},
        {"meta": {"http.url": "http://127.0.0.1:3000/?next=http://127.0.0.1:8124"}},
        {"meta": {"http.url": "https://example.com:8126/"}},
        {"meta": {"tcp.remote.host": "example.com", "tcp.remote.port": "8126"}},
        {"meta": {"dns.address": "10.0.0.1"}},
    ],
)
def test_other_spans(fields: dict[str, object]) -> None:
    assert not own_traffic(span(**fields), own_addresses({}))


@pytest.mark.parametrize(
    ("written", "rules", "expected"),
    [
        ("HTTP://joe:pw@Host.example:80/a/b?c=d#e", UrlRules(), "http://Host.example:80/a/b?c=d#e"),
        ("https://a/b?token=1", UrlRules(query=True), "https://a/b?"),
        ("https://a/b#f", UrlRules(query=True), "https://a/b#f"),
        ("https://a1/users/42/x9/v?y=1", UrlRules(digits=True), "https://a1/users/?/?/v?y=1"),
        ("https://a/my%20file/a b", UrlRules(digits=True), "https://a/my%20file/a%20b"),
        ("https://a/%61/%31", UrlRules(digits=True), "https://a/%61/?"),
        ("/users/42?y=1", UrlRules(query=True, digits=True), "/users/??"),
        ("https://a/grün räum", UrlRules(), "https://a/gr%C3%BCn%20r%C3%A4um"),
        ("https://a/50%25", UrlRules(), "https://a/50%25"),
        ("https://a/\x01", UrlRules(), "https://a/\x01"),
        ("https://a/\x01", UrlRules(query=True), "?"),
        ("http://joe:p@w@host/", UrlRules(), "http://host/"),
        ("", UrlRules(True, True), ""),
    ],
)
def test_urls(written: str, rules: UrlRules, expected: str) -> None:
    assert url(written, rules) == expected


@given(st.text(max_size=30), st.booleans().map(UrlRules))
def test_a_url_does_not_change_the_second_time(written: str, rules: UrlRules) -> None:
    assert url(url(written, rules), rules) == url(written, rules)


@given(st.text(alphabet="a1/.-ü ", max_size=20), st.text(alphabet="ab=", max_size=5))
def test_no_digit_of_a_path_and_nothing_of_a_query_survives(path: str, query: str) -> None:
    result = url(f"https://host/{path}?{query}", UrlRules(query=True, digits=True))
    assert "1" not in result
    assert result.endswith("?")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("GET joe", "GET"),
        ("set joe 5\n\n get  joe", "SET GET"),
        ("client setname joe", "CLIENT SETNAME"),
        ("CONFIG", "CONFIG"),
        ("a 1\nb 2\nc 3", "A B C"),
        ("a 1\nb 2\nc 3\nd 4", "A B C ..."),
        ("get joe\nse...", "GET ..."),
        ("get joe\nclient se...", "GET ..."),
        ("", ""),
    ],
)
def test_commands_of_redis(written: str, expected: str) -> None:
    assert redis(written) == expected


def hidden(rules: list[object], **fields: object) -> Span:
    found, complaints = replacements(rules)
    assert complaints == []
    result = copy.deepcopy(span(**fields))
    Obfuscator(UrlRules(), found).obfuscate(result)
    return result


def test_replacing_in_one_tag_in_all_and_in_the_resource() -> None:
    meta = {"user": "joe 5", "other": "joe 5"}
    assert hidden([{"name": "user", "pattern": "joe", "repl": "?"}], meta=meta).meta == {**meta, "user": "? 5"}
    everywhere = hidden([{"name": "*", "pattern": r"\d", "repl": "#"}], resource="GET 5", meta=meta)
    assert (everywhere.resource, everywhere.meta) == ("GET #", {"user": "joe #", "other": "joe #"})
    of_resource = hidden([{"name": "resource.name", "pattern": "5"}], resource="GET 5", meta=meta)
    assert (of_resource.resource, of_resource.meta) == ("GET ", meta)


@pytest.mark.parametrize(
    ("repl", "expected"),
    [
        ("<$1>", "<a>1"),
        ("${word}${2}", "a1"),
        ("$$1", "$11"),
        ("$1x", "1"),
        ("$9 $no", " 1"),
        (r"\1", r"\11"),
        ("$", "$1"),
    ],
)
def test_dollars_in_a_replacement_stand_for_groups(repl: str, expected: str) -> None:
    rule = {"name": "k", "pattern": "(?P<word>[a-z])", "repl": repl}
    assert hidden([rule], meta={"k": "a1"}).meta == {"k": expected}


def test_a_rule_that_cannot_be_used_is_named_and_costs_no_other() -> None:
    good = {"name": "k", "pattern": "x", "repl": "y"}
    found, complaints = replacements(
        [{"name": "k", "pattern": "("}, good, {"pattern": "x"}, "what", {**good, "repl": 5}]
    )
    assert len(found) == 1
    assert len(complaints) == 4
    assert complaints[0].startswith("DD_APM_REPLACE_TAGS: rule 1 is ignored: ")


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("http", {"meta": {"http.url": "http://u:p@h/"}}, ("GET /", {"http.url": "http://h/"})),
        ("web", {"meta": {}}, ("GET /", {})),
        ("custom", {"meta": {"http.url": "http://u:p@h/"}}, ("GET /", {"http.url": "http://u:p@h/"})),
        ("redis", {"resource": "get joe"}, ("GET", {})),
        ("valkey", {"resource": "get joe"}, ("GET", {})),
        ("sql", {"resource": "a = 'joe'"}, ("a = ?", {"sql.query": "a = ?"})),
        (
            "cassandra",
            {"resource": 'a = f("joe")', "meta": {"db.type": "mysql"}},
            ("a = f ( ? )", {"db.type": "mysql", "sql.query": "a = f ( ? )"}),
        ),
    ],
)
def test_what_is_hidden_depends_on_the_type(
    kind: str, fields: dict[str, object], expected: tuple[str, dict[str, str]]
) -> None:
    found = hidden([], type=kind, **fields)
    assert (found.resource, found.meta) == expected
