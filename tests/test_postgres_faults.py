"""PostgreSQL: what was acknowledged is there once, whatever is killed, cut or full; what was not is there whole or not at all."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from uuid import UUID

import psycopg
import pytest

import hansard
from hansard import Event, HansardError, OutcomeUnknown, StorageFailed
from hansard.appends import Append, StreamAppend, append_of
from hansard.names import shown_place
from hansard.storage.port import Ticket
from hansard.store import Store
from postgres_server import Server, run, temporary_folder

CLIENTS = 4


class Load:
    """Clients that append for as long as it lasts, and one that follows. Each repeats with the same ids what failed."""

    def __init__(self, url: str, *, seed: int) -> None:
        self.url, self.seed = url, seed
        self.acknowledged: dict[UUID, int] = {}
        self.followed: list[tuple[int, UUID]] = []
        self.failures: list[BaseException] = []
        self._was_told = False
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self.store = hansard.open(url)
        self._own = [hansard.open(url) for _ in range(2)]  # writers that know nothing of each other

    def _append(self, number: int) -> None:
        random, store = Random(f"{self.seed}/{number}"), self._own[number % len(self._own)]
        while not self._is_over.is_set():
            given = [Event("happened", random.random(), tags={f"t:{number}"}) for _ in range(random.choice((1, 1, 3)))]
            appended = self._stored(store, f"s-{number}", given)
            assert not appended.is_repeat or self._was_told, "a first append was told to be a repetition"
            with self._lock:
                for offset, event in enumerate(given):
                    self.acknowledged[event.id] = appended.first_position + offset

    def _stored(self, store: Store, stream: str, given: list[Event]) -> hansard.Appended:
        while True:
            try:
                return store.append(stream, given)
            except StorageFailed:
                self._was_told = True  # from now on a repetition may be one
                time.sleep(0.01)

    def _follow(self) -> None:
        with self.store.subscribe() as events:
            for event in events:
                self.followed.append((event.position, event.id))
                if event.type == "over":
                    return

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self.failures.append(error)

    def __enter__(self) -> "Load":
        works: list[Callable[[], None]] = [lambda n=n: self._append(n) for n in range(CLIENTS)]  # type: ignore[misc]
        self._threads = [threading.Thread(target=self._guarded, args=(work,)) for work in (*works, self._follow)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads[:-1]:
            thread.join(60)
        self._stored(self.store, "over", [Event("over")])
        self._threads[-1].join(60)
        assert not any(thread.is_alive() for thread in self._threads)

    def judge(self) -> None:
        label = f"seed {self.seed}"
        assert not self.failures, (label, self.failures)
        log = [(event.position, event.id) for event in self.store.read()]
        assert [position for position, _ in log] == list(range(1, len(log) + 1)), label
        places = {id: position for position, id in log}
        assert len(places) == len(log), f"{label}: an event is there twice"
        assert self.acknowledged.items() <= places.items(), f"{label}: an acknowledged event is lost, or elsewhere"
        assert self.followed == log, f"{label}: the reader has skipped, doubled or reordered"
        assert self.store.check() == [], label
        assert len(self.acknowledged) > 50, f"{label}: too little happened"
        for store in (self.store, *self._own):
            store.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server().start()
    yield server
    server.stop()


def test_connections_are_terminated_under_load(server: Server) -> None:
    """An administrator who ends connections, or a pooler that does, would lose or double events."""
    seed = time.time_ns()
    random = Random(seed)
    with Load(server.url(), seed=seed) as load:
        for _ in range(60):
            time.sleep(random.random() * 0.05)
            server.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hansard' AND random() < 0.4"
            )
    load.judge()


def test_the_server_is_killed_under_load(server: Server) -> None:
    """A power failure of the server would lose what was acknowledged."""
    seed = time.time_ns()
    random = Random(seed)
    with Load(server.url(), seed=seed) as load:
        for _ in range(5):
            time.sleep(0.2 + random.random() * 0.4)
            server.kill()
            server.start()
        time.sleep(0.3)
    load.judge()


def test_processes_of_the_server_are_killed_under_load(server: Server) -> None:
    """One process of the server that dies takes all others with it, and every open transaction."""
    seed = time.time_ns()
    random = Random(seed)
    of_hansard = "SELECT pid FROM pg_stat_activity WHERE application_name = 'hansard'"
    with Load(server.url(), seed=seed) as load:
        for _ in range(5):
            time.sleep(0.2 + random.random() * 0.4)
            pids = [pid for (pid,) in asked(server, of_hansard)]
            if pids:
                os.kill(int(str(random.choice(pids))), signal.SIGKILL)
        time.sleep(0.5)
        server.wait_until_up()
    load.judge()


def asked(server: Server, statement: str) -> list[tuple[object, ...]]:
    """Asked of a server that may be recovering."""
    while True:
        server.wait_until_up()
        with suppress(psycopg.OperationalError):
            return server.sql(statement)


WRITER = """
import sys, hansard
from hansard import Event
with hansard.open(sys.argv[1]) as store:
    number = 0
    while True:
        number += 1
        appended = store.append_streams([hansard.StreamAppend(f"a-{sys.argv[2]}", [Event("one", number), Event("two", number)]),
                                         hansard.StreamAppend(f"b-{sys.argv[2]}", [Event("three", number)])])
        print(number, appended.first_position, flush=True)
