"""The last line of defence: answer `/event/next` until SHUTDOWN and do nothing else.

For when the extension cannot run at all. An extension that exits resets the function's environment; one that only
asks for events costs nothing. Plain sockets: what could not be loaded is not needed here.
"""

from __future__ import annotations

import time
from contextlib import closing

from fliptop.platform import extensions_api
from fliptop.platform.api import RuntimeApi
from fliptop.platform.extensions_api import Shutdown

PAUSE_S = 1.0


def keep_alive(address: str, identifier: str) -> None:
    """Ask for events at `address` until SHUTDOWN comes."""
    while True:
        try:
            with closing(RuntimeApi(address)) as api:
                while not isinstance(extensions_api.event(api.call(extensions_api.next_event(identifier))), Shutdown):
                    pass
                return
        except Exception:  # noqa: BLE001 -- there is no other line behind this one
            time.sleep(PAUSE_S)
