"""Why the intake refuses a request, as an exception that carries the answer."""

from __future__ import annotations

from typing import Any


class Refusal(Exception):
    """A request Datadog would not take.

    ``status`` is the HTTP status to answer with, ``str(refusal)`` the reason, for people.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status

    def body(self) -> dict[str, Any]:
        """The JSON answer, in the shape of Datadog's own error documents."""
        return {"errors": [{"status": str(self.status), "title": TITLES.get(self.status, ""), "detail": str(self)}]}


TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    408: "Request Timeout",
    413: "Payload Too Large",
    415: "Unsupported Media Type",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
"""Titles of the statuses an intake answers with."""
