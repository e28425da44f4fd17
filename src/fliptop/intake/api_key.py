"""The API key as the intake's client sees it."""

from collections.abc import Awaitable
from typing import NamedTuple, Protocol


class ApiKey(Protocol):
    """Gives the key when one is needed."""

    def get(self) -> Awaitable[str | None]:
        """The key; None while it cannot be had."""
        ...


class WrittenKey:
    """A key that stands in the configuration."""

    def __init__(self, key: str) -> None:
        self._key = key

    async def get(self) -> str | None:
        """See `ApiKey.get`."""
        return self._key


class KeyPlaces(NamedTuple):
    """Where else a key may be kept, empty where it is not: KMS ciphertext, a secret's ARN, a parameter's name."""

    kms_ciphertext: str = ""
    secret_arn: str = ""
    parameter: str = ""
