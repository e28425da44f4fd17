"""httpx, imported without what it names and we have no use for.

For cookies, digest authentication and proxies from the environment httpx imports `urllib.request` and
`http.cookiejar`, with them `http.client`, `email` and `tempfile`: about an eighth of the CPU of a start. While httpx is
imported, stand-ins take the places of these two modules. They read the environment for proxies in the same way, and
keep no cookies. docs/cold-start.md has the figures.

Use `from fliptop.intake.lean import httpx`. Where httpx or the modules have been imported already, nothing happens.
"""

from __future__ import annotations

import os
import sys
import urllib.parse  # noqa: F401 -- the stand-in below becomes an attribute of `urllib`, and httpx needs this anyway
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


def _proxies() -> dict[str, str]:
    """What `urllib.request.getproxies` finds on Linux: variables `<scheme>_proxy`, of which lower case counts more."""
    named = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    proxies = {name.lower()[:-6]: value for name, value in named.items() if value}
    if "REQUEST_METHOD" in os.environ:  # in a CGI program, HTTP_PROXY is what a client sent as its header `Proxy`
        proxies.pop("http", None)
    for name, value in named.items():
        if name.endswith("_proxy"):
            proxies.pop(name.lower()[:-6], None)
            proxies.update({name.lower()[:-6]: value} if value else {})
    return proxies


def _stand_ins() -> dict[str, ModuleType]:
    """Modules in whose names httpx is interested while it is imported."""
    request, cookies = LateModule("urllib.request"), LateModule("http.cookiejar")
    vars(request).update(
        Request=_Request,
        getproxies=_proxies,
        parse_http_list=lambda text: import_module("urllib.request").parse_http_list(text),
    )
    vars(cookies).update(CookieJar=_NoCookies, Cookie=object)
    return {module.__name__: module for module in (request, cookies)}


@contextmanager
def _in_place(stand_ins: dict[str, ModuleType]) -> Iterator[None]:
    """Let `stand_ins` be what an import finds, unless it would find the real module."""
    placed = {name: module for name, module in stand_ins.items() if name not in sys.modules}
    for name, module in placed.items():
        _place(name, module)
    try:
        yield
    finally:
        for name, module in placed.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
                parent, _, child = name.rpartition(".")
                vars(sys.modules.get(parent, module)).pop(child, None)


def _place(name: str, module: ModuleType) -> None:
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent in sys.modules:  # `from http.cookiejar import …` does without `http`, and so do we
        setattr(sys.modules[parent], child, module)


def _put_off(name: str) -> None:
    """Let `import name` cost nothing until one of its names is used."""
    if name not in sys.modules:
        module = LateModule(name)
        with suppress(ModuleNotFoundError):  # the layer goes without idna
            module.__spec__ = find_spec(name)
        _place(name, module)


# Asked for by httpx and httpcore while they are imported, used by neither before something unusual happens.
for _name in ("certifi", "email.message", "idna"):
    _put_off(_name)
# Asked for by httpcore several times in each request. There is none in the layer, and looking for it along all of
# `sys.path`, again and again, took a fourteenth of the CPU of a warm invocation. None: there is none, do not look.
if "sniffio" not in sys.modules and find_spec("sniffio") is None:
    sys.modules["sniffio"] = None  # type: ignore[assignment]
with _in_place(_stand_ins()):
    import httpcore  # noqa: F401 -- httpx imports it when the first client is made
    import httpx

__all__ = ["httpx"]
