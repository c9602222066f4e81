"""The tables of a store's file, their format number, and how a file is recognised.

A log needs five things: the events in order, a stream's events by version, an event by its id,
events by kind, and events by tag. Each is one table or index below.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from random import random
from typing import Final

from hansard.errors import NewerFormat, NotAStore, StorageFailed
from hansard.limits import BUSY_TIMEOUT_S
from hansard.storage.port import Dialect
from hansard.storage.sqlite.connection import base_code

DIALECT: Final = Dialect("?", {}, "TEXT", 1_000)

APPLICATION_ID: Final = 0x48414E53
"""The letters HANS, where SQLite keeps the number of the program that owns a file."""

FORMAT: Final = 2
"""Kept as the file's user_version. A change that an older Hansard cannot read or write raises it."""

DOCUMENTS: Final = (
    "CREATE TABLE document (collection TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (collection, key)) "
    "WITHOUT ROWID"
)
"""What reacting keeps beside the log: checkpoints, leases, read models. JSON by key, in named collections. Since format 2."""

TABLES: Final = (
    # A stream's name, once. Ids are given in the order in which streams begin.
    "CREATE TABLE stream (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    # A kind is a type in a category ('' where the stream has no '-', or there is no stream): the unit that types and
    # categories of queries are turned into. Few, even in a large log.
    "CREATE TABLE kind (id INTEGER PRIMARY KEY, type TEXT NOT NULL, category TEXT NOT NULL, UNIQUE (type, category))",
    "CREATE INDEX kind_by_category ON kind (category)",
    # The log. Positions are given by the writer, never by SQLite, so that they have no gaps. JSON is kept as text, byte
    # for byte as appended. timestamp: microseconds since 1970 UTC. id: 16 bytes. tags: sorted JSON array, or NULL.
    # checksum: of all the other columns and names, see checksum.py.
    (
        "CREATE TABLE event (position INTEGER PRIMARY KEY, stream INTEGER, version INTEGER, kind INTEGER NOT NULL, "
        "timestamp INTEGER NOT NULL, checksum INTEGER NOT NULL, id BLOB NOT NULL, tags TEXT, metadata TEXT NOT NULL, "
        "data TEXT NOT NULL)"
    ),
    "CREATE UNIQUE INDEX event_by_version ON event (stream, version) WHERE stream IS NOT NULL",
    "CREATE UNIQUE INDEX event_by_id ON event (id)",
    "CREATE INDEX event_by_kind ON event (kind)",
    # Which events carry a tag. signature: the bits of all tags of the event (see tags.py), so that a query for several
    # tags rules out most events without looking them up.
    (
        "CREATE TABLE tag (tag TEXT NOT NULL, position INTEGER NOT NULL, kind INTEGER NOT NULL, signature INTEGER NOT NULL, "
        "PRIMARY KEY (tag, position)) WITHOUT ROWID"
    ),
    DOCUMENTS,
    # For people with a SQLite shell. The product itself does not read it.
    (
        "CREATE VIEW events AS SELECT e.position, s.name AS stream, e.version, k.type, e.data, e.metadata, e.tags, "
        "strftime('%Y-%m-%dT%H:%M:%S', e.timestamp / 1000000, 'unixepoch') || printf('.%06dZ', e.timestamp % 1000000) AS time, "
        "lower(hex(e.id)) AS id FROM event e JOIN kind k ON k.id = e.kind LEFT JOIN stream s ON s.id = e.stream"
    ),
)


def prepare(connection: sqlite3.Connection, path: str) -> None:
    """Make the tables in a new file, or make sure that the file is a store of a known format. Safe against others' doing so."""
    if _is_new(connection):
        _create(connection, path)
    verify(connection, path)
    if _number(connection, "user_version") < FORMAT:
        _upgrade(connection)


def verify(connection: sqlite3.Connection, path: str) -> None:
    """Raises NotAStore or NewerFormat; changes nothing."""
    if _number(connection, "application_id") != APPLICATION_ID:
        raise NotAStore(f"{path}: a SQLite file, but no Hansard store; it was not changed")
    found = _number(connection, "user_version")
    if found > FORMAT:
        raise NewerFormat(path, found, FORMAT)


def _is_new(connection: sqlite3.Connection) -> bool:
    (count,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return not count and _number(connection, "application_id") == 0 and _number(connection, "user_version") == 0


def _create(connection: sqlite3.Connection, path: str) -> None:
    mode = _switch_to_wal(connection)
    if mode != "wal":
        raise StorageFailed(f"{path}: this file system cannot hold SQLite's WAL (got {mode!r}); use a local disk")
    with transaction(connection):
        if _is_new(connection):
            for statement in TABLES:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={FORMAT}")


def _upgrade(connection: sqlite3.Connection) -> None:
    """From format 1, which had no documents."""
    with transaction(connection):
        if _number(connection, "user_version") < FORMAT:
            connection.execute(DOCUMENTS)
            connection.execute(f"PRAGMA user_version={FORMAT}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def has_documents(connection: sqlite3.Connection) -> bool:
    """A file of format 1 that is only read stays as it is."""
    return _number(connection, "user_version") > 1


def _switch_to_wal(connection: sqlite3.Connection) -> str:
    """SQLite does not wait for its lock here, because two that switch at once could wait for each other; so we do."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
            return str(mode)
        except sqlite3.OperationalError as error:
            if base_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.001 + 0.01 * random())


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    (number,) = connection.execute(f"PRAGMA {pragma}").fetchone()
    return int(number)
