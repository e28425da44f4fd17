"""httpx, imported without what it names and we have no use for.

For cookies, digest authentication and proxies from the environment httpx imports `urllib.request` and
`http.cookiejar`, with them `http.client`, `email` and `tempfile`: about an eighth of the CPU of a start. While httpx is
imported, stand-ins take the places of these two modules. What they offer either is the real thing, imported when it is
called, or is not wanted: our clients keep no cookies. docs/cold-start.md has the figures.

Use `from fliptop.intake.lean import httpx`. Where httpx or the modules have been imported already, nothing happens.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any


class LateModule(ModuleType):
    """Stands for a module that is imported when somebody asks for one of its names."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by the import system, which shall not see a module that is not there
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


class _Request:
    """What httpx shows to a cookie jar; derived from, and filled in, but ours does not look."""

    def __init__(self, **_: object) -> None: ...


class _NoCookies:
    """A cookie jar that nothing stays in."""

    def extract_cookies(self, *_: object) -> None: ...

    def __iter__(self) -> Iterator[Any]:
        return iter(())


def _stand_ins() -> dict[str, ModuleType]:
    """Modules in whose names httpx is interested while it is imported."""
    request, cookies = LateModule("urllib.request"), LateModule("http.cookiejar")
    vars(request).update(
        Request=_Request,
        getproxies=lambda: import_module("urllib.request").getproxies(),
        parse_http_list=lambda text: import_module("urllib.request").parse_http_list(text),
    )
    vars(cookies).update(CookieJar=_NoCookies, Cookie=object)
    return {module.__name__: module for module in (request, cookies)}


@contextmanager
def _in_place(stand_ins: dict[str, ModuleType]) -> Iterator[None]:
    """Let `stand_ins` be what an import finds, unless it would find the real module."""
    placed = {name: module for name, module in stand_ins.items() if name not in sys.modules}
    for name, module in placed.items():
        parent, _, child = name.rpartition(".")
        sys.modules[name] = module
        setattr(import_module(parent), child, module)
    try:
        yield
    finally:
        for name, module in placed.items():
            if sys.modules.get(name) is module:
                parent, _, child = name.rpartition(".")
                del sys.modules[name]
                delattr(sys.modules[parent], child)


def _put_off(name: str) -> None:
    """Let `import name` cost nothing until one of its names is used."""
    if name not in sys.modules and (spec := find_spec(name)):
        parent, _, child = name.rpartition(".")
        sys.modules[name] = module = LateModule(name)
        module.__spec__ = spec
        if parent:
            setattr(import_module(parent), child, module)


# Asked for by httpx and httpcore while they are imported, used by neither before something unusual happens.
for _name in ("certifi", "email.message"):
    _put_off(_name)
with _in_place(_stand_ins()):
    import httpcore  # noqa: F401 -- httpx imports it when the first client is made
    import httpx

__all__ = ["httpx"]
