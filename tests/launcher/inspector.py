"""Stands for an extension that is handed sockets: writes down what they are, in <its own path>.seen, and ends with 0.

With READ_EVENT set it also waits for what comes over the connection called `next`.
"""

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any


def describe(number: int) -> dict[str, Any]:
    """Say what is open under this number, without closing it."""
    inherited = socket.socket(fileno=os.dup(number))
    listening = bool(inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    return {
        "number": number,
        "type": inherited.type,
        "protocol": inherited.proto,
        "listening": listening,
        "blocking": os.get_blocking(number),
        "address": inherited.getsockname()[0],
        "port": inherited.getsockname()[1],
        "buffer": inherited.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF),
        "peer": inherited.getpeername()[1] if inherited.type == socket.SOCK_STREAM and not listening else None,
    }


def main() -> None:
    """Write it all down."""
    if sys.argv[1:] == ["--settle"]:
        sys.stdout.write(f"settled {os.environ.get('SETTLED', '')}\n")
        return
    names = os.environ.get("LISTEN_FDNAMES", "").split(":") if "LISTEN_FDS" in os.environ else []
    files = [number for number in range(64) if Path(f"/proc/self/fd/{number}").exists()]
    sockets = {name: describe(3 + place) for place, name in enumerate(names)}
    seen = {"pid": os.getpid(), "environ": dict(os.environ), "sockets": sockets, "files": files}
    if "READ_EVENT" in os.environ:
        seen["event"] = socket.socket(fileno=sockets["next"]["number"]).recv(65536).decode()
    Path(sys.argv[0] + ".seen").write_text(json.dumps(seen))


main()