"""


def test_writing_processes_are_killed(server: Server) -> None:
    """A client that is killed would leave half an append, a lock or a gap."""
    random = Random(seed := time.time_ns())
    acknowledged: list[tuple[int, int, int]] = []
    for round in range(20):
        process = subprocess.Popen([sys.executable, "-c", WRITER, server.url(), str(round)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(random.random() * 0.15)
        process.kill()
        for line in (first, *process.stdout):
            if line.endswith("\n"):
                number, position = map(int, line.split())
                acknowledged.append((round, number, position))
        process.wait()
        process.stdout.close()
    with hansard.open(server.url()) as store:
        log = list(store.read())
        assert store.check() == [], f"seed {seed}"
        assert len(log) % 3 == 0
        for round, number, position in acknowledged:
            stored = [(e.stream, e.type, e.data) for e in log[position - 1 : position + 2]]
            assert stored == [(f"a-{round}", "one", number), (f"a-{round}", "two", number), (f"b-{round}", "three", number)]
        assert len(acknowledged) > 60


class Proxy:
    """Stands between a client and the server, and cuts the connection at a COMMIT: after it was passed on, or instead."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.cuts = 0
        self.cut_after: bool | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        upstream = socket.create_connection(("127.0.0.1", self._server.port))
        threading.Thread(target=self._pass_back, args=(upstream, client), daemon=True).start()
        with suppress(OSError), client, upstream:
            while data := client.recv(65_536):
                if self.cut_after is not None and b"COMMIT\x00" in data:
                    self.cuts += 1
                    is_after, self.cut_after = self.cut_after, None
                    client.shutdown(socket.SHUT_RDWR)
                    if is_after:
                        upstream.sendall(data)
                        time.sleep(0.05)
                    upstream.shutdown(socket.SHUT_RDWR)
                    return
                upstream.sendall(data)

    def _pass_back(self, upstream: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := upstream.recv(65_536):
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)

    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres?sslmode=disable&gssencmode=disable"

    def close(self) -> None:
        """Takes no more connections. Closing alone would let the thread that waits in accept() take one more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextmanager
def proxied(server: Server) -> Iterator[tuple[Proxy, Store]]:
    proxy = Proxy(server)
    with hansard.open(proxy.url()) as store:
        yield proxy, store
    proxy.close()


@pytest.mark.parametrize("is_after", [True, False])
def test_a_connection_lost_at_the_commit_stores_once(server: Server, is_after: bool) -> None:
    """The outcome of a commit without an answer would be guessed: lost, or stored twice."""
    with proxied(server) as (proxy, store):
        called: list[int] = []
        store.on("happened", lambda event: called.append(event.position))
        store.add("a-1", "happened", 1)
        for number in range(2, 22):
            proxy.cut_after = is_after
            appended = store.append("a-1", [Event("happened", number)], expected_version=number - 1)
            assert (appended.version, appended.is_repeat) == (number, False)
        assert proxy.cuts == 20
        assert [event.data for event in store.read_stream("a-1")] == list(range(1, 22))
        assert called == list(range(1, 22)), "a handler was not called, or twice"
        assert store.check() == []


@pytest.mark.parametrize("is_after", [True, False])
def test_a_transaction_that_loses_its_connection_at_the_commit_happens_once(server: Server, is_after: bool) -> None:
    """A checkpoint and its effects would happen twice, or not at all."""
    with proxied(server) as (proxy, store):
        storage = store._storage

        def count(transaction: hansard.storage.port.StorageTransaction) -> int:
            number = int(transaction.get("c", ["n"]).get("n", b"0")) + 1
            transaction.put("c", {"n": str(number).encode()})
            return number

        for number in range(1, 21):
            proxy.cut_after = is_after
            assert storage.transact(count) == number
        assert proxy.cuts == 20
        assert storage.get("c", ["n"]) == {"n": b"20"}


def test_a_connection_lost_in_a_handler_is_no_failure_of_the_event(server: Server) -> None:
    """A fail-over would stop every processor, or park the events that were under way."""
    with hansard.open(server.url()) as store:
        calls: list[int] = []

        def handler(event: hansard.RecordedEvent, transaction: hansard.Transaction) -> None:
            calls.append(event.position)
            transaction.execute("CREATE TABLE IF NOT EXISTS seen (position int8)")
            transaction.execute("INSERT INTO seen VALUES (%s)", (event.position,))
            if calls.count(event.position) == 1 and event.position % 3 == 0:
                transaction.execute("SELECT pg_terminate_backend(pg_backend_pid())")

        for number in range(10):
            store.add("a-1", "happened", number)
        store.catch_up(hansard.Processor("p", handler, exactly_once=True, retry=hansard.Retry(attempts=1)))
        assert store._storage.rows("SELECT position FROM seen ORDER BY position", ()) == [(n,) for n in range(1, 11)]
        assert len(calls) > 10


def test_a_server_that_stays_away_leaves_the_outcome_unknown(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client would be told that nothing is stored, and store it twice under new ids."""
    monkeypatch.setattr("hansard.storage.postgres.writer.BUSY_TIMEOUT_S", 0.5)
    with proxied(server) as (proxy, store):
        store.add("a-1", "happened", 1)
        event = Event("happened", 2)
        proxy.cut_after = True
        proxy.close()
        with pytest.raises(OutcomeUnknown, match="same ids"):
            store.append("a-1", [event])
        with pytest.raises(StorageFailed):
            store.append("a-1", [Event("happened", 3)])
    with hansard.open(server.url()) as store:
        assert store.append("a-1", [event]).is_repeat
        assert [e.data for e in store.all("a-1")] == [1, 2]


