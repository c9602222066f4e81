"""Whatever a client sends, it gets one clear problem, and nothing is stored; never a 500."""

import json
import random
import socket
from collections.abc import Iterator
from typing import Any

import pytest

import hansard
from hansard.outcomes import OUTCOMES
from hansard.server.interface import OPERATIONS
from hansard.storage.opening import open_storage
from servers import Client, served

EVENTS = "/api/v1/streams/a-1/events"
LONG = "x" * 513
BAD_EVENTS: list[tuple[Any, str]] = [
    ([], "events"),
    ({}, "type"),
    ([{}], "type"),
    ([{"type": ""}], "type"),
    ([{"type": LONG}], "type"),
    ([{"type": "a\0b"}], "type"),
    ([{"type": 3}], "type"),
    ([{"type": None}], "type"),
    ([{"type": "x", "id": "7"}], "id"),
    ([{"type": "x", "id": 7}], "id"),
    ([{"type": "x", "tags": "t"}], "tags"),
    ([{"type": "x", "tags": [""]}], "tags"),
    ([{"type": "x", "tags": [1]}], "tags"),
    ([{"type": "x", "tags": [LONG]}], "tags"),
    ([{"type": "x", "tags": [f"t{n}" for n in range(65)]}], "tags"),
    ([{"type": "x", "metadata": 3}], "metadata"),
    ([{"type": "x", "metadata": []}], "metadata"),
    ([{"type": "x", "data": 1, "data_json": "1"}], "data_json"),
    ([{"type": "x", "data_json": "{"}], "data_json"),
    ([{"type": "x", "nope": 1}], "nope"),
    (["x"], "expected object"),
    ("x", "expected"),
    (7, "expected"),
    (None, "expected"),
    (True, "expected"),
]
BAD_APPENDS: list[tuple[Any, str]] = [
    ({}, "appends"),
    ({"appends": []}, "appends"),
    ({"appends": {}}, "appends"),
    ({"appends": [{}]}, "events"),
    ({"appends": [{"events": []}]}, "events"),
    ({"appends": [{"events": [{"type": "x"}], "stream": ""}]}, "stream"),
    ({"appends": [{"events": [{"type": "x"}], "stream": LONG}]}, "stream"),
    ({"appends": [{"events": [{"type": "x"}], "stream": 1}]}, "stream"),
    ({"appends": [{"events": [{"type": "x"}], "expected_version": 0}]}, "expected_version"),
    ({"appends": [{"events": [{"type": "x"}], "stream": "a", "expected_version": -1}]}, "expected_version"),
    ({"appends": [{"events": [{"type": "x"}], "stream": "a", "expected_version": 2**63}]}, "expected_version"),
    ({"appends": [{"events": [{"type": "x"}], "stream": "a", "expected_version": "none"}]}, "expected_version"),
    ({"appends": [{"events": [{"type": "x"}], "stream": "a", "expected_version": 1.5}]}, "expected_version"),
    ({"appends": [{"events": [{"type": "x"}]}], "condition": {}}, "fail_if"),
    ({"appends": [{"events": [{"type": "x"}]}], "condition": {"fail_if": {"items": []}}}, "items"),
    ({"appends": [{"events": [{"type": "x"}]}], "condition": {"fail_if": {"items": [{}]}, "after": -1}}, "after"),
    ({"appends": [{"events": [{"type": "x"}]}], "condition": {"fail_if": {"items": [{"category": "a-b"}]}}}, "category"),
    (
        {"appends": [{"events": [{"type": "x"}]}], "condition": {"fail_if": {"items": [{"stream": "a", "category": "a"}]}}},
        "category",
    ),
    ({"appends": [{"events": [{"type": "x"}]}], "timestamps_us": [1, 2]}, "timestamps_us"),
    ({"appends": [{"events": [{"type": "x"}]}], "timestamps_us": [-1]}, "timestamps_us"),
    ({"appends": [{"events": [{"type": "x"}]}], "timestamps_us": [2**60]}, "timestamps_us"),
]
BAD_READS = [
    ("/api/v1/events?after=-1", "after"),
    ("/api/v1/events?after=x", "after"),
    ("/api/v1/events?after=", "after"),
    ("/api/v1/events?after=1&after=2", "after"),
    ("/api/v1/events?after=1.5", "after"),
    ("/api/v1/events?after=99999999999999999999", "after"),
    ("/api/v1/events?before=null", "before"),
    ("/api/v1/events?limit=-1", "limit"),
    ("/api/v1/events?backwards=maybe", "backwards"),
    ("/api/v1/events?type=", "types"),
    ("/api/v1/events?tag=", "tags"),
    (f"/api/v1/events?type={LONG}", "types"),
    ("/api/v1/events?category=a-b", "category"),
    ("/api/v1/events?stream=", "stream"),
    ("/api/v1/events?stream=%00", "stream"),
    ("/api/v1/events?stream=%FF", "query string"),
    ("/api/v1/events?nope=1", "nope"),
    ("/api/v1/streams?limit=0", "limit"),
    ("/api/v1/streams?limit=1001", "limit"),
    ("/api/v1/streams?category=a-b", "category"),
    ("/api/v1/streams?category=%00", "category"),
    ("/api/v1/streams?after=%00", "stream"),
    (f"/api/v1/streams/{LONG}", "stream"),
    ("/api/v1/streams/%00", "stream"),
    ("/api/v1/streams/%FF", "path"),
    ("/api/v1/streams//events", "stream"),
    ("/api/v1/streams/a-1/events?after_version=-1", "after_version"),
    ("/api/v1/events/nope", "id"),
    ("/api/v1/events/00000000-0000-0000-0000-00000000000", "id"),
    ("/api/v1/head?wait_s=-1&after=0", "wait_s"),
    ("/api/v1/head?wait_s=31&after=0", "wait_s"),
    ("/api/v1/head?wait_s=nan&after=0", "wait_s"),
    ("/api/v1/head?wait_s=inf&after=0", "wait_s"),
    ("/api/v1/timers?limit=x", "limit"),
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with served(open_storage(tmp_path_factory.mktemp("bad") / "log.db")) as url:
        yield Client(url)
        with hansard.open(url) as store:
            assert store.head() == 0, "bad requests have stored something"


def assert_problem(answer: Any, told: str = "") -> None:
    assert 400 <= answer.status < 500, answer
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json
    assert problem["status"] == answer.status == OUTCOMES[problem["code"]].http_status
    assert told in problem["detail"], problem
    assert len(answer.body) < 4_000, "a problem is short, whatever was sent"


@pytest.mark.parametrize(("value", "told"), BAD_EVENTS, ids=str)
def test_bad_events_are_refused(client: Client, value: Any, told: str) -> None:
    """A client would not know what is wrong, or something else than it meant would be stored."""
    assert_problem(client.ask("POST", EVENTS, json.dumps(value).encode()), told)


@pytest.mark.parametrize(("value", "told"), BAD_APPENDS, ids=str)
def test_bad_appends_are_refused(client: Client, value: Any, told: str) -> None:
    """The same, for appends to many streams."""
    assert_problem(client.post("/api/v1/events", value), told)


@pytest.mark.parametrize(("path", "told"), BAD_READS)
def test_bad_reads_are_refused(client: Client, path: str, told: str) -> None:
    """A reader would get other events than it asked for."""
    assert_problem(client.get(path), told)


@pytest.mark.parametrize(
    "headers",
    [
        {"If-Match": "x"},
        {"If-Match": "-1"},
        {"If-Match": '"1", "2"'},
        {"If-Match": "99999999999999999999"},
        {"If-Match": "²"},
        {"If-None-Match": '"1"'},
        {"If-Match": "*", "If-None-Match": "*"},
        {"Content-Type": "text/plain"},
        {"Content-Type": ""},
        {"Content-Type": "application/cloudevents+json"},
        {"ce-specversion": "0.3", "ce-id": "1", "ce-source": "s", "ce-type": "t"},
        {"ce-specversion": "1.0"},
        {"ce-specversion": "1.0", "ce-id": "", "ce-source": "s", "ce-type": "t"},
    ],
    ids=str,
)
def test_bad_headers_are_refused(client: Client, headers: dict[str, str]) -> None:
    """An expectation that was written wrongly would be no expectation."""
    headers = {name: value.encode().decode("latin-1") for name, value in headers.items()}
    assert_problem(client.ask("POST", EVENTS, b'{"type":"x"}', headers))


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[", b'{"type":}', b"\xff", b"\x00", b"nul", b'{"type":"\\ud800"}', b"[" * 100_000], ids=str
)
@pytest.mark.parametrize(
    "path", [EVENTS, "/api/v1/events", "/api/v1/events/query", "/api/v1/documents/get", "/api/v1/transactions"]
)
def test_what_is_no_json_is_refused(client: Client, path: str, text: bytes) -> None:
    """A parser's own error would come out, or the server would run out of stack."""
    assert_problem(client.ask("POST", path, text))


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "application/json;q=0", "image/*", "application/json;q=x"])
def test_forms_that_are_not_offered_are_refused(client: Client, accept: str) -> None:
    """A client would get something that it cannot read."""
    answer = client.get("/api/v1/events", {"Accept": accept})
    assert answer.status in (400, 406)
    assert_problem(answer)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: f"{operation.method} {operation.path}")
