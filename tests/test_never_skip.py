"""The never-skip proof: whatever happens to readers, each event has its effect, once or at least once, in order."""

import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

import hansard
from hansard import Event
from hansard.storage.memory import MemoryStorage
from hansard.storage.opening import open_storage
from hansard.storage.port import Capability, Storage, StorageTransaction
from hansard.storage.postgres.address import parse
from hansard.storage.postgres.storage import PostgresStorage
from hansard.storage.sqlite.storage import SqliteStorage
from hansard.testing.schedules import Schedule
from nats_servers import new_log_on_three
from places import DATABASES, database
from postgres_server import log_url
from servers import served

CHUNK = 50


def simulate(open_storage: Callable[[], Storage], seed: int) -> None:
    try:
        Schedule(open_storage, seed).run(150)
    except BaseException as error:
        error.add_note(f"to run it again: seed {seed}")
        raise


@pytest.mark.parametrize("first", range(0, 1_000, CHUNK))
def test_members_come_and_go_in_memory(first: int) -> None:
    """A reader would skip an event, or handle it twice, in one order of a thousand."""
    for seed in range(first, first + CHUNK):
        storage = MemoryStorage()
        simulate(lambda: storage, seed)  # noqa: B023


@pytest.mark.parametrize(
    "first", [*range(10_000, 10_200, CHUNK), *[pytest.param(n, marks=pytest.mark.soak) for n in range(10_200, 11_000, CHUNK)]]
)
def test_members_come_and_go_on_a_file(first: int, tmp_path: Path) -> None:
    """The same, where each member has connections and caches of its own."""
    for seed in range(first, first + CHUNK):
        opened: list[Storage] = []

        def open_storage() -> Storage:
            opened.append(SqliteStorage(str(tmp_path / f"{seed}.db"), synchronous="NORMAL"))  # noqa: B023
            return opened[-1]  # noqa: B023

        simulate(open_storage, seed)
        for storage in opened:
            storage.close()
        (tmp_path / f"{seed}.db").unlink()


@pytest.mark.parametrize(
    "first", [*range(20_000, 20_020, 10), *[pytest.param(first, marks=pytest.mark.soak) for first in range(20_020, 21_000, 10)]]
)
def test_members_come_and_go_on_postgresql(first: int, tmp_path: Path) -> None:
    """The same, where each member has connections to a server."""
    for seed in range(first, first + 10):
        opened: list[Storage] = []

        def open_storage() -> Storage:
            opened.append(PostgresStorage(parse(log_url(tmp_path / str(seed))), is_relaxed=True))  # noqa: B023
            return opened[-1]  # noqa: B023

        simulate(open_storage, seed)
        for storage in opened:
            storage.close()


class TwiceStorage(MemoryStorage):
    """Does every transaction twice, as an engine may whose first try was interrupted."""

    def transact(self, work: Callable[[StorageTransaction], Any]) -> Any:
        class Interrupted(BaseException):
            pass

        def interrupted(transaction: StorageTransaction) -> None:
            work(transaction)
            raise Interrupted

        with suppress(Interrupted):
            super().transact(interrupted)
        return super().transact(work)


@pytest.mark.parametrize("first", range(40_000, 40_200, CHUNK))
def test_members_come_and_go_where_every_transaction_is_done_twice(first: int) -> None:
    """What a handler or a fold did in a transaction that was interrupted would count, too."""
    for seed in range(first, first + CHUNK):
        storage = TwiceStorage()
        simulate(lambda: storage, seed)  # noqa: B023


def test_members_come_and_go_through_a_server(tmp_path: Path) -> None:
    """The same, where every step is a request."""
    for seed in range(30_000, 30_006):
        with served(SqliteStorage(str(tmp_path / f"{seed}.db"), synchronous="NORMAL")) as url:
            opened: list[Storage] = []

            def open_remote() -> Storage:
                opened.append(open_storage(url))  # noqa: B023
                return opened[-1]  # noqa: B023

            simulate(open_remote, seed)
            for storage in opened:
                storage.close()


