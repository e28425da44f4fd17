"""What the metrics signal is made of: a sample is one or several values of one context."""

from typing import Final, NamedTuple

COUNT: Final = "c"
GAUGE: Final = "g"
SET: Final = "s"
HISTOGRAM: Final = "h"
DISTRIBUTION: Final = "d"


class Context(NamedTuple):
    """What makes samples belong together. `kind` is one of the constants above (timers are histograms, as in Datadog's
    agent); `tags` are `key:value` or bare, sorted, each one once, and do not include the tags of the function.

    There is no host: a function has none (extension-behaviour, 7.4).
    """

    name: str
    kind: str
    tags: tuple[str, ...] = ()


class Metric(NamedTuple):
    """All of a sample but its values. `weight` is what one value stands for (one divided by the sample rate); `time` is
    in seconds since the epoch, None for "now".
    """

    context: Context
    weight: float = 1.0
    time: int | None = None


class Sample:
    """Values of one metric, at least one: finite numbers, or bytes of any content for a set."""

    __slots__ = ("metric", "values")

    def __init__(self, metric: Metric, values: list[float] | list[bytes]) -> None:
        self.metric = metric
        self.values = values

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sample) and (self.metric, self.values) == (other.metric, other.values)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Sample({self.metric!r}, {self.values!r})"


def distribution(name: str, value: float, tags: tuple[str, ...] = (), time: int | None = None) -> Sample:
    """A sample of the extension's own: the enhanced metrics are all distributions (extension-behaviour, 5)."""
    return Sample(Metric(Context(name, DISTRIBUTION, tuple(sorted(set(tags)))), time=time), [value])
