"""What a run is made of on disk: the layers that become /opt, and the function with its ``datadog.yaml``."""

from __future__ import annotations

import platform
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fliptop_lab import legacy

PROJECT = Path(__file__).parents[2]
"""The checkout this lab is part of, where it is one."""


class LayerError(Exception):
    """There is no such layer or extension; the text says what to do."""


@dataclass(frozen=True)
class Ingredients:
    """What goes under /opt: layers (directories or zip files), single executables, and a legacy extension.

    ``legacy_binary`` None means the stand-in, where a layer brings no legacy extension of its own; with
    ``no_legacy`` nothing is added.
    """

    layers: Sequence[Path] = ()
    extensions: Sequence[Path] = ()
    legacy_binary: Path | None = None
    no_legacy: bool = False


def architecture() -> str:
    """This machine's architecture as layers are named: ``x86_64`` or ``aarch64``."""
    return platform.machine().replace("arm64", "aarch64")


def find_layer(dist: Path | None = None) -> Path:
    """The layer of this checkout: the frozen one, else the one made of its sources. Raises ``LayerError``."""
    dist = dist or (PROJECT if (PROJECT / "pyproject.toml").exists() else Path.cwd()) / "dist"
    for candidate in (dist / f"fliptop-{architecture()}.zip", dist / "source-layer"):
        if candidate.exists():
            return candidate
    raise LayerError(
        f"There is no layer in {dist}. Build one with `make layer` (frozen) or `make demo` (from the sources), "
        "or name yours with --layer."
    )


@contextmanager
def staged(parts: Ingredients) -> Iterator[list[Path]]:
    """The layers to attach, in order, for as long as the block lasts. Raises ``LayerError`` when one is missing."""
    for path in (*parts.layers, *parts.extensions, *filter(None, [parts.legacy_binary])):
        if not path.exists():
            raise LayerError(
                f"{path} does not exist. Build the layer with `make layer` or `make demo`, or check the path."
            )
    with public_folder() as folder:
        below, above = folder / "below", folder / "above"
        for each in (below, above):
            each.mkdir()
        _add_extensions(parts.extensions, above)
        if parts.legacy_binary:
            _copy_program(parts.legacy_binary, above / legacy.LEGACY_NAME)
        elif not parts.no_legacy:
            # First, so that a layer with a legacy extension of its own keeps it.
            legacy.install(below)
        yield [layer for layer in (below, *parts.layers, above) if layer not in (below, above) or any(layer.iterdir())]


@contextmanager
def task_root_with(source: Path, yaml: Path | None) -> Iterator[Path]:
    """The function's directory, or with ``yaml`` a private copy of it that has this ``datadog.yaml``."""
    if yaml is None:
        yield source
        return
    with public_folder() as folder:
        copy = folder / "task"
        shutil.copytree(source, copy, symlinks=True)
        shutil.copyfile(yaml, copy / "datadog.yaml")
        (copy / "datadog.yaml").chmod(0o644)
        yield copy


@contextmanager
def public_folder() -> Iterator[Path]:
    """A temporary directory that the environment's user may read."""
    with tempfile.TemporaryDirectory(prefix="fliptop-lab-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def _add_extensions(programs: Sequence[Path], layer: Path) -> None:
    for program in programs:
        if not program.is_file():
            raise LayerError(f"--extension {program} must be one executable file; a whole layer goes to --layer.")
        (layer / "extensions").mkdir(exist_ok=True)
        _copy_program(program, layer / "extensions" / program.name)


def _copy_program(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    target.chmod(0o755)
