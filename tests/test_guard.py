"""User code inside a transaction gets the writer's connection, but cannot end the transaction or touch the log."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from hansard.storage.sqlite.storage import SqliteStorage
from hansard.store import Store

HARMS: list[Callable[[sqlite3.Connection], object]] = [
    lambda c: c.commit(),
    lambda c: c.rollback(),
    lambda c: c.execute("COMMIT"),
    lambda c: c.execute("ROLLBACK"),
    lambda c: c.execute("END"),
    lambda c: c.execute("BEGIN IMMEDIATE"),
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