def test_other_methods_are_refused_with_those_that_are_allowed(client: Client, operation: Any) -> None:
    """A client would have to guess."""
    path = operation.path.replace("{", "").replace("}", "")
    answer = client.ask("PATCH", path)
    assert answer.status == 405
    assert operation.method in answer.headers["allow"]


@pytest.mark.parametrize(
    "path", ["/api", "/api/v2/events", "/api/v1/event", "/api/v1/events/x/y/z", "//", "/api/v1/events/", "/..", "/%2e%2e/x"]
)
def test_unknown_paths_are_told(client: Client, path: str) -> None:
    """A misspelt path would look like an empty answer."""
    answer = client.get(path)
    assert answer.status in (400, 404)
    assert_problem(answer)


def test_random_changes_of_good_requests_never_fail_the_server(client: Client) -> None:
    """Somewhere a value is used before it is checked."""
    random_ = random.Random(7)
    good = json.dumps(
        {"appends": [{"stream": "a-1", "events": [{"type": "x", "tags": ["t"], "id": "q"}]}], "condition": None}
    ).encode()
    for _ in range(300):
        body = bytearray(good)
        for _ in range(random_.randint(1, 6)):
            body[random_.randrange(len(body))] = random_.randrange(256)
        answer = client.ask("POST", "/api/v1/events", bytes(body))
        assert 400 <= answer.status < 500, (bytes(body), answer)


def test_what_is_no_http_is_cut_off(client: Client) -> None:
    """A stray client would leave the server in disorder."""
    for text in (b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n"):
        with socket.create_connection((client.host, client.port), 10) as connection:
            connection.sendall(text)
            assert b" 400 " in connection.recv(1_000)
    assert client.get("/health/live").status == 200
