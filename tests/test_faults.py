"""Faults: what is left of a store after kills, on full and read-only disks, in damaged files, and after a fork."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

import hansard
from hansard import (
    Event,
    NewerFormat,
    NotAStore,
    Query,
    StorageFull,
    StoreBusy,
    StoreForked,
    StoreNotFound,
    StoreReadOnly,
)
from hansard.testing.invariants import assert_log_holds

KILLS = 50

WRITER = """
import sys, threading, hansard
from hansard import AppendCondition, Event, Query, StreamAppend
place, life = sys.argv[1:]
store = hansard.open(place)
lock = threading.Lock()
def client(number):
    for turn in range(10**6):
        key = f"{life}.{number}.{turn}"
        if turn % 3 == 0:
            store.append(f"c-{number}", [Event("one", key)])
            size = 1
        elif turn % 3 == 1:
            store.append_streams([StreamAppend(f"c-{number}", [Event("part", key), Event("part", key)]),
                                  StreamAppend(f"d-{number}", [Event("part", key, tags={"t"})])])
            size = 3
        else:
            store.append(None, [Event("claim", key, tags={key})], condition=AppendCondition(Query(tags={key})))
            size = 1
        with lock:
            sys.stdout.write(f"{key} {size}\\n")
            sys.stdout.flush()
threads = [threading.Thread(target=client, args=(number,), daemon=True) for number in range(3)]
print("ready", flush=True)
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_kill_9_at_random_moments_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """An acknowledged event would be gone after a crash, or half an append would be left."""
    seed = random.randrange(10**9)
    chance = random.Random(seed)
    place = str(tmp_path / "log.db")
    acknowledged: dict[str, int] = {}
    for life in range(KILLS):
        acknowledged.update(run_and_kill(place, life, chance.random() * 0.12))
        with hansard.open(place) as store:
            stored = count_by_key(store)
            lost = {key for key, size in acknowledged.items() if stored.get(key) != size}
            assert not lost, f"seed {seed}, life {life}: lost or doubled {sorted(lost)[:3]}"
            halves = {key: count for key, count in stored.items() if count != size_of(key)}
            assert not halves, f"seed {seed}, life {life}: half an append {halves}"
            store.add("lives", "survived", life)
            if life % 10 == 9:
                assert_log_holds(store)
    assert len(acknowledged) > KILLS, "the writers were killed before they wrote anything"


