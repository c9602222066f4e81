"""User code inside a transaction gets the writer's connection, but cannot end the transaction or touch the log."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import hansard
from hansard import Event, Processor, RecordedEvent, StorageFailed, StoreUnusable, Transaction
from hansard.storage.sqlite.storage import SqliteStorage
from hansard.store import Store

HARMS: list[Callable[[sqlite3.Connection], object]] = [
    lambda c: c.commit(),
    lambda c: c.rollback(),
    lambda c: c.execute("COMMIT"),
    lambda c: c.execute("ROLLBACK"),
    lambda c: c.execute("END"),
    lambda c: c.execute("BEGIN IMMEDIATE"),
    lambda c: c.execute("SAVEPOINT a"),
    lambda c: c.executescript("CREATE TABLE mine (n INTEGER)"),
    lambda c: c.execute("DELETE FROM event"),
    lambda c: c.execute("UPDATE event SET data = '1'"),
    lambda c: c.execute("INSERT INTO document VALUES ('a', 'b', '1')"),
    lambda c: c.execute("DROP TABLE tag"),
    lambda c: c.execute("ALTER TABLE stream RENAME TO mine"),
]


@pytest.mark.parametrize("harm", HARMS)
def test_user_code_cannot_tear_a_transaction(harm: Callable[[sqlite3.Connection], object], tmp_path: Path) -> None:
    """A handler that commits by itself would keep its effects without its checkpoint, and be called again."""
    storage = SqliteStorage(str(tmp_path / "log.db"))
    store = Store(storage)
    store.add("a-1", "first")
    storage.transact(lambda t: t.connection.execute("CREATE TABLE effects (n INTEGER)"))

    def work(t: object) -> None:
        t.connection.execute("INSERT INTO effects VALUES (1)")
        t.put("c", {"x": b"1"})
        harm(t.connection)

    with pytest.raises(sqlite3.Error):
        storage.transact(work)
    assert storage.get("c", ["x"]) == {}
    assert storage.transact(lambda t: t.connection.execute("SELECT count(*) FROM effects").fetchone()) == (0,)
    assert store.add("a-1", "second").version == 2
    assert store.check() == []
    store.close()


def test_a_file_of_format_1_is_read_as_it_is_and_upgraded_when_written(tmp_path: Path) -> None:
    """A store made before there were documents could not be opened any more."""
    path = str(tmp_path / "log.db")
    with Store(SqliteStorage(path)) as store:
        store.add("a-1", "first")
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE document")
        connection.execute("PRAGMA user_version=1")
    connection.close()
    reader = SqliteStorage(path, read_only=True)
    assert (reader.get("c", ["x"]), reader.scan("c", limit=9), reader.head()) == ({}, [], 1)
    writer = SqliteStorage(path)
    writer.transact(lambda t: t.put("c", {"x": b"1"}))
    assert reader.get("c", ["x"]) == {"x": b"1"}
    writer.close()
    reader.close()


def test_a_transaction_that_the_database_has_ended_does_not_go_on(tmp_path: Path) -> None:
    """A handler that catches the error would have its checkpoint moved past effects that were rolled back."""
    with hansard.open(tmp_path / "log.db") as store:
        store.append("a-1", [Event("x", number) for number in (1, 2, 2, 3)])
        make = "CREATE TABLE seen (number INTEGER PRIMARY KEY ON CONFLICT ROLLBACK)"
        store._storage.transact(lambda t: t.connection.execute(make))

        def handler(event: RecordedEvent, transaction: Transaction) -> None:
            with suppress(sqlite3.IntegrityError):
                transaction.execute("INSERT INTO seen VALUES (?)", (event.data,))

        with pytest.raises(StorageFailed, match="rolled the transaction back"):
            store.catch_up(Processor("p", handler, exactly_once=True))
        assert store.reader("p").status().checkpoint == 0
        assert store.add("a-1", "later").position == 5
        assert store.check() == []


def test_a_transaction_is_over_when_its_function_returns(tmp_path: Path) -> None:
    """A handler that keeps it would write into somebody else's transaction."""
    with hansard.open(tmp_path / "log.db") as store:
        kept = store._storage.transact(lambda t: t)
        for use in (lambda: kept.put("c", {"x": b"1"}), lambda: kept.get("c", ["x"]), kept.head, lambda: kept.connection):
            with pytest.raises(StoreUnusable, match="is over"):
                use()
