"""When to flush: what the user chose (`Strategy`), and what this moment calls for (`decide`). No I/O, no state.

Source: extension-behaviour, 4. Differs from it in three ways: intervals are exact to the millisecond; a flush during a
long invocation counts as one; and the adaptive default also knows how long runs and flushes take here.
"""

from typing import Final, Literal, NamedTuple

Kind = Literal["default", "end", "periodically", "continuously"]
# end: when the runtime is done. start: now, and only then is the extension done with this invocation; the function runs
# meanwhile. overlap: now, without waiting for it. skip: not in this invocation.
Decision = Literal["end", "start", "overlap", "skip"]

LOOK_BACK: Final = 20
ADAPTIVE_INTERVAL_S: Final = 20.0
# With longer pauses between invocations nothing is to be gained, and telemetry would be late.
SPARSE_S: Final = 120.0
# So many invocations in this time: an environment that is frozen, if ever, for moments only.
DENSE_S: Final = 30.0
# During an invocation that long, telemetry is sent meanwhile.
RACE_S: Final = 60.0
RACE_OF_END_S: Final = 900.0
MANAGED_INTERVAL_S: Final = 30.0


class Strategy(NamedTuple):
    """What the user chose. `interval_s` is None for `default` and for plain `end`."""

    kind: Kind = "default"
    interval_s: float | None = None

    @property
    def race_s(self) -> float:
        """How often to flush while an invocation lasts."""
        if self.kind == "default":
            return RACE_S
        return RACE_OF_END_S if self.interval_s is None else self.interval_s


def parse(text: str) -> Strategy:
    """`end`, `end,<ms>`, `periodically,<ms>`, `continuously,<ms>` or `default`, in any case. Raises `ValueError`."""
    kind, _, rest = text.strip().lower().partition(",")
    milliseconds = rest.split(",")[0].strip()
    match kind.strip(), milliseconds.isascii() and milliseconds.isdigit():
        case "default" | "end" as plain, False if not rest:
            return Strategy(plain)
        case "end" | "periodically" | "continuously" as timed, True if len(milliseconds) < 12:
            return Strategy(timed, int(milliseconds) / 1000)
    raise ValueError("expected end, end,<ms>, periodically,<ms> or continuously,<ms>")


def on_managed_instances(chosen: Strategy) -> Strategy:
    """What becomes of the user's choice where many invocations run at once and extensions are told of none: only the
    time is left to go by (extension-behaviour, 3.8).
    """
    return chosen if chosen.kind == "continuously" else Strategy("continuously", MANAGED_INTERVAL_S)


class History(NamedTuple):
    """What has happened here, in seconds on the wall clock: when the latest `LOOK_BACK` invocations began, this one
    included; when telemetry was last sent; how long runs and flushes typically take.
    """

    invocations: tuple[float, ...]
    flushed_at: float
    run_s: float
    flush_s: float


def decide(strategy: Strategy, history: History, now: float) -> Decision:
    """What to do about the invocation that begins now."""
    if strategy.kind == "default":
        strategy = _adapt(history, now)
    if strategy.interval_s is None:
        return "end"
    since = now - history.flushed_at
    if 0 <= since < strategy.interval_s:  # a clock that was put back makes it due
        return "skip"
    return {"end": "end", "periodically": "start", "continuously": "overlap"}[strategy.kind]  # type: ignore[return-value]


def _adapt(history: History, now: float) -> Strategy:
    """At the end while little is known or little happens. Else less often, beside the function's run where a flush fits
    into that, or the next run follows at once.
    """
    if len(history.invocations) < LOOK_BACK:
        return Strategy("end")
    span = now - history.invocations[0]
    if span < 0 or span / (LOOK_BACK - 1) >= SPARSE_S:
        return Strategy("end")
    overlaps = span < DENSE_S or history.flush_s <= history.run_s
    return Strategy("continuously" if overlaps else "periodically", ADAPTIVE_INTERVAL_S)
