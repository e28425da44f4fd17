"""What is compiled in advance: the same as what would be compiled at the start, and used instead of it."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import marshal
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = ROOT / "build" / "nuitka" / "precompile.py"
sys.path.append(str(PROGRAM.parent))
precompile: Any = importlib.import_module("precompile")
sys.path.remove(str(PROGRAM.parent))


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the program writes for the extension as it is."""
    return written(tmp_path_factory.mktemp("precompiled"), "1")


def written(directory: Path, seed: str) -> dict[str, bytes]:
    result = directory / "precompiled"
    paths = [ROOT / "src", sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    command = [sys.executable, "-I", "-S", str(PROGRAM), str(result), *map(str, paths), "--", "h2", "rich", "typer"]
    subprocess.run(command, env={"PYTHONHASHSEED": seed}, check=True)
    found: dict[str, bytes] = marshal.loads(result.read_bytes())
    return found


def with_table(name: str, table: dict[Any, Any]) -> Any:
    """A second copy of the module `name`, made of its source and `table`."""
    original = importlib.import_module(name)
    copy = ModuleType(name)
    copy.__dict__.update(__package__=original.__package__, __file__=original.__file__)
    source = precompile.source_with(marshal.dumps(table, precompile.MARSHAL_VERSION), name, inspect.getsource(original))
    exec(source, vars(copy))
    return copy


def test_what_the_extension_needs_is_in_the_tables(tables: dict[str, bytes]) -> None:
    assert tables.keys() == precompile.ADDED.keys()
    assert len(marshal.loads(tables["dataclasses"])) > 20
    patterns = marshal.loads(tables["re._compiler"])
    assert len(patterns) > 20
    assert any(isinstance(pattern, bytes) for pattern, _ in patterns)  # h11's


def test_the_tables_are_the_same_every_time(tables: dict[str, bytes], tmp_path: Path) -> None:
    assert written(tmp_path, "2") == tables


def test_patterns_from_the_table_match_like_others(tables: dict[str, bytes]) -> None:
    compiler = with_table("re._compiler", marshal.loads(tables["re._compiler"]))
    for pattern, flags in marshal.loads(tables["re._compiler"]):
        made, usual = compiler.compile(pattern, flags), re.compile(pattern, flags)
        assert made == usual
        assert (made.groups, made.groupindex, made.flags) == (usual.groups, usual.groupindex, usual.flags)


def test_a_pattern_in_the_table_is_not_compiled_again() -> None:
    of_another = (*compiled_by_sre("b+"),)
    compiler = with_table("re._compiler", {("a+", 0): of_another})
    assert compiler.compile("a+").fullmatch("bbb")
    assert compiler.compile("a+", re.IGNORECASE).fullmatch("AAA")
    assert compiler.compile("c+").fullmatch("ccc")
    assert compiler.compile(re._parser.parse("d+")).fullmatch("ddd")  # type: ignore[attr-defined]


def compiled_by_sre(pattern: str) -> tuple[Any, ...]:
    """What `re` hands to `_sre.compile` for `pattern`."""
    compiler = with_table("re._compiler", {})
    compiler._sre = precompile._Sre(compiler._sre)
    compiler.compile(pattern)
    given, flags, code, *groups = compiler._sre.last
    return (given, int(flags), [int(word) for word in code], *groups)


def test_dataclasses_from_the_table_work_like_others(tables: dict[str, bytes]) -> None:
    made = with_table("dataclasses", marshal.loads(tables["dataclasses"]))
    for module in (made, dataclasses):
        fields = [("x", int), ("y", int, module.field(default=2))]
        point = module.make_dataclass("Point", fields, frozen=True, order=True)
        assert repr(point(1)) == "Point(x=1, y=2)"
        assert point(1) == point(1, 2) < point(2)
        with pytest.raises(module.FrozenInstanceError):
            point(1).x = 3


def test_methods_in_the_table_are_not_compiled_again() -> None:
    noted: list[str] = []
    recording = with_table("dataclasses", {})
    usual = recording.exec

    def note(source: str, *namespaces: Any) -> None:
        noted.append(source)
        usual(source, *namespaces)

    recording.exec = note

    def define(module: Any) -> Any:
        return module.make_dataclass("Point", [("x", int)], repr=False, eq=False)

    define(recording)
    code = compile(noted[0].replace("self.x=x", "self.x=-x"), "<string>", "exec")
    made = with_table("dataclasses", {noted[0]: marshal.dumps(code, precompile.MARSHAL_VERSION)})
    assert (define(recording)(1).x, define(made)(1).x) == (1, -1)


def test_an_excluded_module_is_not_there() -> None:
    finder = precompile._Excluded(["xml.dom"])
    assert finder.find_spec("xml") is None
    assert finder.find_spec("xml.domino") is None
    for name in ("xml.dom", "xml.dom.minidom"):
        with pytest.raises(ModuleNotFoundError, match=name):
            finder.find_spec(name)
