"""One node on one server: what does not belong to it is refused, what fails is told, and nothing is decided by chance."""

import asyncio
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from uuid import uuid4

import nats
import pytest
from nats.js import api

import hansard
from hansard import (
    Event,
    InvalidInput,
    NewerFormat,
    OpenFailed,
    OutcomeUnknown,
    Projection,
    StorageFailed,
    StoreBusy,
    StoreCorrupt,
    StoreForked,
    StoreNotFound,
    StoreReadOnly,
    StoreUnusable,
    TooLarge,
    WrongExpectedVersion,
)
from hansard.interchange.copying import copy_log
from hansard.storage.cluster import messages
from hansard.storage.cluster.address import parse
from hansard.storage.cluster.arrivals import Arrivals
from hansard.storage.cluster.jetstream import JetStreamLog
from hansard.storage.opening import open_storage
from nats_servers import Nats, decide_otherwise, new_log, single
from servers import served


def another(url: str) -> str:
    """A second node of the same log."""
    return url.replace("x.db", "another.db")


@contextmanager
def a_server(folder: Path, *, settings: str = "", room: str = "10GB") -> Iterator[str]:
    """Its address, with all that comes behind the user."""
    server = Nats(folder, name=f"own-{uuid4().hex[:6]}", cluster=f"{settings}\n")
    server.config.write_text(server.config.read_text().replace("10GB", room))
    server.start()
    try:
        yield f"127.0.0.1:{server.port}/orders?replica={folder / 'x.db'}&replicas=1"
    finally:
        server.kill()


def node_of(store: hansard.Store) -> Any:
    return store._storage._node  # type: ignore[attr-defined]


# What does not belong together (one server)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nats:///orders?replica=x.db", "expected a server"),
        ("nats://localhost?replica=x.db", "log: '': expected a name of letters"),
        ("nats://localhost/a.b?replica=x.db", "log: 'a.b': expected a name of letters"),
        ("nats://localhost/orders", "replica: None: expected the path of this node's own file"),
        ("nats://localhost/orders?replica=x.db&replicas=2", "replicas: '2': expected 1, 3 or 5"),
        ("nats://user:secret@localhost/orders?replica=x.db&more=1", "there is no option more"),
        ("nats://localhost:99999/orders?replica=x.db", "port: '99999': expected a number from 1 to 65535"),
        ("nats://localhost:abc/orders?replica=x.db", "port: 'abc': expected a number"),
        ("nats://localhost/orders?replica=", "replica: '': expected one value"),
        ("nats://localhost/orders?replica=x.db&replica=y.db", "replica: 'y.db': expected one value"),
    ],
)
def test_an_address_that_cannot_be_is_refused(url: str, message: str) -> None:
    """A node would write to another log than was meant."""
    with pytest.raises(InvalidInput, match=message) as caught:
        hansard.open(url)
    assert "secret" not in str(caught.value)


def test_no_server_is_told(tmp_path: Path) -> None:
    """The reason would be a driver's error."""
    with pytest.raises(OpenFailed, match=r"no server answers"):
        hansard.open(f"nats://127.0.0.1:1/orders?replica={tmp_path / 'x.db'}")


def with_jetstream(work: Any) -> Any:
    async def run() -> Any:
        client = await nats.connect(f"nats://127.0.0.1:{single().port}")
        try:
            return await work(client.jetstream())
        finally:
            await client.close()

    return asyncio.run(run())


async def publish(js: Any, log: str, *texts: bytes) -> None:
    """Into the log, past any node."""
    (subject,) = (await js.stream_info(f"hansard-{log}")).config.subjects
    for text in texts:
        await js.publish(subject, text)


def test_a_log_that_could_forget_is_refused(tmp_path: Path) -> None:
    """Events would be gone when the log is full, or old."""
    url = new_log(tmp_path / "x.db")
    name = url.partition("?")[0].rpartition("/")[2]

    async def make(js: Any) -> None:
        config = api.StreamConfig(
            name=f"hansard-{name}", subjects=[f"hansard.{name}"], max_msgs=100, max_age=3600, storage=api.StorageType.MEMORY
        )
        await js.add_stream(config)

    with_jetstream(make)
    with pytest.raises(OpenFailed, match=r"is not set as it must be: .*storage is memory.*max_age is 3600.*max_msgs is 100"):
        hansard.open(url)
    with pytest.raises(OpenFailed, match="it has 1 replicas, expected at least 3"):
        hansard.open(url.replace("&replicas=1", ""))


