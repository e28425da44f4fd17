"""From telemetry record to Datadog log entry: text, level, tags, request id, orphans, rules, batches."""

from __future__ import annotations

import itertools
import json
import sys
from typing import Any

import pytest
from backports.zstd import decompress
from hypothesis import given
from hypothesis import strategies as st

from fliptop.identity import Identity
from fliptop.logs.entry import CUT_MARK, MAX_TEXT_BYTES, shorten
from fliptop.logs.pipeline import LIMITS, MAX_ORPHANS, LogOptions, LogPipeline
from fliptop.logs.rules import apply, compile_rule
from fliptop.outbox.buffer import EntryBuffer, Limits
from fliptop.outbox.ledger import Ledger
from fliptop.outbox.payload import JSON_ARRAY, Sealer
from fliptop.platform.telemetry import Record
from tests.conftest import MovedClock

URL = "https://intake/api/v2/logs"
ENVIRON = {
    "AWS_LAMBDA_FUNCTION_NAME": "Shop-Checkout",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
    "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
    "AWS_REGION": "eu-west-1",
}
ARN = "arn:aws:lambda:eu-west-1:111122223333:function:shop-checkout"


def start(request_id: str) -> Record:
    return Record("platform.start", 1000, {"requestId": request_id, "version": "7"})


def done(request_id: str, **more: Any) -> Record:
    return Record("platform.runtimeDone", 2000, {"requestId": request_id, "status": "success", **more})


def function(said: Any) -> Record:
    return Record("function", 1500, said)


class Pipe:
    """A pipeline under test: records in, decoded entries out."""

    def __init__(self, ledger: Ledger, clock: MovedClock, **options: Any) -> None:
        self.identity = Identity(ENVIRON, "111122223333", {"env": "prod", "team": "a"})
        chosen = {"enabled": True, "service": "checkout", "url": URL, "compression_level": 3, **options}
        self.pipeline = LogPipeline(LogOptions(**chosen), self.identity, ledger, clock)

    def entries(self, *records: Record, last: bool = False) -> list[dict[str, Any]]:
        for record in records:
            self.pipeline.take(record)
        payloads = list(self.pipeline.seal(last=last))
        return [entry for payload in payloads for entry in json.loads(decompress(payload.body))]


@pytest.fixture
def pipe(ledger: Ledger, clock: MovedClock) -> Pipe:
    return Pipe(ledger, clock)


def test_the_shape_of_an_entry(pipe: Pipe) -> None:
    _, entry = pipe.entries(start("r1"), function("hello\n"))
    tags = dict(pair.split(":", 1) for pair in entry.pop("ddtags").split(","))
    assert entry == {
        "message": {
            "message": "hello\n",
            "lambda": {"arn": ARN, "request_id": "r1"},
            "timestamp": 1500,
            "status": "info",
        },
        "hostname": ARN,
        "service": "checkout",
        "ddsource": "lambda",
    }
    assert tags["functionname"] == "shop-checkout"
    assert tags["function_arn"] == ARN
    assert (tags["account_id"], tags["aws_account"], tags["region"]) == ("111122223333", "111122223333", "eu-west-1")
    assert (tags["env"], tags["team"], tags["memorysize"], tags["init_type"]) == ("prod", "a", "512", "on-demand")
    assert "executedversion" not in tags


def test_the_runtime_becomes_a_tag_once_the_platform_has_told_it(pipe: Pipe) -> None:
    pipe.identity.learn_runtime("python:3.13.v12")
    (entry,) = pipe.entries(start("r1"))
    assert "runtime:python3.13" in entry["ddtags"].split(",")


