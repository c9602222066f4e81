"""The PostgreSQL engine: puts writer, readers and wake-ups together behind the port."""

from collections.abc import Callable, Sequence
from typing import Any

from hansard.appends import Append, Appended
from hansard.errors import CapabilityMissing, StoreClosed, StoreReadOnly
from hansard.events import RecordedEvent
from hansard.query import Query
from hansard.storage import conditions
from hansard.storage.clock import now_us
from hansard.storage.group_commit import GroupCommit
from hansard.storage.port import Capability, InlineHook, ResultT, StorageTransaction, Ticket
from hansard.storage.postgres import check, schema
from hansard.storage.postgres.address import Address
from hansard.storage.postgres.connection import Database, Readers, translated
from hansard.storage.postgres.documents import Documents
from hansard.storage.postgres.reader import Reader
from hansard.storage.postgres.watch import Bell
from hansard.storage.postgres.writer import Writer
from hansard.streams import StreamInfo


class PostgresStorage:
    """One log of a database. It and its schema are made if they do not exist, unless `read_only` or `must_exist`."""

    capabilities = frozenset(Capability) - {Capability.BACKUP, Capability.CLUSTER}
    dialect = schema.DIALECT

    def __init__(
        self,
        address: Address,
        *,
        read_only: bool = False,
        must_exist: bool = False,
        is_relaxed: bool = False,
        clock_us: Callable[[], int] = now_us,
    ) -> None:
        self._database = Database(address, read_only=read_only, is_relaxed=is_relaxed)
        connection = self._database.connect()
        try:
            with translated(self._database.shown):
                self._log = schema.prepare(self._database, connection, may_create=not must_exist)
                self.durability = _durability(connection)
                if not read_only:
                    schema.forget_old_writers(connection, address.schema, self._log)
        except BaseException:
            connection.close()
            raise
        self._reader = Reader(address.schema, self._log)
        self._documents = Documents(address.schema, self._log)
        self._readers = Readers(self._database, self._reader.forget)
        self._writer: Writer | None = None
        if read_only:
            connection.close()
        else:
            self._writer = Writer(self._database, connection, self._log, clock_us=clock_us)
        self._commits = None if self._writer is None else GroupCommit(self._write_group)
        self._checkers = conditions.Checkers(lambda ticket: self._checked_to(ticket.append))
        self._bell = Bell(self._database, self._log)
        self._head_seen = 0
        self._is_closed = False

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
            raise StoreReadOnly(f"{self._database.shown} was opened read-only")
        return self._commits

    def _checked_to(self, append: Append) -> int:
        condition = append.condition
        if condition is None or conditions.is_short(condition, self._head_seen):
            return 0

        def look(connection: Any) -> int:
            head, first = self._reader.head_and_first_match(connection, condition.fail_if, after=condition.after)
            return head.position if first is None else 0

        return self._readers.read(look)

    def _write_group(self, tickets: Sequence[Ticket]) -> None:
        assert self._writer is not None
        self._writer.write_group(tickets)
        self._head_seen = max(self._head_seen, self._writer.head)
        self._bell.ring()

    # Documents

    def get(self, collection: str, keys: Sequence[str]) -> dict[str, bytes]:
        return self._readers.read(lambda connection: self._documents.get(connection.own, collection, keys))

    def scan(self, collection: str, *, after: str = "", limit: int) -> list[tuple[str, bytes]]:
        return self._readers.read(lambda connection: self._documents.scan(connection.own, collection, after=after, limit=limit))

    def rows(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        return self._readers.read(lambda connection: connection.execute(statement, parameters).fetchall())

    def transact(self, work: Callable[[StorageTransaction], ResultT]) -> ResultT:
        commits, writer = self._open_commits(), self._writer
        assert writer is not None
        result = commits.exclusively(lambda: writer.transact(work))
        self._bell.ring()
        return result

    def set_inline(self, hook: InlineHook | None) -> None:
        commits, writer = self._open_commits(), self._writer
        assert writer is not None
        commits.exclusively(lambda: writer.set_inline(hook))

    # Reading

    def read(self, query: Query, *, after: int, before: int | None, backwards: bool, limit: int) -> list[RecordedEvent]:
        return self._readers.read(
            lambda connection: self._reader.read(connection, query, after=after, before=before, backwards=backwards, limit=limit)
        )

    def read_stream(
        self, stream: str, *, after_version: int, before_version: int | None, backwards: bool, limit: int
    ) -> list[RecordedEvent]:
        return self._readers.read(
            lambda connection: self._reader.read_stream(
                connection,
                stream,
                after_version=after_version,
                before_version=before_version,
                backwards=backwards,
                limit=limit,
            )
        )

    def events(self, ids: Sequence[bytes]) -> dict[bytes, RecordedEvent]:
        return self._readers.read(lambda connection: self._reader.events(connection, ids))

    def head(self) -> int:
        return self._readers.read(lambda connection: self._reader.head(connection).position)

    def stream(self, name: str) -> StreamInfo:
        return self._readers.read(lambda connection: self._reader.stream(connection, name))

    def streams(self, *, category: str | None, after: str, limit: int) -> list[StreamInfo]:
        return self._readers.read(lambda c: self._reader.streams(c, category=category, after=after, limit=limit))

    def wait(self, after: int, timeout_s: float) -> int:
        return self._bell.wait(self.head, after, timeout_s)

    # Keeping

    def barrier(self) -> None:
        """There is one copy of the log."""

    def check(self) -> list[str]:
        return self._readers.read(lambda connection: check.problems(connection, self._database.address.schema, self._log))

    def backup(self, target: str) -> int:
        raise CapabilityMissing(Capability.BACKUP, "PostgreSQL", "use pg_dump, or hansard copy")

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        if self._database.is_in_child:
            return  # the connections and locks are the parent's
        self._checkers.close()
        if self._commits is not None:
            self._commits.close()
        self._bell.close()
        if self._writer is not None:
            self._writer.close()
        self._readers.close()


def _durability(connection: Any) -> str:
    settings = dict(connection.execute("SELECT name, setting FROM pg_settings WHERE name IN ('synchronous_commit', 'fsync')"))
    standbys = connection.execute("SHOW synchronous_standby_names").fetchone()[0]
    if settings["fsync"] != "on":
        return "none: the server runs with fsync=off"
    if settings["synchronous_commit"] == "off":
        return "the server's memory: survives a crash of the program, not of the server (synchronous_commit=off)"
    confirmed = f", confirmed by {standbys}" if standbys else ""
    return f"fsync: on the server's disk before acknowledged (synchronous_commit={settings['synchronous_commit']}){confirmed}"
