"""What a program does around a store: folders change, Ctrl-C comes, tasks give up, stores are closed under their users."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from enum import Enum
from pathlib import Path

import pytest

import hansard
from hansard import AppendCondition, Event, Query, QueryItem, StoreBusy, StoreClosed
from hansard.testing.invariants import assert_log_holds


class Kind(str, Enum):  # noqa: UP042 - a str enum whose text is not its value is the point
    CREATED = "created"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def test_a_relative_path_stays_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that changes its folder would read, and decide on, another log."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with hansard.open(tmp_path / "two" / "x.db") as other:
        other.add("a-1", "other")
    monkeypatch.chdir(tmp_path / "one")
    with hansard.open("x.db") as store:
        store.add("a-1", "mine")
        monkeypatch.chdir(tmp_path / "two")
        assert [event.type for event in store.read()] == ["mine"]
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["x.db"]


@pytest.mark.parametrize("name", ["a b.db", "a?b.db", "a#b.db", "a%41b.db", "ä.db", ":x.db", "file:x.db"])
def test_any_file_name_can_be_opened(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that means something to a URL would open another file."""
    monkeypatch.chdir(tmp_path)
    for given in (name, tmp_path / name, f"/{tmp_path / name}"):
        with hansard.open(given) as store:
            store.add("a-1", "one")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_urls_say_the_same_as_paths(tmp_path: Path) -> None:
    """A URL would open another file than it names."""
    with hansard.open(f"sqlite:///{tmp_path}/a%20b.db") as store:
        store.add("a-1", "one")
    assert (tmp_path / "a b.db").exists()
    with hansard.open("sqlite:///:memory:") as store:
        assert "memory" in store.durability


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ("", "place"),
        ("a\0b", "place"),
        (5, "place"),
        ("sqlite://", "no host"),
        ("sqlite:///", "place"),
        ("sqlite://host/x.db", "no host"),
        ("sqlite:///x.db?mode=ro", "open()"),
        ("sqlite:///x%00.db", "place"),
        ("redis://host", "no engine"),
    ],
)
def test_places_that_cannot_be_are_refused(given: object, word: str) -> None:
    """A mistyped place would become a file of a strange name."""
    with pytest.raises((hansard.InvalidInput, hansard.OpenFailed)) as caught:
        hansard.open(given)  # type: ignore[arg-type]
    assert word in str(caught.value)


def test_ctrl_c_leaves_a_store_that_works(place: Path) -> None:
    """After an interrupt the store would refuse every append, show an old log, or keep the write lock for ever."""
    code = (
        "import sys, hansard\n"
        "from hansard import Event, Query\n"
        "store = hansard.open(sys.argv[1])\n"
        "print('ready', flush=True)\n"
        "interrupts = count = 0\n"
        "while interrupts < 60:\n"
        "    try:\n"
        "        while True:\n"
        "            store.append('a-1', Event('one', tags={'t'})); count += 1\n"
        "            list(store.read(Query(types={'one', 'two'}), after=max(0, count - 5)))\n"
        "    except KeyboardInterrupt: interrupts += 1\n"
        "while True:\n"
        "    try:\n"
        "        before = store.head()\n"
        "        assert store.append('a-1', Event('last')).last_position == before + 1\n"
        "        assert store.head() == before + 1 == len(store.all('a-1')) + len(store.all('b-1'))\n"
        "        with hansard.open(sys.argv[1]) as other: other.add('b-1', 'other')\n"
        "        break\n"
        "    except KeyboardInterrupt: pass\n"
        "print('works', flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(place)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    told: list[str] = []
    reading = threading.Thread(target=lambda: told.append(process.stdout.readline()))  # type: ignore[union-attr]
    reading.start()
    pause_s = 0.012
    # Signals that come before the last one was taken count as one, so more may be needed; ever rarer, so that the end is reached.
    while reading.is_alive() and pause_s < 10:
        time.sleep(pause_s)
        pause_s *= 1.01
        process.send_signal(signal.SIGINT)
    reading.join()
    (line,) = told
    assert line == "works\n"
    process.stdout.close()
    process.wait(30)
    with hansard.open(place) as store:
        assert_log_holds(store)


def test_an_append_in_a_signal_handler_is_refused_not_hung(place: Path) -> None:
    """A handler of SIGTERM that records the end would hang the program."""
    refused: list[hansard.HansardError] = []

    def on_alarm(*_: object) -> None:
        try:
            store.add("signals-1", "alarm")
        except hansard.StoreUnusable as error:
            refused.append(error)

    with hansard.open(place) as store:
        before = signal.signal(signal.SIGVTALRM, on_alarm)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0005, 0.0005)
        try:
            for _ in range(400):
                store.add("a-1", "one")
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)
        assert refused
        assert_log_holds(store)


