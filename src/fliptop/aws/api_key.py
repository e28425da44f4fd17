"""The API key, fetched once from where it is kept. Loaded only where the configuration names such a place.

The strongest source that gives a key wins; unlike in Datadog's extension a weaker one is asked when a stronger one
fails, and a failure is not for ever: after a pause the next flush asks again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from fliptop import report
from fliptop.aws.secrets import NoKey, Source
from fliptop.aws.sigv4 import Call, Credentials, signed_headers
from fliptop.clock import Clock
from fliptop.intake.connect import Connector, proxies
from fliptop.intake.lean import httpx
from fliptop.intake.tls import TlsOptions
from fliptop.settings.values import api_key as clean

PAUSE_S: Final = 30.0
TIMEOUT_S: Final = 5.0


class KeptKey:
    """A key in the first of `sources` that gives one. `written` is the plain key to use if none does, or empty."""

    def __init__(self, written: str, sources: tuple[Source, ...], environ: Mapping[str, str], clock: Clock) -> None:
        self._written = written
        self._sources = sources
        self._environ = environ
        self._clock = clock
        self._connector = Connector(TIMEOUT_S, TlsOptions(), proxies(environ))
        self._found: str | None = None
        self._ask_again_at = 0.0

    async def get(self) -> str | None:
        """The key; None while it cannot be had. Asks AWS the first time, and again when a pause is over."""
        if self._found is None and self._clock.wall() >= self._ask_again_at:
            self._found = await self._ask()
            self._ask_again_at = self._clock.wall() + PAUSE_S
        return self._found

    async def _ask(self) -> str | None:
        async with self._connector.client(_endpoint(self._sources[0].calls[0], self._environ)) as client:
            for source in self._sources:
                try:
                    return clean(await self._ask_source(client, source))
                except (NoKey, ValueError, httpx.HTTPError, httpx.InvalidURL, OSError) as problem:
                    report.error(f"{source.name} gives no API key: {problem}")
        if self._written:
            report.warn("the API key in DD_API_KEY is used instead")
        return self._written or None

    async def _ask_source(self, client: httpx.AsyncClient, source: Source) -> str:
        refusal = NoKey("nothing to ask")
        for call in source.calls:
            try:
                return source.read(await self._post(client, call))
            except NoKey as problem:
                refusal = problem
        raise refusal

    async def _post(self, client: httpx.AsyncClient, call: Call) -> Mapping[str, Any]:
        credentials = await self._credentials(client)
        headers = signed_headers(call, credentials, self._clock.wall())
        response = await client.post(_endpoint(call, self._environ), content=call.body, headers=headers)
        try:
            answer = json.loads(response.content)
        except ValueError:
            answer = None
        if response.status_code != 200 or not isinstance(answer, dict):
            said = answer if isinstance(answer, dict) else {}
            kind = str(said.get("__type", "")).rpartition("#")[2]
            raise NoKey(" ".join(filter(None, [f"HTTP {response.status_code}", kind, _message(said)])))
        return answer

    async def _credentials(self, client: httpx.AsyncClient) -> Credentials:
        """The function's own: from the environment, or (SnapStart) from the endpoint that the environment names."""
        environ = self._environ
        if environ.get("AWS_ACCESS_KEY_ID"):
            return Credentials(
                environ["AWS_ACCESS_KEY_ID"],
                environ.get("AWS_SECRET_ACCESS_KEY", ""),
                environ.get("AWS_SESSION_TOKEN", ""),
            )
        url, token = (
            environ.get(f"AWS_CONTAINER_{name}", "") for name in ("CREDENTIALS_FULL_URI", "AUTHORIZATION_TOKEN")
        )
        if not url:
            raise NoKey("the environment has no AWS credentials")
        response = await client.get(url, headers={"Authorization": token})
        try:
            given = json.loads(response.content)
            return Credentials(given["AccessKeyId"], given["SecretAccessKey"], given.get("Token", ""))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise NoKey(f"{url} gives no AWS credentials (HTTP {response.status_code})") from None


def _message(answer: Mapping[str, Any]) -> str:
    return str(answer.get("message") or answer.get("Message") or "")


def _endpoint(call: Call, environ: Mapping[str, str]) -> str:
    """AWS's own host, unless the variables that AWS's SDKs read for this name another."""
    service = {"secretsmanager": "SECRETS_MANAGER"}.get(call.service, call.service.upper())
    other = environ.get(f"AWS_ENDPOINT_URL_{service}") or environ.get("AWS_ENDPOINT_URL")
    return other or f"https://{call.host}/"
