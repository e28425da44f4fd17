"""What the trace agent's listener answers, whom it hands requests to, and that it hands on each once."""

from __future__ import annotations

import json
import string
import subprocess
import sys
from collections.abc import Iterator

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fliptop.choices import tracer_limits
from fliptop.http1 import Request
from fliptop.late import Late
from fliptop.listeners.http import Handler
from fliptop.listeners.inbox import Inbox
from fliptop.listeners.trace_agent import ROUTES, SIGNAL, route, subdomain, trace_agent_handler
from fliptop.outbox.ledger import Ledger
from fliptop.outbox.payload import Payload
from fliptop.traces.reader import TakeRequest, TracerReader

TRACES = Request("PUT", "/v0.4/traces", (("Content-Type", "application/msgpack"),), b"\x90")
EVP = Request("POST", "/evp_proxy/v2/api/v2/exposures", (("X-Datadog-EVP-Subdomain", "event-platform-intake"),), b"[]")


@pytest.fixture
def inbox(ledger: Ledger) -> Inbox[Request]:
    return Inbox(ledger, 100_000, SIGNAL)


@pytest.fixture
def handle(inbox: Inbox[Request]) -> Handler:
    return trace_agent_handler(inbox)


@pytest.mark.parametrize("version", ["v0.3", "v0.4", "v0.5", "v0.7"])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_traces_are_taken(version: str, method: str, handle: Handler, inbox: Inbox[Request]) -> None:
    answer = handle(TRACES._replace(method=method, target=f"/{version}/traces"))
    assert (answer.status, json.loads(answer.body)) == (200, {"rate_by_service": {}})
    assert answer.header("content-type") == "application/json"
    assert len(inbox) == 1


def test_stats_are_taken(handle: Handler) -> None:
    answer = handle(Request("POST", "/v0.6/stats", body=b"\x80"))
    assert answer.status == 202
    assert answer.body == b"Successfully buffered stats to be aggregated."


@pytest.mark.parametrize(
    ("path", "product"),
    [
        ("/v0.1/pipeline_stats", "DSM"),
        ("/profiling/v1/input", "profiling"),
        ("/evp_proxy/v2/api/intake/llm-obs/v1/eval-metric", "llm_obs_eval_metric"),
        ("/evp_proxy/v2/api/intake/llm-obs/v2/eval-metric", "llm_obs_eval_metric"),
        ("/evp_proxy/v2/api/v2/llmobs", "llm_obs_spans"),
        ("/debugger/v1/input?ddtags=a:b", "debugger_logs"),
        ("/debugger/v2/input", "debugger"),
        ("/debugger/v1/diagnostics", "debugger"),
        ("/telemetry/proxy/api/v2/apmtelemetry", "instrumentation"),
        ("/telemetry/proxy/api/v3/anything", "instrumentation"),
    ],
)
def test_proxied_requests_are_acknowledged(path: str, product: str, handle: Handler, inbox: Inbox[Request]) -> None:
    answer = handle(Request("POST", path, body=b"opaque"))
    assert (answer.status, answer.body) == (200, f"Acknowledged request for {product}".encode())
    assert len(inbox) == 1


def test_what_evp_requests_are_for_they_say_in_a_header(handle: Handler, inbox: Inbox[Request]) -> None:
    assert handle(EVP).status == 200
    for version in range(1, 5):
        assert handle(EVP._replace(target=f"/evp_proxy/v{version}/api?a=b")).status == 200
    assert len(inbox) == 5
    assert handle(EVP._replace(target="/evp_proxy/v5/api")).status == 404
    assert handle(EVP._replace(target="/evp_proxy/v2/")).status == 404
    assert handle(EVP._replace(headers=())).status == 400


@pytest.mark.parametrize("named", ["", "evil.com/", "a b", "a@b", "a:1", "a..b", ".a", "a.", "a#", "a?", "ä", "a\n"])
def test_a_subdomain_that_could_be_more_than_that_is_refused(named: str, handle: Handler) -> None:
    request = EVP._replace(headers=(("x-datadog-evp-subdomain", named),))
    assert subdomain(request) is None
    assert handle(request).status == 400


@given(st.text())
def test_a_subdomain_is_letters_digits_dashes_and_dots_between(named: str) -> None:
    believed = subdomain(EVP._replace(headers=(("X-Datadog-EVP-Subdomain", named),)))
    if believed is not None:
        assert all(believed.split("."))
        assert set(believed) <= set(string.ascii_letters + string.digits + "-.")


