"""Boot in stages: adopt what the launcher made ready, or become ready here; then load the rest.

What the launcher was unsure about is settled before anything is registered. Stage one is all that Lambda and the
function wait for. Whatever fails after it must not end the process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Final

from fliptop import report
from fliptop.clock import SystemClock
from fliptop.lifecycle.deadline import invoke_margin, memory_mb
from fliptop.lifecycle.standin import StandIn
from fliptop.platform import ready
from fliptop.platform.api import Unreachable
from fliptop.platform.extensions_api import Refused

SWITCH_INTERVAL_S: Final = 0.001
# Init has two cores, whatever the function's memory; afterwards it has its share. Below this share, loading after the
# first event was asked for would keep the first invocations' environment busy, and billed, for seconds.
LOAD_LATER_MB: Final = 512


def main() -> int:
    """Run the extension. Returns 1 when the platform does not let it register, which nothing can mend."""
    environ = ready.environment()
    if environ.get("FLIPTOP_SCAN") == "unsure":
        from fliptop.settings import failover  # noqa: PLC0415 -- one start in a thousand needs a YAML parser here

        failover.settle(environ)
    first = _load if memory_mb(environ) < LOAD_LATER_MB else None
    try:
        name = ready.extension_name(environ, sys.argv[0])
        handover = ready.adopt(environ) or ready.become_ready(environ, name, first)
    except (Unreachable, Refused) as problem:
        report.error(f"the extension cannot register with Lambda: {problem}")
        return 1
    _work(handover, environ)
    # Tearing an interpreter down takes longer than what SHUTDOWN leaves on a small function.
    os._exit(0)


def _load() -> None:
    """Load what the event loop needs, at the speed that init has."""
    try:
        import fliptop.service  # noqa: F401, PLC0415 -- the import is the work
    except Exception as problem:  # noqa: BLE001 -- `_work` meets it again and falls back to the last line of defence
        report.error(f"the extension cannot be loaded: {problem!r}")


def _work(handover: ready.Handover, environ: Mapping[str, str]) -> None:
    clock = SystemClock()
    # So that the stand-in need not wait long for the interpreter while this thread imports.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    margin_s = invoke_margin(memory_mb(environ))
    stand_in = StandIn(handover.api, handover.registration.identifier, clock, margin_s)
    try:
        import anyio  # noqa: PLC0415 -- loaded while the function initialises, not before

        from fliptop.service import serve  # noqa: PLC0415 -- likewise

        anyio.run(serve, handover, environ, stand_in, clock)
    except Exception as problem:  # noqa: BLE001 -- promise 1: exiting now would reset the function's environment
        report.error(f"Extension loop failed: {problem!r}, Calling /next without Datadog instrumentation")
        from fliptop.lifecycle import bare  # noqa: PLC0415 -- needed in this case only

        stand_in.relieve()
        handover.api.close()
        bare.keep_alive(handover.api.address, handover.registration.identifier)
