"""What is compared: no extension, the least extension, fliptop in two ways, and anybody else's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from fliptop_lab.functions.compiling import compile_c
from fliptop_lab.lambda_.layers import merge
from fliptop_lab.run import Plan
from fliptop_lab.staging import Ingredients, LayerError, find_layer, public_folder

FLOOR_SOURCE: Final = Path(__file__).parent / "floor.c"
MANIFEST: Final = "fliptop/manifest.json"
OURS: Final[Mapping[str, Mapping[str, str]]] = {"fliptop": {}, "fliptop-python": {"FLIPTOP_HANDOVER": "off"}}
"""The variants that are made of our layer, with the environment that makes each what it is."""
ABOUT: Final = {
    "none": "no extension",
    "floor": "C, registers and asks for events",
    "fliptop": "the layer as it is",
    "fliptop-python": "FLIPTOP_HANDOVER=off",
}
"""The variants there always are, in the order they are shown."""


@dataclass(frozen=True)
class Variant:
    """One thing to attach to a function: an unpacked layer (None for nothing) and variables that belong to it."""

    name: str
    about: str
    layer: Path | None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def disk_bytes(self) -> int | None:
        """What the layer takes under /opt; None without a layer."""
        if self.layer is None:
            return None
        files = (path for path in self.layer.rglob("*") if path.is_file() and not path.is_symlink())
        return sum(path.stat().st_size for path in files)

    def attached(self, plan: Plan) -> Plan:
        """The plan with this variant, and nothing else, as its extension."""
        parts = Ingredients([self.layer] if self.layer else [], no_legacy=True)
        return replace(plan, ingredients=parts, environment={**plan.environment, **self.environment})


@dataclass(frozen=True)
class Choice:
    """Which variants a person wants: ``only`` these (all when empty), ``layer`` ours, ``peers`` by name."""

    only: Sequence[str] = ()
    layer: Path | None = None
    peers: Mapping[str, Path] = field(default_factory=dict)

    def names(self) -> list[str]:
        """The chosen variants, in the order they are shown. ``ValueError`` for a name that does not exist."""
        if taken := sorted(self.peers.keys() & ABOUT.keys()):
            raise ValueError(f"--peer {taken[0]}=… has the name of a variant that is always there. Take another name.")
        known = [*ABOUT, *self.peers]
        if unknown := [name for name in self.only if name not in known]:
            raise ValueError(f"--only {unknown[0]}: there is no such variant. There are {', '.join(known)}.")
        return [name for name in known if not self.only or name in self.only]


@dataclass(frozen=True)
class LayerTold:
    """Which layer was measured: ``flavour`` is its manifest's, ``frozen`` or ``source``; None without a manifest."""

    path: str
    flavour: str | None
    version: str | None


@contextmanager
def unpacked(choice: Choice) -> Iterator[tuple[list[Variant], LayerTold | None]]:
    """The chosen variants, ready to be attached as long as the block lasts, and what is known of our layer.

    Raises ``LayerError``, ``FunctionError`` (the floor does not compile) and ``ValueError`` (see ``Choice.names``).
    """
    names = choice.names()
    with public_folder() as folder:
        told, layer = None, None
        if OURS.keys() & set(names):
            source = choice.layer or find_layer()
            layer = _unpack(source, folder / "ours")
            told = _manifest(source, layer)
        yield [_variant(name, choice, layer, folder) for name in names], told


def _variant(name: str, choice: Choice, ours: Path | None, folder: Path) -> Variant:
    if name in choice.peers:
        path = choice.peers[name]
        return Variant(name, path.name, _peer(path, folder / f"peer-{name}"))
    if name in OURS:
        return Variant(name, ABOUT[name], ours, OURS[name])
    layer = _alone(compile_c(FLOOR_SOURCE), folder / name) if name == "floor" else None
    return Variant(name, ABOUT[name], layer)


def _peer(path: Path, into: Path) -> Path:
    if not path.exists():
        raise LayerError(f"--peer: {path} does not exist. Name a layer (zip or directory) or one executable.")
    return _unpack(path, into) if path.is_dir() or _is_zip(path) else _alone(path, into)


def _is_zip(path: Path) -> bool:
    # Not zipfile.is_zipfile: an executable with an archive at its end is an executable.
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _unpack(layer: Path, into: Path) -> Path:
    if not layer.exists():
        raise LayerError(f"{layer} does not exist. Build a layer with `make layer` or `make demo`, or check the path.")
    into.mkdir()
    return merge([layer], into, into)


def _alone(program: Path, into: Path) -> Path:
    extensions = into / "extensions"
    extensions.mkdir(parents=True)
    shutil.copyfile(program, extensions / program.name)
    (extensions / program.name).chmod(0o755)
    return into


def _manifest(source: Path, layer: Path) -> LayerTold:
    told: dict[str, Any] = {}
    if (layer / MANIFEST).is_file():
        told = json.loads((layer / MANIFEST).read_text())
    shown = source.resolve()
    shown = shown.relative_to(Path.cwd()) if shown.is_relative_to(Path.cwd()) else shown
    return LayerTold(str(shown), told.get("flavour"), told.get("version"))
