"""The DogStatsD protocol, versions 1.0 to 1.6, without the socket: datagrams become samples, events, service checks.

    name:value[:value…]|type[|@rate][|#tag,tag:value][|Tseconds][|c:container][|e:external data][|card:cardinality]

Source: intake-wire, 11; extension-behaviour, 7.1 and 7.2. Differs from Datadog's extension where that loses data: every
packed value counts, sample rates do, and so do histograms, timers and sets.
"""

from typing import Final, NamedTuple, TypeVar

from fliptop.metrics.samples import COUNT, DISTRIBUTION, GAUGE, HISTOGRAM, SET, Context, Metric, Sample

KINDS: Final = {b"c": COUNT, b"g": GAUGE, b"s": SET, b"h": HISTOGRAM, b"ms": HISTOGRAM, b"d": DISTRIBUTION}
MAX_TAGS: Final = 100
MAX_NAME_BYTES: Final = 350
# A value at this rate stands for four billion others. Beyond it counts would leave the integers of the wire format.
LOWEST_RATE: Final = 2.0**-32
# Client libraries count invocations too; the extension does it better, and once (extension-behaviour, 7.1).
COUNTED_HERE: Final = b"aws.lambda.enhanced.invocations"
# They count failures too, and some that nobody else can see: an answer with a status of 5xx.
FAILURES: Final = b"aws.lambda.enhanced.errors"
# What is remembered: so many entries, of so many bytes each at most.
CACHED: Final = 2048
LONGEST_CACHED: Final = 512
SHORT_VALUE: Final = 3
# Looking for an integer in bytes takes a sixth of the time that looking for bytes takes.
UNDERSCORE: Final = ord("_")
COLON: Final = ord(":")


class Event(NamedTuple):
    """An event for Datadog's event stream. `time` is in seconds since the epoch, None for "now"."""

    title: str
    text: str
    time: int | None = None
    host: str = ""
    key: str = ""
    priority: str = "normal"
    source: str = ""
    alert_type: str = "info"
    tags: tuple[str, ...] = ()


class ServiceCheck(NamedTuple):
    """The state of something: `status` is 0 ok, 1 warning, 2 critical, 3 unknown; `time` as in `Event`."""

    name: str
    status: int
    time: int | None = None
    host: str = ""
    tags: tuple[str, ...] = ()
    message: str = ""


class Failure:
    """A client library says that the invocation has failed. There is one, `FAILED`."""


FAILED: Final = Failure()


class Refusal(NamedTuple):
    """A line that cannot be used, and why (a short stable word for the ledger)."""

    reason: str
    line: bytes


_K = TypeVar("_K")
_V = TypeVar("_V")

Item = Sample | Event | ServiceCheck | Failure | Refusal


class _Refused(Exception):
    """Raised with the reason."""


class _Failed(Exception):
    """Raised for a line that is a `Failure`."""


class DogStatsD:
    """Reads datagrams. `namespace` is put before the name of every metric, with a dot.

    A function says the same few things over and over, so what was read once is remembered: whole lines whose value is
    short (most are `name:1|c|#…`), and for the others all but the value.
    """

    def __init__(self, namespace: str = "") -> None:
        self._prefix = f"{namespace}." if namespace else ""
        self._metrics: dict[tuple[bytes, bytes], Metric] = {}
        self._samples: dict[bytes, Sample] = {}

    def parse(self, datagram: bytes) -> list[Item]:
        """What `datagram` says, line by line, in order; nothing for empty lines. Never raises: a line that cannot be
        used gives a `Refusal` and costs no other. Bytes that are not UTF-8 are replaced. A sample may be one that was
        returned before: do not change it.
        """
        return [self._samples.get(line) or self._read(line) for line in datagram.split(b"\n") if line]

    def _read(self, line: bytes) -> Item:
        try:
            if line[0] == UNDERSCORE:
                if line.startswith(b"_e{"):
                    return _event(line)
                if line.startswith(b"_sc|"):
                    return _service_check(line)
            return self._sample(line)
        except _Failed:
            return FAILED
        except _Refused as refused:
            return Refusal(str(refused), line)

    def _sample(self, line: bytes) -> Sample:
        name, _, rest = line.partition(b":")
        raw, _, suffix = rest.partition(b"|")
        metric = self._metrics.get((name, suffix)) or self._metric(name, suffix)
        if metric.context.kind == SET:  # in a set the whole text is one value
            return Sample(metric, _member(raw))
        if COLON in raw:
            return Sample(metric, _packed(raw))
        sample = Sample(metric, [_number(raw, "bad_value")])
        if len(raw) <= SHORT_VALUE and len(line) <= LONGEST_CACHED and metric.time is None:
            _remember(self._samples, line, sample)
        return sample

    def _metric(self, name: bytes, suffix: bytes) -> Metric:
        if name.startswith(COUNTED_HERE):
            raise _Refused("counted_here")
        if name == FAILURES:
            raise _Failed
        if not name or b"|" in name or not suffix:
            raise _Refused("malformed")
        metric = _read_suffix(_metric_name(self._prefix, name), suffix)
        if len(suffix) <= LONGEST_CACHED and metric.time is None:  # a timestamp is hardly ever seen again
            _remember(self._metrics, (name, suffix), metric)
        return metric


