"""A sealed payload: encoded, compressed and numbered once. Every attempt to send it sends the same bytes."""

from typing import NamedTuple


class Payload(NamedTuple):
    """What goes to the intake in one request.

    `number` tells payloads of one environment apart; `items` is how many the ledger settles when its fate is known;
    `url` is complete; `headers` are all but the API key, which may change between attempts.
    """

    number: int
    signal: str
    items: int
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
