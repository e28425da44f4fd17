"""The launcher's HTTP: byte for byte, in pieces of any size, and in agreement with h11."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.launcher.conftest import Built
from tests.scripted_api import chunked

from fliptop.http1 import ClientSide, ProtocolError, Request, Response

HEAD_LIMIT, BODY_KEPT, BODY_LIMIT = 64 * 1024, 4096, 16 * 1024 * 1024
IDENTIFIER = "Lambda-Extension-Identifier"


@dataclass(frozen=True)
class Read:
    """What the launcher made of one response."""

    surplus: int
    status: int
    closes: bool
    length: int
    body: bytes
    identifier: str


Http = Callable[..., Read | None]


@pytest.fixture(scope="module")
def read_http(built: Built) -> Iterator[Http]:
    """The launcher's parser, for many responses in one process. None: broken."""
    driver = built.launcher.with_name("http-batch")
    process = subprocess.Popen([str(driver)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None

    def read(answer: bytes, piece: int = BODY_LIMIT * 2) -> Read | None:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(struct.pack("<II", piece, len(answer)) + answer)
        process.stdin.flush()
        line = process.stdout.readline().decode()
        assert line.endswith("\n"), "the parser died: its sanitizer's report is on stderr"
        if line == "broken\n":
            return None
        used, status, closes, length, body, identifier = line.rstrip("\n").split(" ")
        return Read(
            len(answer) - int(used), int(status), closes == "1", int(length), bytes.fromhex(body[1:]), identifier[1:]
        )

    yield read
    process.stdin.close()
    process.stdout.close()
    assert process.wait(timeout=30) == 0


def of(read: Read | None) -> Read:
    assert read is not None, "broken"
    return read


UNDERSTOOD: dict[str, tuple[bytes, Read]] = {
    "a length": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc", Read(1, 200, False, 2, b"ab", "")),
    "an empty body": (b"HTTP/1.1 403 \r\ncontent-length:0\r\n\r\n", Read(0, 403, False, 0, b"", "")),
    "no reason": (b"HTTP/1.1 200\ncontent-length: 0\n\n", Read(0, 200, False, 0, b"", "")),
    "until the end": (b"HTTP/1.1 200 OK\r\n\r\nabc", Read(0, 200, True, 3, b"abc", "")),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", Read(0, 200, True, 1, b"a", "")),
    "no content": (b"HTTP/1.1 204 X\r\nContent-Length: 5\r\n\r\n", Read(0, 204, False, 0, b"", "")),
    "the length twice": (
        b"HTTP/1.1 200 X\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        Read(0, 200, False, 1, b"a", ""),
    ),
    "the identifier": (
        b"HTTP/1.1 200 X\r\nContent-Length: 0\r\nLAMBDA-Extension-identifier: \t a-1 \r\n\r\n",
        Read(0, 200, False, 0, b"", "a-1"),
    ),
    "a folded line": (b"HTTP/1.1 200 X\r\nX: 1\r\n\t2\r\nContent-Length: 0\r\n\r\n", Read(0, 200, False, 0, b"", "")),
    "a long line": (
        b"HTTP/1.1 200 X\r\nX" + b"y" * 3000 + b"\r\nContent-Length: 0\r\n\r\n",
        Read(0, 200, False, 0, b"", ""),
    ),
    "a close in mixed case": (
        b"HTTP/1.1 200 X\r\nConnection: CLOSE\r\nContent-Length: 0\r\n\r\n",
        Read(0, 200, True, 0, b"", ""),
    ),
    "continue first": (
        b"HTTP/1.1 100 Continue\r\nContent-Length: 9\r\n\r\nHTTP/1.1 202 X\r\nContent-Length: 0\r\n\r\n",
        Read(0, 202, False, 0, b"", ""),
    ),
}


@pytest.mark.parametrize("piece", [1, 2, 7, 10_000])
@pytest.mark.parametrize("kind", UNDERSTOOD)
def test_understood(read_http: Http, kind: str, piece: int) -> None:
    answer, expected = UNDERSTOOD[kind]
    assert read_http(answer, piece) == expected


BROKEN: dict[str, bytes] = {
    "nothing": b"",
    "another protocol": b"SSH-2.0-OpenSSH\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na",
    "HTTP/2": b"HTTP/2 200\r\n\r\n",
    "status of two digits": b"HTTP/1.1 20\r\n\r\n",
    "status of four digits": b"HTTP/1.1 2000\r\n\r\n",
    "status 099": b"HTTP/1.1 099 X\r\n\r\n",
    "another protocol from now on": b"HTTP/1.1 101 X\r\n\r\n",
    "no colon": b"HTTP/1.1 200 X\r\nContent-Length\r\n\r\n",
    "a length that is none": b"HTTP/1.1 200 X\r\nContent-Length: 1x\r\n\r\na",
    "a negative length": b"HTTP/1.1 200 X\r\nContent-Length: -1\r\n\r\na",
    "no length behind the colon": b"HTTP/1.1 200 X\r\nContent-Length:\r\n\r\na",
    "lengths that differ": b"HTTP/1.1 200 X\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "an enormous length": b"HTTP/1.1 200 X\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "a coding that nobody asked for": b"HTTP/1.1 200 X\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "an identifier with a space": b"HTTP/1.1 200 X\r\nLambda-Extension-Identifier: a b\r\nContent-Length: 0\r\n\r\n",
    "an identifier with a NUL": b"HTTP/1.1 200 X\r\nLambda-Extension-Identifier: a\0b\r\nContent-Length: 0\r\n\r\n",
    "an identifier too long": b"HTTP/1.1 200 X\r\nLambda-Extension-Identifier: " + b"a" * 256 + b"\r\n\r\n",
    "an identifier much too long": b"HTTP/1.1 200 X\r\nLambda-Extension-Identifier: " + b"a" * 2000 + b"\r\n\r\n",
    "a chunk without size": b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n;x\r\n",
    "a chunk with an odd size": b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n1z\r\n",
    "a chunk beyond all bounds": b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n",
    "a chunk longer than its size": b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
    "chunks without end": b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
    "a head without end": b"HTTP/1.1 200 X\r\n" + b"X: y\r\n" * (HEAD_LIMIT // 6 + 1),
    "a line without end": b"HTTP/1.1 200 X\r\nX: " + b"y" * HEAD_LIMIT,
    "informational responses without end": b"HTTP/1.1 100 X\r\n\r\n" * (HEAD_LIMIT // 18 + 1),
    "trailers without end": b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    + b"X: y\r\n" * (HEAD_LIMIT // 6 + 1),
}


@pytest.mark.parametrize("piece", [1, 7, 100_000])
@pytest.mark.parametrize("kind", BROKEN)
def test_broken(read_http: Http, kind: str, piece: int) -> None:
    assert read_http(BROKEN[kind], piece) is None


@pytest.mark.parametrize("length", [BODY_KEPT, BODY_KEPT + 1, 100_000])
def test_of_a_large_body_the_start_is_kept(read_http: Http, length: int) -> None:
    body = bytes(number % 251 for number in range(length))
    plain = of(read_http(f"HTTP/1.1 200 X\r\nContent-Length: {length}\r\n\r\n".encode() + body, 1000))
    in_chunks = of(read_http(chunked(body), 1000))
    for read in (plain, in_chunks):
        assert (read.length, read.body) == (length, body[:BODY_KEPT])


def test_a_body_has_a_bound(read_http: Http) -> None:
    assert read_http(b"HTTP/1.1 200 X\r\n\r\n" + b"x" * BODY_LIMIT) is not None
    assert read_http(b"HTTP/1.1 200 X\r\n\r\n" + b"x" * (BODY_LIMIT + 1)) is None
    assert read_http(f"HTTP/1.1 200 X\r\nContent-Length: {BODY_LIMIT + 1}\r\n\r\n".encode()) is None


TOKEN = st.text("abcXYZ-019", min_size=1, max_size=12)
VALUE = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40)
RESPONSES = st.tuples(
    st.integers(200, 599).filter(lambda status: status not in {204, 304}),
    st.lists(st.tuples(TOKEN, VALUE), max_size=4),
    st.text("abcdef-0123456789", min_size=1, max_size=60),
    st.binary(max_size=300),
    st.booleans(),
    st.integers(1, 40),
)


@settings(max_examples=300, deadline=None)
@given(RESPONSES)
def test_agrees_with_h11(read_http: Http, case: tuple[int, list[tuple[str, str]], str, bytes, bool, int]) -> None:
    status, headers, identifier, body, in_chunks, piece = case
    named = [f"{name}: {value}" for name, value in headers] + [f"{IDENTIFIER}: {identifier}"]
    if in_chunks:
        answer = chunked(body, *named, status=status)
    else:
        head = "\r\n".join((f"HTTP/1.1 {status} X", *named, f"Content-Length: {len(body)}"))
        answer = f"{head}\r\n\r\n".encode() + body
    client = ClientSide("x")
    client.send(Request("GET", "/"))
    try:
        theirs = client.receive(answer)
    except ProtocolError:
        return
    assert isinstance(theirs, Response)
    ours = of(read_http(answer, piece))
    assert (ours.status, ours.body, ours.identifier) == (theirs.status, theirs.body, theirs.header(IDENTIFIER))
    assert ours.surplus == 0
