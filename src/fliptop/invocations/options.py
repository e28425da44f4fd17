"""What the user chose about invocations' traces, and what names in them depend on."""

from collections.abc import Mapping
from typing import NamedTuple


class Propagation(NamedTuple):
    """How trace context is read: `datadog`, `tracecontext`, `b3`, `b3multi`, in order; `first_only`: the first that
    says anything is believed alone; `baggage`: headers `ot-baggage-…` become tags.
    """

    styles: tuple[str, ...] = ("datadog", "tracecontext")
    first_only: bool = False
    baggage: bool = False


class Naming(NamedTuple):
    """What services and ARNs are called by. `service` is the invocation span's; `mapping` replaces names, by what they
    belong to; `by_instance` False: services are called after their kind (`sqs`), not after themselves.
    """

    service: str
    function_name: str
    region: str
    mapping: Mapping[str, str]
    by_instance: bool = True

    @property
    def partition(self) -> str:
        """The partition of ARNs in this region."""
        if self.region.startswith("cn-"):
            return "aws-cn"
        return "aws-us-gov" if self.region.startswith("us-gov-") else "aws"

    def resolve(self, instance: str, keys: tuple[str, str], fallback: str) -> str:
        """The service of something called `instance`; `keys` are its own in the mapping and that of all of its kind."""
        mapped = next((self.mapping[key] for key in keys if key in self.mapping), "")
        return mapped or (instance if self.by_instance else "") or fallback


class InvocationOptions(NamedTuple):
    """All of it. `capture_depth`: how deep payloads become tags, None if not at all. `managed`: on Lambda Managed
    Instances.
    """

    naming: Naming
    propagation: Propagation = Propagation()
    capture_depth: int | None = None
    managed: bool = False
