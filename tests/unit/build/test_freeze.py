"""The parts of `build/freeze.py` that decide what goes into the frozen extension. Nuitka itself is not run here."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.unit.build import samples

freeze = samples.load("freeze")


def test_packages_are_what_fliptop_needs_directly_or_not() -> None:
    packages = freeze.distributions("fliptop")
    assert {"anyio", "httpx", "httpcore", "pydantic-core", "typing-extensions"} <= packages.keys()
    assert not {"fliptop", "rich", "pytest", "aiohttp", "nuitka", "ziglang"} & packages.keys()


def test_what_the_lab_and_the_tests_need_stays_out() -> None:
    packages = freeze.distributions("fliptop")
    foreign = set(freeze._foreign_packages(packages))
    assert {"fliptop_lab", "rich", "pytest", "mypy"} <= foreign
    assert not {"fliptop", "anyio", "httpx", "yaml", "pydantic_core", "orjson", "backports"} & foreign


def test_excluded_modules_are_modules_names() -> None:
    excluded = freeze._excluded()
    assert len(excluded) == len(set(excluded))
    assert all(part.isidentifier() for name in excluded for part in name.split("."))


def test_our_sources_import_nothing_excluded() -> None:
    freeze._check_imports(freeze._excluded())


@pytest.mark.parametrize(
    "line", ["import xml.dom", "from xml import dom", "def f():\n    import xml", "from httpcore._async import http2"]
)
def test_an_excluded_import_stops_the_build(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module.py").write_text(line + "\n")
    monkeypatch.setattr(freeze, "PACKAGE", tmp_path)
    monkeypatch.setattr(freeze, "ROOT", tmp_path)
    with pytest.raises(freeze.FreezeError, match=r"module\.py imports .*\nFix: "):
        freeze._check_imports(["xml", "httpcore._async.http2"])


def test_names_that_only_begin_alike_are_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module.py").write_text("import xmlschema\nfrom . import xml\n")
    monkeypatch.setattr(freeze, "PACKAGE", tmp_path)
    freeze._check_imports(["xml"])


def test_encodings_that_stay() -> None:
    dropped = set(freeze._encodings())
    for name in ("utf_8", "utf_8_sig", "latin_1", "ascii", "idna", "punycode", "aliases", "unicode_escape"):
        assert importlib.util.find_spec(f"encodings.{name}") is not None
        assert f"encodings.{name}" not in dropped
    assert {"encodings.big5", "encodings.cp037", "encodings.mac_roman", "encodings.cp1252"} <= dropped


def test_missing_headers_are_named_with_their_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freeze.sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(freeze.FreezeError, match=r"headers .* missing\.\nFix: .*python3-dev"):
        freeze._check_python()


@pytest.mark.parametrize(("program", "package"), [("gcc", "gcc"), ("readelf", "binutils"), ("ldd", "libc-bin")])
def test_a_missing_program_is_named_with_its_fix(
    program: str, package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr(freeze.sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setattr(freeze.shutil, "which", lambda name: None if name == program else f"/usr/bin/{name}")
    with pytest.raises(freeze.FreezeError, match=rf"`{program}` is missing\.\nFix: install it .*{package}"):
        freeze._check_python()


def test_static_library_that_is_too_new_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("ld.lld: error: undefined symbol: __isoc23_strtol\n>>> referenced by getargs.c\n")
    assert "needs a glibc newer than 2.34" in freeze._diagnosis(tmp_path / "log")
    (tmp_path / "log").write_text("something else\n")
    assert freeze._diagnosis(tmp_path / "log").startswith("something else\n")


def test_the_same_inputs_have_the_same_digest_and_others_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = freeze._digest()
    assert before == freeze._digest()
    monkeypatch.setattr(freeze, "ARCH", "another")
    assert before != freeze._digest()
