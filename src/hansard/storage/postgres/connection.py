"""Connections to one database: how they are opened, shared among readers, and how their errors are named."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import errors, pq
from psycopg.rows import tuple_row
from psycopg.types.numeric import Int8BinaryDumper
from psycopg_pool import ConnectionPool, PoolTimeout

from hansard.errors import (
    HansardError,
    InvalidInput,
    OpenFailed,
    StorageFailed,
    StorageFull,
    StoreBusy,
    StoreClosed,
    StoreCorrupt,
    StoreForked,
    StoreReadOnly,
    StoreUnusable,
)
from hansard.limits import BUSY_TIMEOUT_S, READERS_MAX
from hansard.storage.postgres import arrays
from hansard.storage.postgres.address import Address

SERVER_VERSION_MIN = 130_000
"""PostgreSQL 13: the oldest with all that is used, and still in use."""

_CONNECT_TIMEOUT_S = 10

_ResultT = TypeVar("_ResultT")

# Every query of ours has an index that gives its rows in order; statistics of an hour ago must not say otherwise.
_READER_SETTINGS = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET jit = off"
# A writer that has vanished with the log's lock must not hold it for the two hours that TCP allows, nor a sleeping one for ever.
_WRITER_SETTINGS = (
    f"SET lock_timeout = '{BUSY_TIMEOUT_S:g}s'; SET jit = off; SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; "
    "SET tcp_keepalives_count = 3; SET idle_in_transaction_session_timeout = '60s'"
)


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection with a cursor for the store's own statements. While it is lent to a user's function, in the store's
    transaction, it refuses to end it."""

    own: "OwnCursor"
    plain: psycopg.Cursor[tuple[Any, ...]]
    """For BEGIN, COMMIT and savepoints: its rows are tuples, whatever a user makes of the connection's."""
    is_lent = False

    def commit(self) -> None:
        self._check_not_lent("commit()")
        super().commit()

    def rollback(self) -> None:
        self._check_not_lent("rollback()")
        super().rollback()

    def interrupt(self) -> None:
        """End the statement that runs. May be called from any thread."""
        self.cancel_safe(timeout=_CONNECT_TIMEOUT_S)

    def _check_not_lent(self, what: str) -> None:
        if self.is_lent:
            raise StoreUnusable(f"{what}: the store commits its own transaction, when the function returns")


