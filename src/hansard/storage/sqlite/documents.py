"""Documents beside the log, and the transaction that changes them together with it. Knows the writer; opens nothing."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from hansard.appends import Append, Appended
from hansard.errors import HansardError, StoreUnusable
from hansard.events import RecordedEvent
from hansard.query import Query
from hansard.storage.port import InlineHook
from hansard.storage.sqlite import reader
from hansard.storage.sqlite.schema import DIALECT

if TYPE_CHECKING:
    from hansard.storage.sqlite.writer import Writer

# All ride on the primary key of document.
_GET = "SELECT key, CAST(value AS BLOB) FROM document WHERE collection = ? AND key IN ({marks})"
_SCAN = "SELECT key, CAST(value AS BLOB) FROM document WHERE collection = ? AND key > ? ORDER BY key LIMIT ?"
_PUT = (
    "INSERT INTO document (collection, key, value) VALUES (?, ?, CAST(? AS TEXT)) "
    "ON CONFLICT (collection, key) DO UPDATE SET value = excluded.value"
)
_DELETE = "DELETE FROM document WHERE collection = ? AND key = ?"
_DROP = "DELETE FROM document WHERE collection = ?"

_KEYS_AT_ONCE = 500


def get(connection: sqlite3.Connection, collection: str, keys: Sequence[str]) -> dict[str, bytes]:
    if len(keys) == 1:
        return dict(connection.execute(_GET.format(marks="?"), (collection, *keys)).fetchall())
    found: dict[str, bytes] = {}
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        some = keys[start : start + _KEYS_AT_ONCE]
        found.update(connection.execute(_GET.format(marks=",".join("?" * len(some))), (collection, *some)).fetchall())
    return found


def scan(connection: sqlite3.Connection, collection: str, *, after: str, limit: int) -> list[tuple[str, bytes]]:
    return connection.execute(_SCAN, (collection, after, limit)).fetchall()


def put(connection: sqlite3.Connection, collection: str, documents: Mapping[str, bytes | None]) -> None:
    kept = [(collection, key, value) for key, value in documents.items() if value is not None]
    if kept:
        connection.executemany(_PUT, kept)
    if len(kept) < len(documents):
        connection.executemany(_DELETE, [(collection, key) for key, value in documents.items() if value is None])


class SqliteTransaction:
    """One transaction of the writer, as the port gives it to a function."""

    dialect = DIALECT

    def __init__(self, writer: "Writer", connection: sqlite3.Connection) -> None:
        self._writer = writer
        self._connection = connection
        self.is_over = False

    def _own(self) -> AbstractContextManager[None]:
        self._check()
        return self._writer.own()

    def _check(self) -> None:
        if self.is_over:
            raise StoreUnusable("the transaction is over; it may be used only until the function that was given it returns")

    def get(self, collection: str, keys: Sequence[str]) -> dict[str, bytes]:
        with self._own():
            return get(self._connection, collection, keys)

    def scan(self, collection: str, *, after: str = "", limit: int) -> list[tuple[str, bytes]]:
        with self._own():
            return scan(self._connection, collection, after=after, limit=limit)

    def put(self, collection: str, documents: Mapping[str, bytes | None]) -> None:
        with self._own():
            put(self._connection, collection, documents)

    def drop(self, collection: str) -> None:
        with self._own():
            self._connection.execute(_DROP, (collection,))

    def append(self, append: Append, *, then: InlineHook | None = None) -> Appended:
        with self._own():
            return self._writer.append_within(append, then)

    def append_all(self, appends: Sequence[Append]) -> list[Appended | HansardError]:
        """What became of each, as if they had been appended one after the other; quicker, since the rows are written together."""
        with self._own():
            return self._writer.append_all_within(appends)

    def read(self, query: Query, *, after: int, before: int | None, backwards: bool, limit: int) -> list[RecordedEvent]:
        with self._own():
            self._writer.flush()
            return reader.read_within(self._connection, query, after=after, before=before, backwards=backwards, limit=limit)

    def head(self) -> int:
        self._check()
        return self._writer.head

    @property
    def connection(self) -> sqlite3.Connection:
        self._check()
        self._writer.check_open()
        self._writer.flush()
        return self._connection
