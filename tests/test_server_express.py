"""The express way of plain appends: the same answers as the ordinary way gives, whatever is sent and however it comes."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import hansard
from hansard.server import express
from hansard.server.access.administration import add_key
from hansard.server.settings import Settings
from hansard.storage.opening import open_storage
from servers import Client, served


@pytest.fixture(autouse=True)
def without_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that uses OpenTelemetry, as that of other tests may, takes the ordinary way for all."""
    monkeypatch.setattr(express, "is_in_use", lambda: False)


ID = "0190c7a4-8f00-7000-8000-000000000001"
ORDINARY = b"X-Special: 1\r\n"
"""A header that the express way does not know, so that it takes nothing."""

BODIES = [
    b'{"type":"a"}',
    b'[{"type":"a","data":{"x":1},"metadata":{"by":"me"},"tags":["t:1"]},{"type":"b","data_json":"[1,\\n2]"}]',
    b'[{"type":"a","id":"%s"}]' % ID.encode(),
    b"[]",
    b"",
    b" [ ] ",
    b"{",
    b'{"type":""}',
    b'{"type":1}',
    b'{"type":"a","more":1}',
    b'{"type":"a","tags":["t","t"]}',
    b'{"type":"a","tags":%s}' % json.dumps([f"t{n}" for n in range(65)]).encode(),
    b'{"type":"a","data":{"x":1},"data_json":"2"}',
    b'{"type":"a","metadata":[1]}',
    b'{"type":"a","id":"nope"}',
    b'{"type":"' + b"y" * 513 + b'"}',
    b'{"type":"a","data":"' + b"\xff" + b'"}',
    b'{"type":"a","data":"' + b"y" * 70_000 + b'"}',
    b"[" * 500,
]
STREAMS = ["e-1#z", "s-1", "x" * 512, "x" * 513, "hansard.audit", "%73-1", "a%2Fb", "%FF", "", "s-1?x=1"]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Two servers with equal stores."""
    with (
        served(open_storage(tmp_path / "one.db")) as one,
        served(open_storage(tmp_path / "two.db")) as two,
    ):
        yield one, two


def raw(url: str, request: bytes) -> bytes:
    """The answer to one request."""
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20) as connection:
        connection.sendall(request)
        received = b""
        while data := connection.recv(65_536):
            received = (received + data).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
            if _is_whole(received):
                break
    assert received
    return received


def _is_whole(received: bytes) -> bool:
    head, _, body = received.partition(b"\r\n\r\n")
    length = next((int(line[16:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: ")), None)
    return length is not None and len(body) >= length


def request(stream: str, body: bytes, more: bytes = b"", method: bytes = b"POST") -> bytes:
    head = b"%b /api/v1/streams/%b/events HTTP/1.1\r\nHost: localhost\r\n" % (method, stream.encode())
    return head + b"Content-Type: application/json\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), more, body)


def facts(answer: bytes) -> tuple[bytes, list[bytes], object]:
    """The status, the headers in any order, and the body, without what differs between two runs."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *headers = head.split(b"\r\n")
    kept = [line for line in headers if not line.lower().startswith((b"date:", b"content-length:"))]
    value = json.loads(body) if body else None
    if isinstance(value, dict):
        value.pop("timestamp_us", None)
    return status, sorted(kept), value


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body[:30].decode("latin-1"))
def test_both_ways_answer_a_body_alike(pair: tuple[str, str], body: bytes) -> None:
    """A client would be told different things, depending on a header that does not matter."""
    one, two = pair
    for _ in range(2):  # the second time is a repetition, where there are ids
        assert facts(raw(one, request("s-1", body))) == facts(raw(two, request("s-1", body, ORDINARY)))


@pytest.mark.parametrize("stream", STREAMS)
def test_both_ways_answer_a_stream_alike(pair: tuple[str, str], stream: str) -> None:
    """A name could be appended to in one way only."""
    one, two = pair
    assert facts(raw(one, request(stream, BODIES[0]))) == facts(raw(two, request(stream, BODIES[0], ORDINARY)))


@pytest.mark.parametrize(
    "more",
    [
        b"If-Match: 0\r\n",
        b"If-Match: 7\r\n",
        b"If-None-Match: *\r\n",
        b"Origin: http://evil.example\r\n",
        b"Sec-Fetch-Site: cross-site\r\n",
        b"Host: evil.example\r\n",
        b"Content-Type: text/plain\r\n",
        b"ce-specversion: 1.0\r\nce-type: t\r\nce-id: 1\r\nce-source: s\r\n",
        b"Expect: 100-continue\r\n",
        b"Upgrade: websocket\r\nConnection: upgrade\r\n",
        b"Connection: close\r\n",
        b"Connection: keep-alive\r\n",
        b"Authorization: Basic eDp5\r\n",
        b"User-Agent: curl/8\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n",
    ],
    ids=lambda more: more[:24].decode(),
)
def test_headers_that_matter_are_heeded(pair: tuple[str, str], more: bytes) -> None:
    """The express way would skip a check."""
    one, two = pair
    body = b'{"type":"a","id":"%s"}' % ID.encode()
    answers = [raw(url, request("s-1", body, more + extra)) for url, extra in ((one, b""), (two, ORDINARY))]
    assert facts(answers[0]) == facts(answers[1])


