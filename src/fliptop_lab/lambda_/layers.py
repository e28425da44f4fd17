"""Layers: directories or zip files, merged in order into what becomes /opt (Lambda guide, "Layers", "Quotas")."""

import os
import shutil
import stat
import zipfile
from collections.abc import Sequence
from pathlib import Path

from fliptop_lab.lambda_.config import ConfigurationError

LAYERS, UNZIPPED_BYTES = 5, 250 * 1024 * 1024


def merge(layers: Sequence[Path], task_root: Path, into: Path) -> Path:
    """The directory to show at /opt: `into`, filled, or the only layer itself where it is a directory already.

    Later layers overwrite earlier ones; file modes are kept, as Lambda keeps them. Raises `ConfigurationError` for a
    missing layer, more than five, or more than 250 MB unzipped together with the function's code.
    """
    if len(layers) > LAYERS:
        raise ConfigurationError(f"{len(layers)} layers; Lambda takes at most {LAYERS}")
    if len(layers) == 1 and layers[0].is_dir():
        merged = presentable(layers[0].resolve(), into)
    else:
        merged = into
        for layer in layers:
            _add(layer, into)
        into.chmod(0o755)
    if (size := _size(merged) + _size(task_root)) > UNZIPPED_BYTES:
        raise ConfigurationError(f"code and layers are {size} bytes unzipped; Lambda takes at most {UNZIPPED_BYTES}")
    return merged


def presentable(folder: Path, copy: Path) -> Path:
    """The folder itself, or `copy` of it where its own mode (a private temporary directory's) would lock others out.

    On Lambda, /opt and /var/task are the platform's directories; only what is in them has modes of its own.
    """
    if folder.stat().st_mode & 0o005 == 0o005:
        return folder
    shutil.copytree(folder, copy, symlinks=True, dirs_exist_ok=True)
    copy.chmod(0o755)
    return copy


def _add(layer: Path, into: Path) -> None:
    if layer.is_dir():
        shutil.copytree(layer, into, symlinks=True, dirs_exist_ok=True)
    elif zipfile.is_zipfile(layer):
        with zipfile.ZipFile(layer) as archive:
            for member in archive.infolist():
                _extract(archive, member, into)
        for parent, _, _ in os.walk(into):
            Path(parent).chmod(0o755)  # whatever the lab's own umask made of them
    else:
        raise ConfigurationError(f"layer {layer} is neither a directory nor a zip file")


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, into: Path) -> None:
    """As `ZipFile.extract`, but with what it drops: modes and symbolic links."""
    mode = member.external_attr >> 16
    target = into / member.filename
    if stat.S_ISLNK(mode):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.symlink_to(archive.read(member).decode())
        return
    written = Path(archive.extract(member, into))
    if not member.is_dir():
        written.chmod(stat.S_IMODE(mode) or 0o644)


def _size(folder: Path) -> int:
    total = 0
    for parent, _, files in os.walk(folder):
        total += sum(os.lstat(os.path.join(parent, name)).st_size for name in files)  # noqa: PTH118 (hot for node_modules)
    return total
