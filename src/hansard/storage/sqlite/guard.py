"""Keeps user code on the writer's connection from ending the transaction, and from writing to the store's own tables.

SQLite asks an authorizer when a statement is prepared (https://www.sqlite.org/c3ref/set_authorizer.html).
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

_OWN_TABLES = {"event", "stream", "kind", "tag", "document", "events"}
_WRITES = {
    sqlite3.SQLITE_INSERT,
    sqlite3.SQLITE_UPDATE,
    sqlite3.SQLITE_DELETE,
    sqlite3.SQLITE_DROP_TABLE,
    sqlite3.SQLITE_ALTER_TABLE,
    sqlite3.SQLITE_DROP_VIEW,
}


class Guard:
    """Refuses while it is the user's turn. Our own statements were prepared, or are prepared, in our own."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._is_users_turn = False
        connection.set_authorizer(self._judged)

    @contextmanager
    def users_turn(self) -> Iterator[None]:
        self._is_users_turn = True
        try:
            yield
        finally:
            self._is_users_turn = False

    @contextmanager
    def our_turn(self) -> Iterator[None]:
        was, self._is_users_turn = self._is_users_turn, False
        try:
            yield
        finally:
            self._is_users_turn = was

    def _judged(self, action: int, first: str | None, second: str | None, database: str | None, source: str | None) -> int:
        if not self._is_users_turn:
            return sqlite3.SQLITE_OK
        if action in (sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT):
            return sqlite3.SQLITE_DENY
        name = second if action == sqlite3.SQLITE_ALTER_TABLE else first
        return sqlite3.SQLITE_DENY if action in _WRITES and name in _OWN_TABLES else sqlite3.SQLITE_OK
