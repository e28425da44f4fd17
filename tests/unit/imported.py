"""Run the extension, and on SIGUSR1 write down what it has imported: for test_imports.py, which starts this file.

    python -I -S imported.py DIRECTORY PORT PATH...

The n-th signal writes DIRECTORY/n: a JSON object of every module and who imported it first. PORT is where telemetry is
listened for, PATH what to put on sys.path.
"""

from __future__ import annotations

import itertools
import json
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

DIRECTORY, PORT, *PATH = sys.argv[1:]
importers: dict[str, str] = {}
numbers = itertools.count(1)


class Watching:
    """The first of the finders: finds nothing, but sees who looks for what."""

    def find_spec(self, name: str, *_: Any) -> None:
        frame = sys._getframe(1)
        while frame.f_back and "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        importers.setdefault(name, f"{frame.f_globals.get('__name__')}:{frame.f_lineno}")


def write_down(_number: int, _frame: FrameType | None) -> None:
    late = {name for name, module in sys.modules.items() if type(module).__name__ == "LateModule"}
    found = {name: importers.get(name, "before") for name in sys.modules if name not in late}
    unfinished = Path(DIRECTORY) / "unfinished"
    unfinished.write_text(json.dumps(found))
    unfinished.replace(Path(DIRECTORY) / str(next(numbers)))


# Until here, and no further, this file's own needs count as imported.
for name in [name for name in sys.modules if name.partition(".")[0] in {"json", "pathlib", "urllib", "ipaddress"}]:
    importers[name] = "imported.py"
sys.path += PATH
sys.argv = ["/opt/fliptop/fliptop"]
sys.meta_path.insert(0, Watching())
signal.signal(signal.SIGUSR1, write_down)

from fliptop import boot  # noqa: E402
from fliptop.platform import ready  # noqa: E402

vars(ready).update(TELEMETRY_PORT=int(PORT), LIFECYCLE_PORT=0, TRACE_AGENT_PORT=0)
sys.exit(boot.main())