async def test_one_failing_look_up_harms_no_neighbour(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One client's condition would fail the appends that happened to be committed with it."""
    import sqlite3

    from hansard.storage.sqlite import reader

    def first_match(connection: sqlite3.Connection, query: Query, **bounds: int) -> int | None:
        connection.execute("SELECT nothing FROM nowhere")
        return None

    monkeypatch.setattr(reader, "first_match", first_match)
    async with hansard.aio.open(place) as store:
        await store.add("a-1", "one")
        condition = AppendCondition(Query(types={"two"}))
        bad = store.append("b-1", Event("bad"), condition=condition)
        outcomes = await asyncio.gather(*[store.add(f"c-{n}", "good") for n in range(50)], bad, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes[50:]] == [hansard.StorageFailed]
        assert all(isinstance(outcome, hansard.RecordedEvent) for outcome in outcomes[:50])
        assert await store.head() == 51


async def test_nothing_hangs_on_a_closed_async_store(place: Path) -> None:
    """A task would wait for ever for a store that is gone."""
    store = await hansard.aio.open(place)
    for number in range(3):
        await store.append(f"a-{number}", [Event("one") for _ in range(200)])
    subscription = store.subscribe(after=600)
    await store.close()
    condition = AppendCondition(Query(tags={"t"}))
    for call in (
        lambda: store.add("a-1", "two"),
        lambda: store.append("a-1", Event("two"), condition=condition),
        store.head,
        lambda: store.all("a-1"),
        lambda: store.wait(600, 5),
        lambda: anext(subscription),
    ):
        with pytest.raises(StoreClosed):
            await asyncio.wait_for(call(), 10)  # type: ignore[no-untyped-call]
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("hansard-conditions")]


def test_a_subscription_of_a_closed_store_ends_with_an_error(place: Path) -> None:
    """A thread would spin for ever on a store that is gone."""
    for given in (":memory:", place):
        store, errors = hansard.open(given), []

        def listen(store: hansard.Store = store, errors: list[Exception] = errors) -> None:
            try:
                next(store.subscribe())
            except StoreClosed as error:
                errors.append(error)

        listener = threading.Thread(target=listen)
        listener.start()
        time.sleep(0.05)
        store.close()
        listener.join(30)
        assert errors


async def test_a_burst_larger_than_the_queue_is_stored(place: Path) -> None:
    """Very many tasks at once would all be told that the store is busy, and the loop would stand still."""
    async with hansard.aio.open(place, durability="page-cache") as store:
        await asyncio.gather(*[store.add(f"a-{n % 100}", "one") for n in range(20_000)])
        assert await store.head() == 20_000


async def test_a_subscription_goes_on_after_a_timeout(place: Path) -> None:
    """A reader that gave up waiting once would miss everything that comes later, without a word."""
    async with hansard.aio.open(place) as store, store.subscribe() as events:
        for number in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(anext(events), 0.15)
            await store.add("a-1", "one", number)
            assert (await asyncio.wait_for(anext(events), 10)).data == number


