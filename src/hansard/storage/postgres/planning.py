"""Planning a group: each append is looked at in turn, and gets its place or its refusal. Knows the rules; commits nothing.

What is planned is seen by what is planned after it, before it is in the tables. What is remembered of streams and kinds holds as
long as the head row is as this plan left it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from hansard import consistency
from hansard.appends import Append, Appended, StreamAppend, recorded_events
from hansard.errors import AppendConditionFailed, HansardError
from hansard.events import RecordedEvent
from hansard.query import AppendCondition
from hansard.storage.port import Ticket
from hansard.storage.postgres import arrays
from hansard.storage.postgres.connection import Connection
from hansard.storage.postgres.reader import Head, Reader
from hansard.storage.postgres.rows import Rows
from hansard.storage.postgres.schema import qualified
from hansard.streams import category_of

# Streams with their last versions. Rides on stream's unique index (log, name), then event_by_version. Parameters: log, names.
_STREAMS = (
    "SELECT s.name, s.id, (SELECT max(version) FROM {s}.event WHERE log = $1 AND stream = s.id) "
    "FROM {s}.stream s WHERE s.log = $1 AND s.name = ANY ($2)"
)

_STREAMS_REMEMBERED_MAX = 100_000
_ROWS_AT_ONCE = 20_000
_BYTES_AT_ONCE = 64 * 1024 * 1024

NOTHING = Head(-1, 0, 0, 0)


class _Stream(NamedTuple):
    id: int
    version: int


_NO_STREAM = _Stream(0, 0)


class Plan:
    """`stored` is the head row as the tables have it in this transaction, `head` with what is planned beyond it."""

    def __init__(self, schema: str, log: int, *, clock_us: Callable[[], int]) -> None:
        self._log, self._clock_us = log, clock_us
        self._streams_sql = qualified(_STREAMS, schema)
        self.reader, self._rows = Reader(schema, log), Rows(schema, log)
        self.stored = self.head = NOTHING
        self._streams: dict[str, _Stream] = {}
        self._known: dict[bytes, RecordedEvent] = {}
        self._unstored: list[tuple[Append, Appended]] = []
        self._overlay: list[RecordedEvent] = []

    def begin(self, connection: Connection, head: Head) -> None:
        """A transaction has locked the head row."""
        self._connection = connection
        if head != self.stored or len(self._streams) > _STREAMS_REMEMBERED_MAX:
            self._streams.clear()
        self.stored = self.head = head

    def committed(self) -> None:
        self._unstored.clear()
        self._overlay.clear()
        self._known = {}

    def go_back(self, head: Head) -> None:
        """Nothing that was planned since then happens; what was remembered is looked up anew."""
        self.stored = self.head = head
        self._rows.forget()
        self.reader.forget()
        self._streams.clear()
        self._unstored.clear()
        self._overlay.clear()
        if head is NOTHING:
            self._known = {}

    def learn(self, appends: Sequence[Append], *, is_careful: bool) -> None:
        """Look up, for all of a group at once, what its appends will ask for."""
        self._learn_streams(part.stream for append in appends for part in append.parts if part.stream is not None)
        if is_careful:
            self._learn_ids(appends)

    def outcome(
        self, ticket: Ticket, *, is_careful: bool, plan: Callable[[Ticket], Appended] | None = None
    ) -> Appended | HansardError:
        """The place or the refusal of one append; `plan` stands in for `place`."""
        try:
            if is_careful and (place := self._repeated(ticket.append)) is not None:
                return place
            return (plan or self.place)(ticket)
        except HansardError as refusal:
            return self._place_after_refusal(ticket.append, refusal)

    def place(self, ticket: Ticket) -> Appended:
        """Plan it, or raise what refuses it."""
        append = ticket.append
        consistency.check_versions(append.parts, self._version)
        if append.condition is not None:
            self._check_condition(append.condition, ticket.checked_to)
        count = sum([len(part.events) for part in append.parts])
        times = consistency.commit_times(append, count, now_us=self._clock_us(), last_us=self.head.last_us)
        return self._added(append, times)

    def flush(self, *, moves_head: bool = False) -> None:
        """Store the rows planned so far, so that statements after this one see them."""
        if len(self._rows) or moves_head:
            self._rows.store(self._connection.own, self.stored, self.head)
            self.stored = self.head
            self._unstored.clear()
            self._overlay.clear()

    # Repetitions

    def _place_after_refusal(self, append: Append, refusal: HansardError) -> Appended | HansardError:
        """A repetition is recognised before any check, so a refusal may only mean that this append has won before."""
        try:
            self._learn_ids([append])
            return self._repeated(append) or refusal
        except HansardError as duplicate:
            return duplicate

    def _learn_ids(self, appends: Sequence[Append]) -> None:
        ids = [event.id_bytes for append in appends for event in append.events]
        self._known |= self.reader.events(self._connection, ids)

    def _repeated(self, append: Append) -> Appended | None:
        consistency.check_ids_once(append)
        ids = [event.id_bytes for event in append.events]
        known = {id: self._known[id] for id in ids if id in self._known}
        wanted = set(ids)
        known |= {event.id_bytes: event for event in self._unstored_events() if event.id_bytes in wanted}
        return consistency.repeated(append, known)

    def _unstored_events(self) -> list[RecordedEvent]:
        """Events that are planned, but not yet in the tables."""
        for append, appended in self._unstored:
            self._overlay += recorded_events(append, appended)
        self._unstored.clear()
        return self._overlay

    # Rules

    def _version(self, stream: str) -> int:
        return self._stream(stream).version

    def _stream(self, name: str) -> _Stream:
        if name not in self._streams:
            self._learn_streams([name])
        return self._streams[name]

    def _learn_streams(self, names: Iterable[str]) -> None:
        new = set(names) - self._streams.keys()
        if new:
            self._streams.update(dict.fromkeys(new, _NO_STREAM))
            rows = self._connection.own.rows(self._streams_sql, (self._log, arrays.texts(list(new))))
            self._streams.update((name, _Stream(id, version)) for name, id, version in rows)

    def _check_condition(self, condition: AppendCondition, checked_to: int) -> None:
        after = max(condition.after, checked_to)
        if after >= self.head.position:
            return
        position = self.reader.first_match(self._connection, condition.fail_if, after=after, head=self.stored)
        if position is not None:
            type = self.reader.type_at(self._connection, position)
            raise AppendConditionFailed(condition.fail_if, condition.after, position, type)
        for event in self._unstored_events():
            if event.position > after and condition.fail_if.matches(event, event.stream):
                raise AppendConditionFailed(condition.fail_if, condition.after, event.position, event.type)

    # Adding what won

    def _added(self, append: Append, times: Sequence[int]) -> Appended:
        first = self.head.position + 1
        versions: dict[str, int] = {}
        for part in append.parts:
            offset = self.head.position + 1 - first
            self._add_part(part, times[offset : offset + len(part.events)])
            if part.stream is not None:
                versions[part.stream] = self._streams[part.stream].version
        appended = consistency.placed(first, self.head.position, versions, times[-1])
        self._unstored.append((append, appended))
        if len(self._rows) > _ROWS_AT_ONCE or self._rows.bytes > _BYTES_AT_ONCE:
            self.flush()
        return appended

    def _add_part(self, part: StreamAppend, times: Sequence[int]) -> None:
        name, stream, category = part.stream, _NO_STREAM, ""
        if name is not None:
            stream = self._stream(name)
            if not stream.id:
                stream = self._new_stream(name)
            self._streams[name] = _Stream(stream.id, stream.version + len(part.events))
            category = category_of(name) if "-" in name else ""
        kinds = [self._kind(event.type, category) for event in part.events]
        self._rows.add_events(part, stream.id, stream.version, self.head.position, kinds, times)
        self.head = self.head._replace(position=self.head.position + len(part.events), last_us=times[-1])

    def _new_stream(self, name: str) -> _Stream:
        self.head = self.head._replace(streams=self.head.streams + 1)
        self._rows.add_stream(name)
        return _Stream(self.head.streams, 0)

    def _kind(self, type: str, category: str) -> int:
        kinds = self.reader.learn_kinds(self._connection.own, self.stored, self.reader.kinds)
        id = kinds.id(type, category)
        if id is None:
            self.head = self.head._replace(kinds=self.head.kinds + 1)
            id = self.head.kinds
            self._rows.add_kind(type, category)
            kinds.learn([(id, type, category)])
        return id