@given(
    st.sampled_from(["/telemetry/proxy/", "/evp_proxy/v2/", ""]),
    st.lists(st.sampled_from(["..", ".", "%2e%2E", ".%2e", "/", "\\", "api", "a..b", "%2f"])).map("".join),
)
def test_no_path_leads_above_what_it_seems_to_be_below(prefix: str, rest: str) -> None:
    if route(prefix + rest) is not None:
        parts = rest.lower().replace("%2e", ".").replace("\\", "/").split("/")
        assert not {".", ".."}.intersection(parts)


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E)), st.sampled_from(["GET", "POST", "PUT", "X"]))
def test_whatever_is_asked_there_is_an_answer(target: str, method: str) -> None:
    assert trace_agent_handler(Inbox(Ledger(), 100_000, SIGNAL))(Request(method, target)).status in {
        200,
        202,
        400,
        404,
        405,
    }


@pytest.mark.parametrize(
    "target", ["/", "/v1.0/traces", "/v0.7/config", "/v0.4/traces/", "/tracer_flare/v1", "v0.4/traces"]
)
def test_other_paths_are_not_found(target: str, handle: Handler) -> None:
    assert handle(TRACES._replace(target=target)).status == 404


def test_other_methods_are_told_which_would_do(handle: Handler, ledger: Ledger) -> None:
    assert handle(TRACES._replace(method="GET")).header("allow") == "POST, PUT"
    assert handle(Request("PUT", "/profiling/v1/input")).header("allow") == "POST"
    assert handle(Request("CONNECT", "/info")).status == 405
    assert ledger.accepted(SIGNAL) == 0


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_info_lists_what_is_served(method: str, handle: Handler) -> None:
    info = json.loads(handle(Request(method, "/info")).body)
    assert info["client_drop_p0s"] is False
    for endpoint in info["endpoints"]:
        assert endpoint == "/info" or route(endpoint) or route(endpoint + "x")
    assert {*ROUTES, "/telemetry/proxy/", "/evp_proxy/v2/", "/evp_proxy/v4/"} <= set(info["endpoints"])


def test_the_same_bytes_to_the_same_path_are_the_same_request(handle: Handler, inbox: Inbox[Request]) -> None:
    for _ in range(2):
        assert handle(TRACES).status == 200
    assert len(inbox) == 1
    handle(TRACES._replace(body=b"\x91\x90"))
    handle(TRACES._replace(target="/v0.5/traces"))
    assert len(inbox) == 3


def test_the_same_bytes_to_another_host_are_another_request(handle: Handler, inbox: Inbox[Request]) -> None:
    for host in ("a", "b", "a"):
        handle(Request("POST", "/evp_proxy/v2/api/x", (("X-Datadog-EVP-Subdomain", host),), b"{}"))
    assert len(inbox) == 2


def test_what_the_inbox_has_no_room_for_is_refused_and_counted(ledger: Ledger, said: list[str]) -> None:
    inbox: Inbox[Request] = Inbox(ledger, 2000, SIGNAL)
    handle = trace_agent_handler(inbox)
    assert handle(TRACES).status == 200
    for _ in range(2):
        assert handle(TRACES._replace(body=b"x" * 1000)).status == 429, "and is not taken for something seen before"
    assert ledger.dropped(SIGNAL, "inbox_full") == 2
    assert len(said) == 1


def test_empty_requests_fill_the_inbox_too(ledger: Ledger, handle: Handler, inbox: Inbox[Request]) -> None:
    for number in range(1000):
        handle(Request("POST", f"/v0.1/pipeline_stats?{number}"))
    assert len(inbox) < 100
    assert ledger.dropped(SIGNAL, "inbox_full") == 1000 - len(inbox)


def test_what_was_too_large_to_read_is_counted(handle: Handler, ledger: Ledger) -> None:
    assert handle(TRACES._replace(body=b"", refused="too_large")).status == 413
    assert handle(TRACES._replace(body=b"", refused="no_room")).status == 429
    assert handle(Request("POST", "/nowhere", refused="too_large")).status == 404
    assert ledger.summary()[SIGNAL]["dropped"] == {"too_large": 1, "inbox_full": 1}