@pytest.mark.parametrize(
    ("record", "text", "status"),
    [
        (
            Record("platform.initStart", 1, {"runtimeVersion": "python:3.13.v12"}),
            "INIT_START Runtime Version: python:3.13.v12 Runtime Version ARN: ?",
            "info",
        ),
        (start("r1"), "START RequestId: r1 Version: 7", "info"),
        (done("r1"), "END RequestId: r1", "info"),
        (
            done("r1", status="timeout", metrics={"durationMs": 3000.0}),
            "END RequestId: r1 Task timed out after 3.00 seconds",
            "error",
        ),
        (done("r1", status="timeout"), "END RequestId: r1 Task timed out after 0.00 seconds", "error"),
        (
            done("r1", status="error", errorType="Runtime.ExitError"),
            'END RequestId: r1 Task failed: "Runtime.ExitError"',
            "error",
        ),
        (function('{"level":"WARNING","message":"low"}'), '{"level":"WARNING","message":"low"}', "warn"),
        (function({"level": "ERROR", "message": "no"}), '{"level":"ERROR","message":"no"}', "error"),
        (function({"status": "fatal"}), '{"status":"fatal"}', "critical"),
        (function('{"level":"LOUD"}'), '{"level":"LOUD"}', "info"),
        (function("{not json"), "{not json", "info"),
        (function("[1]"), "[1]", "info"),
    ],
)
def test_text_and_status_of_each_record(pipe: Pipe, record: Record, text: str, status: str) -> None:
    (entry,) = pipe.entries(record, last=True)
    assert (entry["message"]["message"], entry["message"]["status"]) == (text, status)


def test_a_report_repeats_what_the_runtime_took(pipe: Pipe) -> None:
    metrics = {
        "durationMs": 100.5,
        "billedDurationMs": 101,
        "memorySizeMB": 512,
        "maxMemoryUsedMB": 84,
        "initDurationMs": 397.68,
    }
    report = Record("platform.report", 9, {"requestId": "r1", "status": "success", "metrics": metrics})
    *_, entry = pipe.entries(start("r1"), done("r1", metrics={"durationMs": 90.25}), report)
    assert entry["message"]["message"] == (
        "REPORT RequestId: r1 Duration: 100.50 ms Runtime Duration: 90.25 ms Post Runtime Duration: 10.25 ms "
        "Billed Duration: 101 ms Memory Size: 512 MB Max Memory Used: 84 MB Init Duration: 397.68 ms"
    )


@pytest.mark.parametrize("said", [None, 7, ["a"], True])
def test_output_that_is_neither_text_nor_object_is_no_log(pipe: Pipe, said: object) -> None:
    assert pipe.entries(function(said), last=True) == []


def test_an_explicit_request_id_wins(pipe: Pipe) -> None:
    _, entry = pipe.entries(start("r1"), function({"requestId": "r0", "message": "late"}))
    assert entry["message"]["lambda"]["request_id"] == "r0"


def test_ddtags_move_from_the_line_to_the_tags(pipe: Pipe) -> None:
    flat, nested = pipe.entries(
        start("r1"), function('{"message":"a","ddtags":"x:1"}'), function('{"message":{"message":"b","ddtags":"y:2"}}')
    )[1:]
    assert flat["ddtags"].endswith(",x:1")
    assert flat["message"]["message"] == '{"message":"a"}'
    assert nested["ddtags"].endswith(",y:2")
    assert nested["message"]["message"] == '{"message":"b"}'