class OwnCursor(psycopg.RawCursor[tuple[Any, ...]]):
    """For the store's own statements: prepared, binary, `$1` for parameters."""

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self.execute(statement, parameters, prepare=True, binary=True).fetchall()

    def row(self, statement: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        return self.execute(statement, parameters, prepare=True, binary=True).fetchone()

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        self.execute(statement, parameters, prepare=True, binary=True)


class Database:
    """Where the log is and how it is to be reached. Makes connections; holds none."""

    def __init__(self, address: Address, *, read_only: bool = False, is_relaxed: bool = False) -> None:
        self.address = address
        self.shown = address.shown
        self.is_read_only = read_only
        self._is_relaxed = is_relaxed
        self._pid = os.getpid()
        try:
            self._options = psycopg.conninfo.conninfo_to_dict(address.conninfo)
        except psycopg.ProgrammingError as error:
            raise InvalidInput("place", address.shown, address.scrubbed(first_line(error))) from None
        self._options.setdefault("connect_timeout", _CONNECT_TIMEOUT_S)
        self._options.setdefault("application_name", "hansard")
        # A server that has vanished is found out in seconds, not in the quarter of an hour that TCP allows.
        for name, value in (("idle", 5), ("interval", 2), ("count", 3)):
            self._options.setdefault(f"keepalives_{name}", value)
        self._options.setdefault("tcp_user_timeout", 15_000)

    @property
    def options(self) -> dict[str, Any]:
        return {**self._options, "autocommit": True}

    def connect(self) -> Connection:
        """A new connection for writing, in autocommit mode. Raises OpenFailed."""
        try:
            connection = Connection.connect(**self.options)
        except psycopg.Error as error:
            raise OpenFailed(f"{self.shown}: {self.address.scrubbed(first_line(error))}") from error
        try:
            with translated(self.shown):
                self._check_server(connection)
                self.prepare(connection, is_writer=True)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_server(self, connection: Connection) -> None:
        version = connection.info.server_version
        if version < SERVER_VERSION_MIN:
            raise OpenFailed(
                f"{self.shown}: the server is PostgreSQL {version // 10_000}; needs {SERVER_VERSION_MIN // 10_000} or newer"
            )
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise OpenFailed(f"{self.shown}: the database's encoding is {encoding}; needs UTF8, which holds every name")

    def prepare(self, connection: psycopg.Connection[Any], *, is_writer: bool = False) -> None:
        connection.execute(_WRITER_SETTINGS if is_writer else _READER_SETTINGS)
        if is_writer:
            self._set_durability(connection)
        cursor = OwnCursor(connection, row_factory=tuple_row)
        cursor.adapters.register_dumper(int, Int8BinaryDumper)
        arrays.register(cursor)
        connection.own = cursor  # type: ignore[attr-defined]
        connection.plain = psycopg.Cursor(connection, row_factory=tuple_row)  # type: ignore[attr-defined]

    def _set_durability(self, connection: psycopg.Connection[Any]) -> None:
        """At least the server's own disk, or what the user's database asks for beyond that."""
        (now,) = connection.execute("SHOW synchronous_commit").fetchone() or ("on",)
        if self._is_relaxed:
            connection.execute("SET synchronous_commit = off")
        elif now in ("off", "local"):
            connection.execute("SET synchronous_commit = on")

    @property
    def is_in_child(self) -> bool:
        return os.getpid() != self._pid

    def check_process(self) -> None:
        """Raises StoreForked in a child process, which must not use its parent's connections."""
        if self.is_in_child:
            raise StoreForked(f"{self.shown} was opened before a fork; open it again in the child process")


class Readers:
    """A few connections, each lent to one thread at a time; started at the first need. A read that meets a connection which has
    been lost is done again on another one, because it changes nothing."""

    def __init__(self, database: Database, on_loss: Callable[[], None]) -> None:
        self._database = database
        self._on_loss = on_loss
        self._lock = threading.Lock()
        self._pool: ConnectionPool[Connection] | None = None
        self._is_closed = False

    def read(self, work: Callable[[Connection], _ResultT]) -> _ResultT:
        self._database.check_process()
        deadline = time.monotonic() + BUSY_TIMEOUT_S
        pool = self._opened()
        while True:
            was_lost = False
            try:
                with pool.connection() as connection:
                    try:
                        return work(connection)
                    except psycopg.Error:
                        was_lost = is_lost(connection)
                        raise
            except PoolTimeout as error:
                raise StorageFailed(f"{self._database.shown}: no connection within {BUSY_TIMEOUT_S:g} s ({error})") from error
            except psycopg.Error as error:
                if self._is_closed:
                    raise StoreClosed("the store is closed; open it again") from error
                if not was_lost or time.monotonic() > deadline:
                    raise named(self._database.shown, error) from error
                self._on_loss()
            time.sleep(0.02)

    def _opened(self) -> "ConnectionPool[Connection]":
        with self._lock:
            if self._is_closed:
                raise StoreClosed("the store is closed; open it again")
            if self._pool is None:
                self._pool = ConnectionPool(
                    connection_class=Connection,
                    kwargs=self._database.options,
                    configure=self._database.prepare,
                    min_size=1,
                    max_size=READERS_MAX,
                    num_workers=1,
                    timeout=BUSY_TIMEOUT_S,
                    max_idle=60.0,
                    reconnect_timeout=BUSY_TIMEOUT_S,
                    open=True,
                    name="hansard-readers",
                )
            return self._pool

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close(timeout=2.0)


@contextmanager
def translated(shown: str) -> Iterator[None]:
    """Errors of the driver become errors of our tree."""
    try:
        yield
    except psycopg.Error as error:
        raise named(shown, error) from error


def named(shown: str, error: psycopg.Error) -> HansardError:
    """Our error for an error of the driver. Codes: https://www.postgresql.org/docs/current/errcodes-appendix.html"""
    text = first_line(error)
    if isinstance(error, errors.LockNotAvailable):
        return StoreBusy(f"{shown}: the log's lock was not free within {BUSY_TIMEOUT_S:g} s; another transaction holds it")
    if isinstance(error, errors.DiskFull):
        return StorageFull(f"{shown}: the server's disk is full; nothing was stored")
    if isinstance(error, errors.QueryCanceled):
        return StorageFailed(f"{shown}: the server ended a statement ({text}); nothing was stored")
    if isinstance(error, errors.InFailedSqlTransaction):
        return StorageFailed(f"{shown}: an earlier statement of this transaction failed, so nothing of it happens")
    if isinstance(error, errors.ReadOnlySqlTransaction | errors.InsufficientPrivilege):
        return StoreReadOnly(f"{shown}: {text}")
    if isinstance(error, errors.UndefinedTable | errors.InvalidSchemaName | errors.UndefinedColumn):
        return StorageFailed(f"{shown}: {text}; the schema has changed since the store was opened")
    if isinstance(error, errors.DataCorrupted | errors.IndexCorrupted):
        return StoreCorrupt(f"{shown}: {text}; run: hansard check")
    if isinstance(error, errors.DeadlockDetected | errors.SerializationFailure):
        return StoreBusy(f"{shown}: the transaction and another one waited for each other ({text}); nothing was stored")
    if isinstance(error, psycopg.OperationalError) and (error.sqlstate or "08").startswith(("08", "57P")):
        return StorageFailed(f"{shown}: the server cannot be reached, or has ended the connection ({text})")
    return StorageFailed(f"{shown}: {text}")


def first_line(error: Exception) -> str:
    """What happened, without the server's hints and excerpts of SQL."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].removesuffix(".") if lines else type(error).__name__


def is_lost(connection: psycopg.Connection[Any]) -> bool:
    return bool(connection.closed) or connection.pgconn.status != pq.ConnStatus.OK
