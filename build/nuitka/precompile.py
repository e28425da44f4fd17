"""What Python would compile anew at every start, compiled once, when the extension is frozen.

    python -I -S build/nuitka/precompile.py RESULT PATH... -- EXCLUDED...

`@dataclass` writes the methods of a class as text, and compiles it; `re` compiles patterns. Both depend on nothing but
the text and Python's version, and together they are a sixth of a start. This program imports the extension (from the
directories PATH, without the modules EXCLUDED from the freeze), notes what is compiled meanwhile, and writes it to the
file RESULT. The plugin beside it puts that into the modules that compile; they look there first, and what they do not
find they compile as ever.
"""

from __future__ import annotations

import importlib
import marshal
import sys
from pathlib import Path
from typing import Any

# What a start imports, up to the end of its first flush (tests/unit/test_imports.py looks at what that is).
IMPORTED = ("fliptop.boot", "fliptop.service", "anyio._backends._asyncio", "anyio._core._streams", "anyio.abc")
# References would make the bytes depend on what else holds an object.
MARSHAL_VERSION = 2

ADDED = {
    "dataclasses": """
import marshal as _marshal
_COMPILED = _marshal.loads({table!r})
def exec(source, *namespaces, _exec=exec):
    code = _COMPILED.get(source)
    return _exec(source if code is None else _marshal.loads(code), *namespaces)
""",
    "re._compiler": """
import marshal as _marshal
_COMPILED = _marshal.loads({table!r})
def compile(p, flags=0, _compile=compile):
    compiled = _COMPILED.get((p, int(flags))) if isstring(p) else None
    return _compile(p, flags) if compiled is None else _sre.compile(*compiled)
""",
}
"""For each module that compiles, the source to add to its own."""


def source_with(table: bytes, name: str, source: str) -> str:
    """The `source` of the module called `name`, with `table` (from RESULT) to look into first."""
    return source + ADDED[name].format(table=table)


class _Sre:
    """`_sre`, keeping the arguments that its compile() was called with last."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.last: tuple[Any, ...] = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def compile(self, *arguments: Any) -> Any:
        self.last = arguments
        return self._real.compile(*arguments)


def note_patterns() -> dict[Any, Any]:
    """Note from now on what each pattern becomes: pattern and flags → arguments of `_sre.compile`."""
    compiler: Any = importlib.import_module("re._compiler")
    noted: dict[Any, Any] = {}
    compile_anew, compiler._sre = compiler.compile, _Sre(compiler._sre)

    def compile_and_note(pattern: Any, flags: int = 0) -> Any:
        compiled = compile_anew(pattern, flags)
        if isinstance(pattern, str | bytes):
            of_pattern, final_flags, code, *groups = compiler._sre.last
            # The parser's own kinds of int, which nothing but the parser needs.
            noted[(pattern, int(flags))] = (of_pattern, int(final_flags), [int(word) for word in code], *groups)
        return compiled

    compiler.compile = compile_and_note
    return noted


def note_methods() -> dict[Any, Any]:
    """Note from now on what the methods of dataclasses become: source → marshalled code."""
    dataclasses: Any = importlib.import_module("dataclasses")
    noted: dict[Any, Any] = {}

    def exec_and_note(source: str, *namespaces: Any) -> None:
        code = compile(source, "<string>", "exec", dont_inherit=True, optimize=2)
        noted[source] = marshal.dumps(code, MARSHAL_VERSION)
        exec(code, *namespaces)

    dataclasses.exec = exec_and_note
    return noted


class _Excluded:
    """Finds nothing, loudly, for modules that the frozen extension goes without."""

    def __init__(self, names: list[str]) -> None:
        self._names = tuple(f"{name}." for name in names)

    def find_spec(self, name: str, *_: Any) -> None:
        if f"{name}.".startswith(self._names):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def main(arguments: list[str]) -> int:
    end = arguments.index("--")
    result, path, excluded = Path(arguments[0]), arguments[1:end], arguments[end + 1 :]
    sys.path[:0] = path
    sys.meta_path.insert(0, _Excluded(excluded))
    noted = {"re._compiler": note_patterns(), "dataclasses": note_methods()}
    for name in IMPORTED:
        importlib.import_module(name)
    tables = {
        name: marshal.dumps(dict(sorted(table.items(), key=repr)), MARSHAL_VERSION) for name, table in noted.items()
    }
    result.write_bytes(marshal.dumps(tables, MARSHAL_VERSION))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
