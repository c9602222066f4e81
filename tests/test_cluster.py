"""Three nodes on three servers: one order everywhere, through kills; what does not belong together is refused."""

import asyncio
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import nats
import pytest
from nats.js import api

import hansard
from hansard import (
    ANY,
    AppendCondition,
    AppendConditionFailed,
    CapabilityMissing,
    Event,
    HansardError,
    InvalidInput,
    NewerFormat,
    OpenFailed,
    OutcomeUnknown,
    Processor,
    Projection,
    Query,
    StoreCorrupt,
    StoreUnusable,
    WrongExpectedVersion,
)
from hansard.storage.around import Around
from hansard.storage.cluster import messages
from hansard.storage.cluster.address import parse
from hansard.storage.cluster.arrivals import Arrivals
from hansard.storage.cluster.jetstream import JetStreamLog
from hansard.storage.opening import open_storage
from hansard.storage.port import Storage
from hansard.testing import simulator
from hansard.testing.schedules import Schedule
from nats_servers import Cluster, new_log, new_log_on_three, single


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster")).start()
    yield cluster
    cluster.stop()


def opened(url: str, *, tries: int = 60) -> hansard.Store:
    """A new cluster takes a while until it has a leader."""
    for _ in range(tries):
        try:
            return hansard.open(url)
        except OpenFailed:
            time.sleep(0.25)
    return hansard.open(url)


@pytest.fixture
def nodes(servers: Cluster, tmp_path: Path) -> Iterator[list[hansard.Store]]:
    log = f"log-{uuid4().hex}"
    stores = [opened(f"nats://{servers.hosts()}/{log}?replica={tmp_path / f'{n}.db'}") for n in range(3)]
    yield stores
    for store in stores:
        store.close()


def applied(store: hansard.Store) -> Any:
    return store._storage.applied  # type: ignore[attr-defined]


def assert_equal(nodes: list[hansard.Store]) -> list[hansard.RecordedEvent]:
    """All replicas hold the same log, by their events and by their digests."""
    for node in nodes:
        node.barrier()
    last = max(applied(node).sequence for node in nodes)
    ends = time.monotonic() + 20
    while any(applied(node).sequence < last for node in nodes) and time.monotonic() < ends:
        time.sleep(0.01)
    assert len({(applied(node).sequence, applied(node).digest) for node in nodes}) == 1
    logs = [list(node.read()) for node in nodes]
    assert logs[0] == logs[1] == logs[2]
    assert [event.position for event in logs[0]] == list(range(1, len(logs[0]) + 1))
    for node in nodes:
        assert node.check() == []
    return logs[0]


def test_one_order_on_all_nodes(nodes: list[hansard.Store]) -> None:
    """Readers of two nodes would see two histories."""
    for n in range(30):
        nodes[n % 3].append("a-1", Event("happened", n), expected_version=n)
        nodes[(n + 1) % 3].barrier()
        assert nodes[(n + 1) % 3].stream("a-1").version == n + 1, "a barrier sees what was acknowledged elsewhere"
    assert [event.data for event in assert_equal(nodes)] == list(range(30))


def test_of_appends_that_exclude_each_other_one_wins_on_every_node(nodes: list[hansard.Store]) -> None:
    """Two nodes would give the same name away."""
    won: list[tuple[int, int]] = []

    def claim(number: int) -> None:
        for name in range(12):
            query = Query(tags={f"name:{name}"})
            try:
                nodes[number % 3].append(None, Event("claimed", number, tags={f"name:{name}"}), condition=AppendCondition(query))
                won.append((name, number))
            except AppendConditionFailed:
                continue

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = assert_equal(nodes)
    assert sorted(won) == sorted((int(next(iter(event.tags))[5:]), event.data) for event in events)
    assert len(events) == 12


def test_processors_and_projections_work_on_the_cluster(nodes: list[hansard.Store]) -> None:
    """Nodes would do the same work twice, or none of it."""
    done: list[int] = []
    total = Projection("total", lambda state, event: state + event.data, initial=0, key="all")
    mailer = Processor("mailer", lambda event: done.append(event.position), query=Query(types={"paid"}))
    with nodes[0].run(total, mailer) as first, nodes[1].run(total, mailer) as second:
        for n in range(20):
            nodes[2].add(f"o-{n % 4}", "paid", n)
        for node, running in ((nodes[0], first), (nodes[1], second)):
            node.barrier()
            running.wait_until_caught_up(30)
    assert sorted(done) == list(range(1, 21))
    for node in nodes:
        node.barrier()
        assert node.model("total")["all"] == sum(range(20))
    assert_equal(nodes)


