"""Races: many clients at once, over many seeds. Every failure prints its seed."""

import multiprocessing
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
import pytest

import hansard
from hansard import Event, Query
from hansard.store import Store
from hansard.testing import simulator
from hansard.testing.simulator import Diary
from places import DATABASES, place_of
from postgres_server import log_url


def one_store_for_all(place: str) -> Callable[[], Store]:
    store = hansard.open(place)
    return lambda: store


@pytest.mark.parametrize("seed", range(30))
def test_threads_race_in_memory(seed: int) -> None:
    """A race of threads would break the memory engine's order, versions or conditions."""
    simulator.simulate(one_store_for_all(":memory:"), seed)


@pytest.mark.parametrize("seed", range(100, 130))
def test_threads_race_on_one_store_object(seed: int, tmp_path: Path) -> None:
    """A race of threads would break group commit."""
    simulator.simulate(one_store_for_all(str(tmp_path / "log.db")), seed)


@pytest.mark.parametrize("seed", range(200, 215))
def test_threads_race_on_store_objects_of_their_own(seed: int, tmp_path: Path) -> None:
    """Writers on one file that know nothing of each other would overwrite each other."""
    simulator.simulate(lambda: hansard.open(tmp_path / "log.db"), seed, clients=5)


@pytest.mark.parametrize("seed", range(400, 406))
def test_threads_race_on_postgresql(seed: int, tmp_path: Path) -> None:
    """The same two, on a server."""
    simulator.simulate(one_store_for_all(log_url(tmp_path / "one")), seed)
    simulator.simulate(lambda: hansard.open(log_url(tmp_path / "own")), seed, clients=4)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("engine", [*DATABASES, "remote"])
def test_a_reader_by_category_skips_no_event_of_a_type_that_is_new(engine: str, tmp_path: Path, backwards: bool) -> None:
    """A type that appears while a page is being put together would be skipped for ever by a checkpointing reader."""
    place, count = place_of(engine, tmp_path), 1_500
    with hansard.open(place) as store, hansard.open(place) as writer:

        def write() -> None:
            for number in range(count):
                # The common event gives a reader something to return beyond a new type that it has missed.
                writer.append("a-1", Event("common" if number % 2 else f"type-{number}"))

        writing = threading.Thread(target=write)
        writing.start()
        seen: list[int] = []
        while len(seen) < count:
            page = [e.position for e in store.read(Query(category="a"), after=seen[-1] if seen else 0, backwards=backwards)]
            seen += reversed(page) if backwards else page
            assert seen == list(range(1, len(seen) + 1))
        writing.join()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1_000, 1_400))
def test_threads_race_for_long(seed: int, tmp_path: Path) -> None:
    """A rare race would only show to users."""
    simulator.simulate(one_store_for_all(str(tmp_path / "log.db")), seed, clients=12, steps=60)
    simulator.simulate(lambda: hansard.open(tmp_path / "own.db"), seed, clients=5, steps=60)
    simulator.simulate(lambda: hansard.open(log_url(tmp_path)), seed, clients=5, steps=60)


@pytest.mark.parametrize("engine", [*DATABASES, "remote"])
@pytest.mark.parametrize(
    "seed", [*range(300, 304), *[pytest.param(seed, marks=pytest.mark.soak) for seed in range(2_000, 2_040)]]
)
def test_processes_race(seed: int, engine: str, tmp_path: Path) -> None:
    """Processes on one log would lose, double or reorder events, or both win a race."""
    place = place_of(engine, tmp_path)
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for number in range(4):
        mine, theirs = context.Pipe()
        work = follow if number == 3 else append
        process = context.Process(target=work, args=(place, f"{seed}/{number}", theirs))
        process.start()
        theirs.close()
        pipes.append(mine)
        processes.append(process)
    for pipe in pipes:
        assert pipe.recv() == "ready"
    for pipe in pipes[:3]:
        pipe.send("go")
    diaries = [msgspec.msgpack.decode(pipe.recv(), type=Diary) for pipe in pipes[:3]]
    with hansard.open(place) as store:
        pipes[3].send(store.head())
        seen = msgspec.msgpack.decode(pipes[3].recv(), type=list[tuple[int, bytes]])
        simulator.judge(store, diaries, [], label=f"seed {seed}")
        assert seen == [(event.position, event.id_bytes) for event in store.read()], f"seed {seed}"
    for process in processes:
        process.join(60)
        assert process.exitcode == 0


def append(place: str, seed: str, pipe: Connection) -> None:
    with hansard.open(place) as store:
        pipe.send("ready")
        pipe.recv()
        pipe.send(msgspec.msgpack.encode(simulator.run_client(store, seed, 120)))


def follow(place: str, seed: str, pipe: Connection) -> None:
    """Read on from the last position, while others append, until the head that is told at the end."""
    seen: list[tuple[int, bytes]] = []
    with hansard.open(place) as store:
        pipe.send("ready")
        last = None
        while last is None or len(seen) < last:
            seen += [(event.position, event.id_bytes) for event in store.read(after=seen[-1][0] if seen else 0, limit=20)]
            if last is None and pipe.poll():
                last = pipe.recv()
    pipe.send(msgspec.msgpack.encode(seen))
