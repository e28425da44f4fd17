"""Unpack a layer zip as Lambda does below /opt: with its permission bits, and with the times that the zip has.

    python build/unpack.py dist/fliptop-<arch>.zip DIRECTORY

For container images, which carry the layer's files themselves.
"""

from __future__ import annotations

import calendar
import os
import sys
import zipfile
from pathlib import Path


def unpack(path: Path, target: Path) -> None:
    """Unpack the zip into a directory that is not there yet, or empty. OSError, zipfile.BadZipFile: what went wrong."""
    target.mkdir(parents=True, exist_ok=True)
    if any(target.iterdir()):
        raise FileExistsError(f"{target} is not empty. Name another directory, or remove what is in it.")
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        for info in infos:
            file = target / info.filename
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(archive.read(info))
            file.chmod(info.external_attr >> 16 & 0o777)
    times = {target / info.filename: calendar.timegm((*info.date_time, 0, 0, 0)) for info in infos}
    epoch = min(times.values(), default=0)
    directories = [target, *(each for each in target.rglob("*") if each.is_dir())]
    for directory in directories:
        directory.chmod(0o755)
    for each, time in {**times, **dict.fromkeys(directories, epoch)}.items():
        os.utime(each, (time, time))


def main(arguments: list[str]) -> int:
    """Unpack what the command line names; return the exit code."""
    if len(arguments) != 2:
        print("usage: python build/unpack.py LAYER.zip DIRECTORY", file=sys.stderr)
        return 2
    try:
        unpack(Path(arguments[0]), Path(arguments[1]))
    except (OSError, zipfile.BadZipFile) as error:
        print(f"{arguments[0]} cannot be unpacked: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