@pytest.mark.parametrize("fault", ["kill", "stop", "all"])
def test_faults_of_servers_under_load_lose_and_double_nothing(servers: Cluster, nodes: list[hansard.Store], fault: str) -> None:
    """An acknowledged append would be lost with the server that has acknowledged it."""
    acknowledged: list[str] = []
    refused: list[str] = []
    open_outcomes: list[str] = []
    is_over = threading.Event()

    def client(number: int) -> None:
        rng = random.Random(number)
        for n in range(10_000):
            if is_over.is_set():
                return
            event = Event("happened", f"{number}-{n}")
            try:
                nodes[number % 3].append(f"s-{rng.randrange(3)}", event, expected_version=rng.choice([ANY, ANY, ANY, 3]))
                acknowledged.append(event.data)
            except WrongExpectedVersion:
                refused.append(event.data)
            except (OutcomeUnknown, HansardError):
                open_outcomes.append(event.data)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for victim in (0, 1):
        time.sleep(0.4)
        _strike(servers, fault, victim)
    ends, before = time.monotonic() + 40, len(acknowledged)
    while len(acknowledged) < before + 30 and time.monotonic() < ends:
        time.sleep(0.1)
    is_over.set()
    for thread in threads:
        thread.join()
    stored = [event.data for event in assert_equal(nodes)]
    assert len(stored) == len(set(stored)), "an event is there twice"
    assert set(acknowledged) <= set(stored), "an acknowledged append is lost"
    assert set(refused).isdisjoint(stored), "a refused append is there"
    assert set(stored) <= set(acknowledged) | set(open_outcomes)
    assert len(acknowledged) >= before + 30, "the cluster did not go on"


def _strike(servers: Cluster, fault: str, victim: int) -> None:
    if fault == "all":
        for server in servers.servers:
            server.kill()
        for server in servers.servers:
            server.start()
        return
    server = servers.servers[victim]
    assert server.process is not None
    if fault == "stop":
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(1.0)
        server.process.send_signal(signal.SIGCONT)
        return
    server.kill()
    time.sleep(0.3)
    server.start()


def test_a_node_that_was_away_catches_up(nodes: list[hansard.Store], servers: Cluster, tmp_path: Path) -> None:
    """It would go on with holes."""
    nodes[0].add("a-1", "first")
    nodes[2].close()
    for start in range(0, 100_000, 2_000):
        nodes[0].append("b-1", [Event("happened", start + n) for n in range(2_000)])
    log = nodes[0]._storage._node._log._stream.removeprefix("hansard-")  # type: ignore[attr-defined]
    nodes[2] = opened(f"nats://{servers.hosts()}/{log}?replica={tmp_path / '2.db'}")
    assert nodes[2].head() == 100_001
    fresh = opened(f"nats://{servers.hosts()}/{log}?replica={tmp_path / 'fresh.db'}")
    assert list(fresh.read()) == list(nodes[0].read())
    fresh.close()
    assert_equal(nodes)


def test_a_node_that_decides_otherwise_is_found_out(nodes: list[hansard.Store]) -> None:
    """Two histories would be told for ever."""
    for node in nodes:
        node.add("a-1", "happened")
    for node in nodes:
        node.barrier()
    wrong = _decides_otherwise(nodes[1])
    ends = time.monotonic() + 20
    with pytest.raises(StoreCorrupt) as caught:
        while time.monotonic() < ends:
            for node in nodes:
                node.add("a-1", "later")
    assert f"have decided message {wrong} of the log differently, and no other node says the same" in str(caught.value)
    for node in (nodes[0], nodes[2]):
        node.add("a-1", "goes on")
        status = node.cluster.status()
        assert [member.differs_from for member in status.members] == [0, wrong, 0]
        assert status.stopped == ""
    assert "have decided message" in nodes[1].cluster.status().stopped


def _decides_otherwise(node: hansard.Store) -> int:
    """The message that it has applied last, as if it had decided that otherwise. Which one that was."""
    inner: Any = node._storage._node  # type: ignore[attr-defined]
    with inner._applying:
        before = inner.replica.applied
        inner.replica.applied = type(before)(before.sequence, "ab" * 16, before.log)
        inner.members.applied(before.sequence, "ab" * 16)
    return int(before.sequence)


def test_of_two_nodes_that_differ_both_stop(tmp_path: Path) -> None:
    """Nobody could say which one is right, and both would go on."""
    url = new_log(tmp_path / "x.db")
    with hansard.open(url) as one, hansard.open(url.replace("x.db", "y.db")) as two:
        one.add("a-1", "happened")
        two.barrier()
        one.barrier()
        wrong = _decides_otherwise(two)
        ends = time.monotonic() + 20
        while not (one.cluster.status().stopped and two.cluster.status().stopped):
            assert time.monotonic() < ends, (one.cluster.status(), two.cluster.status())
            for node in (one, two):
                with suppress(StoreCorrupt):
                    node.add("a-1", "later")
        for node in (one, two):
            with pytest.raises(StoreCorrupt, match=f"have decided message {wrong} of the log differently"):
                node.add("a-1", "later")
            assert node.head() >= 1


