"""Sightings → figures. What is kept grows with the number of functions, reasons and hours, not with that of lines."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from fliptop.settings.rules import RULES
from fliptop_lab.fallbacks.exports import Record
from fliptop_lab.fallbacks.sightings import Kind, sighting

REMEDIES = {rule.reason: rule.what_to_do for rule in RULES}
UNKNOWN = "This version knows no such reason. See the documentation of the extension that told it."
HOUR = 3600
# What a function's starts are counted by: the first of these that there is any of. The extension's own line is the
# best, because a function without the layer has the others too.
EVIDENCE = (Kind.EXTENSION, Kind.INIT, Kind.COLD_REPORT)


@dataclass(slots=True)
class Span:
    """A number of starts, and the times of the first and the last that had one (seconds since 1970)."""

    starts: int = 0
    alone: int = 0
    first: float | None = None
    last: float | None = None

    def add(self, time: float | None, alone: bool) -> None:
        """Count a start; `alone`: its reason was the only one."""
        self.starts += 1
        self.alone += alone
        if time is not None:
            self.first = time if self.first is None else min(self.first, time)
            self.last = time if self.last is None else max(self.last, time)


@dataclass(frozen=True, slots=True)
class FunctionFigures:
    """One function. `starts` is None where the export has nothing to count them by."""

    name: str
    starts: int | None
    fallbacks: int
    unavailable: int
    too_late: int
    reasons: dict[str, Span]


@dataclass(frozen=True, slots=True)
class ReasonFigures:
    """One reason: `starts` that had it, `alone` those that had no other, and `share` of all starts, if known."""

    reason: str
    what_to_do: str
    starts: int
    alone: int
    share: float | None
    first: float | None
    last: float | None
    functions: dict[str, Span]


@dataclass(frozen=True, slots=True)
class Figures:
    """What an export tells. `counted_by` says for how many functions the starts were counted by which evidence."""

    functions: list[FunctionFigures]
    reasons: list[ReasonFigures]
    starts: int | None
    fallbacks: int
    unavailable: int
    too_late: int
    counted_by: dict[str, int]
    hours: dict[int, Counter[str]]

    @property
    def share(self) -> float | None:
        """The share of starts that fell back, if starts are known."""
        return self.fallbacks / self.starts if self.starts else None


@dataclass(slots=True)
class _Function:
    kinds: Counter[Kind] = field(default_factory=Counter)
    reasons: dict[str, Span] = field(default_factory=lambda: defaultdict(Span))

    def evidence(self) -> Kind | None:
        return next((kind for kind in EVIDENCE if self.kinds[kind]), None)

    def starts(self) -> int:
        """A start that told a reason is one even where the export lacks the line that starts are counted by."""
        # What was tried although a reason was known may then be too late as well.
        told = self.kinds[Kind.FALLBACK] + max(self.kinds[Kind.UNAVAILABLE], self.kinds[Kind.TOO_LATE])
        evidence = self.evidence()
        return max(told, self.kinds[evidence]) if evidence else told


class Tally:
    """Adds up records."""

    def __init__(self) -> None:
        self._functions: dict[str, _Function] = defaultdict(_Function)
        self._hours: dict[int, Counter[str]] = defaultdict(Counter)

    def add(self, record: Record) -> None:
        """Count what a record tells."""
        seen = sighting(record.message)
        if seen is None:
            return
        function = self._functions[record.function]
        function.kinds[seen.kind] += 1
        if seen.kind is Kind.FALLBACK:
            for reason in seen.reasons:
                function.reasons[reason].add(record.time, alone=len(seen.reasons) == 1)
            if record.time is not None:
                self._hours[int(record.time // HOUR)][seen.reasons[0]] += 1

    def figures(self) -> Figures:
        """Return the figures so far: reasons and functions with the most starts that fell back first."""
        evidence = Counter(found.evidence() for found in self._functions.values())
        is_known = any(kind is not None for kind in evidence)
        starts = sum(function.starts() for function in self._functions.values()) if is_known else None
        functions = [_function(name, function) for name, function in self._functions.items()]
        return Figures(
            functions=sorted(functions, key=lambda each: (-each.fallbacks, each.name)),
            reasons=sorted(self._reasons(starts), key=lambda each: (-each.starts, each.reason)),
            starts=starts,
            fallbacks=sum(each.fallbacks for each in functions),
            unavailable=sum(each.unavailable for each in functions),
            too_late=sum(each.too_late for each in functions),
            counted_by={kind.value if kind else "nothing": count for kind, count in evidence.items()},
            hours=dict(self._hours),
        )

    def _reasons(self, starts: int | None) -> Iterator[ReasonFigures]:
        found: dict[str, dict[str, Span]] = defaultdict(dict)
        for name, function in self._functions.items():
            for reason, span in function.reasons.items():
                found[reason][name] = span
        for reason, spans in found.items():
            total = sum(span.starts for span in spans.values())
            yield ReasonFigures(
                reason=reason,
                what_to_do=REMEDIES.get(reason, UNKNOWN),
                starts=total,
                alone=sum(span.alone for span in spans.values()),
                share=total / starts if starts else None,
                first=min((span.first for span in spans.values() if span.first is not None), default=None),
                last=max((span.last for span in spans.values() if span.last is not None), default=None),
                functions=spans,
            )


def _function(name: str, found: _Function) -> FunctionFigures:
    return FunctionFigures(
        name=name,
        starts=found.starts() if found.evidence() else None,
        fallbacks=found.kinds[Kind.FALLBACK],
        unavailable=found.kinds[Kind.UNAVAILABLE],
        too_late=found.kinds[Kind.TOO_LATE],
        reasons=dict(found.reasons),
    )
