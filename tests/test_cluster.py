"""Three nodes on three servers: one order everywhere, through kills; what does not belong together is refused."""

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

import pytest

import hansard
from hansard import (
    ANY,
    AppendCondition,
    AppendConditionFailed,
    CapabilityMissing,
    Event,
    HansardError,
    OpenFailed,
    OutcomeUnknown,
    Processor,
    Projection,
    Query,
    StoreCorrupt,
    WrongExpectedVersion,
)
from hansard.storage.around import Around
from hansard.storage.opening import open_storage
from hansard.storage.port import Storage
from hansard.testing import simulator
from hansard.testing.schedules import Schedule
from nats_servers import Cluster, decide_otherwise, new_log, new_log_on_three


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
    wrong = decide_otherwise(nodes[1])
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


def test_of_two_nodes_that_differ_both_stop(tmp_path: Path) -> None:
    """Nobody could say which one is right, and both would go on."""
    url = new_log(tmp_path / "x.db")
    with hansard.open(url) as one, hansard.open(url.replace("x.db", "y.db")) as two:
        one.add("a-1", "happened")
        two.barrier()
        one.barrier()
        wrong = decide_otherwise(two)
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
    assert (status["first"], status["applied"] == status["last"], len(status["nodes"])) == (1, True, 4)
    checked = json.loads(run("check", place + str(tmp_path / "cli.db")))
    assert (checked["problems"], len(checked["compared"]), checked["silent"]) == ([], 3, [])
    assert "compared with " in run("check", place + str(tmp_path / "cli.db"), "--table")
    assert "alike to" in run("status", place + str(tmp_path / "cli.db"), "--table")
    for node in nodes:
        node.barrier()
    sequence = json.loads(run("snapshot", place + str(tmp_path / "cli.db"), str(tmp_path / "snapshot.db")))["sequence"]
    beyond = run("trim", place + str(tmp_path / "cli.db"), "--to", "99999", code=2)
    assert "expected at most" in beyond
    trimmed = run("trim", place + str(tmp_path / "cli.db"), "--to", str(sequence - 5), "--force", "--table")
    assert f"the log begins at message {sequence - 4}" in trimmed
    with pytest.raises(OpenFailed, match=r"the log begins at message .* begin with a snapshot"):
        hansard.open(place + str(tmp_path / "new.db"))
    assert json.loads(run("restore", str(tmp_path / "snapshot.db"), str(tmp_path / "new.db")))["sequence"] == sequence
    with hansard.open(place + str(tmp_path / "new.db")) as begun:
        assert list(begun.read()) == list(nodes[0].read())
    name = next(node["name"] for node in status["nodes"] if node["is_this"])
    assert "forgotten" in run("forget", place + str(tmp_path / "new.db"), name, "--table")
    assert json.loads(run("upgrade", place + str(tmp_path / "new.db"))) == {"before": 1, "now": 1}
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
