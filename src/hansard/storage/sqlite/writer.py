"""Writing: one group of appends in one transaction. Knows the schema and the rules; is called by one thread at a time.

A group is planned one append at a time, so that a failing one drops out and the others stay; its rows are then written
together and committed once. Ids are not looked up beforehand: the unique index refuses a known one, and the group is
planned again with care. What the writer remembers of the log (head, versions) holds as long as no other process has
written, which SQLite's data_version tells.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from math import inf
from typing import NamedTuple

from hansard import consistency
from hansard.appends import Append, Appended, StreamAppend, recorded_events
from hansard.errors import AppendConditionFailed, HansardError, InlineFailed, StorageFailed
from hansard.events import tags_text
from hansard.query import AppendCondition
from hansard.storage.port import InlineHook, ResultT, StorageTransaction, Ticket
from hansard.storage.sqlite import reader
from hansard.storage.sqlite.checksum import checksum
from hansard.storage.sqlite.connection import CHECKPOINT_PAGES, Database, base_code, named, translated
from hansard.storage.sqlite.documents import SqliteTransaction
from hansard.storage.sqlite.guard import Guard
from hansard.storage.tags import signature
from hansard.streams import category_of

_ADD_STREAM = "INSERT INTO stream (id, name) VALUES (?, ?)"
_ADD_KIND = "INSERT INTO kind (type, category) VALUES (?, ?) RETURNING id"
_ADD_EVENT = (
    "INSERT INTO event (position, stream, version, kind, timestamp, checksum, id, tags, metadata, data) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT))"
)
_ADD_TAG = "INSERT INTO tag (tag, position, kind, signature) VALUES (?, ?, ?, ?)"

# One stream's id and version. Rides on the unique index of stream.name, then event_by_version. Parameter: name.
_STREAM = "SELECT id, (SELECT max(version) FROM event WHERE stream = stream.id) FROM stream WHERE name = ?"
# One kind's id. Rides on the unique index (type, category).
_KIND = "SELECT id FROM kind WHERE type = ? AND category = ?"

# Statements are kept by their text once they are prepared, so ours must not be those that a user would write (see guard.py).
_BEGIN, _COMMIT, _ROLL_BACK = "BEGIN IMMEDIATE /* hansard */", "COMMIT /* hansard */", "ROLLBACK /* hansard */"

_STREAMS_REMEMBERED_MAX = 100_000
_PAD_FROM_COMMITS = 16
_CAUSED_BY_ONE_APPEND = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE, sqlite3.SQLITE_NOMEM}
_PAD_STEP_BYTES = 1024 * 1024
_PAD_TO_BYTES = CHECKPOINT_PAGES * 4_120


class _Stream(NamedTuple):
    id: int
    version: int


class Writer:
    def __init__(self, database: Database, *, clock_us: Callable[[], int]) -> None:
        self._database = database
        self._clock_us = clock_us
        self._connection = database.connect(for_writing=True)
        self._guard = Guard(self._connection)
        self._inline: InlineHook | None = None
        self._padding = _WalPadding(database)
        self._data_version = -1
        self.head, self._last_us, self._last_stream = 0, 0, 0
        self._streams: dict[str, _Stream] = {}
        self._kinds: dict[tuple[str, str], int] = {}
        self._new_streams: list[tuple[int, str]] = []
        self._new_events: list[tuple[object, ...]] = []
        self._new_tags: list[tuple[str, int, int, int]] = []

    def write_group(self, tickets: Sequence[Ticket]) -> None:
        """Give every ticket its outcome. Raises if the group as a whole could not be committed; then nothing is stored."""
        try:
            try:
                outcomes = self._commit(tickets, is_careful=self._inline is not None)
            except sqlite3.IntegrityError:
                outcomes = self._commit(tickets, is_careful=True)
        except sqlite3.Error as error:
            if len(tickets) == 1 or base_code(error) not in _CAUSED_BY_ONE_APPEND:
                raise named(self._database.path, error) from error
            self._write_one_by_one(tickets)
            return
        for ticket, outcome in zip(tickets, outcomes, strict=True):
            if isinstance(outcome, Appended):
                ticket.appended = outcome
            else:
                ticket.error = outcome
        self._padding.after_commit()

    def _write_one_by_one(self, tickets: Sequence[Ticket]) -> None:
        """One append made a statement fail: it must not harm the others of its group."""
        for ticket in tickets:
            try:
                self.write_group((ticket,))
            except HansardError as error:
                ticket.error = error

    def close(self) -> None:
        self._connection.close()

    def _commit(self, tickets: Sequence[Ticket], *, is_careful: bool) -> list[Appended | HansardError]:
        with self._transaction():
            return [self._outcome(ticket, is_careful) for ticket in tickets]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        if self._connection.in_transaction:  # a roll-back was interrupted
            self._roll_back()
        try:
            # Always IMMEDIATE: a transaction that reads before it asks for the write lock can fail at once, whatever the timeout.
            self._connection.execute(_BEGIN)
            self._refresh()
            yield
            self.flush()
            self._connection.execute(_COMMIT)
        except BaseException:
            self._roll_back()
            raise

    # Transactions of others' making

    def transact(self, work: Callable[[StorageTransaction], ResultT]) -> ResultT:
        """Errors of the database that `work` causes with the connection are its own; those of begin and commit are ours."""
        raised: BaseException | None = None
        try:
            with self._transaction():
                try:
                    transaction = SqliteTransaction(self, self._connection)
                    try:
                        with self._guard.users_turn():
                            result = work(transaction)
                    finally:
                        transaction.is_over = True
                    self.check_open()
                except BaseException as error:
                    raised = error
                    raise
        except sqlite3.Error as error:
            if error is raised:
                raise
            raise named(self._database.path, error) from error
        self._padding.after_commit()
        return result

    def set_inline(self, hook: InlineHook | None) -> None:
        self._inline = hook

    @contextmanager
    def own(self) -> Iterator[None]:
        """Inside a transaction of others' making: statements that follow are ours, and so are their errors."""
        self.check_open()
        with translated(self._database.path), self._guard.our_turn():
            yield

    def check_open(self) -> None:
        """Some failures (a full disk, ON CONFLICT ROLLBACK) make SQLite end the transaction by itself. Whoever catches the error
        must not go on as if nothing had happened."""
        if not self._connection.in_transaction:
            raise StorageFailed("the database has rolled the transaction back; nothing of it happens")

    def append_within(self, append: Append, then: InlineHook | None) -> Appended:
        """One append inside the transaction that is open; a refusal leaves nothing of it."""
        hook, self._inline = self._inline, then or self._inline
        try:
            outcome = self._outcome(Ticket(append, _nobody), is_careful=True)
        finally:
            self._inline = hook
        if isinstance(outcome, HansardError):
            raise outcome
        self.flush()
        return outcome

    def append_all_within(self, appends: Sequence[Append]) -> list[Appended | HansardError]:
        """Like a group of appends, inside the transaction that is open: each is stored or refused on its own."""
        tickets = [Ticket(append, _nobody) for append in appends]
        self.flush()
        self._connection.execute("SAVEPOINT hansard_group")
        try:
            outcomes = [self._outcome(ticket, is_careful=False) for ticket in tickets]
            self.flush()
        except sqlite3.IntegrityError:  # an id that is known: once more, with care
            self._back_to("hansard_group")
            outcomes = [self._outcome(ticket, is_careful=True) for ticket in tickets]
            self.flush()
        finally:
            if self._connection.in_transaction:
                self._connection.execute("RELEASE hansard_group")
        return outcomes

    def _back_to(self, savepoint: str) -> None:
        self._forget_planned()
        if self._connection.in_transaction:
            self._connection.execute(f"ROLLBACK TO {savepoint}")
            self._look_up_head()

    def _roll_back(self) -> None:
        """Forget what was planned and remembered; the next group looks it up anew."""
        self._data_version = -1
        self._forget_planned()
        if self._connection.in_transaction:
            self._connection.execute(_ROLL_BACK)

    def _forget_planned(self) -> None:
        self._kinds.clear()
        self._new_streams.clear()
        self._new_events.clear()
        self._new_tags.clear()

    def _refresh(self) -> None:
        (data_version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if data_version != self._data_version:
            self._look_up_head()
            self._data_version = data_version
        elif len(self._streams) > _STREAMS_REMEMBERED_MAX:
            self._streams.clear()

    def _look_up_head(self) -> None:
        self.head, self._last_us = reader.head(self._connection)
        (self._last_stream,) = self._connection.execute("SELECT ifnull(max(id), 0) FROM stream").fetchone()
        self._streams.clear()

    # Planning one append

    def _outcome(self, ticket: Ticket, is_careful: bool) -> Appended | HansardError:
        try:
            if is_careful and (place := self._repeated(ticket.append)) is not None:
                return place
            return self._planned(ticket) if self._inline is None else self._planned_with_inline(ticket, self._inline)
        except HansardError as refusal:
            return self._place_after_refusal(ticket.append, refusal)

    def _planned_with_inline(self, ticket: Ticket, hook: InlineHook) -> Appended:
        """The append and what its inline projections write, or neither."""
        self.flush()
        self._connection.execute("SAVEPOINT hansard_inline")
        try:
            appended = self._planned(ticket)
            self.flush()
            try:
                with self._guard.users_turn():
                    hook(SqliteTransaction(self, self._connection), recorded_events(ticket.append, appended))
            except Exception as error:
                raise InlineFailed(f"{type(error).__name__}: {error}") from error
            self.check_open()
        except HansardError:
            self._back_to("hansard_inline")
            raise
        finally:
            if self._connection.in_transaction:
                self._connection.execute("RELEASE hansard_inline")
        return appended

    def _place_after_refusal(self, append: Append, refusal: HansardError) -> Appended | HansardError:
        """A repetition is recognised before any check, so a refusal may only mean that this append has won before."""
        try:
            return self._repeated(append) or refusal
        except HansardError as duplicate:
            return duplicate

    def _repeated(self, append: Append) -> Appended | None:
        self.flush()
        consistency.check_ids_once(append)
        known = reader.events(self._connection, [event.id_bytes for event in append.events])
        return consistency.repeated(append, known)

    def _planned(self, ticket: Ticket) -> Appended:
        append = ticket.append
        consistency.check_versions(append.parts, lambda stream: self._stream(stream).version)
        if append.condition is not None:
            self._check_condition(append.condition, ticket.checked_to)
        count = sum([len(part.events) for part in append.parts])
        times = consistency.commit_times(append, count, now_us=self._clock_us(), last_us=self._last_us)
        return self._add(append.parts, times)

    def _stream(self, name: str) -> _Stream:
        stream = self._streams.get(name)
        if stream is None:
            row = self._connection.execute(_STREAM, (name,)).fetchone()
            stream = _Stream(row[0], row[1] or 0) if row else _Stream(0, 0)
            if row:
                self._streams[name] = stream
        return stream

    def _check_condition(self, condition: AppendCondition, checked_to: int) -> None:
        after = max(condition.after, checked_to)
        if after >= self.head:
            return
        self.flush()
        position = reader.first_match(self._connection, condition.fail_if, after=after, before=self.head + 1)
        if position is not None:
            type = reader.type_at(self._connection, position)
            raise AppendConditionFailed(condition.fail_if, condition.after, position, type)

    # Adding what won

    def _add(self, parts: Sequence[StreamAppend], times: Sequence[int]) -> Appended:
        first = self.head + 1
        versions: dict[str, int] = {}
        for part in parts:
            offset = self.head + 1 - first
            self._add_part(part, times[offset : offset + len(part.events)])
            if part.stream is not None:
                versions[part.stream] = self._streams[part.stream].version
        self._last_us = times[-1]
        return consistency.placed(first, self.head, versions, self._last_us)

    def _add_part(self, part: StreamAppend, times: Sequence[int]) -> None:
        name, stream_id, version, category = part.stream, None, None, ""
        if name is not None:
            stream_id, version = self._known_or_new_stream(name)
            category = category_of(name) if "-" in name else ""
            self._streams[name] = _Stream(stream_id, version + len(part.events))
        position = self.head
        for event, time_us in zip(part.events, times, strict=True):
            position += 1
            if version is not None:
                version += 1
            kind = self._kinds.get((event.type, category)) or self._new_kind(event.type, category)
            tags = tags_text(event.tags) if event.tags else None
            id, metadata, data = event.id_bytes, event.metadata_json, event.data_json
            bits = checksum(position, name, version, event.type, time_us, id, tags, metadata, data)
            self._new_events.append((position, stream_id, version, kind, time_us, bits, id, tags, metadata, data))
            if event.tags:
                self._add_tags(event.tags, position, kind)
        self.head = position

    def _add_tags(self, tags: frozenset[str], position: int, kind: int) -> None:
        bits = signature(tags)
        self._new_tags += [(tag, position, kind, bits) for tag in tags]

    def _known_or_new_stream(self, name: str) -> _Stream:
        stream = self._stream(name)
        if not stream.id:
            self._last_stream += 1
            stream = _Stream(self._last_stream, 0)
            self._new_streams.append((stream.id, name))
        return stream

    def _new_kind(self, type: str, category: str) -> int:
        """A kind that this writer has not met yet: from the file, or added to it."""
        row = self._connection.execute(_KIND, (type, category)).fetchone()
        row = row or self._connection.execute(_ADD_KIND, (type, category)).fetchone()
        kind = self._kinds[type, category] = int(row[0])
        return kind

    def flush(self) -> None:
        """Write the rows planned so far, so that statements after this one see them."""
        if not self._new_events:
            return
        if self._new_streams:
            self._connection.executemany(_ADD_STREAM, self._new_streams)
            self._new_streams.clear()
        self._connection.executemany(_ADD_EVENT, self._new_events)
        self._new_events.clear()
        if self._new_tags:
            self._connection.executemany(_ADD_TAG, self._new_tags)
            self._new_tags.clear()


def _nobody(tickets: Sequence[Ticket]) -> None:
    """The ticket of an append inside a transaction: its outcome is looked at at once."""


class _WalPadding:
    """Keeps the WAL file longer than what is in use, because an fdatasync that also lengthens a file costs about twice as much.

    The file is lengthened by a transaction that is rolled back: SQLite spills its pages into the WAL and later overwrites
    them, so only SQLite itself ever writes the file. It doubles with the number of commits, up to where a checkpoint starts
    it anew. The size is looked up just as rarely: asking for it makes the next fdatasync 1.4 times as expensive (measured
    on ext4, where it forces a new time stamp on the file).
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._wal = f"{database.path}-wal"
        self._commits = 0
        self._next_look: float = _PAD_FROM_COMMITS

    def after_commit(self) -> None:
        self._commits += 1
        if self._commits >= self._next_look:
            self._next_look *= 2
            self._lengthen()

    def _lengthen(self) -> None:
        """Best effort: what fails here will be reported by the append that meets it."""
        try:
            size = os.stat(self._wal).st_size
            wanted = min(2 * size + _PAD_STEP_BYTES, _PAD_TO_BYTES)
            if size < wanted:
                self._spill(wanted - size)
            if wanted == _PAD_TO_BYTES:
                self._next_look = inf
        except (sqlite3.Error, HansardError, OSError):
            self._next_look = inf

    def _spill(self, count: int) -> None:
        with closing(self._database.connect()) as connection:
            connection.execute("PRAGMA cache_size=8")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("CREATE TABLE padding (bytes BLOB)")
            connection.execute("INSERT INTO padding VALUES (zeroblob(?))", (count,))
            connection.execute("ROLLBACK")
        with open(self._wal, "rb+") as wal:
            os.fsync(wal.fileno())
