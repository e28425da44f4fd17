"""Messages of the Extensions API and of the telemetry subscription."""

from __future__ import annotations

import json

import pytest

from fliptop.http1 import Response
from fliptop.platform import extensions_api as api
from fliptop.platform.extensions_api import Invoke, Refused, Registration, Shutdown


def test_registration_asks_for_the_account_and_names_the_file_that_lambda_started() -> None:
    request = api.register("datadog-agent")
    assert (request.method, request.target) == ("POST", "/2020-01-01/extension/register")
    assert ("Lambda-Extension-Name", "datadog-agent") in request.headers
    assert ("Lambda-Extension-Accept-Feature", "accountId") in request.headers
    assert json.loads(request.body) == {"events": ["INVOKE", "SHUTDOWN"]}


def test_registration_reads_what_the_platform_tells() -> None:
    body = b'{"functionName":"f","functionVersion":"$LATEST","handler":"","accountId":"111122223333"}'
    response = Response(200, body, headers=(("lambda-extension-identifier", "id-1"),))
    assert api.registration(response) == Registration("id-1", "f", "111122223333")


def test_an_emulator_that_tells_no_account_is_fine() -> None:
    response = Response(200, b'{"functionName":"f"}', headers=(("Lambda-Extension-Identifier", "id-1"),))
    assert api.registration(response).account_id is None


@pytest.mark.parametrize("headers", [(), (("Lambda-Extension-Identifier", ""),)])
def test_no_identifier_is_a_refusal(headers: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(Refused):
        api.registration(Response(200, b"{}", headers=headers))


def test_a_refusal_names_lambdas_error_type() -> None:
    with pytest.raises(Refused, match=r"HTTP 403 Extension\.RegistrationClosed") as refusal:
        api.registration(Response(403, b'{"errorType":"Extension.RegistrationClosed"}'))
    assert refusal.value.error_type == "Extension.RegistrationClosed"


def test_an_error_body_that_is_not_json_is_no_trouble() -> None:
    with pytest.raises(Refused, match="HTTP 400"):
        api.subscribed(Response(400, b'{"errorMessage":"unescaped "quotes""}'))


def test_events() -> None:
    invoke = b'{"eventType":"INVOKE","deadlineMs":1795329060262,"requestId":"r","invokedFunctionArn":"arn","x":1}'
    assert api.event(Response(200, invoke)) == Invoke("r", 1795329060262, "arn")
    shutdown = b'{"eventType":"SHUTDOWN","deadlineMs":7,"shutdownReason":"SPINDOWN"}'
    assert api.event(Response(200, shutdown)) == Shutdown("spindown", 7)


def test_an_event_without_a_deadline_has_no_time() -> None:
    assert api.event(Response(200, b'{"eventType":"INVOKE","requestId":"r"}')) == Invoke("r", 0, "")


def test_an_unknown_event_is_an_error() -> None:
    with pytest.raises(ValueError, match="RESTORE"):
        api.event(Response(200, b'{"eventType":"RESTORE"}'))


def test_the_subscription_says_everything_explicitly() -> None:
    request = api.subscribe("id-1", 8999, ("platform", "function"))
    assert (request.method, request.target) == ("PUT", "/2022-07-01/telemetry")
    body = json.loads(request.body)
    assert body["buffering"] == {"maxItems": 1000, "maxBytes": 262144, "timeoutMs": 25}
    assert body["destination"] == {"protocol": "HTTP", "URI": "http://sandbox.localdomain:8999/"}


@pytest.mark.parametrize(("status", "expected"), [(200, True), (202, False), (404, False)])
def test_platforms_without_telemetry_are_recognised(status: int, expected: bool) -> None:
    assert api.subscribed(Response(status, b"")) is expected
