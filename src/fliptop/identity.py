"""Who this function is: the ARN and the tags that every item carries. Source: extension-behaviour, section 11."""

from __future__ import annotations

import os
from collections.abc import Mapping

from fliptop import __version__

_ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "arm64"}


class Identity:
    """The function's name, ARN and base tags.

    The ARN is constructed, because Lambda tells it only with the first INVOKE; `learn_arn` and `learn_runtime` complete
    what is not known at the start.
    """

    def __init__(self, environ: Mapping[str, str], account_id: str | None, user_tags: Mapping[str, str]) -> None:
        self.function_name = environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
        self._version = environ.get("AWS_LAMBDA_FUNCTION_VERSION", "")
        self.region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        self._account_id = account_id
        self._user_tags = dict(user_tags)
        self._from_environment = {
            "init_type": environ.get("AWS_LAMBDA_INITIALIZATION_TYPE", ""),
            "memorysize": environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", ""),
        }
        self._runtime = ""
        self._tags: str | None = None

    @property
    def arn(self) -> str:
        """The function's ARN without qualifier, in lower case, as Datadog expects it."""
        partition = "aws"
        if self.region.startswith("us-gov-"):
            partition = "aws-us-gov"
        elif self.region.startswith("cn-"):
            partition = "aws-cn"
        account = self._account_id or "none"
        return f"arn:{partition}:lambda:{self.region}:{account}:function:{self.function_name}".lower()

    def learn_arn(self, invoked_arn: str) -> None:
        """Take the account from the ARN of an INVOKE event, where registration did not tell it (emulators)."""
        parts = invoked_arn.split(":")
        if self._account_id is None and len(parts) > 4 and parts[4].isdigit():
            self._account_id = parts[4]
            self._tags = None

    def learn_runtime(self, runtime_version: str) -> None:
        """Take the runtime from `platform.initStart`: `python:3.13.v12` gives the tag `runtime:python3.13`."""
        language, _, version = runtime_version.partition(":")
        release = version.split(".v", 1)[0]
        if language and (language + release) != self._runtime:
            self._runtime = language + release
            self._tags = None

    @property
    def tags(self) -> str:
        """All tags as Datadog takes them: `key:value,key:value`. The user's override the automatic ones."""
        if self._tags is None:
            tags = {**self._automatic(), **self._user_tags}
            self._tags = ",".join(f"{key}:{value}" for key, value in tags.items() if value)
        return self._tags

    def _automatic(self) -> dict[str, str]:
        qualified = self._version not in {"", "$LATEST"}
        name = self.function_name.lower()
        return {
            "region": self.region,
            "account_id": self._account_id or "",
            "aws_account": self._account_id or "",
            "functionname": name,
            "resource": f"{name}:{self._version}" if qualified else name,
            "executedversion": self._version if qualified else "",
            "function_arn": self.arn,
            **self._from_environment,
            "runtime": self._runtime,
            "architecture": _ARCHITECTURES.get(os.uname().machine, os.uname().machine),
            "dd_extension_version": __version__,
        }