def test_the_trace_is_kept(pair: tuple[str, str]) -> None:
    """Traces would end at the server."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    client = Client(pair[0])
    client.post("/api/v1/streams/s-1/events", {"type": "a"}, {"traceparent": trace})
    assert client.get("/api/v1/events").json["events"][0]["metadata"] == {"traceparent": trace}


@pytest.mark.parametrize("size", [1, 7, 60, 200, 10_000])
def test_requests_that_come_in_pieces_or_together_are_answered_in_order(tmp_path: Path, size: int) -> None:
    """Answers would go to the wrong question."""
    bodies = [json.dumps({"type": "a", "data": {"n": n, "filler": "y" * (n % 5) * 40}}).encode() for n in range(40)]
    asked = b"".join(
        request("s-1", body) + b"GET /api/v1/head HTTP/1.1\r\nHost: localhost\r\n\r\n" * (n % 3 == 0)
        for n, body in enumerate(bodies)
    )
    with served(open_storage(tmp_path / "log.db")) as url:
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20) as connection:
            connection.settimeout(20)
            received, wanted = b"", 40 + 14
            for start in range(0, len(asked), size):
                connection.sendall(asked[start : start + size])
            ends = time.monotonic() + 20
            while received.count(b"HTTP/1.1 ") < wanted and time.monotonic() < ends:
                received += connection.recv(65_536)
        places = [json.loads(part)["first_position"] for part in _bodies(received) if b"first_position" in part]
        heads = [json.loads(part)["head"] for part in _bodies(received) if part.startswith(b'{"head"')]
        assert places == list(range(1, 41))
        assert heads == [n + 1 for n in range(40) if n % 3 == 0], "each sees the append before it"
        assert [event["data"]["n"] for event in Client(url).get("/api/v1/streams/s-1/events").json["events"]] == list(range(40))


def _bodies(received: bytes) -> list[bytes]:
    return [answer.partition(b"\r\n\r\n")[2] for answer in received.split(b"HTTP/1.1 ")[1:]]


def test_a_body_in_chunks_is_taken_too(pair: tuple[str, str]) -> None:
    """A client that does not know the length could not append."""
    chunked = (
        b"POST /api/v1/streams/s-1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b'Transfer-Encoding: chunked\r\n\r\n8\r\n{"type":\r\n4\r\n"a"}\r\n0\r\n\r\n'
    )
    assert facts(raw(pair[0], chunked))[0] == b"HTTP/1.1 201 Created"


def test_keys_are_asked_for(tmp_path: Path) -> None:
    """Anybody could append."""
    place = str(tmp_path / "log.db")
    writer = add_key(place, "writer", ["append:order"], by="test")
    with served(open_storage(place), Settings(authentication=True)) as url:
        with_key = b"Authorization: Bearer %b\r\n" % writer.encode()
        assert facts(raw(url, request("order-1", BODIES[0], with_key)))[0] == b"HTTP/1.1 201 Created"
        for stream, more in (("order-1", b""), ("order-1", b"Authorization: Bearer hsk_nope\r\n"), ("other-1", with_key)):
            express_answer = facts(raw(url, request(stream, BODIES[0], more)))
            assert express_answer == facts(raw(url, request(stream, BODIES[0], more + ORDINARY)))
            assert express_answer[0] in {b"HTTP/1.1 401 Unauthorized", b"HTTP/1.1 403 Forbidden"}


def test_the_express_way_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of this would be tested on the ordinary way alone."""
    taken: list[bool] = []
    begin = express.Express.begin

    def watched(self: express.Express, *arguments: object) -> bool:
        taken.append(begin(self, *arguments))  # type: ignore[arg-type]
        return taken[-1]

    monkeypatch.setattr(express.Express, "begin", watched)
    with served(open_storage(tmp_path / "log.db")) as url:
        raw(url, request("s-1", BODIES[0]))
        raw(url, request("s-1", BODIES[1]))
        assert taken == [True, True]
        raw(url, request("s-1", BODIES[0], ORDINARY))
        raw(url, request("s-1", b"{"))
        assert taken == [True, True, False, False]
        metrics = Client(url).get("/metrics").body.decode()
        assert 'hansard_http_answers_total{operation="append_to_stream",status="201"} 3.0' in metrics


def test_refusals_by_the_store_are_told(tmp_path: Path) -> None:
    """A client would wait for ever."""
    place = tmp_path / "log.db"
    with hansard.open(place) as store:
        store.add("other-1", "a", id=ID)
    with served(open_storage(place)) as url:
        status, headers, problem = facts(raw(url, request("s-1", b'{"type":"a","id":"%s"}' % ID.encode())))
        assert status == b"HTTP/1.1 409 Conflict"
        assert b"content-type: application/problem+json" in headers
        assert isinstance(problem, dict)
        assert problem["code"] == "duplicate-event-id"
