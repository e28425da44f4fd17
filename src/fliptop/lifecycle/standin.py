"""Answers `/event/next` while the extension is still loading.

A 128 MB function owns a fourteenth of a core, and loading takes some 200 ms of CPU: the first invocation may be over,
or its deadline near, before the event loop runs. This thread keeps promise 2 until then: an INVOKE waits for the loop
as long as its deadline allows, and is then answered without it. What telemetry came in is kept by the kernel.
"""

from __future__ import annotations

import select
import socket
import threading
from dataclasses import dataclass

from fliptop.clock import Clock
from fliptop.lifecycle.deadline import time_left
from fliptop.platform import extensions_api
from fliptop.platform.api import RuntimeApi, Unreachable
from fliptop.platform.extensions_api import Event, Refused, Shutdown


@dataclass(frozen=True, slots=True)
class Watch:
    """What the stand-in leaves to the loop. `event` is one that nobody has served yet, or None with `/event/next`
    still pending on the connection; `intact` is False when the connection is of no more use.
    """

    event: Event | None = None
    intact: bool = True


class StandIn:
    """Watches `api`, which has `/event/next` pending, from `__init__` until `relieve`. `margin_s` is kept free before
    the deadline of an invocation.
    """

    def __init__(self, api: RuntimeApi, identifier: str, clock: Clock, margin_s: float) -> None:
        self._api = api
        self._identifier = identifier
        self._clock = clock
        self._margin_s = margin_s
        self._watch = Watch(intact=False)
        self._waking, self._wake = socket.socketpair()
        # A daemon: should everything else fail, this thread must not keep the process from its last line of defence.
        self._thread = threading.Thread(target=self._run, name="stand-in", daemon=True)
        self._thread.start()

    def relieve(self) -> Watch:
        """End the watch and take over. Returns within moments."""
        self._wake.close()
        self._thread.join()
        self._waking.close()
        return self._watch

    def _run(self) -> None:
        try:
            self._watch = self._stand_watch()
        except (OSError, Refused, Unreachable, ValueError):
            return  # the loop, which cannot go on with this connection, makes a new one and tells why that fails

    def _stand_watch(self) -> Watch:
        while self._readable(None):
            response = self._api.read()
            if response is None:
                continue
            event = extensions_api.event(response)
            if isinstance(event, Shutdown):
                return Watch(event)
            left = time_left(event.deadline_ms, self._clock.wall(), self._margin_s)
            if self._relieved_within(left):
                return Watch(event)
            self._api.send(extensions_api.next_event(self._identifier))
        return Watch()

    def _readable(self, seconds: float | None) -> bool:
        """Wait for the platform; False when we were relieved first."""
        ready, _, _ = select.select([self._api.socket, self._waking], [], [], seconds)
        return self._waking not in ready

    def _relieved_within(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._waking], [], [], seconds)
        return bool(ready)