def test_a_statement_timeout_in_an_append_stores_nothing(server: Server) -> None:
    """A limit that the database's owner has set would leave half an append, or an error that names no reason."""
    with hansard.open(server.url()) as store, hansard.open(f"{server.url()}?options=-c%20statement_timeout%3D100") as hasty:
        store.add("a-1", "happened")
        with psycopg.connect(server.url()) as locking:
            locking.execute("SELECT * FROM hansard.log FOR UPDATE")
            with pytest.raises(StorageFailed, match=r"the server ended a statement .*timeout.*nothing was stored"):
                hasty.add("a-1", "happened")
            with pytest.raises(StorageFailed, match="timeout"):
                hasty._storage.transact(lambda t: t.put("c", {"k": b"1"}))
            locking.rollback()
        assert hasty.add("a-1", "happened").position == 2
        assert store.check() == []


def test_a_full_disk_loses_nothing_that_was_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server without room would lose events without a word, or keep half an append."""
    monkeypatch.setattr("hansard.storage.postgres.writer.BUSY_TIMEOUT_S", 2.0)  # a full WAL takes the server down
    folder = temporary_folder()
    mounting = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=180m,mode=0777", "tmpfs", folder], capture_output=True)
    if mounting.returncode:
        pytest.xfail("a disk of 180 MB cannot be mounted here")
    filler = folder / "filler"
    filler.write_bytes(bytes(80_000_000))
    data = str(folder / "data")
    run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
    server = Server(Path(data), settings={"max_wal_size": "32MB", "min_wal_size": "32MB"}).start()
    try:
        stored: list[Event] = []
        with hansard.open(server.url()) as store, pytest.raises(StorageFailed):
            while len(stored) < 20_000:
                given = [Event("large", Random(len(stored)).randbytes(20_000).hex()) for _ in range(10)]
                store.append("a-1", given)
                stored += given
        filler.unlink()
        with suppress(AssertionError, subprocess.TimeoutExpired):
            server.stop()
        server.start()
        with hansard.open(server.url()) as store:
            assert [event.id for event in store.read()][: len(stored)] == [event.id for event in stored]
            assert store.head() % 10 == 0
            assert store.check() == []
            assert store.append("a-1", given).first_position == len(stored) + 1
        assert len(stored) > 100
    finally:
        server.stop()
        subprocess.run(["umount", "-l", folder], check=True)


class Three:
    """A primary and two standbys, of which any one must have confirmed a commit."""

    settings = {
        "synchronous_standby_names": "ANY 1 (s1, s2, s3)",
        "wal_level": "replica",
        "hot_standby": "on",
        "wal_retrieve_retry_interval": "100ms",
        "wal_receiver_status_interval": "1",
    }

    def __init__(self) -> None:
        self.primary = Server(settings={**self.settings, "cluster_name": "s1"})
        self.primary.start()
        self.standbys = [self._joined("s2"), self._joined("s3")]
        self.all = [self.primary, *self.standbys]
        self.wait_until_streaming(2)

    def _joined(self, name: str) -> Server:
        data = temporary_folder() / "data"
        run("pg_basebackup", "-D", str(data), "-d", f"{self.primary.url()}?application_name={name}", "-R", "-X", "stream",
            "--no-sync", "-c", "fast")  # fmt: skip
        return Server(data, settings={**self.settings, "cluster_name": name}).start()

    def wait_until_streaming(self, count: int) -> None:
        deadline = time.monotonic() + 60
        while self.primary.sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") != [(count,)]:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def fail_over(self) -> None:
        """The primary is killed; the standby that has the most takes over, and the other one follows it."""
        self.primary.kill()
        received = "SELECT pg_last_wal_receive_lsn() - '0/0'"
        self.standbys.sort(key=lambda standby: standby.sql(received)[0][0])  # type: ignore[arg-type, return-value]
        self.primary = self.standbys.pop()
        self.primary.sql("SELECT pg_promote()")
        for standby in self.standbys:
            name = standby.sql("SHOW cluster_name")[0][0]
            info = f"host=127.0.0.1 port={self.primary.port} user=postgres application_name={name}"
            standby.sql(f"ALTER SYSTEM SET primary_conninfo = '{info}'")
            standby.sql("SELECT pg_reload_conf()")
        self.wait_until_streaming(len(self.standbys))

    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in self.all)
        return f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write&connect_timeout=2"

    def stop(self) -> None:
        for server in self.all:
            server.stop()


@pytest.fixture
def three() -> Iterator[Three]:
    three = Three()
    yield three
    three.stop()


@pytest.mark.timeout(240)
def test_a_fail_over_under_load(three: Three) -> None:
    """When the primary dies, acknowledged events would die with it, or readers would skip what the new one has."""
    seed = time.time_ns()
    with Load(three.url(), seed=seed) as load:
        time.sleep(1.0)
        three.fail_over()
        time.sleep(1.0)
    load.judge()


@pytest.mark.timeout(240)
def test_a_cancelled_wait_for_a_standby_is_no_acknowledgement(three: Three) -> None:
    """A commit that no standby has would be acknowledged, and lost with the primary."""
    with hansard.open(three.url()) as store:
        assert "ANY 1" in store.durability
        store.add("a-1", "happened", 1)
        for standby in three.standbys:
            standby.stop()
        done: list[object] = []
        appending = threading.Thread(target=lambda: done.append(store.append("a-1", [Event("happened", 2)])))
        appending.start()
        for _ in range(3):
            wait_for(lambda: three.primary.sql(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = 'hansard'"
            ) == [(1,)])  # fmt: skip
            three.primary.sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
            time.sleep(0.1)
        assert not done
        three.standbys[0].start()
        appending.join(60)
        (appended,) = done
        assert isinstance(appended, hansard.Appended)
        assert (appended.version, appended.is_repeat) == (2, False)
        assert [event.data for event in store.all("a-1")] == [1, 2]


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_server_is_gone_in_the_middle(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads and appends would hang for ever, or end in the driver's own error."""
    for module in ("connection", "writer"):
        monkeypatch.setattr(f"hansard.storage.postgres.{module}.BUSY_TIMEOUT_S", 1.0)
    with hansard.open(server.url()) as store:
        store.add("a-1", "happened")
        assert store.head() == 1
        server.stop()
        for call in (store.head, lambda: store.add("a-1", "happened"), lambda: list(store.read())):
            with pytest.raises(HansardError, match=r"cannot be reached|no connection|nothing was stored") as caught:
                call()
            assert "\n" not in str(caught.value)
        server.start()
        assert store.add("a-1", "happened").position == 2


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret@127.0.0.1:1/db?log=x&password=secret&sslpassword=secret",
        "postgresql://me:pa:secret@127.0.0.1:1/db",
        "postgresql://me:pa@secret@127.0.0.1:1/db",
        "postgresql://me:pa#secret@127.0.0.1:1/db",
        "postgresql://me:pa/secret@127.0.0.1:1/db",
        "postgresql://me:secret@[::1/db",
    ],
)
def test_the_password_is_not_shown(url: str) -> None:
    """A password would stand in logs and error messages."""
    with pytest.raises((hansard.OpenFailed, hansard.InvalidInput)) as caught:
        hansard.open(url)
    assert "secret" not in str(caught.value)
    assert "secret" not in shown_place(url)


