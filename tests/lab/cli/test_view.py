"""What people see of traces, stats and what is passed on."""

import io
from types import SimpleNamespace
from typing import Any

from rich.console import Console, RenderableType
from tests import agent_payload

from fliptop_lab.commands import view
from fliptop_lab.intake import Proxied, Span, StatsGroup, Summary
from fliptop_lab.intake.traces import decode_traces

START = 1_700_000_000 * 10**9
COMMON = {"functionname": "lab", "region": "here"}


def span(number: int, parent: int, name: str, trace: int = 7, **fields: Any) -> dict[str, Any]:
    own = {"resource": f"the {name}", "meta": COMMON, "duration": 2_500_000, **fields}
    return {
        "service": "shop",
        "name": name,
        "traceID": trace,
        "spanID": number,
        "parentID": parent,
        "start": START + number,
        **own,
    }


def spans(*found: dict[str, Any]) -> list[Span]:
    chunks = [{"spans": [each]} for each in found]
    return decode_traces(agent_payload.build(tracerPayloads=[{"chunks": chunks}]))


def shown(part: RenderableType | None) -> list[str]:
    console = Console(width=120, file=io.StringIO())
    console.print(part)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def outcome(found: list[Span], stats: Any = (), proxied: Any = ()) -> Any:
    return SimpleNamespace(spans=found, stats=stats, proxied=proxied)


def test_a_trace_is_a_tree_with_what_each_span_says_of_itself() -> None:
    failed: dict[str, Any] = {
        "meta": {**COMMON, "error.message": "no luck", "kind": "book", "_dd.p.dm": "-0"},
        "error": 1,
    }
    found = spans(span(3, 2, "shop.query", **failed), span(2, 1, "shop.order"), span(1, 0, "aws.lambda"))
    text = shown(view.traces(outcome(found)))
    assert text[3].split()[:2] == ["aws.lambda", "shop"]
    assert text[4].startswith(" └ shop.order ")
    assert text[5].startswith("   └ shop.query ")
    assert "2.5 ms" in text[5]
    assert text[5].endswith("no luck  kind:book")
    assert text[-1] == "tags     functionname:lab region:here"


def test_of_many_only_the_first_are_shown() -> None:
    many = shown(view.traces(outcome(spans(*(span(1, 0, "aws.lambda", trace) for trace in range(1, 14))))))
    assert "… 3 more traces" in many
    wide = shown(view.traces(outcome(spans(*(span(number, 0, "one") for number in range(1, 50))))))
    assert any(line.strip().startswith("… 29 more") for line in wide)
    below = [span(number, number - 1, "deep") for number in range(2, 30)]
    deep = shown(view.traces(outcome(spans(span(1, 0, "aws.lambda"), *below, span(99, 1, "shop.order")))))
    assert any("└ shop.order" in line for line in deep), "what is further up goes first"


def test_stats_and_what_is_passed_on_have_a_line_each() -> None:
    took, nothing = Summary(1.015625, 1338.5, 0, {1635: 3.0}, 0), Summary(0, 0, 0, {}, 0)
    group = StatsGroup("shop", "aws.lambda", "lab", 3, 1, 3, 12, took, nothing, START, 10**10, {}, {}, {})
    profile = Proxied("/api/v2/profile", "profiling", "python, from … to …", {}, {"auto.pprof": 2312}, {})
    text = " ".join(" ".join(shown(view.others(outcome([], [group], [profile])))).split())
    assert "stats shop aws.lambda lab: 3 hits, 1 of them in error, half within 0.0001 ms" in text
    assert "profiling python, from … to …, auto.pprof 2312 B" in text


def test_what_did_not_come_is_not_shown() -> None:
    assert view.traces(outcome([])) is None
    assert view.others(outcome([])) is None