@pytest.mark.parametrize("is_publishing", [True, False])
def test_a_log_that_was_made_anew_under_a_node_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_publishing: bool
) -> None:
    """The node would mix two logs: what the new one says from some number on, after what the old one said."""
    monkeypatch.setattr("hansard.storage.cluster.jetstream._OPEN_S", 2.0)
    monkeypatch.setattr("hansard.storage.cluster.node.BUSY_TIMEOUT_S", 10.0)
    url = new_log(tmp_path / "x.db")
    name = url.partition("?")[0].rpartition("/")[2]
    with hansard.open(url) as store:
        for n in range(20):
            store.add("a-1", "happened", n)
        with_jetstream(lambda js: js.delete_stream(f"hansard-{name}"))
        with hansard.open(url.replace("x.db", "y.db")) as other:
            other.add("b-1", "of another log")
            if is_publishing:
                with pytest.raises(StoreUnusable, match="the log was deleted, and another one made in its place"):
                    store.add("a-1", "lost")
            ends = time.monotonic() + 30
            while not store.cluster.status().stopped and time.monotonic() < ends:
                time.sleep(0.1)
            assert "the log was deleted, and another one made in its place" in store.cluster.status().stopped
            with pytest.raises(StoreUnusable):
                store.add("a-1", "later")
            assert [event.data for event in store.read()] == list(range(20))
            other.barrier()
            assert [event.type for event in other.read()] == ["of another log"]
    with pytest.raises(OpenFailed, match="this is a replica of another log"):
        hansard.open(url)


def test_a_node_whose_next_message_is_gone_stops(tmp_path: Path) -> None:
    """It would ask for that message for ever, and say nothing."""
    url = new_log(tmp_path / "x.db")
    with hansard.open(url) as store:
        for _ in range(5):
            store.add("a-1", "happened")
        store.cluster.trim(4)
        log = JetStreamLog(parse(url)._replace(shown="here"))
        arrivals = Arrivals(2)
        log.follow(2, arrivals)
        assert arrivals.wait(20)
        assert str(arrivals.failure) == (
            "here: the log begins at message 5 now, and this node has only come to 2; begin with a snapshot"
        )
        log.close()


def test_messages_of_a_node_that_is_ahead_of_the_log_count_for_nothing(tmp_path: Path) -> None:
    """A log that was set back to an older copy would take what was decided from what it does not know any more."""
    url = new_log(tmp_path / "x.db")
    name = url.partition("?")[0].rpartition("/")[2]
    form = messages.form_of(hansard.appends.Append((hansard.StreamAppend("a-1", [Event("more")]),)))  # type: ignore[attr-defined]
    ahead = messages.written(messages.Message(b"n" * 16, 1, 5, [form], [], "ahead", 1_000, "ab" * 16))
    with hansard.open(url) as store:
        store.add("a-1", "happened")
        with_jetstream(lambda js: publish(js, name, ahead))
        store.barrier()
        assert [event.type for event in store.read()] == ["happened"]


def test_a_node_of_which_the_log_knows_less_than_it_does_stops(tmp_path: Path) -> None:
    """It would wait for its own message, which it takes for one that it has."""
    with hansard.open(new_log(tmp_path / "x.db")) as store:
        store.add("a-1", "happened")
        node_of(store)._log.publish = lambda *args, **kwargs: 0
        with pytest.raises(StoreUnusable, match="the log gave number 0 to a message that follows 2: it is another log"):
            store.add("a-1", "more")


def test_a_replica_of_another_log_is_refused(tmp_path: Path) -> None:
    """Two logs would be mixed."""
    one, two = new_log(tmp_path / "one.db"), new_log(tmp_path / "one.db")
    hansard.open(two.replace("one.db", "two.db")).close()
    with hansard.open(one) as store:
        store.add("a-1", "happened")
    with pytest.raises(OpenFailed, match="this is a replica of another log"):
        hansard.open(two)
    with hansard.open(tmp_path / "own.db") as store:
        store.add("a-1", "happened")
    with pytest.raises(OpenFailed, match="this is a store of its own, and no replica of a log"):
        hansard.open(two.replace("one.db", "own.db"))
    with pytest.raises(StoreNotFound, match=r"there is no log .*, but the file of a replica; to begin a new log, give another"):
        hansard.open(new_log(tmp_path / "own.db"))


