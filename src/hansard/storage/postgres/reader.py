"""Reading: pages of events, single events, streams. Every method runs on a connection that it is given.

The head is read first and bounds what is read after it. The log never changes below its head, so several statements see one
moment of it without a transaction around them. Rows become events without decoding any JSON.
"""

import threading
from collections.abc import Sequence, Set
from itertools import starmap
from typing import NamedTuple

from hansard.events import RecordedEvent
from hansard.limits import POSITION_MAX
from hansard.query import Query
from hansard.storage import paths
from hansard.storage.paths import by_windows
from hansard.storage.postgres import arrays, selection
from hansard.storage.postgres.connection import Connection, OwnCursor
from hansard.storage.postgres.schema import qualified
from hansard.storage.tags import TagCounts
from hansard.streams import StreamInfo

# The columns in the order of RecordedEvent's fields. Names are looked up row by row: a join could be turned around.
_COLUMNS = (
    "SELECT e.position, (SELECT s.name FROM {s}.stream s WHERE s.log = e.log AND s.id = e.stream), e.version, "
    "(SELECT k.type FROM {s}.kind k WHERE k.log = e.log AND k.id = e.kind), e.timestamp, uuid_send(e.id), e.tags, "
    "textsend(e.metadata), textsend(e.data)"
)

# The log. Rides on the primary key. Parameters: log, after, before, limit.
_LOG = (
    f"{_COLUMNS} FROM {{s}}.event e WHERE e.log = $1 AND e.position > $2 AND e.position < $3 "
    "ORDER BY e.position {direction} LIMIT $4"
)

# One stream. Rides on event_by_version. Parameters: log, name, after_version, before_version, limit.
_STREAM = (
    f"{_COLUMNS} FROM {{s}}.event e WHERE e.log = $1 AND e.stream = (SELECT id FROM {{s}}.stream WHERE log = $1 AND name = $2) "
    "AND e.version > $3 AND e.version < $4 ORDER BY e.version {direction} LIMIT $5"
)

# A page of positions. Rides on the paths' indexes, then on the primary key. Parameters: log, after, before, limit, the paths'.
_PAGE = (
    f"{_COLUMNS} FROM (SELECT {{distinct}} position FROM ({{positions}}) p ORDER BY position {{direction}} LIMIT $4) at "
    "JOIN {s}.event e ON e.log = $1 AND e.position = at.position ORDER BY at.position {direction}"
)

# Rides on event_by_id. Parameters: log, ids.
_BY_IDS = f"{_COLUMNS} FROM {{s}}.event e WHERE e.log = $1 AND e.id = ANY ($2)"

_TYPE_AT = (
    "SELECT k.type FROM {s}.event e JOIN {s}.kind k ON k.log = e.log AND k.id = e.kind WHERE e.log = $1 AND e.position = $2"
)
_HEAD = "SELECT head, last_us, streams, kinds FROM {s}.log WHERE id = $1"
_KINDS = "SELECT id, type, category FROM {s}.kind WHERE log = $1 AND id > $2 ORDER BY id"
_STREAM_ID = "SELECT id FROM {s}.stream WHERE log = $1 AND name = $2"
_COUNTS = (
    "SELECT t, (SELECT count(*) FROM (SELECT 1 FROM {s}.tag WHERE log = $1 AND tag = t AND position > $3 LIMIT $4) c) "
    "FROM unnest($2::text[]) t"
)

# The head row, and in the same moment the first position of paths of tags and kinds. Parameters: log, after, before, limit, ….
_HEAD_AND_FIRST = "SELECT head, last_us, streams, kinds, ({first}) FROM {s}.log WHERE id = $1"

# Streams in the order of their names. Rides on the unique index of stream (log, name), then event_by_version.
_STREAMS = (
    "SELECT s.name, e.version, e.position, e.timestamp FROM {s}.stream s CROSS JOIN LATERAL (SELECT version, position, timestamp "
    "FROM {s}.event WHERE log = s.log AND stream = s.id ORDER BY version DESC LIMIT 1) e WHERE s.log = $1 AND {which} "
    "ORDER BY s.name LIMIT $3"
)
# Parameters: log, after, limit; with a category also its bounds. "." is the character after "-".
_OF_ALL = "s.name > $2"
_OF_CATEGORY = "s.name > $2 AND (s.name = $4 OR (s.name >= $5 AND s.name < $6))"
_OF_ONE = "s.name = $2"