@pytest.mark.parametrize("memory", [128, 256, 1024, 10240])
def test_limits_follow_the_functions_memory(memory: int) -> None:
    limits = tracer_limits(memory)
    assert 9 * 2**20 <= limits.body_bytes <= 24 * 2**20
    assert limits.body_bytes <= max(memory * 2**20 / 16, 9 * 2**20)


class Seen:
    """Takes requests, as long as it is let."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.go_on = anyio.Event()
        self.go_on.set()

    def taker(self, path: str) -> TakeRequest:
        async def take(request: Request) -> None:
            await self.go_on.wait()
            if path == "/bad":
                raise RuntimeError("a defect")
            self.paths.append(path)

        return take


@pytest.mark.anyio
async def test_a_request_that_cannot_be_read_costs_no_other(inbox: Inbox[Request], ledger: Ledger) -> None:
    seen = Seen()
    reader = TracerReader(inbox, seen.taker)
    for path in ("/a?b", "/bad", "/c"):
        inbox.put(Request("POST", path), 1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader.run)
        await anyio.wait_all_tasks_blocked()
        assert seen.paths == ["/a", "/c"]
        tasks.cancel_scope.cancel()
    assert ledger.summary()[SIGNAL] == {"accepted": 3, "delivered": 2, "pending": 0, "dropped": {"defect": 1}}


@pytest.mark.anyio
async def test_draining_waits_for_what_was_there_and_for_no_more(inbox: Inbox[Request]) -> None:
    seen = Seen()
    seen.go_on = anyio.Event()
    reader = TracerReader(inbox, seen.taker)
    drained: list[int] = []

    async def drain() -> None:
        await reader.drain()
        drained.append(len(seen.paths))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader.run)
        inbox.put(Request("POST", "/1"), 1)
        await anyio.wait_all_tasks_blocked()
        inbox.put(Request("POST", "/2"), 1)
        tasks.start_soon(drain)
        await anyio.wait_all_tasks_blocked()
        inbox.put(Request("POST", "/3"), 1)
        assert drained == []
        seen.go_on.set()
        await anyio.wait_all_tasks_blocked()
        assert drained[0] in {2, 3}
        assert seen.paths == ["/1", "/2", "/3"]
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_who_gives_up_waiting_stops_nothing(inbox: Inbox[Request], ledger: Ledger) -> None:
    seen = Seen()
    seen.go_on = anyio.Event()
    reader = TracerReader(inbox, seen.taker)
    inbox.put(Request("POST", "/1"), 1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader.run)
        await anyio.wait_all_tasks_blocked()
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(reader.drain)
            await anyio.wait_all_tasks_blocked()
            waiting.cancel_scope.cancel()
        seen.go_on.set()
        await anyio.wait_all_tasks_blocked()
        assert seen.paths == ["/1"]
        tasks.cancel_scope.cancel()
    assert ledger.delivered(SIGNAL) == 1


@pytest.mark.anyio
async def test_where_nobody_reads_nobody_waits(inbox: Inbox[Request], ledger: Ledger) -> None:
    inbox.put(TRACES, 1)
    with anyio.fail_after(5):
        await TracerReader(inbox, Seen().taker).drain()
    inbox.give_up("shutdown")
    assert ledger.dropped(SIGNAL, "shutdown") == 1


class Made:
    """A pipeline."""

    def seal(self, *, last: bool = False) -> Iterator[Payload]:
        yield Payload(1, "spans", 1, "", (), b"last" if last else b"")

    def give_up(self, reason: str) -> None:
        raise ZeroDivisionError(reason)


def test_a_late_pipeline_is_made_when_it_is_needed() -> None:
    made = []

    def make() -> Made:
        made.append(Made())
        return made[-1]

    late = Late(make)
    assert list(late.seal(last=True)) == []
    late.give_up("shutdown")
    assert not made
    assert late() is late() is made[0]
    assert [payload.body for payload in late.seal(last=True)] == [b"last"]
    with pytest.raises(ZeroDivisionError):
        late.give_up("shutdown")


def test_the_listener_costs_no_import_of_what_comes_after_it() -> None:
    later = ("msgpack", "fliptop.stats", "fliptop.proxied", "fliptop.traces.pipeline", "fliptop.traces.decode")
    code = f"import sys, fliptop.parts; print([name for name in sys.modules if name.startswith({later!r})])"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout == b"[]\n"
