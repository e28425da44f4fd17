"""HTTP/1.1 in byte chunks, no socket."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fliptop.http1 import ClientSide, ProtocolError, Request, Response, Room, ServerSide

BODY = b'[{"type":"function"}]'
POST = b"POST / HTTP/1.1\r\nHost: sandbox\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
SMALL = b"POST / HTTP/1.1\r\nHost: sandbox\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST /x HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n"


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges) if start < end]


@given(st.lists(st.integers(min_value=0), max_size=12))
def test_a_request_is_the_same_however_it_is_cut(cuts: list[int]) -> None:
    server = ServerSide(max_body=1000)
    got = [request for piece in pieces(POST, cuts) for request in server.receive(piece)]
    assert [(request.method, request.target, request.body) for request in got] == [("POST", "/", BODY)]


def test_chunked_bodies_are_joined() -> None:
    (request,) = ServerSide(max_body=1000).receive(CHUNKED)
    assert request.body == b"abcdef"


def test_pipelined_requests_are_answered_one_after_the_other() -> None:
    server = ServerSide(max_body=1000)
    bodies = []
    for request in server.receive(POST + POST):
        bodies.append(request.body)
        assert server.respond(Response(200)).startswith(b"HTTP/1.1 200")
    assert bodies == [BODY, BODY]


@pytest.mark.parametrize("sent", [POST, CHUNKED])
@given(cuts=st.lists(st.integers(min_value=0), max_size=12))
def test_a_body_over_the_limit_is_read_to_its_end_and_not_kept(sent: bytes, cuts: list[int]) -> None:
    room = Room(5)
    server = ServerSide(5, room)
    got = []
    for piece in pieces(sent + SMALL, cuts):
        for request in server.receive(piece):
            got.append((request.body, request.refused))
            server.respond(Response(200))
    assert got == [(b"", "too_large"), (b"hello", "")]
    assert server.keeps_open
    assert room.take(5)


def test_a_body_for_which_there_is_no_room_is_refused() -> None:
    room = Room(30)
    first, second = ServerSide(1000, room), ServerSide(1000, room)
    assert list(first.receive(POST[:-1])) == []
    (request,) = second.receive(POST)
    assert (request.body, request.refused) == (b"", "no_room")
    first.close()
    second.respond(Response(503))
    (request,) = second.receive(POST)
    assert (request.body, request.refused) == (BODY, "")


def test_head_is_answered_without_a_body() -> None:
    server = ServerSide(max_body=1000)
    (_,) = server.receive(b"HEAD / HTTP/1.1\r\nHost: s\r\n\r\n")
    assert server.respond(Response(200, b"body")).endswith(b"Content-Length: 4\r\n\r\n")
    (_,) = server.receive(POST)
    assert server.respond(Response(200, b"body")).endswith(b"body")


def test_what_http_does_not_allow_to_answer_is_an_error() -> None:
    server = ServerSide(max_body=1000)
    (_,) = server.receive(b"CONNECT h:1 HTTP/1.1\r\nHost: s\r\n\r\n")
    with pytest.raises(ProtocolError):
        server.respond(Response(200, b"agreed"))


def test_a_client_that_would_rather_speak_http2_is_served() -> None:
    """As Java's does, which asks for it in its first request."""
    server = ServerSide(max_body=1000)
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEA\r\n\r\n"
    (request,) = server.receive(POST.replace(b"\r\n\r\n", b"\r\n" + upgrade))
    assert request.body == BODY
    server.respond(Response(200))
    (request,) = server.receive(POST)
    assert request.body == BODY


def test_what_is_not_http_is_refused() -> None:
    with pytest.raises(ProtocolError):
        list(ServerSide(max_body=10).receive(b"\x16\x03\x01\x02\x00 hello\r\n\r\n"))


def test_a_client_that_waits_for_100_continue_hears_it() -> None:
    server = ServerSide(max_body=1000)
    head = b"POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    assert list(server.receive(head)) == []
    assert server.wants_continue
    assert server.go_ahead().startswith(b"HTTP/1.1 100")
    (request,) = server.receive(b"ok")
    assert request.body == b"ok"


def test_connection_close_is_honoured() -> None:
    server = ServerSide(max_body=1000)
    (_,) = server.receive(b"GET / HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n")
    server.respond(Response(200))
    assert not server.keeps_open


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@given(st.lists(st.integers(min_value=0), max_size=12))
def test_a_response_is_the_same_however_it_is_cut(cuts: list[int]) -> None:
    client = ClientSide("127.0.0.1:9001")
    client.send(Request("GET", "/next"))
    got = [client.receive(piece) for piece in pieces(ANSWER, cuts)]
    assert all(response is None for response in got[:-1])
    assert got[-1] is not None
    assert (got[-1].status, got[-1].body, got[-1].header("content-type")) == (200, b"{}", "application/json")


def test_one_connection_serves_one_exchange_after_the_other() -> None:
    client = ClientSide("h")
    for _ in range(3):
        assert client.send(Request("POST", "/a", body=b"x")).endswith(b"\r\n\r\nx")
        assert client.receive(ANSWER) is not None
    assert client.keeps_open


def test_an_informational_response_is_not_the_answer() -> None:
    client = ClientSide("h")
    client.send(Request("GET", "/a"))
    assert client.receive(b"HTTP/1.1 100 Continue\r\n\r\n") is None
    assert client.receive(ANSWER) is not None


@pytest.mark.parametrize("cut", [b"", ANSWER[:20], ANSWER[:-1]])
def test_a_connection_that_closes_early_is_an_error(cut: bytes) -> None:
    client = ClientSide("h")
    client.send(Request("GET", "/a"))
    if cut:
        assert client.receive(cut) is None
    with pytest.raises(ProtocolError):
        client.receive(b"")


def test_an_endless_answer_is_an_error() -> None:
    client = ClientSide("h", max_body=10)
    client.send(Request("GET", "/a"))
    with pytest.raises(ProtocolError, match="over 10 bytes"):
        client.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 50)