def test_new_rules_are_switched_on_by_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes of two versions would decide by different rules at the same message."""
    url = new_log(tmp_path / "x.db")
    with hansard.open(url) as store:
        store.add("a-1", "happened")
        assert store.cluster.upgrade() == (1, 1)
        with monkeypatch.context() as newer:
            newer.setattr(messages, "RULES", 2)
            assert store.cluster.upgrade() == (1, 2)
            store.add("a-1", "happened")
            assert store.cluster.upgrade() == (2, 2)
    with pytest.raises(NewerFormat, match="the rules that message 3 of the log switches on: format 2 is newer than 1"):
        hansard.open(url.replace("x.db", "old.db"))
    with pytest.raises(NewerFormat, match=r"x\.db: the rules of its log: format 2 is newer than 1"):
        hansard.open(url)
    monkeypatch.setattr(messages, "RULES", 2)
    with hansard.open(url.replace("x.db", "old.db")) as upgraded:
        assert upgraded.head() == 2


def test_a_replica_is_one_nodes_alone(tmp_path: Path) -> None:
    """Two that apply the same messages to one file would apply them twice; somebody who writes to it would spoil it."""
    url = new_log(tmp_path / "one.db")
    with hansard.open(url) as store:
        store.add("a-1", "happened")
        with pytest.raises(OpenFailed, match=r"one\.db: another node has this replica; each node and each process needs its own"):
            hansard.open(url)
    with pytest.raises(OpenFailed, match=r"one\.db: this is the replica of a cluster's node, and written by that alone"):
        hansard.open(tmp_path / "one.db")
    with hansard.open(tmp_path / "one.db", read_only=True) as looking:
        assert looking.head() == 1
    with hansard.open(url) as again:
        assert again.add("a-1", "happened").position == 2


@pytest.mark.parametrize(
    ("spoil", "kind", "message"),
    [
        (
            lambda text: text[:-1] + bytes([text[-1] ^ 1]),
            StoreCorrupt,
            "message 3 of the log is damaged: its checksum does not fit",
        ),
        (lambda text: text[:2] + b"\x09" + text[3:], NewerFormat, "message 3 of the log: format 9 is newer than 1"),
        (lambda text: b"hello", StoreCorrupt, "message 3 of the log is none of ours"),
    ],
    ids=["damaged", "newer", "foreign"],
)
def test_a_message_that_cannot_be_read_stops_the_node_before_it(tmp_path: Path, spoil: Any, kind: Any, message: str) -> None:
    """It would be passed by, and the node would differ from the others for ever."""
    url = new_log(tmp_path / "x.db")
    name = url.partition("?")[0].rpartition("/")[2]
    store = hansard.open(url)
    store.add("a-1", "happened")
    form = messages.form_of(hansard.appends.Append((hansard.StreamAppend("a-1", [Event("more")]),)))  # type: ignore[attr-defined]
    text = spoil(messages.written(messages.Message(b"n" * 16, 1, 0, [form], [])))

    with_jetstream(lambda js: publish(js, name, text))
    ends = time.monotonic() + 10
    with pytest.raises(kind, match=message):
        while time.monotonic() < ends:
            store.add("a-1", "later")
    assert store.head() == 1, "what was applied before is there"
    store.close()
    with pytest.raises(kind, match=message):
        hansard.open(url)


async def _told_async(url: str) -> tuple[int, int, int]:
    async with hansard.aio.open(url) as store:
        await store.add("a-1", "happened")
        await store.barrier()
        return (await store.cluster.status()).applied, (await store.cluster.upgrade())[1], await store.cluster.trim(1)


def test_the_async_face_tells_of_the_cluster(tmp_path: Path) -> None:
    """Who writes tasks could not see it."""
    assert asyncio.run(_told_async(new_log(tmp_path / "x.db"))) == (3, 1, 2)


def test_silent_nodes_tell_once_how_far_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes that only read would look as if they were behind; or they would answer each other for ever."""
    monkeypatch.setattr("hansard.storage.cluster.node._TELL_S", 0.2)
    url = new_log(tmp_path / "x.db")
    with hansard.open(url) as writing, hansard.open(url.replace("x.db", "y.db")) as reading:
        for _ in range(3):
            writing.add("a-1", "happened")
        ends = time.monotonic() + 20
        while min([member.applied for member in reading.cluster.status().members], default=0) < 3 and time.monotonic() < ends:
            time.sleep(0.05)
        members = reading.cluster.status().members
        assert [member.name.rpartition("/")[2] for member in members] == ["x.db", "y.db"]
        assert min(member.applied for member in members) >= 3
        time.sleep(1)
        last = writing.cluster.status().last
        assert last <= 7, "two that open, three appends, two that tell"
        time.sleep(1)
        assert writing.cluster.status().last == last


def test_a_message_that_is_in_the_log_twice_counts_once(tmp_path: Path) -> None:
    """An append that was refused would be stored after all, when its message comes a second time."""
    url = new_log(tmp_path / "x.db")
    name = url.partition("?")[0].rpartition("/")[2]
    store = hansard.open(url)
    append = hansard.appends.Append((hansard.StreamAppend("a-1", [Event("late")], 1),))  # type: ignore[attr-defined]
    refused = messages.written(messages.Message(b"n" * 16, 1, 5, [messages.form_of(append)], []))
    put = messages.written(messages.Message(b"n" * 16, 2, 6, [], [messages.Put("things", {"a": b"1"})]))
    drop = messages.written(messages.Message(b"n" * 16, 3, 7, [], [messages.Drop("things")]))

    with_jetstream(lambda js: publish(js, name, refused))
    store.barrier()
    store.add("a-1", "first")
    with_jetstream(lambda js: publish(js, name, refused, put, drop, put))
    store.barrier()
    assert [event.type for event in store.read()] == ["first"]
    assert store._storage.get("things", ["a"]) == {}
    store.close()
    with hansard.open(url) as again:
        assert [event.type for event in again.read()] == ["first"]


