"""httpx as we import it: without its costly company, and still complete."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fliptop.intake import lean

STOOD_IN = {"urllib.request": {"Request", "getproxies", "parse_http_list"}, "http.cookiejar": {"Cookie", "CookieJar"}}
LATE = {"certifi", "email.message", "idna"}


def run(program: str) -> str:
    """What `program` prints, in an interpreter that has imported nothing yet but httpx, our way."""
    head = "import sys, json\nfrom fliptop.intake.lean import LateModule, httpx\n"
    command = [sys.executable, "-c", head + program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_what_httpx_names_in_passing_is_not_imported() -> None:
    program = "print(json.dumps([n for n, m in sys.modules.items() if not isinstance(m, LateModule)]))"
    imported = set(json.loads(run(program)))
    assert "httpx" in imported
    assert imported.isdisjoint({*STOOD_IN, *LATE, "http.client", "email.parser", "tempfile", "importlib.resources"})


def test_afterwards_the_real_modules_are_found() -> None:
    program = """
from urllib.request import Request, urlopen
import urllib.request, http.cookiejar, email.message, certifi
assert urllib.request.Request is Request and Request.__module__ == "urllib.request"
assert len(http.cookiejar.CookieJar()) == 0
assert email.message.Message()["nothing"] is None
assert httpx.URL("http://m\\xfcller.de").raw_host == b"xn--mller-kva.de"
assert open(certifi.where()).read(2) == "\\n#"
print(*sorted(n for n, m in sys.modules.items() if isinstance(m, LateModule)))
"""
    assert run(program) == ""


NAMES = ["http_proxy", "HTTP_PROXY", "Https_Proxy", "https_proxy", "all_PROXY", "no_proxy", "NO_PROXY", "_proxy"]


@given(st.dictionaries(st.sampled_from([*NAMES, "REQUEST_METHOD"]), st.sampled_from(["", "http://a:1", "b"])))
def test_proxies_are_found_as_urllib_finds_them(environ: dict[str, str]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "environ", environ)
        assert lean._proxies() == urllib.request.getproxies_environment()


def test_what_stands_in_for_a_function_calls_it() -> None:
    assert run("print(httpx._auth.parse_http_list('a=\"b, c\", d'))") == "['a=\"b, c\"', 'd']"


def test_a_response_is_read_as_ever_and_no_cookie_is_kept() -> None:
    program = """
headers = {"Content-Type": "text/plain; charset=iso-8859-1", "Set-Cookie": "a=b"}
seen = []
def answer(request):
    seen.append("Cookie" in request.headers)
    return httpx.Response(200, headers=headers, content=b"\\xe9")
with httpx.Client(transport=httpx.MockTransport(answer), trust_env=False) as client:
    texts = [client.get("http://intake/").text for _ in range(2)]
print(texts == ["\\xe9"] * 2, seen)
"""
    assert run(program) == "True [False, False]"


def test_the_stand_ins_offer_all_that_httpx_takes_from_those_modules() -> None:
    taken = {name: set[str]() for name in STOOD_IN}
    for module, name in names_taken_by_httpx():
        if module in taken:
            taken[module].add(name)
    assert taken == STOOD_IN


def names_taken_by_httpx() -> Iterator[tuple[str, str]]:
    """Module and name of each `from module import name` and `module.name` in its sources."""
    for path in Path(httpx.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                yield from ((node.module, alias.name) for alias in node.names)
            elif isinstance(node, ast.Attribute):
                yield ast.unparse(node.value), node.attr


def test_httpcore_does_not_look_for_sniffio_again_and_again() -> None:
    program = """
import importlib.abc, httpcore._synchronization as synchronization
class Spy(importlib.abc.MetaPathFinder):
    asked = []
    def find_spec(self, name, path, target=None):
        self.asked.append(name)
sys.meta_path.insert(0, Spy())
assert synchronization.current_async_library() == "asyncio"
print(json.dumps(Spy.asked))
"""
    assert json.loads(run(program)) == []
