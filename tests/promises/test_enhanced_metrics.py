"""The enhanced metrics of whole lives, with real functions and the real extension: each invocation counts once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.deaths import kill_before_the_second
from tests.lifetimes import Life, Plan, live
from tests.promises.test_metrics_arrive import balanced, distributed

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
ENHANCED = "aws.lambda.enhanced."
# Everything that the lab's machine can tell of: it has no network of a function's own.
OF_EACH = {
    "invocations",
    "runtime_duration",
    "duration",
    "billed_duration",
    "max_memory_used",
    "memorysize",
    "estimated_cost",
    "post_runtime_duration",
    "cpu_user_time",
    "cpu_system_time",
    "cpu_total_time",
    "fd_max",
    "threads_max",
    "fd_use",
    "threads_use",
}


def told(life: Life) -> Counter[str]:
    """How many values of each enhanced metric arrived."""
    found: Counter[str] = Counter()
    for sketch in life.intake.received.sketches:
        if sketch.metric.startswith(ENHANCED):
            found[sketch.metric.removeprefix(ENHANCED)] += sketch.count
    return found


def starts(life: Life) -> Counter[str]:
    """How many invocations were cold or warm."""
    found: Counter[str] = Counter()
    for sketch in life.intake.received.sketches:
        if sketch.metric == ENHANCED + "invocations":
            found.update({tag: sketch.count for tag in sketch.tags if tag.startswith(("cold_start", "proactive"))})
    return found


async def test_each_invocation_is_told_of_once_the_last_one_too(tmp_path: Path) -> None:
    life = await live(Plan(function="python"), tmp_path)
    counts = told(life)
    assert {name: counts[name] for name in OF_EACH} == dict.fromkeys(OF_EACH, 3)
    assert (counts["init_duration"], counts["shutdowns"]) == (1, 1)
    assert not {"errors", "timeouts", "out_of_memory", "unused_init"} & counts.keys()
    assert starts(life) == {"cold_start:true": 1, "cold_start:false": 2}
    billed = sum(
        sketch.sum for sketch in life.intake.received.sketches if sketch.metric == ENHANCED + "billed_duration"
    )
    assert billed == pytest.approx(sum(invocation.billed_ms for invocation in life.invocations) / 1000)
    assert balanced(life) == {}


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"raise": "no luck"}', {"errors": 1}),
        (b'{"exit": 3}', {"errors": 1}),
        (b'{"sleep": 30}', {"errors": 1, "timeouts": 1}),
    ],
    ids=["throws", "exits", "times-out"],
)
async def test_failures_are_counted_once(payload: bytes, expected: dict[str, int], tmp_path: Path) -> None:
    life = await live(Plan(function="python", payloads=[b"{}", payload], timeout_s=2), tmp_path)
    counts = told(life)
    assert {name: counts[name] for name in ("errors", "timeouts") if counts[name]} == expected
    assert counts["invocations"] == 2
    assert starts(life) == {"cold_start:true": 1, "cold_start:false": 1}
    assert counts["billed_duration"] == 2, "of the last invocation too"


async def test_a_crash_of_the_extension_makes_no_invocation_cold_or_count_twice(tmp_path: Path) -> None:
    life = await live(Plan(function="python", meanwhile=kill_before_the_second), tmp_path)
    assert starts(life) == {"cold_start:true": 1, "cold_start:false": 2}
    assert set(balanced(life)) <= {"extension_died"}, "the report of the first may have been in its hands"


@pytest.mark.parametrize(
    ("environment", "there", "not_there"),
    [
        ({"DD_ENHANCED_METRICS": "false"}, set(), OF_EACH),
        ({"DD_LAMBDA_PROC_ENHANCED_METRICS": "false"}, {"invocations"}, {"cpu_user_time", "fd_use", "fd_max"}),
    ],
)
async def test_they_can_be_switched_off(
    environment: dict[str, str], there: set[str], not_there: set[str], tmp_path: Path
) -> None:
    life = await live(Plan(function="python", environment=environment), tmp_path)
    assert there <= told(life).keys()
    assert not told(life).keys() & not_there
    assert distributed(life, "shop.price") == 9