def ids(entries: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    return [(entry["message"]["message"], entry["message"]["lambda"]["request_id"]) for entry in entries]


def test_orphans_wait_for_the_next_request_and_keep_their_order(pipe: Pipe) -> None:
    assert pipe.entries(function("loading 1"), function("loading 2")) == []
    assert ids(pipe.entries(start("r1"), function("working"))) == [
        ("loading 1", "r1"),
        ("loading 2", "r1"),
        ("START RequestId: r1 Version: 7", "r1"),
        ("working", "r1"),
    ]


def test_after_end_a_line_is_an_orphan_again(pipe: Pipe) -> None:
    pipe.entries(start("r1"), done("r1"), function("afterwards"))
    assert ids(pipe.entries(start("r2")))[0] == ("afterwards", "r2")


def test_the_last_orphans_go_without_an_id(pipe: Pipe) -> None:
    assert ids(pipe.entries(function("loading"), last=True)) == [("loading", None)]


def test_orphans_are_bounded(pipe: Pipe) -> None:
    sent = pipe.entries(*(function(str(number)) for number in range(MAX_ORPHANS + 3)))
    assert ids(sent) == [("0", None), ("1", None), ("2", None)]


def test_logs_switched_off_cost_and_count_nothing(ledger: Ledger, clock: MovedClock) -> None:
    assert Pipe(ledger, clock, enabled=False).entries(start("r1"), function("x"), last=True) == []
    assert ledger.summary() == {}


def test_uncompressed_on_request(ledger: Ledger, clock: MovedClock) -> None:
    pipeline = Pipe(ledger, clock, compression_level=None).pipeline
    pipeline.take(start("r1"))
    (payload,) = pipeline.seal()
    assert json.loads(payload.body)[0]["ddsource"] == "lambda"
    assert "Content-Encoding" not in dict(payload.headers)
    assert (payload.url, payload.items) == (URL, 1)


def test_payloads_are_numbered_and_say_how_they_are_encoded(pipe: Pipe) -> None:
    numbers = []
    for request_id in ("r1", "r2"):
        pipe.pipeline.take(start(request_id))
        (payload,) = pipe.pipeline.seal()
        numbers.append(payload.number)
        assert dict(payload.headers)["Content-Encoding"] == "zstd"
        assert dict(payload.headers)["DD-PROTOCOL"] == "agent-json"
    assert numbers == [1, 2]


# What the intake accepts: at most 1,000 entries and 5 MB in a payload.


def buffer_of(ledger: Ledger, limits: Limits = LIMITS) -> EntryBuffer:
    sealer = Sealer("logs", URL, JSON_ARRAY, None, itertools.count(1))
    return EntryBuffer("logs", ledger, sealer, limits)


def test_batches_stay_within_what_the_intake_accepts(ledger: Ledger) -> None:
    buffer = buffer_of(ledger)
    ledger.accept("logs", 2503)
    for size in [100] * 2500 + [3_000_000] * 3:
        buffer.add(b'"' + b"x" * size + b'"')
    batches = []
    while (batch := buffer.take()) is not None:
        batches.append(batch)
    assert [payload.items for payload in batches] == [1000, 1000, 501, 1, 1]
    assert all(len(payload.body) <= LIMITS.size for payload in batches)
    assert all(len(json.loads(payload.body)) == payload.items for payload in batches)
    assert (len(buffer), buffer.size) == (0, 0)


def test_a_full_buffer_drops_the_newest_and_counts_them(ledger: Ledger) -> None:
    buffer = buffer_of(ledger, LIMITS._replace(ceiling=25))
    ledger.accept("logs", 4)
    for _ in range(4):
        buffer.add(b"0123456789")
    assert len(buffer) == 2
    assert ledger.summary()["logs"]["dropped"] == {"buffer_full": 2}


def test_an_entry_that_fits_into_no_payload_does_not_block_the_others(ledger: Ledger) -> None:
    buffer = buffer_of(ledger)
    ledger.accept("logs", 3)
    for size in (10, LIMITS.size, 10):
        buffer.add(b"x" * size)
    payload = buffer.take()
    assert payload is not None
    assert (payload.body, payload.items) == (b"[xxxxxxxxxx,xxxxxxxxxx]", 2)
    assert ledger.summary()["logs"]["dropped"] == {"too_large": 1}


def test_orphans_are_bounded_in_bytes_too(pipe: Pipe) -> None:
    sent = pipe.entries(*(function(f"{number}" + "x" * 800_000) for number in range(7)))
    assert [text[0] for text, _ in ids(sent)] == ["0", "1"]


@given(st.text(max_size=50), st.integers(0, 60))
def test_long_texts_are_cut_on_a_character_and_marked(text: str, padding: int) -> None:
    long = "x" * (MAX_TEXT_BYTES - padding) + text
    cut = shorten(long)
    assert len(cut.encode()) <= MAX_TEXT_BYTES + len(CUT_MARK)
    if len(long.encode()) > MAX_TEXT_BYTES:
        assert cut.endswith(CUT_MARK)
        assert long.startswith(cut.removesuffix(CUT_MARK))
    else:
        assert cut == long


def test_where_many_requests_run_at_once_a_line_belongs_to_none_that_it_does_not_name(
    ledger: Ledger, clock: MovedClock
) -> None:
    pipe = Pipe(ledger, clock, concurrent=True)
    sent = pipe.entries(function("init"), start("r1"), start("r2"), function("whose?"), function('{"requestId":"r1"}'))
    assert [request_id for _, request_id in ids(sent)] == [None, "r1", "r2", None, "r1"]
    assert pipe.pipeline.waiting == 0


def test_a_lone_surrogate_is_replaced_not_fatal(pipe: Pipe) -> None:
    _, entry = pipe.entries(start("r1"), function("caf\udce9"))
    assert "\N{REPLACEMENT CHARACTER}" in entry["message"]["message"]


def test_what_cannot_be_encoded_at_all_is_counted(pipe: Pipe, ledger: Ledger) -> None:
    pipe.pipeline.take(start("\udce9"))
    assert ledger.summary()["logs"]["dropped"] == {"not_encodable": 1}


# Processing rules.


def rule(kind: str, pattern: str, placeholder: str = "") -> Any:
    return compile_rule({"type": kind, "name": "n", "pattern": pattern, "replace_placeholder": placeholder})


def test_rules_apply_in_the_order_they_are_listed() -> None:
    mask = rule("mask_sequences", r"token=(\w{2})\w+", "token=${1}***")
    assert apply([mask, rule("exclude_at_match", "abcdef")], "token=abcdef") == "token=ab***"
    assert apply([rule("exclude_at_match", "abcdef"), mask], "token=abcdef") is None
    assert apply([rule("include_at_match", "ERROR")], "INFO") is None
    assert apply([rule("include_at_match", "ERROR")], "an ERROR") == "an ERROR"


@pytest.mark.parametrize(("placeholder", "masked"), [("$1!", "a!"), ("$9", ""), (r"\1", r"\1"), ("", ""), ("$x", "")])
def test_placeholders_as_datadogs_agent_reads_them(placeholder: str, masked: str) -> None:
    assert apply([rule("mask_sequences", "(a)b", placeholder)], "ab") == masked


@pytest.mark.parametrize(
    ("definition", "complaint"),
    [
        ("x", "must be a mapping"),
        ({"type": "mask", "name": "n", "pattern": "x"}, "type must be one of"),
        ({"type": "mask_sequences", "name": "n"}, "pattern is missing"),
        ({"type": "mask_sequences", "name": "n", "pattern": "("}, "cannot be compiled"),
        ({"type": "mask_sequences", "name": "n", "pattern": "a{99999999999999999999}"}, "cannot be compiled"),
        ({"type": "mask_sequences", "name": "n", "pattern": "(" * 500 + ")" * 500}, "cannot be compiled"),
    ],
)
def test_a_broken_rule_is_named(definition: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        compile_rule(definition)


def test_a_character_by_its_name_costs_its_rule_where_there_are_no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "unicodedata", None)  # as in the layer
    with pytest.raises(ValueError, match=r"processing rule 'n': pattern cannot be compiled: .*unicodedata"):
        rule("exclude_at_match", r"\N{EURO SIGN}")


def test_rules_see_platform_lines_too_and_what_they_drop_is_not_accepted(ledger: Ledger, clock: MovedClock) -> None:
    pipe = Pipe(ledger, clock, rules=(rule("exclude_at_match", "^START"),))
    assert [entry["message"]["message"] for entry in pipe.entries(start("r1"), function("x"))] == ["x"]
    assert ledger.accepted("logs") == 1


@pytest.mark.parametrize(("last", "sizes"), [(False, [3]), (True, [3, 2])])
def test_what_comes_while_payloads_are_made_makes_no_small_ones(last: bool, sizes: list[int], pipe: Pipe) -> None:
    for record in (start("r1"), function("a"), function("b")):
        pipe.pipeline.take(record)
    found = []
    for payload in pipe.pipeline.seal(last=last):
        found.append(payload.items)
        if len(found) == 1:
            for record in (function("c"), function("d")):
                pipe.pipeline.take(record)
    assert found == sizes
    assert sum(payload.items for payload in pipe.pipeline.seal()) == 5 - sum(sizes)
