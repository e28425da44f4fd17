"""Boot in stages: adopt what the launcher made ready, or become ready here; then load the rest.

With a launcher, all that Lambda and the function wait for is done before this process has started; a guard answers for
it until it has loaded, and starts it again should it fail. Without a guard there is nobody behind us, and we answer to
the end ourselves.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from fliptop import report
from fliptop.clock import SystemClock
from fliptop.phases import Phases
from fliptop.platform import ready
from fliptop.platform.api import Unreachable
from fliptop.platform.extensions_api import Refused


def main() -> int:
    """Run the extension. Returns 1 when the platform does not let it register, which nothing can mend."""
    environ = ready.environment()
    phases = Phases(environ)
    phases.reach("python")
    try:
        name = ready.extension_name(environ, sys.argv[0])
        handover = ready.adopt(environ) or ready.become_ready(environ, name, _load)
    except (Unreachable, Refused) as problem:
        report.error(f"the extension cannot register with Lambda: {problem}")
        return 1
    phases.reach("adopted" if handover.guarded else "next_asked")
    os._exit(_work(handover, environ, phases))


def _load() -> None:
    """Load what the event loop needs, at the speed that init has: nobody could answer the first event before that."""
    try:
        import fliptop.service  # noqa: F401, PLC0415 -- the import is the work
    except Exception as problem:  # noqa: BLE001 -- `_work` meets it again and falls back to the last line of defence
        report.error(f"the extension cannot be loaded: {problem!r}")


def _work(handover: ready.Handover, environ: Mapping[str, str], phases: Phases) -> int:
    try:
        import anyio  # noqa: PLC0415 -- loaded while the function initialises, not before

        from fliptop.service import serve  # noqa: PLC0415 -- likewise

        async def serve_and_exit() -> None:
            await serve(handover, environ, SystemClock(), phases)
            # Tearing a loop and an interpreter down takes longer than what SHUTDOWN leaves on a small function, and
            # first of all they would wait for threads: asking a dead name server lasts ten seconds.
            os._exit(0)

        phases.reach("loaded")
        anyio.run(serve_and_exit)
    except Exception as problem:  # noqa: BLE001 -- promise 1: exiting now would reset the function's environment
        if handover.guarded:
            report.error(f"Extension loop failed: {problem!r}")
            return 1
        report.error(f"Extension loop failed: {problem!r}, Calling /next without Datadog instrumentation")
        from fliptop.lifecycle import bare  # noqa: PLC0415 -- needed in this case only

        handover.refuse()
        handover.api.close()
        bare.keep_alive(handover.api.address, handover.registration.identifier)
    return 0
