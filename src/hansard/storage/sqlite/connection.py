"""Connections to one SQLite file: how they are opened, shared among readers, and how their errors are named.

Always the standard library's driver: two SQLite libraries on one file in one process break each other's locks.
"""

import os
import sqlite3
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hansard.errors import (
    HansardError,
    NotAStore,
    StorageFailed,
    StorageFull,
    StoreBusy,
    StoreClosed,
    StoreCorrupt,
    StoreForked,
    StoreNotFound,
    StoreReadOnly,
)
from hansard.limits import BUSY_TIMEOUT_S, READERS_MAX
from hansard.storage.tags import TagCounts

_STATEMENTS_KEPT = 256
_READER_CACHE_KIB = 8 * 1024
_WRITER_CACHE_KIB = 32 * 1024

CHECKPOINT_PAGES = 4_000
"""Pages in the WAL before they are copied into the file: 16 MB. Measured: with 1,000 batches into a large file are slower,
with 16,000 single appends are, because every commit then writes to memory that no cache holds."""


class Connection(sqlite3.Connection):
    """A connection, and what it has learnt of the tags in its file."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.tag_counts = TagCounts()


class Database:
    """Where the file is and how it is to be opened. Makes connections; holds none."""

    def __init__(self, path: str, *, read_only: bool = False, synchronous: str = "FULL") -> None:
        # Made absolute once: connections are opened later too, when the program may stand in another folder.
        self.path = os.path.realpath(path)
        self.is_read_only = read_only
        self._synchronous = synchronous
        self._pid = os.getpid()
        self._is_immutable = False

    def connect(self, *, for_writing: bool = False, may_create: bool = False) -> sqlite3.Connection:
        """A new connection, in autocommit mode; it may be used by any one thread at a time."""
        mode = "ro" if self.is_read_only else "rwc" if may_create else "rw"
        if os.path.isdir(self.path):
            raise NotAStore(f"{self.path}: is a folder, not a store")
        cache_kib = _WRITER_CACHE_KIB if for_writing else _READER_CACHE_KIB
        with translated(self.path):
            try:
                return self._connect(mode, cache_kib)
            except sqlite3.OperationalError as error:
                if not self._lies_on_a_read_only_disk(error):
                    raise
            self._is_immutable = True
            return self._connect(mode, cache_kib)

    def _connect(self, mode: str, cache_kib: int) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._uri(mode),
            uri=True,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_STATEMENTS_KEPT,
            factory=Connection,
        )
        try:
            connection.execute(f"PRAGMA synchronous={self._synchronous}")
            connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
            connection.execute(f"PRAGMA cache_size=-{cache_kib}")
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    def _uri(self, mode: str) -> str:
        immutable = "&immutable=1" if self._is_immutable else ""
        return f"file:{quote(os.fsencode(self.path))}?mode={mode}{immutable}"

    def _lies_on_a_read_only_disk(self, error: sqlite3.OperationalError) -> bool:
        """A WAL file without its side files cannot be read from a disk that takes none, except as one that never changes."""
        return (
            self.is_read_only
            and base_code(error) in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
            and os.path.isfile(self.path)
            and not os.path.exists(f"{self.path}-wal")
            and bool(os.statvfs(self.path).f_flag & os.ST_RDONLY)
        )

    def check_process(self) -> None:
        """Raises StoreForked in a child process: SQLite's locks do not survive a fork."""
        if os.getpid() != self._pid:
            raise StoreForked(f"{self.path} was opened before a fork; open it again in the child process")


class Readers:
    """Connections, each lent to one thread at a time; a few are kept for the next one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._free: deque[sqlite3.Connection] = deque()
        self._is_closed = False

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        self._database.check_process()
        if self._is_closed:
            raise StoreClosed("the store is closed; open it again")
        connection = self._taken()
        try:
            with translated(self._database.path):
                yield connection
        finally:
            self._give_back(connection)

    def _taken(self) -> sqlite3.Connection:
        try:
            return self._free.pop()
        except IndexError:
            return self._database.connect()

    def _give_back(self, connection: sqlite3.Connection) -> None:
        """A connection that was interrupted in a transaction would stay at that moment of the log: it is not kept."""
        if self._is_closed or connection.in_transaction or len(self._free) >= READERS_MAX:
            connection.close()
        else:
            self._free.append(connection)

    def close(self) -> None:
        self._is_closed = True
        while self._free:
            self._free.pop().close()


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Errors of the driver become errors of our tree."""
    try:
        yield
    except sqlite3.Error as error:
        raise named(path, error) from error


def base_code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def named(path: str, error: sqlite3.Error) -> HansardError:
    """Our error for an error of the driver. Codes: https://www.sqlite.org/rescode.html"""
    code = base_code(error)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusy(f"{path}: the write lock was not free within {BUSY_TIMEOUT_S:g} s; another process holds it")
    if code == sqlite3.SQLITE_FULL:
        return StorageFull(f"{path}: the disk is full; nothing was stored")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return StoreReadOnly(f"{path}: cannot be written ({error})")
    if code == sqlite3.SQLITE_CORRUPT:
        return StoreCorrupt(f"{path}: the file is damaged ({error}); run: hansard check")
    if code == sqlite3.SQLITE_NOTADB:
        return NotAStore(f"{path}: not a SQLite file, so no Hansard store; it was not changed")
    if code == sqlite3.SQLITE_CANTOPEN:
        return _cannot_open(path)
    return StorageFailed(f"{path}: {error}")


def _cannot_open(path: str) -> HansardError:
    folder = Path(path).absolute().parent
    if os.path.isdir(path):
        return NotAStore(f"{path}: is a folder, not a store")
    if not folder.is_dir():
        return StoreNotFound(f"{path}: there is no folder {folder}")
    if not os.path.exists(path) and os.access(folder, os.W_OK):
        return StoreNotFound(f"{path}: there is no store here")
    return StoreReadOnly(f"{path}: no permission to open it")
