"""Additional endpoints: how they are written, and that copies cost the originals nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from fliptop import shipping
from fliptop.identity import Identity
from fliptop.outbox.books import Books
from fliptop.outbox.copies import CEILING_BYTES, Copies, Place
from fliptop.outbox.ledger import Ledger
from fliptop.outbox.payload import Payload
from fliptop.outbox.verdict import Answer
from fliptop.parts import Here
from fliptop.settings.endpoints import Endpoint, apm_endpoints, logs_endpoints, metrics_endpoints
from fliptop.settings.load import load
from tests.conftest import MovedClock

pytestmark = pytest.mark.anyio
PLACE = Place(frozenset({"metrics"}), "https://api.datadoghq.com", "https://api.datadoghq.eu")


def test_metrics_go_to_each_url_with_each_key_once() -> None:
    written = {"https://one": ["a", "b", "a"], "two:8080/": "c", "https://one/": [7]}
    found, complaints = metrics_endpoints(written)
    assert found == [
        Endpoint("https://one", "a"),
        Endpoint("https://one", "b"),
        Endpoint("https://two:8080", "c"),
        Endpoint("https://one", "7"),
    ]
    assert complaints == []


def test_traces_go_to_theirs() -> None:
    found, (complaint,) = apm_endpoints({"https://trace.agent.datadoghq.eu/": ["a"], "no url": ["secret"]})
    assert found == [Endpoint("https://trace.agent.datadoghq.eu", "a")]
    assert complaint.startswith("DD_APM_ADDITIONAL_ENDPOINTS: endpoint 2 is ignored: ")
    assert "secret" not in complaint


async def test_each_signal_goes_to_its_own_additional_endpoints(said: list[str], clock: MovedClock) -> None:
    environ = {
        "DD_SITE": "datadoghq.com",
        "DD_ADDITIONAL_ENDPOINTS": '{"https://metrics": ["k"]}',
        "DD_LOGS_CONFIG_ADDITIONAL_ENDPOINTS": '[{"api_key": "k", "Host": "logs"}]',
        "DD_APM_ADDITIONAL_ENDPOINTS": '{"https://apm": ["k"], "no url": ["k"]}',
        "LAMBDA_TASK_ROOT": "/nowhere",
    }
    settings, _ = load(environ)
    books = Books()
    here = Here(settings, environ, Identity(environ, None, {}), Ledger(books), books, clock)
    copies = shipping._copies(here, shipping._connector(here))
    for signal, url in (
        ("metrics", "https://api.datadoghq.com/api/v2/series"),
        ("logs", "https://http-intake.logs.datadoghq.com/api/v2/logs"),
        ("spans", "https://trace.agent.datadoghq.com/api/v0.2/traces"),
        ("stats", "https://trace.agent.datadoghq.com/api/v0.2/stats"),
        ("proxied", "https://intake.profile.datadoghq.com/api/v2/profile"),
    ):
        for copy in copies:
            copy.take(Payload(1, signal, 1, url, (), b"x"))
    went = {(payload.signal, payload.url) for copy in copies for payload in copy._outbox._waiting}
    for copy in copies:
        copy.drop_all("shutdown")
    assert went == {
        ("metrics_copies", "https://metrics/api/v2/series"),
        ("logs_copies", "https://logs:443/api/v2/logs"),
        ("spans_copies", "https://apm/api/v0.2/traces"),
        ("stats_copies", "https://apm/api/v0.2/stats"),
    }
    assert [line for line in said if "DD_APM_ADDITIONAL_ENDPOINTS: endpoint 2" in line]


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ({"": ["k"]}, "expected a URL"),
        ({"ftp://host": ["k"]}, "expected a URL"),
        ({"https://host": [""]}, "API key is missing"),
        ({"https://host": [None]}, "API key is missing"),
        ({"https://host": [True]}, "API key is missing"),
        ({"https://host": ["secret\x07"]}, "expected printable"),
    ],
)
def test_an_endpoint_that_cannot_be_used_costs_no_other(written: dict[str, Any], problem: str) -> None:
    found, (complaint,) = metrics_endpoints({**written, "https://good": ["k"]})
    assert found == [Endpoint("https://good", "k")]
    assert complaint.startswith("DD_ADDITIONAL_ENDPOINTS: endpoint 1 is ignored: ")
    assert problem in complaint
    assert "secret" not in complaint


def test_logs_go_to_each_host() -> None:
    full = {"api_key": "k", "Host": "logs.datadoghq.eu", "Port": 443, "is_reliable": True}
    short = {"API_KEY": "k", "host": "127.0.0.1", "Port": "8080", "use_ssl": False}
    found, complaints = logs_endpoints([full, short, full, {"api_key": "k", "Host": "h"}])
    assert complaints == []
    assert [endpoint.url for endpoint in found] == [
        "https://logs.datadoghq.eu:443/api/v2/logs",
        "http://127.0.0.1:8080/api/v2/logs",
        "https://h:443/api/v2/logs",
    ]


@pytest.mark.parametrize(
    "written",
    [
        "text",
        {},
        {"api_key": "k", "Host": "a/b"},
        {"api_key": "k", "Host": "https://a"},
        {"api_key": "k", "Host": "a", "Port": "x"},
        {"api_key": "k", "Host": "a", "Port": 70000},
        {"api_key": "k", "Host": "a b"},
        {"Host": "a"},
        {"api_key": "k", "Host": "a", "use_ssl": "perhaps"},
    ],
)
def test_a_logs_endpoint_that_cannot_be_used_costs_no_other(written: Any) -> None:
    found, (complaint,) = logs_endpoints([{"api_key": "k", "Host": "good"}, written])
    assert len(found) == 1
    assert complaint.startswith("DD_LOGS_CONFIG_ADDITIONAL_ENDPOINTS: endpoint 2 is ignored: ")


def test_both_forms_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "datadog.yaml").write_text(
        "additional_endpoints:\n  https://one:\n  - a\n  - b\n"
        "logs_config:\n  additional_endpoints:\n  - {api_key: k, Host: h, Port: 10516, is_reliable: true}\n"
    )
    settings, complaints = load({"LAMBDA_TASK_ROOT": str(tmp_path)})
    assert complaints == []
    assert len(metrics_endpoints(settings.additional_endpoints)[0]) == 2
    (logs,), _ = logs_endpoints(settings.logs_config_additional_endpoints)
    assert logs.url == "https://h:10516/api/v2/logs"


@pytest.mark.parametrize("name", ["DD_ADDITIONAL_ENDPOINTS", "DD_LOGS_CONFIG_ADDITIONAL_ENDPOINTS"])
def test_what_is_no_json_of_that_kind_is_told_without_its_keys(name: str) -> None:
    settings, (complaint,) = load({name: "secret", "LAMBDA_TASK_ROOT": "/nowhere"})
    assert f"{name}=(hidden) is ignored: expected a JSON" in complaint
    assert "secret" not in complaint
    assert not settings.additional_endpoints


def test_logs_for_a_worker_that_is_not_named_are_not_sent_to_datadog() -> None:
    environ = {"DD_OBSERVABILITY_PIPELINES_WORKER_LOGS_ENABLED": "true", "LAMBDA_TASK_ROOT": "/nowhere"}
    settings, _ = load(environ)
    assert not settings.logs_wanted
    settings, _ = load({**environ, "DD_OBSERVABILITY_PIPELINES_WORKER_LOGS_URL": "http://opw:8282/as/it/is"})
    assert (settings.logs_wanted, settings.logs_url) == (True, "http://opw:8282/as/it/is")
    assert settings.logs_compression is None


# What is waiting, and what becomes of it.


def original(number: int, signal: str = "metrics", size: int = 10) -> Payload:
    return Payload(number, signal, 3, "https://api.datadoghq.com/api/v2/series", (), b"x" * size)


def plenty(_failures: int) -> float:
    return 10


class Other:
    """An additional endpoint that answers with these statuses."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.sent: list[Payload] = []

    async def send(self, payload: Payload) -> Answer:
        self.sent.append(payload)
        return Answer(self.statuses.pop(0))


