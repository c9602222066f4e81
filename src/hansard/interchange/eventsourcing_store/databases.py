"""Databases that the library has written, SQLite files and PostgreSQL, read at one moment. Knows SQL, nothing of events."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote

from hansard.errors import InvalidInput, OpenFailed
from hansard.names import shown_place

if TYPE_CHECKING:
    import psycopg

ROWID: Final = "rowid"
"""The column of a SQLite table that tells in which order rows came. Not every table has it."""

_MAGIC: Final = b"SQLite format 3\0"

# Columns of all tables.
_SQLITE_COLUMNS: Final = (
    "SELECT m.name, p.name, upper(m.sql) LIKE '%WITHOUT ROWID%' FROM sqlite_master m, pragma_table_info(m.name) p "
    "WHERE m.type = 'table'"
)
_POSTGRES_COLUMNS: Final = (
    "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = ANY (current_schemas(false))"
)


class Database(Protocol):
    mark: str
    """Stands for a parameter."""
    is_typed: bool
    """Whether a UUID comes as one."""

    def tables(self) -> dict[str, set[str]]:
        """The columns of every table."""

    def rows(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """What a SELECT finds."""


def is_sqlite(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a SQLite database."""
    try:
        with open(path, "rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


@contextmanager
def opened(source: str | os.PathLike[str]) -> Iterator[Database]:
    """The database at a path or a postgresql:// URL, for reading. Raises InvalidInput or OpenFailed."""
    source = os.fspath(source)
    if source.startswith(("postgresql://", "postgres://")):
        with _postgres(source) as database:
            yield database
    else:
        with _sqlite(source) as database:
            yield database


@contextmanager
def _sqlite(path: str) -> Iterator["_SqliteDatabase"]:
    if not os.path.exists(path):
        raise InvalidInput("source", path, "there is no such file")
    if not is_sqlite(path):
        raise InvalidInput("source", path, "expected a SQLite file or postgresql://…")
    try:
        connection = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, isolation_level=None)
        try:
            connection.execute("BEGIN")  # all reads see one moment
            yield _SqliteDatabase(connection)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise OpenFailed(f"{path} cannot be read: {error}") from error


class _SqliteDatabase:
    mark = "?"
    is_typed = False

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def tables(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for table, column, is_without_rowid in self.rows(_SQLITE_COLUMNS):
            columns = found.setdefault(table, set() if is_without_rowid else {ROWID})
            columns.add(column)
        return found

    def rows(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, parameters).fetchall()


@contextmanager
def _postgres(url: str) -> Iterator["_PostgresDatabase"]:
    try:
        import psycopg  # only for those who have such a database
    except ImportError as error:
        raise OpenFailed("PostgreSQL needs psycopg; install it with: pip install 'hansard[postgres]'") from error
    try:
        with psycopg.connect(url) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ  # all reads see one moment
            connection.read_only = True
            yield _PostgresDatabase(connection)
    except psycopg.Error as error:
        first_line = str(error).strip().partition("\n")[0]
        raise OpenFailed(f"{shown_place(url)} cannot be read: {first_line}") from error


class _PostgresDatabase:
    mark = "%s"
    is_typed = True

    def __init__(self, connection: "psycopg.Connection[Any]") -> None:
        self._connection = connection

    def tables(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for table, column in self.rows(_POSTGRES_COLUMNS):
            found.setdefault(table, set()).add(column)
        return found

    def rows(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, parameters).fetchall()
