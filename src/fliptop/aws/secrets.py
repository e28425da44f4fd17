"""Where an API key can be kept: KMS ciphertext, Secrets Manager, SSM Parameter Store. What to ask, what an answer says.

No I/O. Source: extension-behaviour, 10.5. Unlike there, an answer that is not what was asked for is an error that says
what AWS said, and KMS's encryption context is spelled as its API spells it.
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from fliptop.aws.sigv4 import Call
from fliptop.intake.api_key import KeyPlaces


class NoKey(Exception):
    """The source did not give a key. The message says which source, and what AWS said."""


class Source(NamedTuple):
    """One place to ask. `calls` are tried in order; `read` takes the key out of an answer or raises `NoKey`."""

    name: str
    calls: tuple[Call, ...]
    read: Callable[[Mapping[str, Any]], str]


def sources(places: KeyPlaces, *, region: str, function_name: str) -> tuple[Source, ...]:
    """The sources for the places that are configured, strongest first."""
    found: list[Source] = []
    if places.kms_ciphertext:
        found.append(_kms(places.kms_ciphertext, region, function_name))
    if places.secret_arn:
        found.append(_secret(places.secret_arn, region))
    if places.parameter:
        found.append(_parameter(places.parameter, region))
    return tuple(found)


def _kms(ciphertext: str, region: str, function_name: str) -> Source:
    plain = {"CiphertextBlob": ciphertext}
    # Lambda's console encrypts with the function's name as context, its command line without.
    bodies = (plain, {**plain, "EncryptionContext": {"LambdaFunctionName": function_name}})
    calls = tuple(_call("kms", region, "TrentService.Decrypt", body) for body in bodies)
    return Source("DD_KMS_API_KEY", calls, _read_kms)


def _secret(arn: str, region: str) -> Source:
    call = _call("secretsmanager", _region(arn, region), "secretsmanager.GetSecretValue", {"SecretId": arn})
    return Source("DD_API_KEY_SECRET_ARN", (call,), _read_secret)


def _parameter(name: str, region: str) -> Source:
    body = {"Name": name, "WithDecryption": True}
    call = _call("ssm", _region(name, region), "AmazonSSM.GetParameter", body)
    return Source("DD_API_KEY_SSM_ARN", (call,), _read_parameter)


def _region(arn: str, default: str) -> str:
    """The region that an ARN names; a plain name belongs to the function's own."""
    parts = arn.split(":")
    return parts[3] if len(parts) > 4 and parts[0] == "arn" and parts[3] else default


def _call(service: str, region: str, target: str, body: Mapping[str, Any]) -> Call:
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return Call(service, region, f"{service}.{region}.{suffix}", target, json.dumps(body).encode())


def _read_kms(answer: Mapping[str, Any]) -> str:
    try:
        return base64.b64decode(_text(answer, "Plaintext"), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as problem:
        raise NoKey(f"the plaintext is no text ({problem})") from None


def _read_secret(answer: Mapping[str, Any]) -> str:
    """A bare key, or a JSON object with `dd_api_key` or `apiKey`."""
    secret = _text(answer, "SecretString")
    try:
        fields = json.loads(secret)
    except ValueError:
        return secret
    if not isinstance(fields, dict):
        return secret
    for name in ("dd_api_key", "apiKey"):
        if isinstance(fields.get(name), str):
            return str(fields[name])
    raise NoKey("the secret is a JSON object without dd_api_key")


def _read_parameter(answer: Mapping[str, Any]) -> str:
    parameter = answer.get("Parameter")
    return _text(parameter if isinstance(parameter, dict) else {}, "Value")


def _text(answer: Mapping[str, Any], name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str) or not value:
        raise NoKey(f"the answer has no {name}")
    return value
