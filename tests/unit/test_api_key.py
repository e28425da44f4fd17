"""Where an API key comes from: signatures, questions, answers, and what happens when a source fails."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest

from fliptop.aws.api_key import KeptKey
from fliptop.aws.secrets import NoKey, Source, sources
from fliptop.aws.sigv4 import Call, Credentials, signed_headers
from fliptop.intake.api_key import KeyPlaces
from fliptop.intake.connect import Connector
from tests.conftest import MovedClock

pytestmark = pytest.mark.anyio
KEY = "0123456789abcdef0123456789abcdef"
ENVIRON = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token"}
SECRET = "arn:aws:secretsmanager:us-west-2:111122223333:secret:datadog-AbCdEf"


def asked(**configured: str) -> tuple[Source, ...]:
    return sources(KeyPlaces(**configured), region="eu-west-1", function_name="shop")


def test_a_signature_as_botocore_makes_it() -> None:
    """Computed once with botocore 1.44 (SigV4Auth) for the same request at the same moment."""
    call = Call("ssm", "eu-west-1", "ssm.eu-west-1.amazonaws.com", "AmazonSSM.GetParameter", b'{"Name":"/dd/key"}')
    credentials = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "the-session-token")
    headers = signed_headers(call, credentials, 1_440_938_160.0)
    assert headers["x-amz-date"] == "20150830T123600Z"
    assert headers["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/eu-west-1/ssm/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, "
        "Signature=8d0c0eed0465ea684136747942df074c54daaf1d88ed42e007f7929fa7276dee"
    )


def test_the_strongest_source_comes_first_and_each_is_asked_in_its_own_region() -> None:
    found = asked(kms_ciphertext="Y2lwaGVy", secret_arn=SECRET, parameter="/dd/key")
    assert [source.name for source in found] == ["DD_KMS_API_KEY", "DD_API_KEY_SECRET_ARN", "DD_API_KEY_SSM_ARN"]
    assert [call.host for source in found for call in source.calls] == [
        "kms.eu-west-1.amazonaws.com",
        "kms.eu-west-1.amazonaws.com",
        "secretsmanager.us-west-2.amazonaws.com",
        "ssm.eu-west-1.amazonaws.com",
    ]
    second = json.loads(found[0].calls[1].body)
    assert second == {"CiphertextBlob": "Y2lwaGVy", "EncryptionContext": {"LambdaFunctionName": "shop"}}


@pytest.mark.parametrize(
    ("configured", "answer", "expected"),
    [
        ({"secret_arn": SECRET}, {"SecretString": KEY}, KEY),
        ({"secret_arn": SECRET}, {"SecretString": json.dumps({"dd_api_key": KEY, "apiKey": "other"})}, KEY),
        ({"secret_arn": SECRET}, {"SecretString": json.dumps({"apiKey": KEY})}, KEY),
        ({"secret_arn": SECRET}, {"SecretString": "12345"}, "12345"),
        ({"parameter": "/dd"}, {"Parameter": {"Value": KEY}}, KEY),
        ({"kms_ciphertext": "x"}, {"Plaintext": base64.b64encode(KEY.encode()).decode()}, KEY),
    ],
)
def test_reading_an_answer(configured: dict[str, str], answer: dict[str, Any], expected: str) -> None:
    (source,) = asked(**configured)
    assert source.read(answer) == expected


@pytest.mark.parametrize(
    ("configured", "answer"),
    [
        ({"secret_arn": SECRET}, {"SecretString": '{"other":"x"}'}),
        ({"secret_arn": SECRET}, {"SecretBinary": "eA=="}),
        ({"parameter": "/dd"}, {"Parameter": {}}),
        ({"parameter": "/dd"}, {}),
        ({"kms_ciphertext": "x"}, {"Plaintext": "***"}),
        ({"kms_ciphertext": "x"}, {"Plaintext": "//4="}),
    ],
)
def test_an_answer_without_a_key_is_an_error(configured: dict[str, str], answer: dict[str, Any]) -> None:
    (source,) = asked(**configured)
    with pytest.raises(NoKey):
        source.read(answer)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[httpx.Request], httpx.Response]], list[httpx.Request]]:
    """Let a function answer for AWS; returns the requests it will have got."""

    def answer_with(answer: Callable[[httpx.Request], httpx.Response]) -> list[httpx.Request]:
        requests: list[httpx.Request] = []

        def handle(request: httpx.Request) -> httpx.Response:
            requests.append(request)
            return answer(request)

        monkeypatch.setattr(Connector, "client", lambda *_: httpx.AsyncClient(transport=httpx.MockTransport(handle)))
        return requests

    return answer_with


Answering = Callable[[Callable[[httpx.Request], httpx.Response]], list[httpx.Request]]


async def test_the_secret_is_asked_for_once(aws: Answering, clock: MovedClock) -> None:
    requests = aws(lambda _: httpx.Response(200, json={"SecretString": f" {KEY}\n"}))
    key = KeptKey("", asked(secret_arn=SECRET), ENVIRON, clock)
    assert [await key.get(), await key.get()] == [KEY, KEY]
    assert len(requests) == 1
    assert requests[0].headers["x-amz-target"] == "secretsmanager.GetSecretValue"
    assert requests[0].headers["x-amz-security-token"] == "token"
    assert json.loads(requests[0].content) == {"SecretId": SECRET}


async def test_a_failure_is_told_and_asked_again_after_a_pause(
    aws: Answering, clock: MovedClock, said: list[str]
) -> None:
    answers = [
        httpx.Response(400, json={"__type": "com.amazonaws#AccessDeniedException", "Message": "not authorized"}),
        httpx.Response(200, json={"SecretString": KEY}),
    ]
    aws(lambda _: answers.pop(0))
    key = KeptKey("", asked(secret_arn=SECRET), ENVIRON, clock)
    assert [await key.get(), await key.get()] == [None, None]
    assert len(said) == 1
    assert "DD_API_KEY_SECRET_ARN gives no API key: HTTP 400 AccessDeniedException not authorized" in said[0]
    clock.advance(31)
    assert await key.get() == KEY


async def test_a_weaker_source_is_asked_when_a_stronger_one_fails(
    aws: Answering, clock: MovedClock, said: list[str]
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host.startswith("ssm"):
            return httpx.Response(200, json={"Parameter": {"Value": KEY}})
        raise httpx.ConnectError("no route")

    aws(answer)
    assert await KeptKey("", asked(secret_arn=SECRET, parameter="/dd"), ENVIRON, clock).get() == KEY
    assert len(said) == 1


async def test_the_written_key_is_the_last_resort(aws: Answering, clock: MovedClock, said: list[str]) -> None:
    aws(lambda _: httpx.Response(500, text="no json"))
    assert await KeptKey(KEY, asked(secret_arn=SECRET), ENVIRON, clock).get() == KEY
    assert "HTTP 500" in said[0]
    assert "the API key in DD_API_KEY is used instead" in said[1]


async def test_snapstart_takes_its_credentials_from_the_endpoint(aws: Answering, clock: MovedClock) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/2021-04-23/credentials":
            assert request.headers["authorization"] == "bearer"
            return httpx.Response(200, json={"AccessKeyId": "ASIA", "SecretAccessKey": "s", "Token": "t"})
        assert "Credential=ASIA/" in request.headers["authorization"]
        return httpx.Response(200, json={"SecretString": KEY})

    aws(answer)
    environ: Mapping[str, str] = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.100.1:9001/2021-04-23/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "bearer",
    }
    assert await KeptKey("", asked(secret_arn=SECRET), environ, clock).get() == KEY


async def test_without_credentials_it_says_so(aws: Answering, clock: MovedClock, said: list[str]) -> None:
    requests = aws(lambda _: httpx.Response(200))
    assert await KeptKey("", asked(secret_arn=SECRET), {}, clock).get() is None
    assert requests == []
    assert "the environment has no AWS credentials" in said[0]


async def test_another_endpoint_as_the_sdks_name_it(aws: Answering, clock: MovedClock) -> None:
    requests = aws(lambda _: httpx.Response(200, json={"SecretString": KEY}))
    environ = {**ENVIRON, "AWS_ENDPOINT_URL_SECRETS_MANAGER": "http://127.0.0.1:4566/"}
    await KeptKey("", asked(secret_arn=SECRET), environ, clock).get()
    assert str(requests[0].url) == "http://127.0.0.1:4566/"
