"""Requests: API Gateway's three kinds, load balancers, function URLs. The sender waits, unless it says otherwise."""

from __future__ import annotations

import re
from typing import Any, Final

from fliptop.invocations.options import Naming
from fliptop.invocations.triggers.origin import Origin, inferred
from fliptop.invocations.triggers.reading import at, from_ms, given, header, picked, text

_API: Final = "lambda_api_gateway"
_HEX: Final = "[0-9a-fA-F]"
# A UUID or a ULID. Compiled when a path has something as long.
_UNIQUE: Final = rf"{_HEX}{{8}}(-{_HEX}{{4}}){{3}}-{_HEX}{{12}}|\b[0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{{26}}\b"
_SHORTEST_UNIQUE: Final = 26


def is_http_api(event: Any) -> bool:
    """API Gateway's HTTP API, payload version 2.0."""
    domain = text(event, "requestContext.domainName")
    return text(event, "version") == "2.0" and "rawQueryString" in event and bool(domain) and "lambda-url" not in domain


def http_api(event: Any, naming: Naming) -> Origin:
    """See `is_http_api`."""
    request = picked(event, _REQUEST_V2)
    domain, api, path = (text(event, f"requestContext.{name}") for name in ("domainName", "apiId", "http.path"))
    path = path or text(event, "rawPath")
    url, method = f"https://{domain}{path}", request.get("http.method", "")
    meta = request | given(endpoint=path, http__url=url, dd_resource_key=api and _api_arn(naming, "apis", api))
    service = naming.resolve(domain, (api, _API), domain)
    route = text(event, "routeKey").split()
    tags = given(
        http__url=url,
        http__url_details__path=path,
        http__method=method,
        http__route=route[-1] if route else "",
        http__referer=header(event, "referer"),
        http__user_agent=request.get("http.user_agent", ""),
    )
    tags |= _gateway(_stage_arn(naming, "apis", event))
    span = inferred("aws.httpapi", f"{method} {parameterised(path)}", service, _epoch(event), meta)
    return _origin(event, tags, inferred_span=span)


_REQUEST_V2: Final = {
    "http.method": "requestContext.http.method",
    "http.protocol": "requestContext.http.protocol",
    "http.source_ip": "requestContext.http.sourceIp",
    "http.user_agent": "requestContext.http.userAgent",
    "request_id": "requestContext.requestId",
}


def is_rest_api(event: Any) -> bool:
    """API Gateway's REST API, and its HTTP API with payload version 1.0."""
    return bool(text(event, "requestContext.stage") and text(event, "httpMethod") and text(event, "resource"))


def rest_api(event: Any, naming: Naming) -> Origin:
    """See `is_rest_api`."""
    request = picked(event, _REQUEST_V1)
    domain, api, path = (text(event, f"requestContext.{name}") for name in ("domainName", "apiId", "path"))
    path = path or text(event, "path")
    url, method = f"https://{domain}{path}", text(event, "httpMethod")
    route = text(event, "requestContext.resourcePath") or text(event, "resource")
    common = given(http__url=url, http__method=method, http__route=route)
    meta = request | common | given(endpoint=path, dd_resource_key=api and _api_arn(naming, "restapis", api))
    service = naming.resolve(domain, (api, _API), domain)
    tags = common | given(
        http__url_details__path=path,
        http__user_agent=request.get("http.user_agent", ""),
        http__referer=header(event, "referer"),
    )
    tags |= _gateway(_stage_arn(naming, "restapis", event))
    span = inferred("aws.apigateway", f"{method} {parameterised(path)}", service, _request_epoch(event), meta)
    return _origin(event, tags, inferred_span=span)


_REQUEST_V1: Final = {
    "http.protocol": "requestContext.protocol",
    "http.source_ip": "requestContext.identity.sourceIp",
    "http.user_agent": "requestContext.identity.userAgent",
    "request_id": "requestContext.requestId",
}


def is_websocket(event: Any) -> bool:
    """API Gateway's WebSocket API."""
    return bool(text(event, "requestContext.messageDirection"))