def test_a_hook_that_ruins_its_transaction_takes_nobody_with_it(server: Server) -> None:
    """The append before it in the same group would be acknowledged, and lost."""

    def hook(transaction: hansard.storage.port.StorageTransaction, events: list[hansard.RecordedEvent]) -> None:
        if events[0].data == "swallow":
            with suppress(psycopg.Error):
                transaction.connection.execute("nonsense")
        elif events[0].data in ("ROLLBACK", "COMMIT"):
            transaction.connection.execute(events[0].data)

    with hansard.open(server.url()) as store:
        store._storage.set_inline(hook)
        for bad in ("swallow", "ROLLBACK", "COMMIT"):
            for order in (["good", bad], [bad, "good", "better"]):
                tickets = in_one_group(store, [one_event(data) for data in order])
                for ticket, data in zip(tickets, order, strict=True):
                    if bad != "COMMIT":  # what a COMMIT of theirs has stored is stored
                        assert (ticket.error is not None) == (data == bad), (order, data, ticket.error)
                    if ticket.appended is not None:
                        (event,) = store.read(after=ticket.appended.first_position - 1, limit=1)
                        assert event.data == data
                if bad != "COMMIT":
                    assert bad not in [event.data for event in store.read()]
        assert store.check() == []


def one_event(data: object, stream: str = "a-1") -> Append:
    return append_of((StreamAppend(stream, [Event("happened", data)]),), None)


