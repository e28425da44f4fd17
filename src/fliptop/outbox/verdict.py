"""What an answer of the intake means for the payload that it answers. Source: Datadog's API reference, "Send logs":
400, 401, 403 and 413 are final; 408, 429 and 5xx may be tried again.
"""

from typing import Literal, NamedTuple

Fate = Literal["delivered", "retry", "dropped"]


class Answer(NamedTuple):
    """One attempt's outcome. `status` is None when no answer came; `problem` then says what happened instead.

    `retry_after_s` is what the intake asked for, in seconds.
    """

    status: int | None
    problem: str = ""
    retry_after_s: float | None = None


def fate(answer: Answer) -> Fate:
    """What becomes of a payload that got this answer."""
    if answer.status is None:
        return "retry"
    if 200 <= answer.status < 300:
        return "delivered"
    if answer.status in {408, 429} or answer.status >= 500:
        return "retry"
    return "dropped"


def drop_reason(answer: Answer) -> str:
    """The ledger's word for a payload that this answer ended: `http_403` and the like."""
    return f"http_{answer.status}"
