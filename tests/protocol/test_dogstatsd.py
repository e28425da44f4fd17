"""DogStatsD: every form of the grammar, and any bytes at all."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fliptop.metrics.dogstatsd import CACHED, FAILED, DogStatsD, Event, Item, Refusal, ServiceCheck
from fliptop.metrics.samples import Context, Metric, Sample


def parse(datagram: bytes) -> list[Item]:
    return DogStatsD().parse(datagram)


def sample(kind: str, *values: float, name: str = "a.b", weight: float = 1.0, time: int | None = None) -> Sample:
    return Sample(Metric(Context(name, kind), weight, time), list(values))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"a.b:1|c", sample("c", 1)),
        (b"a.b:-2.5|g", sample("g", -2.5)),
        (b"a.b:+3|g", sample("g", 3)),
        (b"a.b:1e3|h", sample("h", 1000)),
        (b"a.b:12|ms", sample("h", 12)),
        (b"a.b:0.25|d", sample("d", 0.25)),
        (b"a.b:1|c|@0.1", sample("c", 1, weight=10.0)),
        (b"a.b:1|c|@1", sample("c", 1)),
        (b"a.b:1:2:3.5|d", sample("d", 1, 2, 3.5)),
        (b"a.b:1::2:|d|@0.5", sample("d", 1, 2, weight=2.0)),
        (b"a.b:1|c|T1656581400", sample("c", 1, time=1656581400)),
        (b"a.b:1|g|T1656581400.6", sample("g", 1, time=1656581401)),
        (b"a.b:1|c|@0.5|@0.25", sample("c", 1, weight=4.0)),
        (b"a b/c-d:1|c", sample("c", 1, name="a b/c-d")),
        (b"_a:1|c", sample("c", 1, name="_a")),
        (b"caf\xc3\xa9:1|c", sample("c", 1, name="caf\xe9")),
    ],
)
def test_metrics(line: bytes, expected: Sample) -> None:
    assert parse(line) == [expected]


@pytest.mark.parametrize("text", [b"user:42", b"1", b"1:2:3", b"\xff\x00", b"nan"])
def test_the_value_of_a_set_is_any_text(text: bytes) -> None:
    assert parse(b"a.b:" + text + b"|s") == [Sample(Metric(Context("a.b", "s")), [text])]


@pytest.mark.parametrize(
    ("field", "tags"),
    [
        (b"#env:prod,b,a:1:2", ("a:1:2", "b", "env:prod")),
        (b"#b,a,b,,a", ("a", "b")),
        (b"#", ()),
        (b"#x:caf\xe9", ("x:caf\N{REPLACEMENT CHARACTER}",)),
        (b"#first|#second", ("second",)),
    ],
)
def test_tags_are_sorted_and_each_there_once(field: bytes, tags: tuple[str, ...]) -> None:
    assert parse(b"a.b:1|c|" + field) == [Sample(Metric(Context("a.b", "c", tags)), [1.0])]


@pytest.mark.parametrize(
    "field", [b"c:83c0a99c", b"c:ci-83c0", b"c:in-12", b"e:it-false,cn-x", b"card:low", b"new:thing", b"", b"x"]
)
def test_fields_that_say_where_a_sample_came_from_change_nothing(field: bytes) -> None:
    plain = parse(b"a.b:1|c|@0.5|#x:y")
    assert parse(b"a.b:1|c|" + field + b"|@0.5|#x:y") == plain
    assert parse(b"a.b:1|c|@0.5|#x:y|" + field) == plain


def test_a_clients_library_says_that_the_invocation_has_failed() -> None:
    line = b"aws.lambda.enhanced.errors:1|d|#cold_start:true"
    assert parse(line + b"\n" + line) == [FAILED, FAILED]
    assert parse(b"aws.lambda.enhanced.errors_of_mine:1|d") != [FAILED]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"gibberish", "malformed"),
        (b":1|c", "malformed"),
        (b"a.b:|c", "malformed"),
        (b"a.b:|s", "malformed"),
        (b"a.b::|c", "malformed"),
        (b"a.b:1", "malformed"),
        (b"a.b|c", "malformed"),
        (b"a|b:1|c", "malformed"),
        (b"a.b:1|", "malformed"),
        (b"a.b:1|x", "unknown_type"),
        (b"a.b:1|C", "unknown_type"),
        (b"a.b:one|c", "bad_value"),
        (b"a.b:1_000|c", "bad_value"),
        (b"a.b:1:x|c", "bad_value"),
        (b"a.b:\xff|c", "bad_value"),
        (b"a.b:nan|g", "not_finite"),
        (b"a.b:1:-inf|d", "not_finite"),
        (b"a.b:1e999|d", "not_finite"),
        (b"a.b:1|c|@0", "bad_rate"),
        (b"a.b:1|c|@1.5", "bad_rate"),
        (b"a.b:1|c|@-1", "bad_rate"),
        (b"a.b:1|c|@x", "bad_rate"),
        (b"a.b:1|c|@1e-300", "bad_rate"),
        (b"a.b:1|c|@", "malformed"),
        (b"a.b:1|c|T0", "bad_timestamp"),
        (b"a.b:1|c|T-5", "bad_timestamp"),
        (b"a.b:1|c|Tsoon", "bad_timestamp"),
        (b"a.b:1|c|T", "malformed"),
        (b"1.2:1|c", "bad_name"),
        (b"n" * 351 + b":1|c", "bad_name"),
        (b"a.b:1|c|#" + b",".join(b"t%d" % n for n in range(101)), "too_many_tags"),
        (b"aws.lambda.enhanced.invocations:1|d|#a:b", "counted_here"),
        (b"_e{0,4}:|text", "bad_event"),
        (b"_e{5,4}:title|tex", "bad_event"),
        (b"_e{5,4}:title text", "bad_event"),
        (b"_e{5,4}:title|text!", "bad_event"),
        (b"_e{5}:title|text", "bad_event"),
        (b"_e{a,b}:title|text", "bad_event"),
        (b"_e{%d,1}:t|t" % 10**20, "bad_event"),
        (b"_sc|name|4", "bad_service_check"),
        (b"_sc||0", "bad_service_check"),
        (b"_sc|name", "bad_service_check"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(line: bytes, reason: str) -> None:
    good = b"a.b:1|c"
    assert parse(good + b"\n" + line + b"\n" + good) == [sample("c", 1), Refusal(reason, line), sample("c", 1)]


def test_the_namespace_goes_before_every_name() -> None:
    (read,) = DogStatsD("shop").parse(b"a.b:1|c")
    assert read == sample("c", 1, name="shop.a.b")


def test_events() -> None:
    title, text = "d\xe9j\xe0".encode(), b"line one\\nline|two"
    header = b"_e{%d,%d}:" % (len(title), len(text)) + title + b"|" + text
    assert parse(header) == [Event("d\xe9j\xe0", "line one\nline|two")]
    fields = b"|d:1656581400|h:host|k:key|p:low|s:source|t:error|#b:1,a|c:container"
    assert parse(header + fields) == [
        Event("d\xe9j\xe0", "line one\nline|two", 1656581400, "host", "key", "low", "source", "error", ("a", "b:1"))
    ]
    assert parse(header + b"|d:now|p:high|t:fatal|new:field") == parse(header)


def test_service_checks() -> None:
    assert parse(b"_sc|db.up|2") == [ServiceCheck("db.up", 2)]
    assert parse(b"_sc|db.up|0|d:1656581400|h:host|#b,a:1|c:container|m:it\\nsays: no") == [
        ServiceCheck("db.up", 0, 1656581400, "host", ("a:1", "b"), "it\nsays: no")
    ]


names = st.from_regex(r"[A-Za-z][A-Za-z0-9_./ -]{0,30}", fullmatch=True)
tag_texts = st.text(st.characters(codec="utf-8", exclude_characters=",|\n"), min_size=1, max_size=12)
numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(
    name=names.filter(lambda name: not name.startswith("aws.lambda.enhanced")),
    kind=st.sampled_from(["c", "g", "h", "ms", "d"]),
    values=st.lists(numbers, min_size=1, max_size=5),
    rate=st.none() | st.floats(2**-32, 1),
    tags=st.lists(tag_texts, max_size=6),
    time=st.none() | st.integers(1, 2**40),
    data=st.data(),
)
def test_what_a_client_writes_is_what_is_read(  # noqa: PLR0917
    name: str,
    kind: str,
    values: list[float],
    rate: float | None,
    tags: list[str],
    time: int | None,
    data: st.DataObject,
) -> None:
    fields = [f"#{','.join(tags)}"] if tags else []
    fields += [f"@{rate!r}"] if rate is not None else []
    fields += [f"T{time}"] if time is not None else []
    fields = data.draw(st.permutations(fields))
    line = "|".join([f"{name}:{':'.join(map(repr, values))}", kind, *fields])
    context = Context(name, "h" if kind == "ms" else kind, tuple(sorted(set(tags))))
    parser = DogStatsD()
    for _ in range(2):  # the second time from memory
        assert parser.parse(line.encode()) == [Sample(Metric(context, 1 / rate if rate else 1.0, time), values)]


lines = st.one_of(
    st.binary(max_size=30),
    st.lists(
        st.sampled_from(
            [
                b"a",
                b"_e{1,1}:",
                b"_sc|",
                b":",
                b"|",
                b"1",
                b"c",
                b"d",
                b"s",
                b"ms",
                b"@",
                b"0.5",
                b"#",
                b",",
                b"T",
                b"\xff",
            ]
        ),
        max_size=12,
    ).map(b"".join),
)


@given(st.lists(lines, max_size=8))
@settings(max_examples=300)
def test_no_bytes_make_it_raise_and_a_datagram_is_its_lines(datagram_lines: list[bytes]) -> None:
    parser = DogStatsD()
    whole = parser.parse(b"\n".join(datagram_lines))
    one_by_one = [item for line in datagram_lines for part in line.split(b"\n") for item in DogStatsD().parse(part)]
    assert whole == one_by_one == parser.parse(b"\n".join(datagram_lines))
    assert len(whole) == sum(1 for line in datagram_lines for part in line.split(b"\n") if part)
    for item in whole:
        if isinstance(item, Sample) and item.metric.context.kind != "s":
            assert item.values
            assert all(isinstance(value, float) and math.isfinite(value) for value in item.values)


def test_what_it_remembers_is_bounded() -> None:
    parser = DogStatsD()
    for number in range(3 * CACHED):
        parser.parse(b"a.b:1|c|#user:%d" % number)
    assert len(parser._metrics) <= CACHED
    assert len(parser._samples) <= CACHED
    long = b"a.b:1|c|#" + b"t" * 600
    assert parser.parse(long) == parser.parse(long)
    before = len(parser._samples), len(parser._metrics)
    parser.parse(b"a.b:1|c|T1656581400")  # will not come again
    assert (len(parser._samples), len(parser._metrics)) == before
    assert long not in parser._samples