def in_one_group(store: Store, appends: Sequence[Append]) -> list[Ticket]:
    tickets = [Ticket(append, lambda _: None) for append in appends]
    storage = store._storage
    storage._commits.exclusively(lambda: storage._writer.write_group(tickets))
    return tickets


def test_a_retry_in_a_group_with_inline_projections_is_recognised(server: Server) -> None:
    """One client's retry would fail the appends of all others in its group."""

    def hook(transaction: hansard.storage.port.StorageTransaction, events: list[hansard.RecordedEvent]) -> None:
        if events[0].data == "refused":
            raise ValueError

    with hansard.open(server.url()) as store:
        stored = append_of((StreamAppend("a-1", [Event("happened", 1)], expected_version=0),), None)
        first = store._storage.append(stored)
        store._storage.set_inline(hook)
        twice = append_of((StreamAppend("b-1", [Event("happened", 2)], expected_version=0),), None)
        tickets = in_one_group(store, [one_event("refused", "c-1"), stored, twice, twice, one_event(3, "d-1")])
        assert isinstance(tickets[0].error, hansard.InlineFailed)
        assert [ticket.error for ticket in tickets[1:]] == [None] * 4
        assert tickets[1].appended == first
        assert tickets[2].appended == tickets[3].appended
        assert [event.data for event in store.read()] == [1, 2, 3]


