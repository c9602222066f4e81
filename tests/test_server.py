"""The HTTP interface as a program in any language meets it. Nothing here may block the server's event loop."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

import hansard
import hansard.aio
from hansard import PARK, Event, Processor, Projection, Query, Retry
from hansard.server.groups import HeldConsumers
from hansard.server.settings import Settings
from hansard.storage.opening import open_storage
from places import place_of
from servers import Client, served


@pytest.fixture
def store(tmp_path: Path) -> Iterator[hansard.Store]:
    """The same file, opened beside the server."""
    with hansard.open(tmp_path / "log.db") as opened:
        yield opened


@pytest.fixture
def client(tmp_path: Path, store: hansard.Store) -> Iterator[Client]:
    with served(open_storage(tmp_path / "log.db")) as url:
        yield Client(url)


# Appending


def test_events_are_appended_to_a_stream_and_read_back(client: Client, store: hansard.Store) -> None:
    """The first thing that anybody does would not work."""
    answer = client.post(
        "/api/v1/streams/order-7/events", [{"type": "placed", "data": {"n": 1}, "tags": ["a"]}, {"type": "paid"}]
    )
    assert (answer.status, answer.headers["etag"]) == (201, '"2"')
    assert answer.json["first_position"], answer.json["versions"] == (1, {"order-7": 2})
    placed, paid = store.all("order-7")
    assert (placed.type, placed.data, placed.tags, paid.data) == ("placed", {"n": 1}, {"a"}, None)
    page = client.get("/api/v1/streams/order-7/events")
    assert [event["type"] for event in page.json["events"]] == ["placed", "paid"]
    assert page.headers["etag"] == '"2"'
    assert client.get(answer.headers["location"]).json["events"] == page.json["events"]


def test_data_is_kept_byte_for_byte(client: Client, store: hansard.Store) -> None:
    """A signature over the data would break."""
    body = b'[{"type":"x","data":{"b" : 1.50, "a":[ 12345678901234567890 ]}}]'
    assert client.ask("POST", "/api/v1/streams/a-1/events", body).status == 201
    assert store.all("a-1")[0].data_json == b'{"b" : 1.50, "a":[ 12345678901234567890 ]}'


@pytest.mark.parametrize("stream", ["a/b-1", "Ünï-1", "a b-1", "a%2Fb-1", "..", "?x=1", "😀-1", "a;b,c-1"])
def test_any_name_can_be_asked_for(client: Client, store: hansard.Store, stream: str) -> None:
    """A stream would be out of reach for its name."""
    path = f"/api/v1/streams/{quote(stream, safe='')}"
    assert client.post(f"{path}/events", {"type": "x"}).status == 201
    assert store.all(stream)[0].stream == stream
    assert client.get(path).json["name"] == stream


def test_the_expected_version_is_the_etag(client: Client) -> None:
    """Two writers would overwrite each other's decisions."""
    path = "/api/v1/streams/a-1/events"
    assert client.post(path, {"type": "x"}, {"If-Match": "*"}).status == 412
    assert client.post(path, {"type": "x"}, {"If-None-Match": "*"}).status == 201
    assert client.post(path, {"type": "x"}, {"If-None-Match": "*"}).status == 412
    lost = client.post(path, {"type": "x"}, {"If-Match": '"0"'})
    assert (lost.status, lost.headers["content-type"]) == (412, "application/problem+json")
    assert (lost.json["code"], lost.json["stream"], lost.json["expected"], lost.json["current"]) == (
        "wrong-expected-version",
        "a-1",
        0,
        1,
    )
    assert client.post(path, {"type": "x"}, {"If-Match": '"1"'}).status == 201
    assert client.post(path, {"type": "x"}, {"If-Match": "*"}).status == 201
    assert client.get("/api/v1/streams/a-1", {"If-None-Match": '"3"'}).status == 304
    assert client.get(path, {"If-None-Match": '"3"'}).status == 304


def test_a_repetition_is_told_and_stores_nothing(client: Client, store: hansard.Store) -> None:
    """A client that had no answer would store twice."""
    event = {"type": "x", "id": str(uuid4())}
    first, again = (client.post("/api/v1/streams/a-1/events", event, {"If-None-Match": "*"}) for _ in range(2))
    assert (first.status, again.status, again.json["is_repeat"]) == (201, 200, True)
    assert store.head() == 1
    other = client.post("/api/v1/streams/a-1/events", {**event, "type": "y"})
    assert (other.status, other.json["code"], other.json["position"]) == (409, "duplicate-event-id", 1)