async def test_a_copy_has_the_same_bytes_and_books_of_its_own(ledger: Ledger, clock: MovedClock) -> None:
    other = Other(202)
    copies = Copies(PLACE, ledger, clock, other.send)
    copies.take(payload := original(1))
    copies.take(original(1, signal="logs"))
    await copies.flush(plenty, last=False)
    (sent,) = other.sent
    assert sent.url == "https://api.datadoghq.eu/api/v2/series"
    assert sent.body is payload.body
    assert ledger.summary() == {"metrics_copies": {"accepted": 3, "delivered": 3, "pending": 0, "dropped": {}}}


async def test_what_is_refused_is_told_with_the_endpoints_name(
    ledger: Ledger, clock: MovedClock, said: list[str]
) -> None:
    copies = Copies(PLACE, ledger, clock, Other(403).send)
    copies.take(original(1))
    await copies.flush(plenty, last=False)
    assert ledger.dropped("metrics_copies", "http_403") == 3
    assert "the additional endpoint https://api.datadoghq.eu" in said[0]


async def test_what_an_endpoint_does_not_take_is_kept_up_to_a_ceiling(
    ledger: Ledger, clock: MovedClock, said: list[str]
) -> None:
    copies = Copies(PLACE, ledger, clock, Other(500).send)
    for number in range(3):
        copies.take(original(number, size=CEILING_BYTES // 2))
    assert (copies.items, ledger.dropped("metrics_copies", "outbox_full")) == (6, 3)
    copies.drop_all("shutdown")
    assert (copies.items, ledger.dropped("metrics_copies", "shutdown")) == (0, 6)


async def test_an_endpoint_that_never_answers_rests(ledger: Ledger, clock: MovedClock, said: list[str]) -> None:
    asked = []

    async def never(payload: Payload) -> Answer:
        asked.append(payload)
        await anyio.sleep_forever()
        raise AssertionError("unreachable")

    copies = Copies(PLACE, ledger, clock, never)
    copies.take(original(1))
    for _ in range(3):
        await copies.flush(lambda _failures: 0.11, last=False)
    assert len(asked) == 1
    assert copies.items == 3