def _remember(cache: dict[_K, _V], key: _K, value: _V) -> None:
    if len(cache) >= CACHED:
        cache.clear()
    cache[key] = value


def _metric_name(prefix: str, name: bytes) -> str:
    # The intake takes nothing else (intake-wire, 3.2). `upper` and `lower` of bytes change ASCII letters alone.
    full = prefix.encode() + name
    if len(full) > MAX_NAME_BYTES or full.upper() == full.lower():
        raise _Refused("bad_name")
    return full.decode("utf-8", "replace")


def _read_suffix(name: str, suffix: bytes) -> Metric:
    """Type and fields, in any order; the last of its kind wins. `c:`, `e:` and `card:` say from which container a
    sample came, which in a function is always the same: they are read over, like fields of versions to come.
    """
    kind, *fields = suffix.split(b"|")
    if kind not in KINDS:
        raise _Refused("unknown_type")
    weight, time, tags = 1.0, None, ""
    for field in fields:
        start = field[:1]
        if start == b"#":
            tags = field[1:].decode("utf-8", "replace")
        elif start == b"@":
            weight = _weight(field[1:])
        elif start == b"T":
            time = _time(field[1:])
    return Metric(Context(name, KINDS[kind], _tags(tags)), weight, time)


def _number(raw: bytes, reason: str) -> float:
    try:
        value = float(raw)
    except ValueError:
        raise _Refused(reason if raw else "malformed") from None
    if UNDERSCORE in raw:  # Python reads 1_000 as a number, the protocol does not
        raise _Refused(reason)
    if value - value != 0.0:  # infinite, or not a number: the quickest test there is
        raise _Refused("not_finite")
    return value


def _member(raw: bytes) -> list[bytes]:
    if not raw:
        raise _Refused("malformed")
    return [raw]


def _packed(raw: bytes) -> list[float]:
    values = [_number(value, "bad_value") for value in raw.split(b":") if value]
    if not values:
        raise _Refused("malformed")
    return values


def _weight(raw: bytes) -> float:
    rate = _number(raw, "bad_rate")
    if not LOWEST_RATE <= rate <= 1:
        raise _Refused("bad_rate")
    return 1 / rate


def _time(raw: bytes) -> int:
    time = round(_number(raw, "bad_timestamp"))
    if time < 1:
        raise _Refused("bad_timestamp")
    return time


def _tags(raw: str) -> tuple[str, ...]:
    tags = tuple(sorted({tag for tag in raw.split(",") if tag}))
    if len(tags) > MAX_TAGS:
        raise _Refused("too_many_tags")
    return tags


def _event(line: bytes) -> Event:
    """`_e{title bytes,text bytes}:title|text`, then fields. A field that cannot be read is as good as absent."""
    head, _, rest = line[3:].partition(b"}:")
    title_size, _, text_size = head.partition(b",")
    if not (title_size.isdigit() and text_size.isdigit()) or len(head) > 12:
        raise _Refused("bad_event")
    middle = int(title_size)
    end = middle + 1 + int(text_size)
    if not middle or len(rest) < end or rest[middle : middle + 1] != b"|" or rest[end : end + 1] not in {b"", b"|"}:
        raise _Refused("bad_event")
    fields = _fields(rest[end + 1 :])
    priority, alert_type = fields.get("p", ""), fields.get("t", "")
    return Event(
        _lines(rest[:middle].decode("utf-8", "replace")),
        _lines(rest[middle + 1 : end].decode("utf-8", "replace")),
        _seconds(fields),
        fields.get("h", ""),
        fields.get("k", ""),
        priority if priority in {"normal", "low"} else "normal",
        fields.get("s", ""),
        alert_type if alert_type in {"error", "warning", "info", "success"} else "info",
        _tags(fields.get("#", "")),
    )


def _service_check(line: bytes) -> ServiceCheck:
    """`_sc|name|status`, then fields, `m:message` the last of them."""
    name, status, rest = (*line.split(b"|", 3)[1:], b"", b"", b"")[:3]
    if not name or status not in {b"0", b"1", b"2", b"3"}:
        raise _Refused("bad_service_check")
    fields = _fields(rest)
    return ServiceCheck(
        name.decode("utf-8", "replace"),
        int(status),
        _seconds(fields),
        fields.get("h", ""),
        _tags(fields.get("#", "")),
        _lines(fields.get("m", "")),
    )


def _fields(raw: bytes) -> dict[str, str]:
    """`key:value` fields between bars, and `#tags` under the key `#`."""
    fields = {}
    for field in raw.decode("utf-8", "replace").split("|"):
        key, _, value = ("#", "", field[1:]) if field.startswith("#") else field.partition(":")
        fields[key] = value
    return fields


def _seconds(fields: dict[str, str]) -> int | None:
    raw = fields.get("d", "")
    return int(raw) if raw.isascii() and raw.isdigit() and len(raw) < 12 else None


def _lines(text: str) -> str:
    return text.replace("\\n", "\n")