def websocket(event: Any, naming: Naming) -> Origin:
    """See `is_websocket`. Nobody waits for the answer to a message."""
    domain, api, route = (text(event, f"requestContext.{name}") for name in ("domainName", "apiId", "routeKey"))
    url = f"https://{domain}{route}"
    meta = picked(event, _WEBSOCKET) | given(endpoint=route, resource_names=route, http__url=url)
    service = naming.resolve(domain, (api, _API), "api_gateway_websocket")
    tags = given(http__url=url, http__url_details__path=route, http__referer=header(event, "referer"))
    tags |= _gateway(_stage_arn(naming, "apis", event))
    span = inferred("aws.apigateway", route, service, _request_epoch(event), meta)
    return Origin(tags, span, headers=at(event, "headers"))


_WEBSOCKET: Final = {
    "request_id": "requestContext.requestId",
    "apiid": "requestContext.apiId",
    "stage": "requestContext.stage",
    "connection_id": "requestContext.connectionId",
    "event_type": "requestContext.eventType",
    "message_direction": "requestContext.messageDirection",
}


def is_load_balancer(event: Any) -> bool:
    """An Application Load Balancer."""
    return bool(text(event, "requestContext.elb.targetGroupArn"))


def load_balancer(event: Any, naming: Naming) -> Origin:
    """See `is_load_balancer`. There is no span for it: nothing says when it received the request."""
    tags = given(
        function_trigger__event_source="application-load-balancer",
        function_trigger__event_source_arn=text(event, "requestContext.elb.targetGroupArn"),
        http__method=text(event, "httpMethod"),
    )
    return Origin(tags, headers=at(event, "headers") or at(event, "multiValueHeaders"))


def is_function_url(event: Any) -> bool:
    """A function's own URL."""
    return "lambda-url" in text(event, "requestContext.domainName")


def function_url(event: Any, naming: Naming) -> Origin:
    """See `is_function_url`."""
    request = picked(event, _REQUEST_V2)
    domain, api, path = (text(event, f"requestContext.{name}") for name in ("domainName", "apiId", "http.path"))
    path = path or text(event, "rawPath")
    url, method = f"https://{domain}{path}", request.get("http.method", "")
    account = text(event, "requestContext.accountId")
    meta = request | given(endpoint=path, http__url=url, operation_name="aws.lambda.url")
    tags = given(
        function_trigger__event_source="lambda-function-url",
        function_trigger__event_source_arn=(
            f"arn:{naming.partition}:lambda:{naming.region}:{account}:url:{naming.function_name}"
        ),
        http__url=url,
        http__url_details__path=path,
        http__method=method,
        http__user_agent=request.get("http.user_agent", ""),
        http__referer=header(event, "referer"),
    )
    service = naming.resolve(domain, (api, "lambda_url"), domain)
    span = inferred("aws.lambda.url", f"{method} {path}", service, _epoch(event), meta)
    span.type = "http"
    return _origin(event, tags, inferred_span=span)


def _origin(event: Any, tags: dict[str, str], *, inferred_span: Any) -> Origin:
    waits = header(event, "x-amz-invocation-type") != "Event"
    return Origin(tags, inferred_span, headers=at(event, "headers") or at(event, "multiValueHeaders"), waits=waits)


def _epoch(event: Any) -> int:
    return from_ms(at(event, "requestContext.timeEpoch"))


def _request_epoch(event: Any) -> int:
    return from_ms(at(event, "requestContext.requestTimeEpoch"))


def _api_arn(naming: Naming, kind: str, api: str) -> str:
    return f"arn:{naming.partition}:apigateway:{naming.region}::/{kind}/{api}"


def _stage_arn(naming: Naming, kind: str, event: Any) -> str:
    api, stage = text(event, "requestContext.apiId"), text(event, "requestContext.stage")
    return f"{_api_arn(naming, kind, api)}/stages/{stage}"


def _gateway(arn: str) -> dict[str, str]:
    return given(function_trigger__event_source="api-gateway", function_trigger__event_source_arn=arn)


def parameterised(path: str) -> str:
    """`path` with names for its values: `/users/17` is `/users/{user_id}`. One that has names is left as it is."""
    if "{" in path and "}" in path:
        return path
    segments = [segment for segment in path.split("/") if segment]
    named = []
    for before, segment in zip(["", *segments], segments, strict=False):
        kind = "" if _is_value(before) else before.removesuffix("s")
        name = "id" if kind in {"", "id"} else f"{kind}_id"
        named.append(f"{{{name}}}" if _is_value(segment) else segment)
    return "/" + "/".join(named)


def _is_value(segment: str) -> bool:
    return segment.isdigit() or (len(segment) >= _SHORTEST_UNIQUE and re.search(_UNIQUE, segment) is not None)