def test_many_streams_and_a_condition_in_one_append(client: Client, store: hansard.Store) -> None:
    """A username could be taken twice, or money be sent and not received."""
    body = {
        "appends": [
            {"stream": "account-1", "events": [{"type": "sent"}], "expected_version": "no-stream"},
            {"stream": "account-2", "events": [{"type": "received"}]},
            {"events": [{"type": "claimed", "tags": ["name:jo"]}]},
        ],
        "condition": {"fail_if": {"items": [{"types": ["claimed"], "tags": ["name:jo"]}]}},
    }
    assert client.post("/api/v1/events", body).json["versions"] == {"account-1": 1, "account-2": 1}
    body["appends"][0]["expected_version"] = 1
    lost = client.post("/api/v1/events", body)
    assert (lost.status, lost.json["code"], lost.json["position"], lost.json["event_type"]) == (
        409,
        "append-condition-failed",
        3,
        "claimed",
    )
    assert store.head() == 3


def test_appends_in_bulk_are_answered_line_by_line(client: Client, store: hansard.Store) -> None:
    """One bad line would stop a load, or nobody would know which one it was."""
    lines = [{"appends": [{"stream": f"s-{n % 7}", "events": [{"type": "x", "data": n}]}]} for n in range(1_000)]
    lines[500]["appends"][0]["expected_version"] = 999
    body = b"\n".join(json.dumps(line).encode() for line in lines[:700]) + b"\nnonsense\n"
    body += b"\n".join(json.dumps(line).encode() for line in lines[700:])
    answer = client.ask("POST", "/api/v1/appends", body, {"Content-Type": "application/x-ndjson"})
    outcomes = [json.loads(line) for line in answer.body.splitlines()]
    assert len(outcomes) == 1_001
    assert [n for n, outcome in enumerate(outcomes) if "problem" in outcome] == [500, 700]
    assert outcomes[500]["problem"]["code"] == "wrong-expected-version"
    assert store.head() == 999