@pytest.mark.parametrize("engine", [*DATABASES, "remote", "cluster"])
@pytest.mark.parametrize(
    "kills",
    [pytest.param(20, marks=[pytest.mark.timeout(400)]), pytest.param(300, marks=[pytest.mark.soak, pytest.mark.timeout(1_200)])],
)
def test_processes_are_killed_and_replaced(kills: int, engine: str, tmp_path: Path) -> None:
    """What holds step by step in one thread would not hold in processes that are killed at any instruction."""
    if engine == "cluster":
        kill_and_replace(new_log_on_three(tmp_path / "own.db"), kills, tmp_path)
        return
    with database(engine, tmp_path) as place:
        kill_and_replace(place, kills, tmp_path)


def kill_and_replace(place: str, kills: int, tmp_path: Path) -> None:
    seed = time.time_ns()
    random = Random(seed)
    workers: list[subprocess.Popen[bytes]] = []
    over = threading.Event()

    def start() -> None:
        out = tmp_path / f"out-{len(list(tmp_path.glob('out-*')))}"
        out.touch()
        workers.append(subprocess.Popen([sys.executable, str(Path(__file__).parent / "soak_worker.py"), place, str(out)]))

    def write() -> None:
        writer_random = Random(seed)
        while not over.is_set():
            store.append(f"s-{writer_random.randrange(12)}", [Event("happened") for _ in range(writer_random.choice((1, 2, 20)))])
            time.sleep(writer_random.random() * 0.01)

    with hansard.open(place) as store:
        writing = threading.Thread(target=write)
        writing.start()
        try:
            for _ in range(3):
                start()
            for _ in range(kills):
                time.sleep(0.1 + random.random() * 0.6)
                victim = workers.pop(random.randrange(len(workers)))
                assert victim.poll() is None, "a worker has ended by itself"
                victim.kill()
                victim.wait()
                start()
            over.set()
            writing.join()
            deadline = time.monotonic() + 180
            while not is_done(store):
                assert time.monotonic() < deadline, f"seed {seed}: the readers do not come to rest: {list(store.readers())}"
                time.sleep(0.05)
        finally:
            over.set()
            writing.join()
            for worker in workers:
                worker.kill()
                worker.wait()
        judge(store, tmp_path, f"seed {seed}")


def is_done(store: hansard.Store) -> bool:
    """Whether every reader has saved the head; the echoes move it, so twice the same."""
    store.barrier()
    head = store.head()
    statuses = list(store.readers())
    return len(statuses) == 4 and all(status.checkpoint >= head for status in statuses) and store.head() == head


def effects_of(store: hansard.Store) -> list[int]:
    """What the exactly-once handler has done, in order."""
    if Capability.CONNECTION in store.capabilities:
        return [position for (position,) in store._storage.rows("SELECT position FROM effect ORDER BY number", ())]
    found: list[int] = []
    after = ""
    while page := store._storage.scan("user/effect", after=after, limit=1_000):
        found += [int(text) for _, text in page]
        after = page[-1][0]
    return found


def judge(store: hansard.Store, folder: Path, label: str) -> None:
    log = list(store.read())
    happened = [event for event in log if event.type == "happened"]
    assert effects_of(store) == [event.position for event in log], label
    sums: dict[str, int] = defaultdict(int)
    echoes: dict[str, list[int]] = defaultdict(list)
    for event in log:
        sums[event.stream] += event.version
    for event in happened:
        echoes[f"echo-{event.stream}"].append(event.version)
    assert dict(store.model("sums").items()) == sums, label
    for stream, versions in echoes.items():
        assert [event.data for event in store.all(stream)] == versions, label
    seen: set[int] = set()
    for out in folder.glob("out-*"):
        for run in out.read_text().split("lost\n"):  # what was not saved when a lease was lost is handled again
            by_stream: dict[str, list[int]] = defaultdict(list)
            for line in run.splitlines():
                stream, version, position = line.split()
                by_stream[stream].append(int(version))
                seen.add(int(position))
            for versions in by_stream.values():
                assert versions == sorted(set(versions)), f"{label}: {out.name} is out of order"
    assert seen == {event.position for event in log}, label
    assert store.check() == []
