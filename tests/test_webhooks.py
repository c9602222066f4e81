"""Webhooks: events handed on by HTTP, signed, tried again, in order within a stream. The receiver here is a real server."""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import hansard
from hansard import Event, InvalidInput, InvalidType, Query, Retry, Webhook
from hansard.store import Store

SECRET = "a secret of enough bytes"
QUICK = Retry(attempts=3, first_s=0.0)


class Receiver:
    """Answers as it is told, and keeps what it has accepted."""

    def __init__(self) -> None:
        self.accepted: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                answer = receiver.answers.pop(0) if receiver.answers else 200
                if answer < 300:
                    receiver.accepted.append(({name.lower(): value for name, value in self.headers.items()}, body))
                if answer:
                    self.send_response(answer)
                    self.send_header("content-length", "0")
                    self.send_header("location", "/elsewhere")
                    self.end_headers()
                else:
                    self.connection.close()

            def log_message(self, *arguments: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hooks?a=1"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.accepted]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with hansard.open(tmp_path / "log.db") as store:
        yield store


def test_events_arrive_signed_as_cloud_events(store: Store, receiver: Receiver) -> None:
    """A receiver could not tell our events from a forger's, or what they are."""
    event = store.add("order-7", "placed", {"amount": 12, "ü": "€"}, tags={"b", "a"}, metadata={"correlation_id": "c-1"})
    store.add(None, "untold")
    store.catch_up(Webhook("hook", receiver.url, secret=SECRET, after=0, query=Query(types={"placed"}), source="shop",
                           headers={"Authorization": "Bearer x"}))  # fmt: skip
    ((headers, body),) = receiver.accepted
    assert json.loads(body) == {
        "specversion": "1.0", "id": str(event.id), "source": "shop", "type": "placed", "subject": "order-7",
        "time": event.timestamp.isoformat().replace("+00:00", "Z"), "datacontenttype": "application/json",
        "position": "1", "streamversion": 1, "tags": "a,b", "correlationid": "c-1", "data": {"amount": 12, "ü": "€"},
    }  # fmt: skip
    assert headers["content-type"] == "application/cloudevents+json; charset=UTF-8"
    assert (headers["webhook-id"], headers["authorization"]) == (str(event.id), "Bearer x")
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


@pytest.mark.parametrize("answer", [500, 404, 301, 0])
def test_what_is_not_accepted_is_tried_again_in_order(store: Store, receiver: Receiver, answer: int) -> None:
    """An event would be lost because the receiver was restarted, or arrive after a later one."""
    receiver.answers = [200, answer, answer]
    store.append("a-1", [Event("x", n) for n in range(4)])
    store.catch_up(Webhook("hook", receiver.url, after=0, retry=QUICK))
    assert list(dict.fromkeys(event["data"] for event in receiver.events())) == [0, 1, 2, 3]
    assert len(receiver.events()) == (6 if answer == 0 else 4)  # no answer: it may have come or not, so it is sent again


def test_a_stream_that_is_refused_for_good_is_parked(store: Store, receiver: Receiver) -> None:
    """One bad event would stop all that a receiver gets."""
    receiver.answers = [400, 400, 400]
    hook = Webhook("hook", receiver.url, after=0, retry=QUICK)
    for n in range(4):
        store.add(f"s-{n % 2}", "x", n)
    store.catch_up(hook)
    assert [event["data"] for event in receiver.events()] == [1, 3]
    letters = store.reader("hook").dead_letters
    assert [(one.position, one.stream) for one in letters] == [(1, "s-0"), (3, "s-0")]
    assert "answered 400" in next(iter(letters)).error
    letters.retry()
    store.catch_up(hook)
    assert [event["data"] for event in receiver.events()] == [1, 3, 0, 2]


def test_a_new_webhook_begins_at_the_head(store: Store, receiver: Receiver) -> None:
    """A new receiver would get everything that has ever happened, unasked."""
    store.add("a-1", "old")
    hook = Webhook("hook", receiver.url)
    store.catch_up(hook)
    store.add("a-1", "new")
    store.catch_up(hook)
    assert [event["type"] for event in receiver.events()] == ["new"]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"url": "ftp://x"}, "url"),
        ({"url": "http://"}, "url"),
        ({"url": 3}, "url"),
        ({"url": "http://a b/"}, "url"),
        ({"url": "http://a/\r\nx: y"}, "url"),
        ({"secret": "short"}, "secret"),
        ({"secret": 3}, "secret"),
        ({"headers": {"webhook-id": "1"}}, "headers"),
        ({"headers": {"a": "b\r\nc: d"}}, "headers"),
        ({"headers": {"a": 1}}, "headers"),
    ],
)
def test_bad_webhooks_are_refused(arguments: dict[str, Any], field: str) -> None:
    """A wrong address would show at the first event, or a header carry another."""
    with pytest.raises((InvalidInput, InvalidType), match=field):
        Webhook(**{"name": "hook", "url": "http://127.0.0.1:1/", **arguments})


def test_errors_do_not_tell_secrets(store: Store) -> None:
    """A password in the address would stand in dead letters and logs."""
    hook = Webhook("hook", "http://jo:pass@127.0.0.1:9/hook?token=t", after=0, retry=Retry(attempts=1), secret=SECRET)
    store.add("a-1", "x")
    store.catch_up(hook)
    (letter,) = store.reader("hook").dead_letters
    assert "127.0.0.1:9" in letter.error
    assert all(secret not in letter.error for secret in ("pass", "token", SECRET))