class Head(NamedTuple):
    """A log's head row: the last position and its timestamp, and the last id of streams and of kinds."""

    position: int
    last_us: int
    streams: int
    kinds: int


class Kinds:
    """The kinds of a log, remembered: they are few, and none ever changes."""

    def __init__(self) -> None:
        self.last = 0
        """All kinds up to this id are here; it only grows."""
        self._lock = threading.Lock()
        self._ids: dict[tuple[str, str], int] = {}
        self._by_type: dict[str, list[int]] = {}
        self._by_category: dict[str, list[tuple[int, str]]] = {}

    def learn(self, rows: Sequence[tuple[int, str, str]]) -> None:
        """The kinds after `last`, in order, as they were asked for; two threads may have asked for the same."""
        with self._lock:
            for id, type, category in rows:
                if id > self.last:
                    self._by_type.setdefault(type, []).append(id)
                    self._by_category.setdefault(category, []).append((id, type))
                    self._ids[type, category] = id
                    self.last = id

    def id(self, type: str, category: str) -> int | None:
        return self._ids.get((type, category))

    def of(self, types: Set[str], category: str | None) -> list[int]:
        if category is not None:
            return [id for id, type in self._by_category.get(category, ()) if not types or type in types]
        return [id for type in types for id in self._by_type.get(type, ())]