def test_bulk_appends_stream_in_both_directions(client: Client) -> None:
    """A client could not wait for one outcome before it sends the next line."""
    with socket.create_connection((client.host, client.port), 10) as connection:
        connection.sendall(
            b"POST /api/v1/appends HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        answers = connection.makefile("rb")
        for n in range(3):
            line = json.dumps({"appends": [{"events": [{"type": f"x{n}"}]}]}).encode() + b"\n"
            connection.sendall(b"%x\r\n%b\r\n" % (len(line), line))
            while not (text := answers.readline()).startswith(b'{"appended"'):
                assert text, "the server has closed the connection"
            assert json.loads(text)["appended"]["first_position"] == n + 1
        connection.sendall(b"0\r\n\r\n")


def test_cloudevents_are_taken_in_all_three_modes(client: Client, store: hansard.Store) -> None:
    """Programs that speak CloudEvents would need a translator."""
    event = {"specversion": "1.0", "id": "7", "source": "/shop", "type": "placed", "data": {"n": 1}}
    path = "/api/v1/streams/ce-1/events"
    structured = client.post(path, event, {"Content-Type": "application/cloudevents+json"})
    binary = {"ce-specversion": "1.0", "ce-id": "8", "ce-source": "/shop", "ce-type": "paid", "ce-subject": "%C3%84"}
    assert structured.status == client.post(path, {"n": 2}, binary).status == 201
    batch = [{**event, "id": str(uuid4())}, {**event, "id": "9"}]
    assert client.post(path, batch, {"Content-Type": "application/cloudevents-batch+json"}).json["version"] == 4
    assert client.post(path, event, {"Content-Type": "application/cloudevents+json"}).json["is_repeat"]
    first, second, *_ = store.all("ce-1")
    assert (first.type, first.data, first.metadata["source"]) == ("placed", {"n": 1}, "/shop")
    assert (second.data, second.metadata["subject"]) == ({"n": 2}, "Ä")
    assert client.post(path, {"type": "x"}, {"Content-Type": "application/cloudevents+json"}).status == 400
    no_base64 = {**event, "id": "10", "data_base64": "not base64!"}
    del no_base64["data"]
    assert client.post(path, no_base64, {"Content-Type": "application/cloudevents+json"}).json["field"] == "data_base64"
    for number, (media, body, data) in enumerate(
        [
            ("text/plain", "Grüße".encode(), "Grüße"),
            ("application/vnd.x+json", b'{"n":3}', {"n": 3}),
            ("application/octet-stream", b"\xff\x00", {"data_base64": "/wA="}),
            ("text/plain", b"\xff", {"data_base64": "/w=="}),
        ]
    ):
        headers = {**binary, "ce-id": f"b-{number}", "Content-Type": media}
        assert client.ask("POST", path, body, headers).status == 201
        assert (store.all("ce-1")[-1].data, store.all("ce-1")[-1].metadata["datacontenttype"]) == (data, media)
    compressed = client.ask("POST", path, b"{}", {"Content-Encoding": "gzip"})
    assert (compressed.status, "not compressed" in compressed.json["detail"]) == (415, True)


# Reading


def test_the_log_is_read_page_by_page_by_its_links(client: Client, store: hansard.Store) -> None:
    """A reader that follows the links would skip or repeat events."""
    store.append("a-1", [Event("x", n, tags={"t"}) for n in range(250)])
    store.append("b-1", [Event("y") for _ in range(5)])
    for start, count in (("/api/v1/events?limit=60", 255), ("/api/v1/events?type=x&tag=t&limit=60", 250)):
        for backwards in ("", "&backwards=true"):
            following, positions = start + backwards, []
            while following:
                page = client.get(following)
                positions += [event["position"] for event in page.json["events"]]
                following = page.json["next"]
                assert page.headers.get("link") == (None if following is None else f'<{following}>; rel="next"')
            assert positions == sorted(set(positions), reverse=bool(backwards))
            assert len(positions) == count
    following, versions = "/api/v1/streams/a-1/events?limit=100&backwards=true", []
    while following:
        page = client.get(following)
        versions += [event["version"] for event in page.json["events"]]
        following = page.json["next"]
    assert versions == list(range(250, 0, -1))


def test_lines_give_everything_up_to_the_head(client: Client, store: hansard.Store) -> None:
    """An export over the network would be cut off at a page."""
    store.append("a-1", [Event("x", n) for n in range(3_210)])
    answer = client.get("/api/v1/events", {"Accept": "application/x-ndjson"})
    assert [json.loads(line)["data"] for line in answer.body.splitlines()] == list(range(3_210))
    some = client.get("/api/v1/streams/a-1/events?after_version=10&limit=5", {"Accept": "application/x-ndjson"})
    assert [json.loads(line)["version"] for line in some.body.splitlines()] == [11, 12, 13, 14, 15]


def test_large_queries_go_in_a_body(client: Client, store: hansard.Store) -> None:
    """A query with a thousand names would not fit."""
    store.append("a-1", [Event(f"type-{n}") for n in range(10)])
    query = {"items": [{"types": [f"type-{n}" for n in range(5, 900)]}]}
    page = client.post("/api/v1/events/query", {"query": query, "backwards": True})
    assert [event["position"] for event in page.json["events"]] == [10, 9, 8, 7, 6]


def test_one_event_by_its_id(client: Client, store: hansard.Store) -> None:
    """A link to an event would lead nowhere."""
    event = store.add("a-1", "x", {"n": 1})
    answer = client.get(f"/api/v1/events/{event.id}")
    assert (answer.json["position"], answer.json["data"]) == (1, {"n": 1})
    assert client.get(f"/api/v1/events/{event.id}", {"If-None-Match": answer.headers["etag"]}).status == 304
    assert client.get(f"/api/v1/events/{uuid4()}").status == 404
    assert client.ask("HEAD", f"/api/v1/events/{event.id}").body == b""


def test_the_head_can_be_waited_for(client: Client, store: hansard.Store) -> None:
    """A client would have to ask again and again."""
    appending = threading.Timer(0.2, lambda: store.add("a-1", "x"))
    appending.start()
    started = time.monotonic()
    assert client.get("/api/v1/head?after=0&wait_s=20").json == {"head": 1}
    assert time.monotonic() - started < 10
    assert client.get("/api/v1/head?after=1&wait_s=0.05").json == {"head": 1}


# Live


def test_a_tail_gives_what_is_there_and_what_comes_and_resumes(client: Client, store: hansard.Store) -> None:
    """A subscriber would miss events, or see them twice after it was cut off."""
    store.append("a-1", [Event("x"), Event("y"), Event("x")])
    with client.tail("/api/v1/events?type=x") as tail:
        assert [tail.next_id(), tail.next_id()] == [1, 3]
        store.append("a-1", [Event("y"), Event("x", {"n": 5})])
        assert tail.next_event() == (5, {"n": 5})
    store.add("a-1", "x")
    with client.tail("/api/v1/events?type=x", {"Last-Event-ID": "5"}) as tail:
        assert tail.next_id() == 6
    with client.tail("/api/v1/streams/a-1/events", {"Last-Event-ID": "5"}) as tail:
        assert tail.next_id() == 6


def test_a_stopping_server_says_goodbye_to_its_tails(tmp_path: Path) -> None:
    """A deployment would wait for subscribers that never end, or cut appends off."""
    storage = open_storage(tmp_path / "log.db")
    with served(storage) as url:
        client = Client(url)
        client.post("/api/v1/streams/a-1/events", {"type": "x"})
        tail = client.tail("/api/v1/events").__enter__()
        assert tail.next_id() == 1
        started = time.monotonic()
    assert time.monotonic() - started < 5
    assert tail.rest().rstrip().endswith(b"retry: 1000")
    tail.close()


def test_many_subscribers_each_get_every_event(client: Client, store: hansard.Store) -> None:
    """One of many would be left out."""
    tails = [client.tail("/api/v1/events").__enter__() for _ in range(100)]
    for n in range(20):
        store.add("a-1", "x", n)
    for tail in tails:
        assert [tail.next_id() for _ in range(20)] == list(range(1, 21))
        tail.close()


def test_a_slow_subscriber_slows_nobody(client: Client, store: hansard.Store) -> None:
    """One that does not read would hold up all others, or fill the server's memory."""
    with client.tail("/api/v1/events") as fast, client.tail("/api/v1/events"):
        for _ in range(40):
            store.append("a-1", [Event("x", "y" * 20_000) for _ in range(10)])
        assert [fast.next_id() for _ in range(400)] == list(range(1, 401))


# Groups


def test_a_group_over_http_shares_acks_and_parks(client: Client, store: hansard.Store) -> None:
    """A worker in another language could not take its share."""
    store.append("a-1", [Event("x", n) for n in range(4)])
    store.append("b-1", [Event("x", n) for n in range(2)])
    base = "/api/v1/groups/billing/consumers"
    consumer = client.post(base, {"partitions": 1, "lease_s": 5}).json["consumer"]
    taken = client.post(f"{base}/{consumer}/take", {"limit": 10, "wait_s": 5}).json["events"]
    assert [(event["stream"], event["version"]) for event in taken] == [("a-1", 1), ("b-1", 1)]
    assert client.post(f"{base}/{consumer}/ack", {"positions": [1]}).status == 204
    assert client.post(f"{base}/{consumer}/nack", {"positions": [5], "delay_s": 0}).status == 204
    again = client.post(f"{base}/{consumer}/take", {"limit": 10, "wait_s": 5}).json["events"]
    assert sorted(event["position"] for event in again) == [2, 5]
    assert client.post(f"{base}/{consumer}/park", {"positions": [2], "reason": "no account"}).status == 204
    refused = client.post(f"{base}/{consumer}/ack", {"positions": [77]})
    assert (refused.status, refused.json["field"], refused.json["value"]) == (400, "positions", 77)
    letters = client.get("/api/v1/readers/billing/dead-letters").json["dead_letters"]
    assert (letters[0]["position"], letters[0]["error"]) == (2, "no account")
    assert client.ask("DELETE", f"{base}/{consumer}").status == 204
    assert client.post(f"{base}/{consumer}/take", {}).status == 404
    other = client.post(base, {"partitions": 1, "lease_s": 5}).json["consumer"]
    rest = client.post(f"{base}/{other}/take", {"limit": 1, "wait_s": 10}).json["events"]
    assert rest[0]["position"] == 5, "what was not finished goes to the next consumer"


# Readers, projections, timers


def test_readers_are_shown_paused_and_their_letters_retried(client: Client, store: hansard.Store) -> None:
    """An operator could not see or mend what has stopped."""

    def fails(event: Any) -> None:
        raise ValueError("no")

    store.append("a-1", [Event("x"), Event("x")])
    store.catch_up(Processor("mailer", fails, on_failure=PARK, retry=Retry(attempts=1)))
    (reader,) = client.get("/api/v1/readers").json["readers"]
    assert (reader["name"], reader["checkpoint"], reader["dead_letters"]) == ("mailer", 2, 2)
    for verb, body in (("pause", None), ("resume", None), ("throttle", {"events_per_s": 5}), ("reset", {"position": 1})):
        assert client.post(f"/api/v1/readers/mailer/{verb}", body).status == 204
    assert client.post("/api/v1/readers/mailer/reset", {"position": 99}).status == 409
    assert client.post("/api/v1/readers/mailer/dead-letters/retry", {}).json == {"count": 1}
    assert client.post("/api/v1/readers/mailer/dead-letters/discard", {"sequence": "a-1", "position": 2}).json == {"count": 1}
    assert client.get("/api/v1/readers/nobody").status == 404
    audit = [(e.type, e.data["target"], e.data["by"]) for e in store.all("hansard.audit")]
    assert audit[0] == ("hansard.reader-paused", "mailer", "local")
    assert len(audit) == 6


def test_projections_are_shown_rebuilt_compared_and_promoted(client: Client, store: hansard.Store) -> None:
    """A read model could not be rebuilt without a program of one's own."""
    store.append("a-1", [Event("x"), Event("x")])
    count = Projection("count", lambda n, event: n + 1, initial=0)
    store.catch_up(count)
    path = "/api/v1/projections/count"
    assert client.get(path).json["active"] == "1"
    assert client.get(f"{path}/states").json["states"] == [{"key": "a-1", "state": 2}]
    assert client.get(f"{path}/states/a-1").json == {"key": "a-1", "state": 2}
    assert client.get(f"{path}/states/b-1").status == 404
    label = client.post(f"{path}/rebuild", {}).json["build"]
    assert {build["state"] for build in client.get(path).json["builds"]} == {"active", "building"}
    assert client.get(f"{path}/diff?old=1&new={label}").json["differences"][0] == {
        "key": "a-1",
        "kind": "missing",
        "fields": {"": {"old": 2, "new": None}},
    }
    store.catch_up(count)
    assert client.get(path).json["active"] == label
    assert client.post(f"{path}/builds/1/promote").status == 204
    assert client.ask("DELETE", f"{path}/builds/{label}").status == 204
    assert client.post(f"{path}/builds/nope/promote").status == 404


def test_timers_are_set_listed_and_forgotten(client: Client, store: hansard.Store) -> None:
    """A deadline could not be set from another language."""
    body = {"due": "2030-01-31T12:00:00Z", "stream": "order-7", "event": {"type": "reminder-due"}}
    assert client.ask("PUT", "/api/v1/timers/remind-7", json.dumps(body).encode()).status == 204
    assert client.get("/api/v1/timers").json["timers"][0]["due"].startswith("2030-01-31T12:00:00")
    assert client.ask("DELETE", "/api/v1/timers/remind-7").status == 204
    assert client.ask("DELETE", "/api/v1/timers/remind-7").status == 404


# Keeping


def test_health_and_what_is_served_are_told(client: Client, store: hansard.Store) -> None:
    """A balancer would send requests to a server that cannot answer them."""
    assert client.get("/health/live").json["status"] == "alive"
    assert client.get("/health/ready").json["head"] == 0
    assert "fsync" in client.get("/api/v1/store").json["durability"]
    assert client.post("/api/v1/store/check").json == {"problems": []}
    refused = client.get("/api/v1/cluster")
    assert (refused.status, refused.json["detail"].partition(";")[0]) == (404, "this store has no cluster of nodes")


def test_a_transaction_whose_client_goes_away_is_undone(client: Client, store: hansard.Store) -> None:
    """A crashed worker would keep everybody from writing."""
    begun = client.post("/api/v1/transactions", {"steps": [{"do": "head"}]})
    assert begun.json["results"] == [{"head": 0}]
    blocked = threading.Thread(target=lambda: store.add("a-1", "x"))
    blocked.start()
    put = {"do": "put", "collection": "c", "documents": {"k": "MQ=="}}
    assert client.post(f"/api/v1/transactions/{begun.json['id']}", {"steps": [put], "then": "rollback"}).json["id"] is None
    blocked.join(20)
    assert store.head() == 1
    assert client.post("/api/v1/documents/get", {"collection": "c", "keys": ["k"]}).json == {"documents": {}}
    assert client.post(f"/api/v1/transactions/{begun.json['id']}", {"steps": []}).status == 404
    keys = client.post("/api/v1/documents/scan", {"collection": "server/keys"})
    assert keys.status == 400, "keys are never shown"


def test_a_body_that_is_too_large_is_refused_before_it_is_read(client: Client) -> None:
    """One client could fill the server's memory."""
    connection = HTTPConnection(client.host, client.port, timeout=10)
    connection.putrequest("POST", "/api/v1/events")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(10**12))
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["code"]) == (413, "too-large")
    connection.close()


