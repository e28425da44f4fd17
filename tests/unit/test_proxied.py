"""Proxied requests go on as they came, to the product that they are for."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fliptop.choices import places
from fliptop.http1 import Request
from fliptop.identity import Identity
from fliptop.listeners.trace_agent import ROUTES, route
from fliptop.outbox.ledger import Ledger
from fliptop.proxied.destinations import KNOWN, Places, url
from fliptop.proxied.pipeline import CEILING_BYTES, SIGNAL, ProxiedPipeline, passed_on
from fliptop.settings.fields import Settings

pytestmark = pytest.mark.anyio
PLACES = Places("datadoghq.eu")
EVP = (("X-Datadog-EVP-Subdomain", "event-platform-intake"),)


@pytest.fixture
def pipeline(ledger: Ledger) -> ProxiedPipeline:
    return ProxiedPipeline(PLACES, Identity({"AWS_LAMBDA_FUNCTION_NAME": "Shop"}, None, {}), ledger)


@pytest.mark.parametrize(
    ("target", "to"),
    [
        ("/v0.1/pipeline_stats", "https://trace.agent.datadoghq.eu/api/v0.1/pipeline_stats"),
        ("/profiling/v1/input", "https://intake.profile.datadoghq.eu/api/v2/profile"),
        ("/debugger/v1/input?ddtags=a:b,c%3Ad", "https://http-intake.logs.datadoghq.eu/api/v2/logs?ddtags=a:b,c%3Ad"),
        ("/debugger/v2/input?x", "https://debugger-intake.datadoghq.eu/api/v2/debugger?x"),
        ("/debugger/v1/diagnostics", "https://debugger-intake.datadoghq.eu/api/v2/debugger"),
        ("/evp_proxy/v2/api/v2/llmobs", "https://llmobs-intake.datadoghq.eu/api/v2/llmobs"),
        (
            "/evp_proxy/v2/api/intake/llm-obs/v1/eval-metric",
            "https://api.datadoghq.eu/api/intake/llm-obs/v1/eval-metric",
        ),
        ("/evp_proxy/v4/api/v2/x?y=/z", "https://event-platform-intake.datadoghq.eu/api/v2/x?y=/z"),
        (
            "/telemetry/proxy/api/v2/apmtelemetry",
            "https://instrumentation-telemetry-intake.datadoghq.eu/api/v2/apmtelemetry",
        ),
    ],
)
def test_each_goes_to_its_product(target: str, to: str) -> None:
    assert url(Request("POST", target, EVP), PLACES) == to


def test_every_proxied_path_of_the_listener_is_known() -> None:
    assert {path for path, found in ROUTES.items() if found.kind == "proxied"} == set(KNOWN)


@pytest.mark.parametrize(
    ("environment", "target", "to"),
    [
        ({"apm_dd_url": "http://a"}, "/v0.1/pipeline_stats", "http://a/api/v0.1/pipeline_stats"),
        ({"apm_profiling_dd_url": "http://a/b"}, "/profiling/v1/input?q", "http://a/b?q"),
        ({"apm_debugger_dd_url": "http://a/b"}, "/debugger/v1/input", "http://a/b"),
        ({"apm_debugger_diagnostics_dd_url": "http://a/b"}, "/debugger/v2/input", "http://a/b"),
        ({"apm_telemetry_dd_url": "http://a"}, "/telemetry/proxy/x/y", "http://a/x/y"),
        ({"evp_proxy_config_dd_url": "http://a"}, "/evp_proxy/v1/x", "http://a/x"),
        ({"evp_proxy_config_dd_url": "http://a"}, "/evp_proxy/v2/api/v2/llmobs", "http://a/api/v2/llmobs"),
    ],
)
def test_users_may_send_them_elsewhere(environment: Mapping[str, str], target: str, to: str) -> None:
    settings = Settings(environment)
    assert url(Request("POST", target, EVP), Places(settings.site, places(settings))) == to


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E)), st.text(min_size=1))
def test_no_request_leaves_datadogs_site(rest: str, named: str) -> None:
    request = Request("POST", "/evp_proxy/v2/" + rest, (("X-Datadog-EVP-Subdomain", named),))
    to = url(request, PLACES) if route(request.path) else None
    if to is not None:
        assert urlsplit(to).scheme == "https"
        assert (urlsplit(to).hostname or "").endswith(".datadoghq.eu")
        assert urlsplit(to).netloc.lower() == urlsplit(to).hostname


async def test_a_request_goes_on_as_it_came(pipeline: ProxiedPipeline, ledger: Ledger) -> None:
    headers = (
        *(("Host", "127.0.0.1:8126"), ("Content-Length", "3"), ("Connection", "keep-alive, X-Hop"), ("X-Hop", "1")),
        *(("Accept-Encoding", "gzip"), ("DD-API-KEY", "mine"), ("Transfer-Encoding", "chunked"), ("Expect", "x")),
        *(("Content-Type", "multipart/form-data"), ("Content-Encoding", "gzip"), ("User-Agent", "DDProf")),
        *(("DD-EVP-ORIGIN", "profiler"), ("Datadog-Container-ID", "c")),
    )
    await pipeline.take(Request("POST", "/profiling/v1/input", headers, b"\x1f\x8b\x00"))
    (payload,) = pipeline.seal()
    assert payload.body == b"\x1f\x8b\x00"
    assert payload.headers == (
        ("Content-Type", "multipart/form-data"),
        ("Content-Encoding", "gzip"),
        ("User-Agent", "DDProf"),
        ("DD-EVP-ORIGIN", "profiler"),
        ("Datadog-Container-ID", "c"),
        ("X-Datadog-Additional-Tags", "_dd.origin:lambda,functionname:Shop"),
    )
    assert (payload.signal, payload.items, payload.halves()) == ("proxied", 1, ())
    assert ledger.pending(SIGNAL) == 1


def test_where_anything_may_go_anywhere_few_headers_do() -> None:
    headers = (*EVP, ("Content-Type", "application/json"), ("Cookie", "c"), ("DD-CI-Provider-Name", "p"))
    assert passed_on(Request("POST", "/evp_proxy/v2/x", headers)) == (headers[1], headers[3])
    assert passed_on(Request("POST", "/evp_proxy/v2/api/v2/llmobs", headers)) == headers


async def test_each_is_a_payload_of_its_own(pipeline: ProxiedPipeline) -> None:
    for body in (b"1", b"2", b"3"):
        await pipeline.take(Request("POST", "/v0.1/pipeline_stats", body=body))
    assert [(payload.number, payload.body) for payload in pipeline.seal()] == [(1, b"1"), (2, b"2"), (3, b"3")]
    assert not list(pipeline.seal())


async def test_what_waits_is_bounded(pipeline: ProxiedPipeline, ledger: Ledger) -> None:
    profile = Request("POST", "/profiling/v1/input", body=b"x" * (CEILING_BYTES // 2 - 8192))
    for request in (profile._replace(body=b"x" * (CEILING_BYTES + 1)), profile, profile, profile):
        await pipeline.take(request)
    assert ledger.summary()[SIGNAL]["dropped"] == {"too_large": 1, "buffer_full": 1}
    assert len(list(pipeline.seal())) == 2
    await pipeline.take(profile)
    pipeline.give_up("shutdown")
    assert ledger.dropped(SIGNAL, "shutdown") == 1
    await pipeline.take(profile)
    assert len(list(pipeline.seal())) == 1, "what was given up or sealed takes no room"


@pytest.mark.parametrize("target", ["/evp_proxy/v2/x", "/debugger/v1/input?ddtags=" + "x" * 20_000])
async def test_what_can_go_nowhere_is_counted(pipeline: ProxiedPipeline, ledger: Ledger, target: str) -> None:
    await pipeline.take(Request("POST", target))
    assert ledger.dropped(SIGNAL, "no_destination") == 1
    assert not list(pipeline.seal())


async def test_what_has_no_body_takes_memory_too(pipeline: ProxiedPipeline, ledger: Ledger) -> None:
    request = Request("POST", "/telemetry/proxy/x", headers=(("Note", "x" * 7_000),))
    for _ in range(1_000):
        await pipeline.take(request)
    assert 100 < ledger.dropped(SIGNAL, "buffer_full") < 900
    await pipeline.take(request._replace(headers=(("Note", "x" * 60_000),)))
    assert ledger.dropped(SIGNAL, "too_large") == 1
    pipeline.give_up("shutdown")
