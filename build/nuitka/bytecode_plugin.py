"""Nuitka plugin: all modules are carried as bytecode, some of them with tables of what was found out in advance.

What is compiled to C starts no faster and is three times as large, in the layer and in memory; docs/cold-start.md has
the figures, for our own package and for the others.
"""

from __future__ import annotations

import marshal
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))  # Nuitka loads a plugin by its file's name
_precompile: Any = import_module("precompile")
_base: type = import_module("nuitka.plugins.PluginBase").NuitkaPluginBase


class BytecodePlugin(_base):  # type: ignore[misc]
    """Decides for each module what Nuitka makes of it (plugin interface of Nuitka 4.3)."""

    plugin_name = "fliptop-bytecode"
    plugin_desc = "Carry modules as bytecode."

    def decideCompilation(self, module_name: Any) -> str | None:  # noqa: N802 -- the name Nuitka calls
        """Return "bytecode" for all but the program's beginning, which Nuitka must compile."""
        return None if module_name.asString() in {"fliptop", "fliptop.__main__"} else "bytecode"

    def onModuleSourceCode(self, module_name: Any, source_filename: str, source_code: str) -> str:  # noqa: N802
        """Give modules what they would otherwise have to find out at every start.

        Of what is excluded, Nuitka carries all the same what it thinks Python may need before the program begins.
        """
        name = module_name.asString()
        if name in _prepared("excluded").decode().split():
            return f"raise ModuleNotFoundError({f'{name} is not part of this layer'!r}, name={name!r})\n"
        if name == "encodings.idna":
            return (Path(__file__).parent / "ascii_idna.py").read_text()
        if name == "anyio._lazyimport":
            return source_code + _lazy_imports()
        if name in _precompile.ADDED:
            table = marshal.loads(_prepared("precompiled"))[name]
            return str(_precompile.source_with(table, name, source_code))
        return source_code


def _prepared(name: str) -> bytes:
    """The file of this name that build/freeze.py has prepared."""
    return (Path(os.environ["FLIPTOP_PREPARED"]) / name).read_bytes()


def _lazy_imports() -> str:
    """The table of lazy imports that anyio reads from its own source, which a frozen program has not.

    Without it anyio imports all of itself, the parts that start processes and interpreters too.
    """
    build = import_module("anyio._lazyimport")._build_lazy_map
    tables = {name: build(import_module(name)) for name in ("anyio", "anyio.abc")}
    return f"\n_TABLES = {tables!r}\ndef _build_lazy_map(module): return _TABLES[module.__name__]\n"