def run_and_kill(place: str, life: int, after_s: float) -> dict[str, int]:
    """Let a writer run for a while, kill it, and return what it had been told is stored."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, place, str(life)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    time.sleep(after_s)
    writer.send_signal(signal.SIGKILL)
    lines = writer.stdout.read().splitlines(keepends=True)
    writer.stdout.close()
    writer.wait()
    return {key: int(size) for key, size in (line.split() for line in lines if line.endswith("\n"))}


def count_by_key(store: hansard.Store) -> dict[str, int]:
    counts: dict[str, int] = {}
    for event in store.read(Query(types={"one", "part", "claim"})):
        counts[event.data] = counts.get(event.data, 0) + 1
    return counts


def size_of(key: str) -> int:
    return 3 if int(key.rpartition(".")[2]) % 3 == 1 else 1


# Disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A disk of 2 MB where the test may mount one; without the right to, the test is left to the next one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True).returncode:
        folder.rmdir()
        pytest.xfail("no right to mount a disk; the file size limit is tested instead")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(store: hansard.Store) -> tuple[int, Exception]:
    """Append until it fails; how much was stored before, and the error."""
    for count in range(10_000):
        try:
            store.append("a-1", [Event("big", "x" * 9_000), Event("small", count)])
        except hansard.HansardError as error:
            return 2 * count, error
    raise AssertionError("the disk was never full")


def test_a_full_disk_refuses_and_harms_nothing(small_disk: Path) -> None:
    """A full disk would lose what was stored, or store half an append."""
    place = small_disk / "log.db"
    with hansard.open(place) as store:
        stored, error = fill(store)
        assert isinstance(error, StorageFull)
        assert str(place) in str(error)
        assert store.head() == stored
        with pytest.raises(StorageFull):
            store.append("a-1", [Event("big", "x" * 50_000)])
        assert len(assert_log_holds(store)) == stored
    with hansard.open(place, read_only=True) as store:
        assert store.head() == stored


def test_a_file_size_limit_refuses_and_harms_nothing(tmp_path: Path) -> None:
    """A write that fails in the middle would leave half an append."""
    code = (
        "import resource, sys, hansard; from hansard import Event\n"
        "store = hansard.open(sys.argv[1]); store.append('a-1', [Event('first')])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000))\n"
        "count = 1\n"
        "try:\n"
        "    while True: store.append('a-1', [Event('big', 'x' * 9_000), Event('small')]); count += 2\n"
        "except hansard.StorageFailed as error: print(count, store.head(), type(error).__name__)\n"
    )
    place = tmp_path / "log.db"
    ran = subprocess.run([sys.executable, "-c", code, str(place)], capture_output=True, text=True, check=True)
    told, head, error = ran.stdout.split()
    assert (told, error in ("StorageFailed", "StorageFull")) == (head, True)
    with hansard.open(place) as store:
        assert len(assert_log_holds(store)) == int(told)
        store.append("a-1", [Event("next")])


def test_sqlite_s_own_size_limit_is_a_full_disk(tmp_path: Path) -> None:
    """The same where no disk can be filled."""
    with hansard.open(tmp_path / "log.db") as store:
        writer = store._storage._writer._connection  # the only place where the limit can be set
        writer.execute("PRAGMA max_page_count=60")
        stored, error = fill(store)
        assert isinstance(error, StorageFull)
        assert len(assert_log_holds(store)) == stored
        writer.execute("PRAGMA max_page_count=1000000")
        assert store.append("a-1", [Event("next")]).last_position == stored + 1


@pytest.fixture
def read_only_disk(tmp_path: Path) -> Path:
    """A folder with a store of 3 events on a disk that cannot be written."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with hansard.open(folder / "log.db") as store:
        store.append("a-1", [Event("one") for _ in range(3)])
    mounted = os.geteuid() == 0 and not subprocess.run(["mount", "--bind", folder, folder], capture_output=True).returncode
    if mounted:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
    else:
        folder.chmod(0o500)
        (folder / "log.db").chmod(0o400)
    yield folder
    if mounted:
        subprocess.run(["umount", "-l", folder], check=True)
    else:
        folder.chmod(0o700)


def test_a_read_only_disk_can_be_read_and_says_no_to_appends(read_only_disk: Path) -> None:
    """An archive could not be read, or an append would fail with a puzzle."""
    place = read_only_disk / "log.db"
    with hansard.open(place, read_only=True) as store:
        assert len(assert_log_holds(store)) == 3
        with pytest.raises(StoreReadOnly, match="opened read-only"):
            store.add("a-1", "two")
    with pytest.raises(StoreReadOnly), hansard.open(place) as store:
        store.add("a-1", "two")
    with pytest.raises((StoreReadOnly, StoreNotFound)):
        hansard.open(read_only_disk / "new.db")


# Damage


@pytest.fixture
def closed_store(tmp_path: Path) -> Path:
    """A closed store of 3000 events with tags."""
    place = tmp_path / "log.db"
    with hansard.open(place) as store:
        for number in range(30):
            store.append(f"a-{number}", [Event("one", {"n": n}, tags={f"t:{n}"}) for n in range(100)])
    return place