def test_the_command_line_tells_of_nodes_makes_snapshots_and_trims(
    nodes: list[hansard.Store], servers: Cluster, tmp_path: Path
) -> None:
    """Nobody would know how the cluster is, and the log would grow for ever."""
    for n in range(30):
        nodes[n % 3].append("a-1", Event("happened", n))
    log = nodes[0]._storage._node._log._stream.removeprefix("hansard-")  # type: ignore[attr-defined]
    place = f"nats://{servers.hosts()}/{log}?replica="
    status = json.loads(run("status", place + str(tmp_path / "cli.db"), "--json"))
    assert (status["first"], status["applied"] == status["last"], len(status["members"])) == (1, True, 4)
    assert "compared up to message" in run("check", place + str(tmp_path / "cli.db"))
    for node in nodes:
        node.barrier()
    made = run("snapshot", place + str(tmp_path / "cli.db"), str(tmp_path / "snapshot.db"))
    sequence = int(made.replace(",", "").rpartition(" (hansard")[0].rpartition(" ")[2])
    beyond = run("trim", place + str(tmp_path / "cli.db"), "--to", "99999", code=2)
    assert "expected at most" in beyond
    assert "the log begins at message" in run("trim", place + str(tmp_path / "cli.db"), "--to", str(sequence - 5), "--force")
    with pytest.raises(OpenFailed, match=r"the log begins at message .* begin with a snapshot"):
        hansard.open(place + str(tmp_path / "new.db"))
    with hansard.open(place + str(tmp_path / "snapshot.db")) as begun:
        assert list(begun.read()) == list(nodes[0].read())
    with (
        pytest.raises(CapabilityMissing, match="this store has no cluster of nodes; one that has is opened with nats://"),
        hansard.open(":memory:") as memory,
    ):
        _ = memory.cluster


def run(*words: str, code: int = 0) -> str:
    done = subprocess.run([sys.executable, "-m", "hansard", "cluster", *words], capture_output=True, text=True, timeout=90)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("seed", range(500, 504))
def test_threads_race_on_nodes_of_their_own(servers: Cluster, tmp_path: Path, seed: int) -> None:
    """A race of nodes would break order, versions or conditions."""
    log, numbers = f"log-{uuid4().hex}", iter(range(100))
    place = f"nats://{servers.hosts()}/{log}?replica={tmp_path}"
    simulator.simulate(lambda: opened(f"{place}/{next(numbers)}.db"), seed, clients=5, readers=2)


def test_members_come_and_go_on_nodes_of_their_own(tmp_path: Path) -> None:
    """A reader would skip an event, or handle it twice, where members are on different nodes."""
    for seed in range(50_000, 50_004):
        url = new_log_on_three(tmp_path / "x.db")
        nodes: list[Storage] = []

        def open_node() -> Storage:
            replica = tmp_path / f"{seed}-{len(nodes)}.db"  # noqa: B023
            nodes.append(_Seen(open_storage(url.replace(str(tmp_path / "x.db"), str(replica)))))  # noqa: B023
            return nodes[-1]  # noqa: B023

        try:
            Schedule(open_node, seed).run(150)
        except BaseException as error:
            error.add_note(f"to run it again: seed {seed}")
            raise
        for node in nodes:
            node.close()


class _Seen(Around):
    """A node whose head is looked at through the log: a schedule takes for granted that it sees what others have done."""

    def head(self) -> int:
        self._storage.barrier()
        return self._storage.head()


def test_the_examples_configuration_is_one_that_a_server_takes() -> None:
    """Who copies it would have servers that do not start, or that write to the disk every two minutes."""
    example = Path(__file__).parent.parent / "examples" / "cluster" / "nats.conf"
    program = Path(sys.executable).parent / "nats-server"
    environment = {"SERVER_NAME": "a", "NATS_PASSWORD": "secret"}
    done = subprocess.run([program, "-t", "-c", example], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "sync_interval: always" in example.read_text()


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
        log = JetStreamLog(parse(url).servers, parse(url).log, replicas=1, shown="here")
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
        node: Any = store._storage
        node._node._log.publish = lambda *args, **kwargs: 0
        with pytest.raises(StoreUnusable, match="the log gave number 0 to a message that follows 2: it is another log"):
            store.add("a-1", "more")


def test_a_replica_of_another_log_is_refused(tmp_path: Path) -> None:
    """Two logs would be mixed."""
    one, two = new_log(tmp_path / "one.db"), new_log(tmp_path / "one.db")
    with hansard.open(one) as store:
        store.add("a-1", "happened")
    with pytest.raises(OpenFailed, match="this is a replica of another log"):
        hansard.open(two)
    with hansard.open(tmp_path / "own.db") as store:
        store.add("a-1", "happened")
    with pytest.raises(OpenFailed, match="this is a store of its own, and no replica of a log"):
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