def test_clients_that_send_too_slowly_are_cut_off(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few clients could hold all connections without asking for anything."""
    monkeypatch.setattr("hansard.server.serving.REQUEST_HEADERS_S", 0.2)
    monkeypatch.setattr("hansard.server.requests.REQUEST_BODY_PAUSE_S", 0.2)
    for text, told in (
        (b"", b"408"),
        (b"GET / HT", b"408"),
        (
            b"POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n{",
            b"408",
        ),
    ):
        with socket.create_connection((client.host, client.port), 10) as connection:
            connection.sendall(text)
            assert told in connection.recv(1_000)
    assert client.get("/health/live").status == 200


def test_headers_without_end_are_cut_off(client: Client) -> None:
    """One client could fill the server's memory without asking for anything."""
    with socket.create_connection((client.host, client.port), 10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        with suppress(OSError):  # the server may close while we still send
            for _ in range(200):
                connection.sendall(b"X-Filler: " + b"y" * 1_000 + b"\r\n")
        with suppress(ConnectionResetError):
            assert b"431" in connection.recv(1_000)
            assert connection.recv(1_000) == b"", "the connection is closed"


def test_a_query_of_a_remote_store_is_that_of_the_file(client: Client, store: hansard.Store) -> None:
    """`hansard.open("http://…")` would be another store."""
    store.append("a-1", [Event("x", {"n": n}, tags={"t"}) for n in range(1_200)])
    with hansard.open(client.url) as remote:
        assert list(remote.read()) == list(store.read())
        assert list(remote.read(Query(tags={"t"}), backwards=True, limit=700)) == list(
            store.read(Query(tags={"t"}), backwards=True, limit=700)
        )


def test_a_server_that_is_full_says_when_to_come_again(
    client: Client, store: hansard.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients would hammer a server that has no room, or give up for ever."""
    with monkeypatch.context() as patched:
        patched.setattr("hansard.server.requests.REQUESTS_BYTES_MAX", 10)
        body = b'{"appends":[{"events":[{"type":"x","data":"' + b"y" * 200_000 + b'"}]}]}'
        full = client.post("/api/v1/events", json.loads(body))
        assert (full.status, full.headers["retry-after"], full.json["code"]) == (503, "1", "busy")
    with hansard.open(client.url) as remote:
        monkeypatch.setattr("hansard.server.app.REQUESTS_MAX", 0)
        assert client.get("/api/v1/head").status == 503
        threading.Timer(0.5, monkeypatch.undo).start()
        assert remote.add("a-1", "x").position == 1, "a remote store comes again by itself"
    assert store.head() == 1


@pytest.mark.parametrize("engine", ["memory", "file", "postgres"])
def test_any_engine_is_served_with_its_page(engine: str, tmp_path: Path) -> None:
    """What works on a file would fail on a database."""
    place = place_of(engine, tmp_path / "store")
    with served(open_storage(place), is_watched=False) as url, hansard.open(url) as store:
        client = Client(url)
        store.append("a-1", [Event("x", {"n": n}, tags={"t"}) for n in range(700)])
        store.catch_up(Projection("count", lambda n, event: n + 1, initial=0))
        assert store.model("count")["a-1"] == 700
        assert len(client.get("/api/v1/events", {"Accept": "application/x-ndjson"}).body.splitlines()) == 700
        with client.tail("/api/v1/events?after=699") as tail:
            assert tail.next_id() == 700
        shown = ("/", "/streams", "/stream?name=a-1", "/event/700", "/event/1/graph", "/travel?stream=a-1", "/charts?span=hour")
        for path in (*shown, "/projections/count", "/readers", "/timers", "/health"):
            assert client.get(path, {"Accept": "text/html"}).status == 200, path
        assert client.get("/api/v1/streams?category=a").json["streams"][0]["version"] == 700


def test_a_taken_event_is_never_lost_with_its_answer(client: Client, store: hansard.Store) -> None:
    """An event whose answer got lost, or whose finishing failed, would wait for ever."""
    base = "/api/v1/groups/billing/consumers"
    consumer = client.post(base, {"partitions": 1, "lease_s": 0.6}).json["consumer"]
    with socket.create_connection((client.host, client.port), 10) as connection:
        body = b'{"wait_s": 0.3}'
        head = f"POST {base}/{consumer}/take HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        time.sleep(0.1)
    store.add("a-1", "x")
    deadline = time.monotonic() + 10
    while not (events := client.post(f"{base}/{consumer}/take", {"wait_s": 0.2}).json["events"]):
        assert time.monotonic() < deadline, "the event that nobody was given is gone"
    assert client.post(f"{base}/{consumer}/park", {"positions": [1], "reason": ""}).status == 400
    assert client.post(f"{base}/{consumer}/ack", {"positions": [1, 1]}).status == 204
    assert [event["position"] for event in events] == [1]
    store.add("a-1", "y")
    assert client.post(f"{base}/{consumer}/take", {"wait_s": 0.3}).json["events"][0]["position"] == 2
    time.sleep(0.4)
    client.post(f"{base}/{consumer}/take", {"wait_s": 0})
    time.sleep(0.4)
    again = client.post(f"{base}/{consumer}/take", {"wait_s": 0}).json["events"]
    assert [event["position"] for event in again] == [2], "what is not finished within a lease comes again"
    time.sleep(1.5)
    assert client.post(f"{base}/{consumer}/take", {}).status == 404, "one that is silent for longer than its lease has ended"
    assert store.reader("billing").status().partitions[0].owner is None


def test_a_consumer_that_waits_keeps_nobody_waiting(client: Client, store: hansard.Store) -> None:
    """Clients that ack while they wait for more are the usual ones; four of them would stop all reads of the server."""
    base = "/api/v1/groups/g/consumers"
    one = client.post("/api/v1/groups/h/consumers", {}).json["consumer"]
    client.post(f"/api/v1/groups/h/consumers/{one}/take", {})
    owners = {partition["owner"] for partition in client.get("/api/v1/readers/h").json["partitions"]}
    assert (list(owners), client.get("/readers/h").body.decode().count(one[-12:])) == ([f"local {one[-12:]}"], 17)
    consumers = [client.post(base, {"lease_s": 60, "partitions": 4}).json["consumer"] for _ in range(6)]
    taken: list[Any] = []
    waiting = [
        threading.Thread(target=lambda id=id: taken.append(client.post(f"{base}/{id}/take", {"wait_s": 20}).json["events"]))
        for id in consumers
    ]
    for thread in waiting:
        thread.start()
    time.sleep(0.3)
    started = time.monotonic()
    assert [client.post(f"{base}/{id}/ack", {"positions": []}).status for id in consumers] == [204] * 6
    assert client.get("/api/v1/events?limit=1").status == 200
    assert time.monotonic() - started < 10
    store.append_streams([hansard.StreamAppend(f"s-{number}", [Event("x")]) for number in range(64)])
    deadline = time.monotonic() + 15
    while sum(map(bool, taken)) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert sum(map(bool, taken)) >= 4, "each owner of a partition is given events"
    for id in consumers:
        client.ask("DELETE", f"{base}/{id}")
    for thread in waiting:
        thread.join(30)
        assert not thread.is_alive()


def test_a_hundred_consumers_wait_side_by_side(client: Client, store: hansard.Store) -> None:
    """They would queue for threads, and be taken for dead while they wait as they were told to."""
    answers: list[int] = []

    def poll(number: int) -> None:
        base = f"/api/v1/groups/g-{number}/consumers"
        id = client.post(base, {"lease_s": 6, "partitions": 1}).json["consumer"]
        deadline = time.monotonic() + 8
        while time.monotonic() < deadline:
            answers.append(client.post(f"{base}/{id}/take", {"wait_s": 3}).status)

    threads = [threading.Thread(target=poll, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(answers) == {200}


def test_events_of_a_client_that_goes_are_given_to_the_next_one(tmp_path: Path) -> None:
    """They would stand still for a lease, with their stream behind them."""

    async def main() -> None:
        async with hansard.aio.open(tmp_path / "log.db") as store:
            held = HeldConsumers(store)
            id = await held.join("g", Query(), partitions=1, after=0, lease_s=60, owner="o" * 600 + "\0")
            one = held.of("g", id, "o" * 600 + "\0")
            for number in range(40):
                await store.append(f"s-{number}", Event("x"))
                taking = asyncio.ensure_future(one.take(5, 5))
                for _ in range(number):
                    await asyncio.sleep(0.0002)
                taking.cancel()
                with suppress(asyncio.CancelledError):
                    await one.put_back(await taking)
            taken = await one.take(100, 5)
            while len(taken) < 40:
                taken += await one.take(100, 5)
            assert sorted(event.position for event in taken) == list(range(1, 41))
            await one.finish("ack", [event.position for event in taken], delay_s=None, reason="")
            with pytest.raises(hansard.InvalidInput, match="has finished it before"):
                await one.finish("ack", [1], delay_s=None, reason="")
            await held.close()
            assert await one.take(1, 0.1) == [], "one that has left gives nothing"

    asyncio.run(main())


def test_an_event_that_was_reset_is_not_given_twice_in_one_answer(client: Client, store: hansard.Store) -> None:
    """What the consumer has lost would be told with what has come in its place."""
    store.append("a-1", [Event("x"), Event("y")])
    base = "/api/v1/groups/g/consumers"
    id = client.post(base, {"lease_s": 3, "partitions": 1}).json["consumer"]
    assert [event["position"] for event in client.post(f"{base}/{id}/take", {"wait_s": 1}).json["events"]] == [1]
    store.reader("g").reset(0)
    for _ in range(5):  # what was given longer ago than a lease is given again
        time.sleep(0.7)
        client.post(f"{base}/{id}/ack", {"positions": []})
    positions: list[int] = []
    deadline = time.monotonic() + 20
    while not positions and time.monotonic() < deadline:
        positions = [event["position"] for event in client.post(f"{base}/{id}/take", {"wait_s": 0.4}).json["events"]]
    assert positions == [1]
    assert client.post(f"{base}/{id}/ack", {"positions": [1]}).status == 204


def test_a_stop_waits_for_whoever_still_reads(tmp_path: Path) -> None:
    """A large answer would be cut off while its client takes it."""
    with hansard.open(tmp_path / "log.db") as store:
        store.append("a-1", Event("x", "y" * 12_000_000))
    received = bytearray()

    def read(connection: socket.socket) -> None:
        while piece := connection.recv(200_000):
            received.extend(piece)
            time.sleep(0.1)

    with served(open_storage(tmp_path / "log.db"), Settings(stop_timeout_s=30)) as url:
        client = Client(url)
        connection = socket.create_connection((client.host, client.port), 10)
        connection.sendall(b"GET /api/v1/streams/a-1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(0.5)
        reading = threading.Thread(target=read, args=(connection,))
        reading.start()
    reading.join(30)
    connection.close()
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    assert len(body) == length > 12_000_000


def test_a_stop_ends_what_waits_and_what_is_stuck(tmp_path: Path) -> None:
    """A deploy would hang on a client that reads nothing, or end in errors that mean nothing."""
    with hansard.open(tmp_path / "log.db") as store:
        store.append("a-1", [Event("x", "y" * 20_000) for _ in range(900)])
    answers: list[Any] = []
    with ExitStack() as sockets:
        with served(open_storage(tmp_path / "log.db"), Settings(stop_timeout_s=30)) as url:
            client = Client(url)
            base = "/api/v1/groups/g/consumers"
            consumer = client.post(base, {"lease_s": 60, "after": "head"}).json["consumer"]
            taking = threading.Thread(target=lambda: answers.append(client.post(f"{base}/{consumer}/take", {"wait_s": 30})))
            taking.start()
            stuck = sockets.enter_context(socket.create_connection((client.host, client.port), 10))
            stuck.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
            time.sleep(1)
            started = time.monotonic()
        assert time.monotonic() - started < 15
        taking.join(10)
    assert [(answer.status, answer.json) for answer in answers] == [(200, {"events": []})]


def test_a_tail_begins_where_it_is_told_and_refuses_what_it_cannot_do(client: Client, store: hansard.Store) -> None:
    """What was asked for would be passed over in silence."""
    store.append("b-1", [Event("other")])
    store.append("a-1", [Event("x") for _ in range(5)])
    for path, first in (
        ("/api/v1/streams/a-1/events", 2),
        ("/api/v1/streams/a-1/events?after_version=3", 5),
        ("/api/v1/streams/a-1/events?after_version=5", 7),
        ("/api/v1/streams/a-1/events?after_version=8", 10),
        ("/api/v1/events?after=4", 5),
    ):
        with client.tail(path) as tail:
            if first in (7, 10):
                for _ in range(1 if first == 7 else 3):
                    store.add("a-1", "x")
            assert tail.next_id() == first, path
    client.tail("/api/v1/streams/a-1/events?after_version=9223372036854775807").close()
    for asked in ("limit=1", "backwards=true", "before=3", "before_version=3"):
        path = "/api/v1/streams/a-1/events" if "version" in asked else "/api/v1/events"
        answer = client.get(f"{path}?{asked}", {"Accept": "text/event-stream"})
        assert (answer.status, answer.json["field"]) == (400, asked.partition("=")[0])


def test_a_pause_in_a_bulk_append_is_told_where_outcomes_are_read(
    client: Client, store: hansard.Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client would see a connection that broke, and the log a stack of our own code."""
    monkeypatch.setattr("hansard.server.requests.REQUEST_BODY_PAUSE_S", 0.3)
    line = b'{"appends":[{"stream":"a-1","events":[{"type":"x"}]}]}\n'
    with socket.create_connection((client.host, client.port), 10) as connection:
        head = b"POST /api/v1/appends HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(line), line))
        received = b""
        while piece := connection.recv(10_000):
            received += piece
    outcomes = [json.loads(text) for text in received.split(b"\r\n") if text[:1] == b"{"]
    assert [sorted(outcome) for outcome in outcomes] == [["appended"], ["problem"]]
    assert outcomes[1]["problem"]["code"] == "request-timed-out"
    assert store.head() == 1
    assert "Traceback" not in caplog.text


def test_a_transaction_cannot_end_in_the_middle_of_an_append(client: Client, store: hansard.Store) -> None:
    """It would be told as stored, and nothing is."""
    append = {"do": "append", "append": {"appends": [{"stream": "a-1", "events": [{"type": "x"}]}]}, "is_tentative": True}
    put = {"do": "put", "collection": "zz", "documents": {"k": "AA=="}}
    refused = client.post("/api/v1/transactions", {"steps": [append, put], "then": "commit"})
    assert (refused.status, refused.json["field"]) == (400, "then")
    assert store.head() == 0
    assert client.post("/api/v1/transactions", {"steps": [append, put, {"do": "keep"}], "then": "commit"}).status == 200
    assert store.head() == 1


def test_trailers_without_end_and_bodies_that_never_come_are_cut_off(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few clients could fill the memory, or take all places."""
    monkeypatch.setattr("hansard.server.requests.REQUEST_BODY_PAUSE_S", 0.2)
    with socket.create_connection((client.host, client.port), 10) as connection:
        head = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        connection.sendall(head + b"Content-Length: 9\r\n\r\n")
        assert b" 408 " in connection.recv(1_000)
    for piece in (b"x-a: " + b"y" * 1_000 + b"\r\n", b"y" * 1_000):
        with socket.create_connection((client.host, client.port), 10) as connection, suppress(OSError):
            connection.sendall(b"POST /health/live HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
            for _ in range(2_000):
                connection.sendall(piece)
            raise AssertionError("the server takes trailers without end")


def test_large_events_are_shown_without_stopping_the_server(client: Client, store: hansard.Store) -> None:
    """One look at a large event would keep everybody waiting."""
    store.add("a-1", "x", {"list": list(range(60_000)), "nested": [[n] for n in range(5_000)]})
    slowest = 0.0
    looking = [
        threading.Thread(target=client.get, args=(path, {"Accept": "text/html"})) for path in ("/event/1", "/travel?stream=a-1")
    ]
    for thread in looking:
        thread.start()
    while any(thread.is_alive() for thread in looking):
        started = time.monotonic()
        client.get("/health/live")
        slowest = max(slowest, time.monotonic() - started)
    assert b"Too large to be drawn" in client.get("/event/1", {"Accept": "text/html"}).body
    assert slowest < 1.0


def test_a_connection_serves_any_number_of_requests(client: Client) -> None:
    """One limit of a request would end up as a limit of the connection."""
    connection = HTTPConnection(client.host, client.port, timeout=20)
    for number in range(1_500):
        connection.request("GET", "/api/v1/head", headers={"X-Filler": "y" * 500})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b'{"head":0}'), number
    connection.close()