def test_a_truncated_file_is_found_and_named(closed_store: Path) -> None:
    """Half a file would be served as a whole log."""
    size = closed_store.stat().st_size
    os.truncate(closed_store, size // 2)
    with pytest.raises(hansard.HansardError, match="log"), hansard.open(closed_store, read_only=True) as store:
        assert store.check() != []
        list(store.read())


def test_flipped_bits_are_found(closed_store: Path) -> None:
    """Rot on the disk would go unnoticed: a flipped bit must be reported, unless every read is as before."""
    seed = random.randrange(10**9)
    chance, found = random.Random(seed), 0
    whole = closed_store.read_bytes()
    with hansard.open(closed_store) as store:
        log, streams = list(store.read()), list(store.streams())
    for _ in range(80):
        place = chance.randrange(len(whole))
        damaged = bytearray(whole)
        damaged[place] ^= 1 << chance.randrange(8)
        closed_store.write_bytes(damaged)
        if self_reports(closed_store):
            found += 1
        else:
            with hansard.open(closed_store, read_only=True) as store:
                assert list(store.read()) == log, f"seed {seed}: a flipped bit at byte {place} was not found"
                assert list(store.streams()) == streams, f"seed {seed}: a flipped bit at byte {place} was not found"
    assert found > 20, f"seed {seed}"


def self_reports(place: Path) -> bool:
    """Whether opening or checking tells of damage; nothing but our own errors may be raised."""
    try:
        with hansard.open(place, read_only=True) as store:
            return store.check() != []
    except hansard.HansardError:
        return True


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ("DELETE FROM event WHERE position = 1500", "no event at 1500"),
        ("UPDATE event SET version = 1000 WHERE position = 1500", "versions 1 to 1000"),
        (
            "UPDATE event SET version = CASE version WHEN 5 THEN -6 ELSE -5 END WHERE stream = 3 AND version IN (5, 6)",
            "versions -6",
        ),
        ("UPDATE event SET timestamp = 5 WHERE position = 1500", "time is before"),
        ("UPDATE event SET stream = NULL WHERE position = 1500", "not both there"),
        ("UPDATE event SET stream = 999 WHERE position = 1500", "has no name"),
        ("UPDATE event SET kind = 999 WHERE position = 1500", "kind is not there"),
        ("INSERT INTO stream (name) VALUES ('ghost-1')", "'ghost-1': has a name, but no events"),
        ("UPDATE kind SET category = 'b'", "category 'b' is not that of stream"),
        ("UPDATE event SET id = x'00' WHERE position = 1500", "not 16 bytes"),
        ("UPDATE event SET id = 'text' WHERE position = 1500", "not 16 bytes"),
        ("DELETE FROM tag WHERE position = 1500", "tag 't:99' is not in the index"),
        ("INSERT INTO tag VALUES ('ghost', 1500, 1, 0)", "does not carry it"),
        ("UPDATE tag SET signature = 1 WHERE position = 1500", "signature"),
        ("UPDATE event SET data = '{\"n\":' WHERE position = 1500", "position 1500: data"),
        ("UPDATE event SET data = '{\"n\":98}' WHERE position = 1500", "position 1500: the checksum"),
        ("UPDATE stream SET name = 'a-x' WHERE name = 'a-14'", "position 1401: the checksum"),
        ("UPDATE event SET metadata = '[]' WHERE position = 1500", "position 1500: metadata"),
        ('UPDATE event SET tags = \'["b","a"]\' WHERE position = 1500', "sorted"),
    ],
)
def test_every_broken_invariant_is_found(closed_store: Path, damage: str, problem: str) -> None:
    """A log that was changed behind our back would pass for whole."""
    with closing(sqlite3.connect(closed_store, isolation_level=None)) as connection:
        connection.execute(damage)
    with hansard.open(closed_store, read_only=True) as store:
        problems = store.check()
    assert any(problem in text for text in problems), problems


# Opening what is no store


