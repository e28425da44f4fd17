"""AWS Signature Version 4 for a POST to `/` with a JSON body, as the JSON protocols of KMS, SSM and Secrets Manager use
it. A pure function of its arguments. Source: AWS, "Create a signed AWS API request".
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

ALGORITHM: Final = "AWS4-HMAC-SHA256"
CONTENT_TYPE: Final = "application/x-amz-json-1.1"


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key; `session_token` is empty for one that is not temporary."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Call:
    """One call: `service` and `region` as the signature names them, `target` the operation, `body` its JSON."""

    service: str
    region: str
    host: str
    target: str
    body: bytes


def signed_headers(call: Call, credentials: Credentials, now: float) -> dict[str, str]:
    """All headers of the request, signature included. `now` is epoch seconds, within 5 minutes of AWS's clock."""
    moment = datetime.fromtimestamp(now, UTC)
    stamp, day = moment.strftime("%Y%m%dT%H%M%SZ"), moment.strftime("%Y%m%d")
    headers = {
        "content-type": CONTENT_TYPE,
        "host": call.host,
        "x-amz-date": stamp,
        "x-amz-target": call.target,
    }
    if credentials.session_token:
        headers["x-amz-security-token"] = credentials.session_token
    names = ";".join(sorted(headers))
    scope = f"{day}/{call.region}/{call.service}/aws4_request"
    canonical = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = f"POST\n/\n\n{canonical}\n{names}\n{hashlib.sha256(call.body).hexdigest()}"
    to_sign = f"{ALGORITHM}\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = _signing_key(credentials.secret_access_key, day, call).sign(to_sign)
    identity = f"Credential={credentials.access_key_id}/{scope}"
    return {**headers, "authorization": f"{ALGORITHM} {identity}, SignedHeaders={names}, Signature={signature}"}


class _Key(bytes):
    def derive(self, text: str) -> _Key:
        return _Key(hmac.new(self, text.encode(), hashlib.sha256).digest())

    def sign(self, text: str) -> str:
        return hmac.new(self, text.encode(), hashlib.sha256).hexdigest()


def _signing_key(secret: str, day: str, call: Call) -> _Key:
    dated = _Key(f"AWS4{secret}".encode()).derive(day)
    return dated.derive(call.region).derive(call.service).derive("aws4_request")
