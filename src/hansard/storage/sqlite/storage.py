"""The SQLite engine: puts writer, readers and wake-ups together behind the port."""

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from hansard.appends import Append, Appended
from hansard.errors import StoreClosed, StoreReadOnly
from hansard.events import RecordedEvent
from hansard.query import Query
from hansard.storage import conditions
from hansard.storage.clock import now_us
from hansard.storage.group_commit import GroupCommit
from hansard.storage.port import Capability, InlineHook, ResultT, StorageTransaction, Ticket
from hansard.storage.sqlite import backup, check, documents, reader, schema
from hansard.storage.sqlite.connection import Database, Readers, translated
from hansard.storage.sqlite.watch import Bells
from hansard.storage.sqlite.writer import Writer
from hansard.streams import StreamInfo


class SqliteStorage:
    """One file. `path` is made if it does not exist, unless `read_only` or `must_exist`."""

    capabilities = frozenset(Capability) - {Capability.CLUSTER}
    dialect = schema.DIALECT

    def __init__(
        self,
        path: str,
        *,
        read_only: bool = False,
        must_exist: bool = False,
        synchronous: str = "FULL",
        clock_us: Callable[[], int] = now_us,
    ) -> None:
        self._database = Database(path, read_only=read_only, synchronous=synchronous)
        self._readers = Readers(self._database)
        self._prepare(may_create=not must_exist)
        self._writer = None if read_only else Writer(self._database, clock_us=clock_us)
        self._commits = None if self._writer is None else GroupCommit(self._write_group)
        self._checkers = conditions.Checkers(lambda ticket: self._checked_to(ticket.append))
        self._bells = Bells(f"{self._database.path}-wal")
        self._is_closed = False
        self.durability = (
            "fsync: on the disk before acknowledged (WAL, synchronous=FULL)"
            if synchronous == "FULL"
            else "page cache: survives a crash of the program, not of the machine (WAL, synchronous=NORMAL)"
        )

    def _prepare(self, *, may_create: bool) -> None:
        if (
            not self._database.is_read_only
            and os.path.exists(self._database.path)
            and not os.access(self._database.path, os.W_OK)
        ):
            raise StoreReadOnly(f"{self._database.path}: no permission to write; open it with read_only=True")
        connection = self._database.connect(may_create=may_create)
        try:
            with translated(self._database.path):
                if self._database.is_read_only:
                    schema.verify(connection, self._database.path)
                else:
                    schema.prepare(connection, self._database.path)
        finally:
            connection.close()

    # Appending

    def append(self, append: Append) -> Appended:
        return self._open_commits().append(append, self._checked_to(append))

    def submit(self, tickets: Sequence[Ticket]) -> None:
        self._checkers.submit(self._open_commits(), tickets)

    def _open_commits(self) -> GroupCommit:
        self._database.check_process()
        if self._is_closed:
            raise StoreClosed("the store is closed; open it again")
        if self._commits is None:
            raise StoreReadOnly(f"{self._database.path} was opened read-only")
        return self._commits

    def _checked_to(self, append: Append) -> int:
        condition = append.condition
        if condition is None:
            return 0
        with self._readers.connection() as connection:
            head, _ = reader.head(connection)
            if conditions.is_short(condition, head):
                return 0
            with reader.snapshot(connection):
                match = reader.first_match(connection, condition.fail_if, after=condition.after, before=head + 1)
            return head if match is None else 0

    def _write_group(self, tickets: Sequence[Ticket]) -> None:
        assert self._writer is not None
        self._writer.write_group(tickets)
        self._bells.ring()

    # Documents

    def get(self, collection: str, keys: Sequence[str]) -> dict[str, bytes]:
        with self._readers.connection() as connection:
            return documents.get(connection, collection, keys) if schema.has_documents(connection) else {}

    def scan(self, collection: str, *, after: str = "", limit: int) -> list[tuple[str, bytes]]:
        with self._readers.connection() as connection:
            has = schema.has_documents(connection)
            return documents.scan(connection, collection, after=after, limit=limit) if has else []

    def rows(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self._readers.connection() as connection:
            return connection.execute(statement, parameters).fetchall()

    def transact(self, work: Callable[[StorageTransaction], ResultT]) -> ResultT:
        commits, writer = self._open_commits(), self._writer
        assert writer is not None
        head_before = 0

        def run() -> ResultT:
            nonlocal head_before
            head_before = writer.head
            return writer.transact(work)

        result = commits.exclusively(run)
        if writer.head != head_before:
            self._bells.ring()
        return result

    def set_inline(self, hook: InlineHook | None) -> None:
        commits, writer = self._open_commits(), self._writer
        assert writer is not None
        commits.exclusively(lambda: writer.set_inline(hook))

    # Reading

    def read(self, query: Query, *, after: int, before: int | None, backwards: bool, limit: int) -> list[RecordedEvent]:
        with self._readers.connection() as connection:
            return reader.read(connection, query, after=after, before=before, backwards=backwards, limit=limit)

    def read_stream(
        self, stream: str, *, after_version: int, before_version: int | None, backwards: bool, limit: int
    ) -> list[RecordedEvent]:
        with self._readers.connection() as connection:
            return reader.read_stream(
                connection,
                stream,
                after_version=after_version,
                before_version=before_version,
                backwards=backwards,
                limit=limit,
            )

    def events(self, ids: Sequence[bytes]) -> dict[bytes, RecordedEvent]:
        with self._readers.connection() as connection:
            return reader.events(connection, ids)

    def head(self) -> int:
        with self._readers.connection() as connection:
            return reader.head(connection)[0]

    def stream(self, name: str) -> StreamInfo:
        with self._readers.connection() as connection:
            return reader.stream(connection, name)

    def streams(self, *, category: str | None, after: str, limit: int) -> list[StreamInfo]:
        with self._readers.connection() as connection:
            return reader.streams(connection, category=category, after=after, limit=limit)

    def wait(self, after: int, timeout_s: float) -> int:
        """Woken by commits of this store object and, by way of the kernel, of other processes."""
        deadline = time.monotonic() + timeout_s
        with self._bells.waiting() as bell:
            # A bell stays rung until it is heard, so a commit between a look at the head and the sleep is not missed.
            while (head := self.head()) <= after and (left := deadline - time.monotonic()) > 0 and not self._is_closed:
                bell.sleep(left)
            return head

    # Keeping

    def barrier(self) -> None:
        """There is one copy of the log."""

    def check(self) -> list[str]:
        with self._readers.connection() as connection:
            return check.problems(connection)

    def backup(self, target: str) -> int:
        with self._readers.connection() as connection:
            return backup.copy(connection, target)

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._checkers.close()
        if self._commits is not None:
            self._commits.close()
        self._bells.close()
        if self._writer is not None:
            self._writer.close()
        self._readers.close()