def test_files_that_are_no_store_are_refused_and_not_changed(tmp_path: Path) -> None:
    """Opening the wrong file would destroy it."""
    text, other, empty_folder = tmp_path / "text.db", tmp_path / "other.db", tmp_path / "folder.db"
    text.write_text("These are my notes, and no database at all. " * 50)
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE mine (x)")
        connection.commit()
    empty_folder.mkdir()
    for place in (text, other):
        before = place.read_bytes()
        for read_only in (False, True):
            with pytest.raises(NotAStore, match=place.name):
                hansard.open(place, read_only=read_only)
        assert place.read_bytes() == before
        assert sorted(path.name for path in tmp_path.glob(f"{place.name}-*")) == []
    with pytest.raises(NotAStore, match="folder"):
        hansard.open(empty_folder)
    with pytest.raises(StoreNotFound, match="no folder"):
        hansard.open(tmp_path / "none" / "log.db")
    with pytest.raises(StoreNotFound, match="no store here"):
        hansard.open(tmp_path / "none.db", read_only=True)
    assert not (tmp_path / "none.db").exists()


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    """A file made by a temporary-file function could not be used."""
    place = tmp_path / "log.db"
    place.touch()
    with pytest.raises(NotAStore):
        hansard.open(place, read_only=True)
    with hansard.open(place) as store:
        assert store.add("a-1", "one").position == 1


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    """An old version would write into a file that it does not understand."""
    place = tmp_path / "log.db"
    hansard.open(place).close()
    with closing(sqlite3.connect(place)) as connection:
        connection.execute("PRAGMA user_version=3")
    for read_only in (False, True):
        with pytest.raises(NewerFormat, match="format 3 is newer than 2") as caught:
            hansard.open(place, read_only=read_only)
        assert (caught.value.found, caught.value.supported) == (3, 2)


def test_many_processes_may_make_the_same_store(tmp_path: Path) -> None:
    """The first start of several workers would fail or make half a store."""
    code = "import sys, hansard; hansard.open(sys.argv[1]).add('a-1', 'one')"
    for round in range(8):
        place = str(tmp_path / f"{round}.db")
        started = [subprocess.Popen([sys.executable, "-c", code, place]) for _ in range(6)]
        assert [process.wait(60) for process in started] == [0] * 6
        with hansard.open(place) as store:
            assert len(assert_log_holds(store)) == 6


# Locks, forks, threads


def test_two_processes_take_turns_at_the_write_lock(tmp_path: Path) -> None:
    """Two writers on one file would fail with a lock error, or starve."""
    code = (
        "import sys, hansard\n"
        "store = hansard.open(sys.argv[1])\n"
        "for n in range(300): store.append(sys.argv[2], [hansard.Event('one', n)], expected_version=n)\n"
    )
    place = str(tmp_path / "log.db")
    started = [subprocess.Popen([sys.executable, "-c", code, place, f"p-{n}"]) for n in range(3)]
    assert [process.wait(120) for process in started] == [0, 0, 0]
    with hansard.open(place) as store:
        assert len(assert_log_holds(store)) == 900


def test_a_write_lock_that_is_never_free_is_an_error_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program would hang for ever on another one's lock."""
    monkeypatch.setattr("hansard.storage.sqlite.connection.BUSY_TIMEOUT_S", 0.2)
    place = tmp_path / "log.db"
    with hansard.open(place) as store, closing(sqlite3.connect(place, isolation_level=None)) as other:
        store.add("a-1", "one")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy, match="write lock"):
            store.add("a-1", "two")
        assert store.head() == 1
        other.execute("ROLLBACK")
        assert store.add("a-1", "two").position == 2


