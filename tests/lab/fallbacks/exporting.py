"""A week of a few functions' logs, as each tool would export them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

EXTENSION = "EXTENSION\tName: datadog-agent\tState: Ready\tEvents: [INVOKE, SHUTDOWN]\n"
INIT = "INIT_START Runtime Version: python:3.13.v12\tRuntime Version ARN: arn:aws:lambda:eu-west-1::runtime:ab\n"
REPORT = "REPORT RequestId: 1-2\tDuration: 3.1 ms\tBilled Duration: 4 ms\tMemory Size: 128 MB\tMax Memory Used: 60 MB\t"


def fallback(*reasons: str, kind: str = "REASON") -> str:
    """The launcher's line."""
    line = {f"DD_EXTENSION_FALLBACK_{kind}": reasons[0], "reasons": reasons, "layer_version": "0.1.0"}
    return json.dumps({**line, "decision_us": 41.3}, separators=(",", ":")) + "\n"


@dataclass(frozen=True)
class Event:
    """One log event; `time` in ms."""

    function: str
    stream: str
    time: int
    message: str

    @property
    def group(self) -> str:
        return f"/aws/lambda/{self.function}"

    @property
    def iso(self) -> str:
        return datetime.fromtimestamp(self.time / 1000, UTC).isoformat(timespec="milliseconds")


def start(function: str, time: int, *reasons: str) -> Iterator[Event]:
    """All that one start and its first invocation leave in CloudWatch Logs."""
    stream = f"{datetime.fromtimestamp(time / 1000, UTC):%Y/%m/%d}/[$LATEST]{time:032x}"
    lines = [INIT, *([fallback(*reasons)] if reasons else []), EXTENSION, "START RequestId: 1-2 Version: $LATEST\n"]
    lines += [f'{{"level":"INFO","message":"order {time} \\"[{{ placed\\""}}\n', "END RequestId: 1-2\n"]
    lines += [REPORT + "Init Duration: 80.00 ms\t\n", "START RequestId: 1-3 Version: $LATEST\n", REPORT + "\n"]
    for n, message in enumerate(lines):
        yield Event(function, stream, time + n, message)


FIRST = 1_700_000_000_000
HOUR = 3_600_000


def week(function: str = "") -> list[Event]:
    """Ten starts of two functions: `shop` falls back four times, once for two reasons; `mail` never does."""
    events: list[Event] = []
    for n in range(6):
        reasons = {0: ("otel",), 1: ("otel",), 3: ("appsec_enabled", "otel"), 5: ("fips",)}.get(n, ())
        events += start("shop", FIRST + n * HOUR, *reasons)
    for n in range(4):
        events += start("mail", FIRST + n * 24 * HOUR)
    return [event for event in events if function in ("", event.function)]


def _cloudwatch(event: Event) -> dict[str, object]:
    known = {"logStreamName": event.stream, "timestamp": event.time, "message": event.message}
    return {**known, "ingestionTime": event.time + 100, "eventId": "3" * 56}


def filter_log_events(events: list[Event]) -> str:
    return json.dumps({"events": [_cloudwatch(event) for event in events], "searchedLogStreams": []}, indent=4)


def filter_compact(events: list[Event]) -> str:
    token = {"nextToken": "abc", "searchedLogStreams": [{"logStreamName": "a", "searchedCompletely": True}]}
    return json.dumps({**token, "events": [_cloudwatch(event) for event in events]}, separators=(",", ":"))


def several_pages(events: list[Event]) -> str:
    return "\n".join(filter_log_events(events[n : n + 7]) for n in range(0, len(events), 7))


def array(events: list[Event]) -> str:
    return json.dumps([_cloudwatch(event) for event in events], indent=2)


def json_lines(events: list[Event]) -> str:
    return "".join(json.dumps(_cloudwatch(event)) + "\n" for event in events)


def pretty_objects(events: list[Event]) -> str:
    return "\n".join(json.dumps(_cloudwatch(event), indent=2) for event in events)


def tail_detailed(events: list[Event]) -> str:
    return "".join(f"{event.iso} {event.stream} {event.message}" for event in events)


def tail_short(events: list[Event]) -> str:
    return "".join(f"{event.iso.split('.')[0]} {event.message}" for event in events)


def sam_logs(events: list[Event]) -> str:
    return "".join(f"\x1b[36m{event.stream}\x1b[0m {event.iso} {event.message}" for event in events)


def s3_export(events: list[Event]) -> str:
    return "".join(f"{event.iso.replace('+00:00', 'Z')} {event.message}" for event in events)


def _insights(event: Event) -> dict[str, str]:
    time = event.iso.replace("T", " ").removesuffix("+00:00")
    known = {"@timestamp": time, "@message": event.message, "@logStream": event.stream}
    return {**known, "@log": f"111122223333:{event.group}"}


def query_results(events: list[Event]) -> str:
    rows = [
        [{"field": key, "value": value} for key, value in {**_insights(event), "@ptr": "CmE="}.items()]
        for event in events
    ]
    return json.dumps({"queryLanguage": "CWLI", "results": rows, "status": "Complete"}, indent=4)


def insights_json(events: list[Event]) -> str:
    return json.dumps([_insights(event) for event in events])


def insights_objects(events: list[Event]) -> str:
    """As the console writes it where the message is JSON."""
    rows = [_insights(event) for event in events]
    return json.dumps(
        [row | ({"@message": json.loads(row["@message"])} if row["@message"][0] == "{" else {}) for row in rows]
    )


def insights_csv(events: list[Event]) -> str:
    text = io.StringIO()
    rows = [_insights(event) for event in events]
    writer = csv.DictWriter(text, rows[0].keys())
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def subscription(events: list[Event]) -> str:
    """What a subscription gives to Firehose: documents one after the other, with nothing between."""
    text = ""
    for event in events:
        whence = {"messageType": "DATA_MESSAGE", "owner": "111122223333", "logGroup": event.group}
        whence |= {"logStream": event.stream, "subscriptionFilters": ["a", "b"]}  # type: ignore[dict-item]
        inner = {"id": "3" * 56, "timestamp": event.time, "message": event.message}
        text += json.dumps({**whence, "logEvents": [inner]})
    return text


def bare_lines(events: list[Event]) -> str:
    return "".join(event.message for event in events)


OF_ONE_FUNCTION: list[Callable[[list[Event]], str]] = [
    *(filter_log_events, filter_compact, several_pages, array, json_lines, pretty_objects),
    *(tail_detailed, tail_short, sam_logs, s3_export, bare_lines),
]
THAT_NAME_THE_FUNCTION: list[Callable[[list[Event]], str]] = [
    *(query_results, insights_json, insights_objects, insights_csv, subscription)
]