def test_kinds_are_not_forgotten_by_one_thread_while_another_learns(server: Server) -> None:
    """Reads by type would come back empty for ever, and their readers' checkpoints would pass by."""
    with hansard.open(server.url()) as store, hansard.open(server.url()) as writer:
        is_over = threading.Event()
        failures: list[str] = []

        def read() -> None:
            while not is_over.is_set():
                head = store.head()
                found = [event.position for event in store.read(hansard.Query(category="a"), before=head + 1)]
                if found != list(range(1, head + 1)):
                    failures.append(f"{len(found)} of {head}")

        def claim() -> None:
            while not is_over.is_set():
                with suppress(hansard.AppendConditionFailed):
                    condition = hansard.AppendCondition(hansard.Query(types={"type-0", "type-7"}), after=0)
                    store.append("a-1", Event("never"), condition=condition)
                    failures.append("a condition was passed by")

        writer.append("a-1", [Event(f"type-{number}") for number in range(300)])
        threads = [threading.Thread(target=work) for work in (read, read, claim, claim)]
        for thread in threads:
            thread.start()
        for number in range(150):
            writer.append("a-1", Event(f"type-{300 + number}"))
            store._storage._reader.forget()
        is_over.set()
        for thread in threads:
            thread.join()
        assert not failures, failures[:3]


def test_a_role_s_isolation_does_not_matter(server: Server) -> None:
    """Checkpoints and versions would be those of before the wait for the lock."""
    server.sql("ALTER ROLE postgres SET default_transaction_isolation = 'repeatable read'")
    with hansard.open(server.url()) as one, hansard.open(server.url()) as other:

        def count(transaction: hansard.storage.port.StorageTransaction) -> None:
            number = int(transaction.get("c", ["n"]).get("n", b"0")) + 1
            transaction.put("c", {"n": str(number).encode()})

        def work(store: Store) -> None:
            for _ in range(50):
                store._storage.transact(count)
                store.add("a-1", "happened")

        threads = [threading.Thread(target=work, args=(store,)) for store in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert one._storage.get("c", ["n"]) == {"n": b"100"}
        assert one.head() == 100


def test_tables_of_somebody_else_are_not_waited_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a store in a schema with a table `log` would never end."""
    monkeypatch.setattr("hansard.storage.postgres.schema._RACE_S", 0.2)
    server.sql("CREATE TABLE public.log (n int)")
    with pytest.raises(hansard.OpenFailed, match="cannot be made"):
        hansard.open(f"{server.url()}?schema=public")


def test_relaxed_durability_is_named(server: Server) -> None:
    """An acknowledgement would promise more than it holds."""
    with hansard.open(server.url()) as store:
        assert store.durability == "fsync: on the server's disk before acknowledged (synchronous_commit=on)"
    with hansard.open(server.url(), durability="page-cache") as store:
        assert "not of the server" in store.durability
        assert store._storage._writer._connection.execute("SHOW synchronous_commit").fetchone() == ("off",)
    server.stop()
    server.settings["fsync"] = "off"
    server.start()
    with hansard.open(server.url()) as store:
        assert store.durability == "none: the server runs with fsync=off"