def test_appends_that_are_too_much_together_go_into_several_messages(tmp_path: Path) -> None:
    """Small appends would be refused because others came at the same time."""
    tags = frozenset(f"{n}:{'ü' * 500}" for n in range(50))
    with hansard.open(new_log(tmp_path / "x.db")) as store:
        threads = [threading.Thread(target=store.append, args=(f"a-{n}", Event("happened", n, tags=tags))) for n in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.head() == 64


def test_an_append_that_is_too_large_for_the_log_is_refused(tmp_path: Path) -> None:
    """It would be tried for ever."""
    with hansard.open(new_log(tmp_path / "x.db")) as store:
        with pytest.raises(InvalidInput, match=r"append: .*expected at most .* bytes in one message of the cluster's log"):
            store.add("a-1", "large", "y" * 1_100_000)
        assert store.add("a-1", "small").position == 1


# What fails


def test_a_disk_that_fails_in_a_transaction_decides_nothing(tmp_path: Path) -> None:
    """A node would take the failure of its own disk for a refusal, and go on without what the others have stored."""
    url = new_log(tmp_path / "a.db")
    stores = [hansard.open(url.replace("a.db", f"{name}.db")) for name in "abc"]
    for store in stores:
        store.add("a-1", "first")
    for store in stores:
        store.barrier()
    connection = node_of(stores[1]).replica.storage._writer._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count={pages}")
    stores[0].transact(lambda transaction: transaction.append("a-1", Event("large", "y" * 100_000)))
    ends = time.monotonic() + 20
    while not stores[1].cluster.status().stopped:
        assert time.monotonic() < ends
        time.sleep(0.05)
    assert "full" in stores[1].cluster.status().stopped
    connection.execute("PRAGMA max_page_count=1000000")
    stores[1].close()
    stores[1] = hansard.open(url.replace("a.db", "b.db"))
    stores[2].barrier()
    assert list(stores[1].read()) == list(stores[0].read()) == list(stores[2].read())
    assert [event.type for event in stores[1].read()][3] == "large"
    for store in stores:
        store.close()


def test_a_long_transaction_lets_its_node_wait_and_not_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow handler would take a node out of the cluster."""
    monkeypatch.setattr("hansard.storage.group_commit.BUSY_TIMEOUT_S", 0.3)
    url = new_log(tmp_path / "x.db")
    with hansard.open(url) as store, hansard.open(another(url)) as other:

        def slow(transaction: Any) -> None:
            if not other.head():
                other.add("b-1", "meanwhile")
                time.sleep(1.5)
            transaction.append("a-1", Event("happened"))

        store.transact(slow)
        assert [event.type for event in store.read()] == ["meanwhile", "happened"]
        assert store.cluster.status().stopped == ""


def test_nobody_waits_longer_than_the_first_when_the_log_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each message of a group would wait for its own half minute, and closing for all of them."""
    monkeypatch.setattr("hansard.storage.cluster.storage.BUSY_TIMEOUT_S", 2.0)
    server = Nats(tmp_path).start()
    store = hansard.open(f"nats://127.0.0.1:{server.port}/orders?replica={tmp_path / 'x.db'}&replicas=1")
    server.kill()
    told: list[type[Exception]] = []

    def append(number: int) -> None:
        try:
            store.add(f"a-{number}", "large", "y" * 600_000)
        except (OutcomeUnknown, StoreBusy) as error:
            told.append(type(error))

    begin = time.monotonic()
    threads = [threading.Thread(target=append, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    closing = threading.Thread(target=store.close)
    closing.start()
    for thread in [*threads, closing]:
        thread.join()
    assert time.monotonic() - begin < 15
    assert len(told) == 8
    assert set(told) == {OutcomeUnknown, StoreBusy}


def test_what_the_server_complains_of_is_told(tmp_path: Path) -> None:
    """Whoever has a wrong password would look for a server that does not answer."""
    with a_server(tmp_path, settings='authorization { user: "shop", password: "p@ss/w?rd" }') as place:
        with pytest.raises(OpenFailed, match="the servers do not let this user in"):
            hansard.open(f"nats://shop:wrong@{place}")
        with hansard.open(f"nats://shop:p%40ss%2Fw%3Frd@{place}") as store:
            assert store.add("a-1", "happened").position == 1
    with (
        a_server(tmp_path, settings="max_payload: 65536") as place,
        pytest.raises(OpenFailed, match="max_payload of the servers is 65536 bytes, expected at least"),
    ):
        hansard.open(f"nats://{another(place)}")
    with a_server(tmp_path) as place, pytest.raises(OpenFailed, match=r"these servers are no cluster .* add &replicas=1"):
        hansard.open(f"nats://{another(place).replace('&replicas=1', '')}")


def test_the_permissions_that_the_docs_name_are_enough(tmp_path: Path) -> None:
    """A node would open, and then hang while it catches up."""
    docs = (Path(__file__).parent.parent / "docs" / "cluster.md").read_text()
    assert "publish on `hansard.LOG.>`, `$JS.API.>` and `$JS.FC.>`, and to subscribe on `_INBOX.>`" in docs
    allowed = '{ publish: ["hansard.orders.>", "$JS.API.>", "$JS.FC.>"], subscribe: ["_INBOX.>"] }'
    narrow = '{ publish: ["$JS.API.>"], subscribe: ["_INBOX.>"] }'
    users = f"""authorization {{ users: [{{ user: "shop", password: "secret", permissions: {allowed} }},
        {{ user: "reader", password: "secret", permissions: {narrow} }}] }}"""
    with a_server(tmp_path, settings=users) as place:
        url = f"nats://shop:secret@{place}"
        with hansard.open(url) as store:
            for _ in range(60):
                store.append("a-1", [Event("happened", "y" * 800) for _ in range(1_000)])
        with hansard.open(another(url)) as store:
            assert store.head() == 60_000
            assert store.cluster.trim(10, is_forced=True) == 11
        with hansard.open(url.replace("shop:", "reader:")) as store:
            with pytest.raises(StorageFailed, match="this user may not write to the log") as caught:
                store.add("a-1", "more")
            assert not isinstance(caught.value, OutcomeUnknown)


def test_a_full_log_refuses_and_nothing_is_unknown(tmp_path: Path) -> None:
    """Callers would wait for half a minute, and not know what has become of their events."""
    with a_server(tmp_path, room="2MB") as place, hansard.open(f"nats://{place}") as store:
        with pytest.raises(StorageFailed, match="resources") as caught:
            for _ in range(10):
                store.add("a-1", "large", "y" * 900_000)
        assert not isinstance(caught.value, OutcomeUnknown)


def test_a_log_that_delivers_nothing_is_told_when_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program would stand still, and say nothing."""
    url = new_log(tmp_path / "x.db")
    with hansard.open(url) as store:
        store.add("a-1", "happened")
    monkeypatch.setattr("hansard.storage.cluster.node.BUSY_TIMEOUT_S", 0.5)
    monkeypatch.setattr(JetStreamLog, "follow", lambda *_: None)
    with pytest.raises(OpenFailed, match=r"the log's servers have not delivered message 1 of 3 for 0\.5 s"):
        hansard.open(another(url))


# One node and another


def test_a_snapshot_tells_the_message_that_it_holds(tmp_path: Path) -> None:
    """The log would be trimmed beyond it, and nobody could begin with it."""
    url = new_log(tmp_path / "x.db")
    is_over = threading.Event()

    def append() -> None:
        while not is_over.is_set():
            store.add("a-1", "happened", "y" * 1_000)

    with hansard.open(url) as store:
        writing = threading.Thread(target=append)
        writing.start()
        try:
            for number in range(5):
                time.sleep(0.2)
                snapshot = store.cluster.snapshot(tmp_path / f"{number}.db")
                store.cluster.trim(snapshot.sequence, is_forced=True)
                with hansard.open(url.replace("x.db", f"{number}.db")) as begun:
                    assert begun.head() >= snapshot.head
        finally:
            is_over.set()
            writing.join()


def test_what_a_snapshot_holds_may_be_trimmed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that is written, but not yet counted, would be refused as one that was never applied."""
    with hansard.open(new_log(tmp_path / "x.db")) as store:
        store.add("a-1", "happened")
        replica = store._storage._node.replica  # type: ignore[attr-defined]
        before = replica.applied
        store.add("a-1", "happened")
        monkeypatch.setattr(replica, "applied", before)
        snapshot = store.cluster.snapshot(tmp_path / "copy.db")
        assert snapshot.sequence > before.sequence
        assert store.cluster.trim(snapshot.sequence, is_forced=True) == snapshot.sequence + 1
        monkeypatch.undo()


def test_a_node_that_is_away_keeps_its_part_of_the_log(tmp_path: Path) -> None:
    """A program that has begun after it left would trim what it still needs."""
    url = new_log(tmp_path / "x.db")
    with hansard.open(another(url)) as away:
        away.add("a-1", "happened")
    with hansard.open(url) as store:
        for _ in range(20):
            store.add("a-1", "happened")
    with hansard.open(url) as store:
        with pytest.raises(InvalidInput, match=r"to: 15: still needed by .*another\.db \(at \d, heard of 20\d\d-"):
            store.cluster.trim(15)
        assert [member.name.rpartition("/")[2] for member in store.cluster.status().members] == ["another.db", "x.db"]
        assert store.cluster.trim(15, is_forced=True) == 16
    with pytest.raises(OpenFailed, match=r"the log begins at message 16 now, the replica ends at \d; begin with a snapshot"):
        hansard.open(another(url))


def test_a_new_node_tells_at_once_that_it_needs_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it catches up, the log would be trimmed before it."""
    url = new_log(tmp_path / "x.db")
    with hansard.open(url) as store:
        store.add("a-1", "happened")
        monkeypatch.setattr("hansard.storage.cluster.node.BUSY_TIMEOUT_S", 0.5)
        with monkeypatch.context() as slow:
            slow.setattr(JetStreamLog, "follow", lambda *_: None)
            with pytest.raises(OpenFailed):
                hansard.open(another(url))
        store.barrier()
        with pytest.raises(InvalidInput, match=r"still needed by .*another\.db \(at 0, "):
            store.cluster.trim(2)


def test_a_node_that_was_begun_anew_is_right_again(tmp_path: Path) -> None:
    """It would be taken for wrong for ever, and a healthy node would stop because of it."""
    url = new_log(tmp_path / "x.db")
    places = [url.replace("x.db", f"{name}.db") for name in "abc"]
    stores = [hansard.open(place) for place in places]
    for store in stores * 2:
        store.add("a-1", "happened")
    stores[0].barrier()
    decide_otherwise(stores[1])
    ends = time.monotonic() + 20
    while not stores[1].cluster.status().stopped:
        assert time.monotonic() < ends
        for store in stores:
            with suppress(StoreCorrupt):
                store.add("a-1", "later")
    assert [member.differs_from > 0 for member in stores[0].cluster.status().members] == [False, True, False]
    stores[1].close()
    for file in tmp_path.glob("b.db*"):
        file.unlink()
    stores[1] = hansard.open(places[1])
    for store in stores * 2:
        store.add("a-1", "again")
    stores[0].barrier()
    assert [member.differs_from for member in stores[0].cluster.status().members] == [0, 0, 0]
    for store in stores:
        store.close()


def _late(store: hansard.Store) -> None:
    """The node takes what others say only with its own messages."""
    arrivals = node_of(store)._arrivals
    put, kept = arrivals.put, list[Any]()

    def late(sequence: int, message: bytes, own: Any = None) -> None:
        if own is None:
            kept.append((sequence, message))
            return
        while kept:
            put(*kept.pop(0))
        put(sequence, message, own)

    arrivals.put = late


def test_a_conflict_that_is_over_refuses_nothing(tmp_path: Path) -> None:
    """With inline projections a node that is behind would refuse what the log allows."""
    url = new_log(tmp_path / "x.db")
    with hansard.open(url) as store, hansard.open(another(url)) as other:
        store.add("a-1", "happened")
        other.barrier()
        _late(store)
        other.add("a-1", "happened")
        with pytest.raises(WrongExpectedVersion):
            store.transact(lambda transaction: transaction.append("a-1", Event("more"), expected_version=7))
        other.add("a-1", "happened")
        appended = store.transact(lambda transaction: transaction.append("a-1", Event("more"), expected_version=3))
        assert appended.version == 4


def test_times_that_a_transaction_sees_are_those_that_are_stored(tmp_path: Path) -> None:
    """Inline projections that keep times would differ from what a rebuild gives."""
    with hansard.open(new_log(tmp_path / "x.db")) as store:
        for n in range(20):
            appended = store.transact(lambda transaction: transaction.append("a-1", Event("happened")))
            (event,) = store.read(after=n)
            assert appended.timestamp_us == event.timestamp_us


def _status_of(url: str) -> int:
    """The first that is not 200, within some time."""
    ends = time.monotonic() + 20
    while time.monotonic() < ends:
        try:
            urllib.request.urlopen(url).close()
        except HTTPError as error:
            return error.code
        time.sleep(0.1)
    return 200


def test_a_stopped_node_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Readers would wait for events that never come, and a balancer would go on sending requests."""
    url = new_log(tmp_path / "x.db")
    name = url.partition("?")[0].rpartition("/")[2]
    with served(open_storage(another(url)), is_watched=False) as server, hansard.open(url) as store:
        store.add("a-1", "happened")
        with urllib.request.urlopen(f"{server}/health/ready") as answer:
            assert answer.status == 200
        told: list[BaseException] = []

        def read() -> None:
            try:
                for _ in store.subscribe():
                    pass
            except StoreCorrupt as error:
                told.append(error)

        reading = threading.Thread(target=read)
        reading.start()
        time.sleep(0.3)
        with_jetstream(lambda js: publish(js, name, b"nonsense"))
        reading.join(20)
        assert "is none of ours" in str(told[0])
        with pytest.raises(StoreCorrupt, match="is none of ours"):
            store.wait(store.head(), 5.0)
        depths = []
        for _ in range(3):
            with pytest.raises(StoreCorrupt) as caught:
                store.add("a-1", "more")
            depths.append(len(caught.traceback))
        assert depths[0] == depths[2], "one error would grow with each call"
        assert _status_of(f"{server}/health/ready") == 503
        assert store.head() == 1
    with pytest.raises(hansard.StoreClosed):
        store.cluster.status()


def test_the_check_tells_of_nodes_that_differ(tmp_path: Path) -> None:
    """Nobody would hear of it."""
    url = new_log(tmp_path / "x.db")
    with hansard.open(url) as one, hansard.open(another(url)) as two:
        for store in (one, two):
            store.add("a-1", "happened")
        decide_otherwise(two)
        with suppress(StoreCorrupt):
            two.add("a-1", "more")
        words = ["cluster", "check", "--table", url.replace("x.db", "cli.db")]
        done = subprocess.run([sys.executable, "-m", "hansard", *words], capture_output=True, text=True)
    assert done.returncode == 9
    assert "another.db has decided otherwise since message" in done.stdout
    assert "nothing was compared: no other node has answered" in done.stdout


# What is too much


def test_what_does_not_fit_into_one_message_is_done_in_smaller_steps(tmp_path: Path) -> None:
    """A projection with large states would try the same for ever, and say nothing."""
    with hansard.open(new_log(tmp_path / "x.db")) as store:
        for n in range(200):
            store.add(f"a-{n}", "happened", n)
        store.catch_up(Projection("large", lambda state, event: "y" * 20_000, initial="", key=lambda event: event.stream))
        assert len(store.model("large")["a-199"]) == 20_000


def test_one_event_that_does_not_fit_stops_its_reader_visibly(tmp_path: Path) -> None:
    """It would stand still without a reason."""
    with hansard.open(new_log(tmp_path / "x.db")) as store:
        for n in range(3):
            store.add(f"a-{n}", "happened", n)
        large = Projection(
            "large", lambda state, event: "y" * (2_000_000 if event.data == 1 else 1), initial="", key=lambda e: e.stream
        )
        with pytest.raises(hansard.ProcessorStopped, match=r"expected at most .* bytes in one message of the cluster's log"):
            store.catch_up(large)
        assert store.reader("large@1").status().failure.position == 2


def test_a_store_with_large_events_is_copied_into_a_cluster(tmp_path: Path) -> None:
    """What an append on a file takes would not fit into a message."""
    with hansard.open(tmp_path / "own.db") as source, hansard.open(new_log(tmp_path / "x.db")) as target:
        for n in range(8):
            source.append("a-1", [Event("happened", f"{n}-{m}" + "y" * 5_000) for m in range(250)])
        assert copy_log(source, target).copied == 2_000


def test_a_transaction_that_is_too_large_says_so(tmp_path: Path) -> None:
    """It would be tried for ever."""
    with hansard.open(new_log(tmp_path / "x.db")) as store, pytest.raises(TooLarge, match=r"transaction: .* expected at most"):
        store.transact(lambda transaction: [transaction.append(f"a-{n}", Event("large", "y" * 300_000)) for n in range(5)])


# Places and processes


@pytest.mark.parametrize(
    ("url", "credentials", "replica", "shown"),
    [
        ("nats://a/orders?replica=x.db", {}, "x.db", "nats://a/orders?replica=x.db"),
        (
            "nats://u:p%40s%2Fs@a/orders?replica=x.db",
            {"user": "u", "password": "p@s/s"},
            "x.db",
            "nats://u:…@a/orders?replica=x.db",
        ),
        ("nats://u:p/s@a/orders?replica=x.db", {"user": "u", "password": "p/s"}, "x.db", "nats://u:…@a/orders?replica=x.db"),
        ("nats://secret@a/orders?replica=x.db", {"token": "secret"}, "x.db", "nats://…@a/orders?replica=x.db"),
        ("nats://a/orders?replica=/c++/a%2520b.db", {}, "/c++/a%20b.db", "nats://a/orders?replica=/c++/a%2520b.db"),
    ],
)
def test_an_address_is_read_as_it_is_written(url: str, credentials: Any, replica: str, shown: str) -> None:
    """A password could not be given, or would be shown."""
    address = parse(url)
    assert (dict(address.credentials), address.replica, address.shown) == (credentials, replica, shown)


def test_a_log_that_must_exist_is_not_made(tmp_path: Path) -> None:
    """A command with a mistyped name would leave an empty log."""
    url = new_log(tmp_path / "x.db")
    with pytest.raises(StoreNotFound, match="there is no log of this name on these servers"):
        hansard.open(url, must_exist=True)
    with hansard.open(url):
        pass
    hansard.open(url, must_exist=True).close()
    name = url.partition("?")[0].rpartition("/")[2]
    with_jetstream(lambda js: js.delete_stream(f"hansard-{name}"))
    with pytest.raises(StoreNotFound):  # a replica that has something says that there was one
        hansard.open(url)


def test_a_replica_has_one_node_by_whatever_name(tmp_path: Path) -> None:
    """Two nodes would apply the same messages to one file."""
    url = new_log(tmp_path / "x.db")
    (tmp_path / "y.db").symlink_to(tmp_path / "x.db")
    with hansard.open(url), pytest.raises(OpenFailed, match="another node has this replica"):
        hansard.open(url.replace("x.db", "y.db"))


def test_a_child_process_is_told_and_takes_nothing_from_its_parent(tmp_path: Path) -> None:
    """It would wait for a loop that does not run there, and keep the replica from its parent."""
    url = new_log(tmp_path / "x.db")
    store = hansard.open(url)
    store.add("a-1", "happened")
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        try:
            for work in (lambda: store.add("a-1", "more"), store.barrier, lambda: store.transact(lambda _: None)):
                with suppress(StoreForked):
                    work()
                    os.write(writes, b"not told")
            store.close()
            os.write(writes, b"told")
            time.sleep(20)
        finally:
            os._exit(0)
    assert os.read(reads, 100) == b"told"
    store.close()
    with hansard.open(url) as again:
        assert again.head() == 1
    os.kill(child, 9)
    os.waitpid(child, 0)


def test_a_node_is_read_by_any_command_and_copied_to_a_file(tmp_path: Path) -> None:
    """Nobody could leave a cluster."""
    url = new_log(tmp_path / "x.db")
    with hansard.open(url) as store:
        store.add("a-1", "happened")
    for words in (["read", url], ["check", url], ["copy", url, str(tmp_path / "own.db")], ["stats", url]):
        done = subprocess.run([sys.executable, "-m", "hansard", *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    with hansard.open(tmp_path / "own.db") as own, hansard.open(url, read_only=True) as node:
        assert list(own.read()) == list(node.read())
        for work in (lambda: node.add("a-1", "more"), lambda: node.transact(lambda _: None)):
            with pytest.raises(StoreReadOnly, match="opened read-only"):
                work()
        node.barrier()
    with pytest.raises(InvalidInput) as caught:
        hansard.migrate("nats://user:secret@localhost/orders?replica=x.db")
    assert "secret" not in str(caught.value)


def test_a_snapshot_takes_the_place_of_a_replica(tmp_path: Path) -> None:
    """What SQLite had not yet written back of the old one would change it."""
    url = new_log(tmp_path / "x.db")
    with hansard.open(url) as store:
        store.add("a-1", "happened")
        snapshot = store.cluster.snapshot(tmp_path / "snapshot.db")
        with pytest.raises(OpenFailed, match="another node has this replica"):
            hansard.restore_replica(tmp_path / "snapshot.db", tmp_path / "x.db")
        for _ in range(50):
            store.add("a-1", "more")
        for side in ("", "-wal"):
            shutil.copyfile(tmp_path / f"x.db{side}", tmp_path / f"killed.db{side}")
        digest = store._storage.applied.digest  # type: ignore[attr-defined]
    assert hansard.restore_replica(tmp_path / "snapshot.db", tmp_path / "killed.db") == snapshot
    assert not (tmp_path / "killed.db-wal").exists()
    with hansard.open(url.replace("x.db", "killed.db")) as again:
        assert (again.head(), again.check()) == (51, [])
        assert node_of(again).members._digests[52] == digest
    with hansard.open(tmp_path / "own.db") as own:
        own.add("a-1", "happened")
    with pytest.raises(OpenFailed, match="this is no snapshot of a node"):
        hansard.restore_replica(tmp_path / "own.db", tmp_path / "new.db")


def test_a_node_that_is_no_more_is_forgotten(tmp_path: Path) -> None:
    """It would keep the log for a week, and force would be the only way."""
    url = new_log(tmp_path / "x.db")
    with hansard.open(another(url)) as gone:
        gone.add("a-1", "happened")
    with hansard.open(url) as store:
        for _ in range(5):
            store.add("a-1", "happened")
        (name,) = [member.name for member in store.cluster.status().members if not member.is_this]
        with pytest.raises(InvalidInput, match="still needed by"):
            store.cluster.trim(5)
        with pytest.raises(InvalidInput, match=r"name: 'nobody': there is no other node of this name; known are: .*another\.db"):
            store.cluster.forget("nobody")
        store.cluster.forget(name)
        assert store.cluster.trim(5) == 6
    with hansard.open(url) as store:
        assert [member.is_this for member in store.cluster.status().members] == [True]


def test_nodes_answer_when_they_are_asked(tmp_path: Path) -> None:
    """A check would compare nothing, or wait for half a minute."""
    url = new_log(tmp_path / "x.db")
    with hansard.open(url) as store, hansard.open(another(url)) as other:
        other.add("a-1", "happened")
        found = store.cluster.compare()
        assert [member.applied >= found.asked for member in found.members if not member.is_this] == [True]
        assert found.agreed >= found.asked


def test_a_stopped_node_says_so_in_the_log_of_the_program(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody would see it who does not look at a page."""
    url = new_log(tmp_path / "x.db")
    name = url.partition("?")[0].rpartition("/")[2]
    with hansard.open(url) as store:
        with_jetstream(lambda js: publish(js, name, b"nonsense"))
        ends = time.monotonic() + 20
        while not store.cluster.status().stopped and time.monotonic() < ends:
            time.sleep(0.05)
    assert "this node of the cluster has stopped: message 2 of the log is none of ours" in caplog.text


def test_a_node_that_two_others_contradict_stops_at_once(tmp_path: Path) -> None:
    """It would tell its readers wrong things for half a minute, because of nodes that are away."""
    url = new_log(tmp_path / "x.db")
    hansard.open(url.replace("x.db", "away.db")).close()
    stores = [hansard.open(url.replace("x.db", f"{name}.db")) for name in "abc"]
    for store in stores:
        store.add("a-1", "happened")
        store.barrier()
    decide_otherwise(stores[0])
    begin = time.monotonic()
    for store in stores[1:] * 2:
        store.barrier()
    while not stores[0].cluster.status().stopped:
        assert time.monotonic() < begin + 10
        time.sleep(0.02)
    for store in stores[1:]:
        assert store.cluster.status().stopped == ""
    for store in stores:
        store.close()
