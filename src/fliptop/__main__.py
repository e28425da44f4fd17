"""The entry of the frozen extension and of `python -m fliptop`. Nothing heavy is imported here."""

from __future__ import annotations

import gc
import os
import sys


def main() -> int:
    """Run the extension until SHUTDOWN and return its exit code (0 unless it could not even register)."""
    if sys.argv[1:] == ["--version"]:
        from fliptop import __version__  # noqa: PLC0415 -- only this path needs it

        sys.stdout.write(__version__ + "\n")
        return 0
    if sys.argv[1:] == ["--settle"]:
        from fliptop.settings import failover  # noqa: PLC0415 -- only this path needs a YAML parser

        sys.stdout.write(failover.settled(os.environ))
        return 0
    # What is loaded from here on stays; looking for garbage in it is 4 % of a start. `service` turns it on again.
    gc.disable()
    from fliptop import boot  # noqa: PLC0415 -- so that `--version` answers without loading anything

    return boot.main()


if __name__ == "__main__":
    sys.exit(main())
