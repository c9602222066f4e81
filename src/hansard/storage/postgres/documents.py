"""Documents beside the log, and the transaction that changes them together with it. Knows the writer; opens nothing."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from hansard.appends import Append, Appended
from hansard.errors import StoreUnusable
from hansard.events import RecordedEvent
from hansard.query import Query
from hansard.storage.port import InlineHook
from hansard.storage.postgres import arrays
from hansard.storage.postgres.connection import Connection, OwnCursor
from hansard.storage.postgres.schema import DIALECT, qualified

if TYPE_CHECKING:
    from hansard.storage.postgres.writer import Writer

# All ride on the primary keys, and the unique index of collection (log, name). Parameters: log, the collection, ….
_OF = "log = $1 AND collection = (SELECT id FROM {s}.collection WHERE log = $1 AND name = $2)"
_GET = f"SELECT key, textsend(value) FROM {{s}}.document WHERE {_OF} AND key = ANY ($3)"
_SCAN = f"SELECT key, textsend(value) FROM {{s}}.document WHERE {_OF} AND key > $3 ORDER BY key LIMIT $4"
_DELETE = f"DELETE FROM {{s}}.document WHERE {_OF} AND key = ANY ($3)"
_DROP = f"DELETE FROM {{s}}.document WHERE {_OF}"
_PUT = (
    "INSERT INTO {s}.document (log, collection, key, value) SELECT $1, $2, key, value "
    "FROM unnest($3::text[], $4::text[]) u (key, value) "
    "ON CONFLICT (log, collection, key) DO UPDATE SET value = excluded.value"
)
_COLLECTION = "SELECT id FROM {s}.collection WHERE log = $1 AND name = $2"
_ADD_COLLECTION = (
    "INSERT INTO {s}.collection (log, id, name) SELECT $1, coalesce(max(id), 0) + 1, $2 FROM {s}.collection WHERE log = $1 "
    "RETURNING id"
)


class Documents:
    """The statements of one log's documents."""

    def __init__(self, schema: str, log: int) -> None:
        self._log = log
        self._get, self._scan, self._put = (qualified(sql, schema) for sql in (_GET, _SCAN, _PUT))
        self._delete, self._drop = (qualified(sql, schema) for sql in (_DELETE, _DROP))
        self._collection, self._add_collection = (qualified(sql, schema) for sql in (_COLLECTION, _ADD_COLLECTION))

    def get(self, own: OwnCursor, collection: str, keys: Sequence[str]) -> dict[str, bytes]:
        return dict(own.rows(self._get, (self._log, collection, arrays.texts(keys))))

    def scan(self, own: OwnCursor, collection: str, *, after: str, limit: int) -> list[tuple[str, bytes]]:
        return own.rows(self._scan, (self._log, collection, after, limit))

    def put(self, own: OwnCursor, collection: str, documents: Mapping[str, bytes | None]) -> None:
        kept = {key: value for key, value in documents.items() if value is not None}
        if kept:
            id = self._collection_id(own, collection)
            own.run(self._put, (self._log, id, arrays.texts(list(kept)), arrays.texts(list(kept.values()))))
        gone = [key for key, value in documents.items() if value is None]
        if gone:
            own.run(self._delete, (self._log, collection, arrays.texts(gone)))

    def drop(self, own: OwnCursor, collection: str) -> None:
        own.run(self._drop, (self._log, collection))

    def _collection_id(self, own: OwnCursor, name: str) -> int:
        """Under the log's lock, so nobody else adds one."""
        row = own.row(self._collection, (self._log, name)) or own.row(self._add_collection, (self._log, name))
        assert row is not None
        return int(row[0])


class PostgresTransaction:
    """One transaction of the writer, as the port gives it to a function."""

    dialect = DIALECT

    def __init__(self, writer: "Writer", connection: Connection, documents: Documents) -> None:
        self._writer = writer
        self._connection = connection
        self._documents = documents
        self.is_over = False

    def _own(self) -> AbstractContextManager[OwnCursor]:
        self._check()
        return self._writer.own()

    def _check(self) -> None:
        if self.is_over:
            raise StoreUnusable("the transaction is over; it may be used only until the function that was given it returns")

    def get(self, collection: str, keys: Sequence[str]) -> dict[str, bytes]:
        with self._own() as own:
            return self._documents.get(own, collection, keys)

    def scan(self, collection: str, *, after: str = "", limit: int) -> list[tuple[str, bytes]]:
        with self._own() as own:
            return self._documents.scan(own, collection, after=after, limit=limit)

    def put(self, collection: str, documents: Mapping[str, bytes | None]) -> None:
        with self._own() as own:
            self._documents.put(own, collection, documents)

    def drop(self, collection: str) -> None:
        with self._own() as own:
            self._documents.drop(own, collection)

    def append(self, append: Append, *, then: InlineHook | None = None) -> Appended:
        with self._own():
            return self._writer.append_within(append, then)

    def read(self, query: Query, *, after: int, before: int | None, backwards: bool, limit: int) -> list[RecordedEvent]:
        with self._own():
            return self._writer.read_within(query, after=after, before=before, backwards=backwards, limit=limit)

    def head(self) -> int:
        self._check()
        return self._writer.head

    @property
    def connection(self) -> Connection:
        self._check()
        self._writer.check_open()
        return self._connection
