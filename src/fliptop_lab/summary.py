"""From what a run left behind to figures: who served it, what arrived, what was lost, how long it took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from fliptop_lab.run import Outcome

FALLBACK_KEY = "DD_EXTENSION_FALLBACK_REASON"
"""First key of the one line that says why the legacy extension runs."""

LEDGER = "LEDGER | "
"""What precedes the ledger in the one line that fliptop writes at SHUTDOWN."""


def summarise(outcome: Outcome) -> dict[str, Any]:
    """One run as a flat JSON object.

    ``decision`` is ``legacy`` when a fallback line was printed, else ``next`` when an extension registered, else
    ``none``. ``lost`` counts the lines the function wrote (``function`` telemetry) that the intake does not have at
    the end, by text; ``surplus`` those it has more often than written. ``dropped`` is what the extension has given up,
    as its ledger says at the end: items per reason, per signal. ``duplicates`` counts payloads the intake accepted
    twice. Times are in ms, one value per invocation; ``invoke_ms`` is what the caller waits.
    """
    fallback = fallback_line(outcome)
    registered = _registered(outcome)
    lost, surplus = compare(_written(outcome), (entry.text for entry in outcome.logs))
    done = outcome.invocations
    return {
        "decision": "legacy" if fallback else "next" if registered else "none",
        "reasons": fallback["reasons"] if fallback else [],
        "function": outcome.plan.function.name,
        "extensions": registered,
        "invocations": len(done),
        "failures": sum(each.status != "success" for each in done),
        "lost": sum(lost.values()),
        "surplus": sum(surplus.values()),
        "received": {"logs": 0, **outcome.counts},
        "dropped": dropped(outcome),
        "refused": outcome.refused,
        "duplicates": outcome.duplicates,
        "ended": "kill" if outcome.plan.kill else "shutdown",
        "errors": sorted({each.error_type or each.status for each in done if each.status != "success"}),
        "ready_ms": _ready_ms(outcome),
        "init_ms": round(outcome.init.duration_ms, 2) if outcome.init else None,
        "invoke_ms": [round(each.latency_ms, 2) for each in done],
        "duration_ms": [round(each.duration_ms, 2) for each in done],
        "post_runtime_ms": [round(each.post_runtime_ms, 2) for each in done],
        "billed_ms": [each.billed_ms for each in done],
        "max_memory_mb": max((each.max_memory_mb for each in done), default=0),
    }


def combine(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Several runs as one object: sums, lists of what differs, and the runs themselves under ``runs``."""
    sums = ("invocations", "failures", "lost", "surplus", "refused", "duplicates")
    received: Counter[str] = Counter()
    for each in summaries:
        received.update(each["received"])
    return {
        "decision": [each["decision"] for each in summaries],
        "reasons": sorted({reason for each in summaries for reason in each["reasons"]}),
        **{key: sum(each[key] for each in summaries) for key in sums},
        "received": dict(received),
        "init_ms": [each["init_ms"] for each in summaries],
        "invoke_ms": [each["invoke_ms"] for each in summaries],
        "runs": list(summaries),
    }


def compare(written: Iterable[str], arrived: Iterable[str]) -> tuple[Counter[str], Counter[str]]:
    """Texts missing from ``arrived``, and those of ``written`` that arrived more often, both with their number.

    Trailing line ends do not count, and a JSON object is the same object however it is spelled and whether or not
    its ``ddtags`` were moved to the entry's tags.
    """
    wanted, got = Counter(map(_canonical, written)), Counter(map(_canonical, arrived))
    surplus = Counter({text: got[text] - count for text, count in wanted.items() if got[text] > count})
    return wanted - got, surplus


def fallback_line(outcome: Outcome) -> dict[str, Any] | None:
    """The fallback line among what extensions printed, decoded, or None."""
    for record in outcome.records:
        if record.kind == "telemetry" and record.name == "extension" and FALLBACK_KEY in record.data["line"]:
            line: dict[str, Any] = orjson.loads(record.data["line"])
            return line
    return None


def dropped(outcome: Outcome) -> dict[str, dict[str, int]]:
    """What fliptop's ledgers, one for each process that got as far as SHUTDOWN, say of items that were given up."""
    found: dict[str, Counter[str]] = {}
    for record in outcome.records:
        line = str(record.data.get("line", "")) if (record.kind, record.name) == ("telemetry", "extension") else ""
        if line.startswith("{") and LEDGER in line:
            for signal, entry in orjson.loads(orjson.loads(line)["message"].partition(LEDGER)[2]).items():
                found.setdefault(signal, Counter()).update(entry["dropped"])
    return {signal: dict(reasons) for signal, reasons in found.items() if reasons}


def _written(outcome: Outcome) -> list[str]:
    return [each.data["line"] for each in outcome.records if each.kind == "telemetry" and each.name == "function"]


def _registered(outcome: Outcome) -> list[str]:
    names = (each.data["extension"] for each in outcome.records if each.kind == "api" and each.name == "register")
    return list(dict.fromkeys(names))


def _ready_ms(outcome: Outcome) -> float | None:
    """From the extension's start to its first ``/event/next``; the slowest counts."""
    first: dict[str, float] = {}
    for record in outcome.records:
        if record.kind == "api" and record.name == "next" and record.data.get("since_spawn_ms") is not None:
            first.setdefault(record.data["extension"], record.data["since_spawn_ms"])
    return round(max(first.values()), 2) if first else None


def _canonical(text: str) -> str:
    text = text.rstrip("\r\n")
    if not text.startswith("{"):
        return text
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    if isinstance(document, dict):
        document.pop("ddtags", None)
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS).decode()