def test_a_subscription_goes_on_after_an_error(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that met a busy store once would end, as if there were no more events."""
    with hansard.open(place) as store:
        store.add("a-1", "one")
        events = store.subscribe()
        with monkeypatch.context() as patched:
            patched.setattr(store._storage, "read", lambda *_, **__: (_ for _ in ()).throw(StoreBusy("busy")))
            with pytest.raises(StoreBusy):
                next(events)
        assert next(events).position == 1


async def test_waiting_tasks_leave_room_for_others(place: Path) -> None:
    """A few tasks that wait long would keep all others from hearing of an append."""
    async with hansard.aio.open(place) as store, store.subscribe() as events:
        waiting = [asyncio.create_task(store.wait(10**6, 3)) for _ in range(12)]
        await asyncio.sleep(0.05)
        await store.add("a-1", "one")
        assert (await asyncio.wait_for(anext(events), 2.5)).position == 1
        assert set(await asyncio.gather(*waiting)) == {1}


@pytest.mark.parametrize("engine", ["memory", "file"])
def test_names_of_enums_are_their_values(engine: str, place: Path) -> None:
    """An enum's name would be stored as one text and checked as another."""
    with hansard.open(":memory:" if engine == "memory" else place) as store:
        store.append(Kind.CREATED, Event(Kind.CREATED, tags={Kind.CREATED}))
        (found,) = store.read(Query(types={Kind.CREATED}, tags={Kind.CREATED}, stream=Kind.CREATED))
        assert [type(text) for text in (found.stream, found.type, *found.tags)] == [str, str, str]
        assert (found.stream, found.type) == ("created", "created")
        assert_log_holds(store)


@pytest.mark.parametrize("engine", ["memory", "file"])
def test_the_largest_queries_are_answered(engine: str, place: Path) -> None:
    """A query within the limits would meet a limit of the engine."""
    with hansard.open(":memory:" if engine == "memory" else place) as store:
        for number in range(100):
            store.append(f"c{number}-1", [Event(f"t{n}") for n in range(35)])
        wide = Query.of(*[QueryItem(category=f"c{number}") for number in range(100)])
        assert len(list(store.read(wide))) == 3_500
        many = {f"tag{number}" for number in range(1_000)}
        assert list(store.read(Query(tags=many, stream="c1-1") | Query(tags=many))) == []
        store.append("x-1", Event("one"), condition=AppendCondition(Query(tags=many, stream="c1-1")))
        with pytest.raises(hansard.AppendConditionFailed):
            store.append("x-1", Event("one"), condition=AppendCondition(wide))


def test_memory_readers_see_whole_appends_only() -> None:
    """A reader of the memory engine would see half an append."""
    store, over, seen = hansard.open(":memory:"), threading.Event(), set()

    def look() -> None:
        while not over.is_set():
            seen.add(store.head() % 100)

    looking = threading.Thread(target=look)
    looking.start()
    for number in range(300):
        store.append(f"a-{number}", [Event("one") for _ in range(100)])
    over.set()
    looking.join()
    assert seen == {0}


def test_a_backup_touches_no_other_file(place: Path) -> None:
    """A backup would delete a file that happens to have its temporary name."""
    mine = Path(f"{place}.copy.unfinished")
    mine.write_text("mine")
    with hansard.open(place) as store:
        store.add("a-1", "one")
        store.backup(f"{place}.copy")
    assert mine.read_text() == "mine"
    assert sorted(path.name for path in place.parent.iterdir()) == ["log.db", "log.db.copy", "log.db.copy.unfinished"]


def test_a_time_after_the_year_9999_is_refused(place: Path) -> None:
    """A log would be given a last time that no program can show, and every later event with it."""
    with hansard.open(place) as store:
        recorded = store.add("a-1", "one")
        import msgspec

        late = msgspec.structs.replace(recorded, timestamp_us=2**60, id_bytes=bytes(16))
        with pytest.raises(hansard.InvalidInput, match="9999"):
            store.restore([late])
        short = msgspec.structs.replace(recorded, id_bytes=b"123")
        with pytest.raises(hansard.InvalidInput, match="16 bytes"):
            store.restore([short])


@pytest.mark.parametrize("timeout", ["1", None, float("nan"), float("inf"), -1, 10**12, True])
def test_timeouts_that_cannot_be_are_refused(timeout: object) -> None:
    """A wait would hang or end with an error of the operating system."""
    with pytest.raises(hansard.InvalidInput, match="timeout_s"):
        hansard.open(":memory:").wait(0, timeout)  # type: ignore[arg-type]


class Whole(int):
    pass


class Part(float):
    pass


def test_subclasses_of_plain_values_are_stored_as_plain_values() -> None:
    """Numbers of other libraries would end with a codec's own error."""
    store = hansard.open(":memory:")
    assert store.add("a-1", "one", {"n": Whole(3), "x": Part(1.5), "k": Kind.CREATED}).data == {"n": 3, "x": 1.5, "k": "created"}
    with pytest.raises(hansard.InvalidInput, match="data"):
        store.add("a-1", "one", 10**5_000)


def test_a_file_that_may_not_be_written_is_refused_at_open(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program would learn only at its first append that it may not append."""
    hansard.open(place).close()
    # As for a user without the right to write; the tests may run as one whom nothing is forbidden.
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    with pytest.raises(hansard.StoreReadOnly, match="no permission to write"):
        hansard.open(place)
    hansard.open(place, read_only=True).close()
