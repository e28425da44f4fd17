"""Nuitka plugin: our own package is compiled to C, everything else is carried as bytecode, some of it with tables.

Compiling the third-party packages too multiplies the build time by ten and half again the size, and starts no faster.
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
    plugin_desc = "Carry everything but the fliptop package as bytecode."

    def decideCompilation(self, module_name: Any) -> str | None:  # noqa: N802 -- the name Nuitka calls
        """Return "bytecode" for what is not ours, and no opinion on the rest."""
        return None if module_name.getTopLevelPackageName() == "fliptop" else "bytecode"

    def onModuleSourceCode(self, module_name: Any, source_filename: str, source_code: str) -> str:  # noqa: N802
        """Give modules what they would otherwise have to find out at every start."""
        name = module_name.asString()
        if name == "anyio._lazyimport":
            return source_code + _lazy_imports()
        if name in _precompile.ADDED:
            tables = marshal.loads(Path(os.environ["FLIPTOP_PRECOMPILED"]).read_bytes())
            return str(_precompile.source_with(tables[name], name, source_code))
        return source_code


def _lazy_imports() -> str:
    """The table of lazy imports that anyio reads from its own source, which a frozen program has not.

    Without it anyio imports all of itself, the parts that start processes and interpreters too.
    """
    build = import_module("anyio._lazyimport")._build_lazy_map
    tables = {name: build(import_module(name)) for name in ("anyio", "anyio.abc")}
    return f"\n_TABLES = {tables!r}\ndef _build_lazy_map(module): return _TABLES[module.__name__]\n"