def test_a_full_queue_is_an_error_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that are faster than the disk would fill the memory."""
    monkeypatch.setattr("hansard.storage.group_commit.QUEUE_APPENDS_MAX", 4)
    monkeypatch.setattr("hansard.storage.group_commit.BUSY_TIMEOUT_S", 0.1)
    place = tmp_path / "log.db"
    errors: list[BaseException] = []

    def client() -> None:
        try:
            store.add("a-1", "one")
        except hansard.HansardError as error:
            errors.append(error)

    with hansard.open(place) as store, closing(sqlite3.connect(place, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        threads = [threading.Thread(target=client) for _ in range(12)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        other.execute("ROLLBACK")
        for thread in threads:
            thread.join()
        assert errors
        assert {type(error) for error in errors} == {StoreBusy}
        assert store.head() == 12 - len(errors)


def test_a_store_used_after_a_fork_says_so(tmp_path: Path) -> None:
    """A forked worker would break the locks of its parent and damage the file."""
    code = (
        "import os, sys, hansard\n"
        "store = hansard.open(sys.argv[1]); store.add('a-1', 'one')\n"
        "pid = os.fork()\n"
        "if not pid:\n"
        "    for use in (store.head, lambda: store.add('a-1', 'two'), lambda: list(store.read())):\n"
        "        try: use(); os._exit(1)\n"
        "        except hansard.StoreForked: pass\n"
        "    store.close()\n"
        "    with hansard.open(sys.argv[1]) as own: own.add('a-1', 'two')\n"
        "    os._exit(0)\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
        "assert store.add('a-1', 'three').position == 3\n"
        "store.close()\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "log.db")], check=True)
    assert issubclass(StoreForked, hansard.HansardError)
    with hansard.open(tmp_path / "log.db") as store:
        assert len(assert_log_holds(store)) == 3


def test_readers_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    """A long write of another process would stop all readers."""
    place = tmp_path / "log.db"
    with hansard.open(place) as store, closing(sqlite3.connect(place, isolation_level=None)) as other:
        store.add("a-1", "one")
        other.execute("BEGIN IMMEDIATE")
        start = time.monotonic()
        assert (store.head(), len(store.all("a-1"))) == (1, 1)
        assert time.monotonic() - start < 5
        other.execute("ROLLBACK")


def test_a_backup_is_whole_while_others_append(tmp_path: Path) -> None:
    """A backup would hold half an append or stop the writers."""
    place = tmp_path / "log.db"
    is_over = threading.Event()

    def write() -> None:
        while not is_over.is_set():
            store.append("a-1", [Event("one"), Event("two")])

    with hansard.open(place) as store:
        writers = [threading.Thread(target=write) for _ in range(3)]
        for writer in writers:
            writer.start()
        heads = [store.backup(tmp_path / f"copy-{n}.db") for n in range(5)]
        is_over.set()
        for writer in writers:
            writer.join()
        log = assert_log_holds(store)
        for n, head in enumerate(heads):
            with hansard.open(tmp_path / f"copy-{n}.db", read_only=True) as copy:
                assert assert_log_holds(copy) == log[:head]
        with pytest.raises(hansard.InvalidInput, match="already"):
            store.backup(tmp_path / "copy-0.db")
        with pytest.raises(StoreNotFound, match="no folder"):
            store.backup(tmp_path / "none" / "copy.db")
    assert sorted(path.name for path in tmp_path.glob("*unfinished*")) == []


def test_weaker_durability_is_said(tmp_path: Path) -> None:
    """A user who gave up safety for speed would not see it."""
    with hansard.open(tmp_path / "a.db") as safe, hansard.open(tmp_path / "b.db", durability="page-cache") as fast:
        assert safe.durability.startswith("fsync")
        assert fast.durability.startswith("page cache")
        fast.add("a-1", "one")
        (level,) = fast._storage._writer._connection.execute("PRAGMA synchronous").fetchone()
        assert level == 1
        (level,) = safe._storage._writer._connection.execute("PRAGMA synchronous").fetchone()
        assert level == 2


def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    """A scan of a large log would not fit into memory."""
    code = (
        "import re, sys, hansard\n"
        "with hansard.open(sys.argv[1], read_only=True) as store: assert sum(1 for _ in store.read()) == 60_000\n"
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1])\n"
    )
    place = str(tmp_path / "log.db")
    with hansard.open(place, durability="page-cache") as store:
        for number in range(60):
            store.append(f"a-{number}", [Event("one", "x" * 2_000) for _ in range(1_000)])
    ran = subprocess.run([sys.executable, "-c", code, place], capture_output=True, text=True, check=True)
    assert int(ran.stdout) < 100 * 1024, f"{ran.stdout} KiB for a scan of 120 MB"