class Reader:
    """The statements of one log."""

    def __init__(self, schema: str, log: int) -> None:
        self._schema = schema
        self._log = log
        self.tag_counts = TagCounts()
        self.kinds = Kinds()

    def forget(self) -> None:
        """After the loss of a connection: another server may not have what was not confirmed by it. Whoever is under way goes on
        with what it had."""
        self.kinds = Kinds()
        self.tag_counts = TagCounts()

    def _sql(self, template: str) -> str:
        return qualified(template, self._schema)

    def read(
        self, connection: Connection, query: Query, *, after: int, before: int | None, backwards: bool, limit: int
    ) -> list[RecordedEvent]:
        own = connection.own
        if query.is_everything:
            sql = _directed(self._sql(_LOG), backwards)
            return _events(own, sql, (self._log, after, POSITION_MAX if before is None else before, limit))
        head = self.head(connection)
        end = head.position + 1 if before is None else min(before, head.position + 1)
        if after + 1 >= end:
            return []
        found = paths.paths_of(_Lookups(self, own, head), query, after)
        if not found:
            return []
        positions, parameters = selection.positions(found)
        page = _PAGE.replace("{positions}", positions).replace("{distinct}", "DISTINCT" if len(found) > 1 else "")
        sql = _directed(self._sql(page), backwards)

        def read_window(low: int, high: int, limit: int) -> list[RecordedEvent]:
            return _events(own, sql, (self._log, low, high, limit, *parameters))

        if selection.is_in_order(found):
            return read_window(after, end, limit)
        return by_windows(read_window, after=after, end=end, backwards=backwards, limit=limit)

    def first_match(self, connection: Connection, query: Query, *, after: int, head: Head) -> int | None:
        """The first position after `after` of an event that matches, up to the head."""
        if after >= head.position:
            return None
        if query.is_everything:
            return after + 1
        first, parameters = selection.first(paths.paths_of(_Lookups(self, connection.own, head), query, after))
        row = connection.own.row(self._sql(first), (self._log, after, head.position + 1, 1, *parameters))
        return None if row is None else row[0]

    def head_and_first_match(self, connection: Connection, query: Query, *, after: int) -> tuple[Head, int | None]:
        """The head, and the first position after `after` of an event that matches, up to it. One statement, if it can be."""
        if query.is_everything or any(item.stream is not None or item.category is not None for item in query.items):
            head = self.head(connection)
            return head, self.first_match(connection, query, after=after, head=head)
        own, known, has_types = connection.own, Head(0, 0, 0, 0), any(item.types for item in query.items)
        while True:
            # Looked up before the moment of the statement: which tag is rarest need not be right, and kinds only grow in number.
            look = _Lookups(self, own, known)
            kinds_seen = max(look.kinds_known.last, known.kinds)
            found = paths.paths_of(look, query, after)
            first, parameters = selection.first(found)
            sql = self._sql(_HEAD_AND_FIRST.replace("{first}", first))
            row = own.row(sql, (self._log, after, POSITION_MAX, 1, *parameters))
            if row is None:
                return known, None
            head = Head(*row[:4])
            if not has_types or head.kinds <= kinds_seen:
                return head, row[4]
            known = head  # an event of a kind that was not known may have come

    def read_stream(
        self, connection: Connection, stream: str, *, after_version: int, before_version: int | None, backwards: bool, limit: int
    ) -> list[RecordedEvent]:
        end = POSITION_MAX if before_version is None else before_version
        sql = _directed(self._sql(_STREAM), backwards)
        return _events(connection.own, sql, (self._log, stream, after_version, end, limit))

    def events(self, connection: Connection, ids: Sequence[bytes]) -> dict[bytes, RecordedEvent]:
        if not ids:
            return {}
        found = _events(connection.own, self._sql(_BY_IDS), (self._log, arrays.uuids(ids)))
        return {event.id_bytes: event for event in found}

    def type_at(self, connection: Connection, position: int) -> str:
        """The type of the event at a position that is in the log."""
        row = connection.own.row(self._sql(_TYPE_AT), (self._log, position))
        assert row is not None
        return str(row[0])

    def head(self, connection: Connection) -> Head:
        row = connection.own.row(self._sql(_HEAD), (self._log,))
        return Head(*row) if row else Head(0, 0, 0, 0)

    def stream(self, connection: Connection, name: str) -> StreamInfo:
        sql = self._sql(_STREAMS).replace("{which}", _OF_ONE)
        row = connection.own.row(sql, (self._log, name, 1))
        return StreamInfo(*row) if row else StreamInfo(name, 0)

    def streams(self, connection: Connection, *, category: str | None, after: str, limit: int) -> list[StreamInfo]:
        parameters: tuple[object, ...] = (self._log, after, limit)
        which = _OF_ALL
        if category is not None:
            which, parameters = _OF_CATEGORY, (*parameters, category, f"{category}-", f"{category}.")
        sql = self._sql(_STREAMS).replace("{which}", which)
        return list(starmap(StreamInfo, connection.own.rows(sql, parameters)))

    def learn_kinds(self, own: OwnCursor, head: Head, kinds: Kinds) -> Kinds:
        if kinds.last < head.kinds:
            kinds.learn(own.rows(self._sql(_KINDS), (self._log, kinds.last)))
        return kinds


class _Lookups:
    """What is asked for to find the paths, as the log was at a head."""

    def __init__(self, reader: Reader, own: OwnCursor, head: Head) -> None:
        self._reader, self._own, self._head = reader, own, head
        self.kinds_known, self.tag_counts = reader.kinds, reader.tag_counts

    def kinds(self, types: Set[str], category: str | None) -> list[int]:
        return self._reader.learn_kinds(self._own, self._head, self.kinds_known).of(types, category)

    def stream_id(self, name: str) -> int | None:
        row = self._own.row(self._reader._sql(_STREAM_ID), (self._reader._log, name))
        return None if row is None else int(row[0])

    def counts(self, tags: Sequence[str], after: int, bound: int) -> dict[str, int]:
        rows = self._own.rows(self._reader._sql(_COUNTS), (self._reader._log, arrays.texts(list(tags)), after, bound))
        return dict(rows)


def _directed(sql: str, backwards: bool) -> str:
    return sql.replace("{direction}", "DESC" if backwards else "ASC")


def _events(own: OwnCursor, sql: str, parameters: Sequence[object]) -> list[RecordedEvent]:
    return list(starmap(RecordedEvent, own.rows(sql, parameters)))
