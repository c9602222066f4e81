"""Reading: pages of events, single events, streams. Every method runs on a connection that it is given.

Pages are read with one statement and held whole: no read stays open between two pages, so a slow reader
never keeps the WAL from being recycled. Rows become events without decoding any JSON.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import starmap

from hansard.events import RecordedEvent
from hansard.limits import POSITION_MAX
from hansard.query import Query
from hansard.storage.paths import by_windows
from hansard.storage.sqlite.selection import selections
from hansard.streams import StreamInfo

# The columns in the order of RecordedEvent's fields. CROSS JOIN fixes the order of the loops: events first.
_COLUMNS = (
    "SELECT e.position, s.name, e.version, k.type, e.timestamp, e.id, e.tags, CAST(e.metadata AS BLOB), CAST(e.data AS BLOB)"
)
_NAMES = "CROSS JOIN kind k ON k.id = e.kind LEFT JOIN stream s ON s.id = e.stream"

# The log. Rides on the primary key. Parameters: after, before, limit.
_LOG = f"{_COLUMNS} FROM event e {_NAMES} WHERE e.position > ? AND e.position < ? ORDER BY e.position {{direction}} LIMIT ?"

# Every row, even one whose kind is missing. Rides on the primary key.
_EVERY = f"{_COLUMNS} FROM event e LEFT JOIN kind k ON k.id = e.kind LEFT JOIN stream s ON s.id = e.stream ORDER BY e.position"

# One stream. Rides on event_by_version. Parameters: name, after_version, before_version, limit.
_STREAM = (
    f"{_COLUMNS} FROM event e {_NAMES} WHERE e.stream = (SELECT id FROM stream WHERE name = ?) "
    "AND e.version > ? AND e.version < ? ORDER BY e.version {direction} LIMIT ?"
)

# One path that is in order. Rides on the path's index. Parameters: the path's, after, before, limit.
_ONE_PATH = (
    f"{_COLUMNS} FROM (SELECT position AS at FROM {{source}} WHERE {{where}} AND position > ? AND position < ? "
    f"ORDER BY position {{direction}} LIMIT ?) CROSS JOIN event e ON e.position = at {_NAMES} ORDER BY at {{direction}}"
)

# A window of several paths. Rides on the paths' indexes. Parameters: each path's with its bounds, then the limit.
_WINDOW = f"{_COLUMNS} FROM event e {_NAMES} WHERE e.position IN ({{positions}}) ORDER BY e.position {{direction}} LIMIT ?"
_POSITIONS = "SELECT position FROM {source} WHERE {where} AND position > ? AND position < ?"

# The first event of a path. Rides on the path's index. Parameters: the path's, after, before.
_FIRST = "SELECT min(position) FROM {source} WHERE {where} AND position > ? AND position < ?"
_FIRST_IN_ORDER = "SELECT position FROM {source} WHERE {where} AND position > ? AND position < ? ORDER BY position LIMIT 1"

# Events by id. Rides on event_by_id.
_BY_IDS = f"{_COLUMNS} FROM event e {_NAMES} WHERE e.id IN ({{marks}})"
_IDS_AT_ONCE = 500

# The last event. Rides on the primary key.
LAST = "SELECT position, timestamp FROM event ORDER BY position DESC LIMIT 1"

# A stream's last event. Rides on the unique index of stream.name, then event_by_version. Parameter: name.
_LAST_OF_STREAM = (
    "SELECT e.version, e.position, e.timestamp FROM stream s CROSS JOIN event e ON e.stream = s.id WHERE s.name = ? "
    "ORDER BY e.version DESC LIMIT 1"
)

# Streams in the order of their names. Rides on the unique index of stream.name. Parameters: after, bounds, limit.
_STREAMS = (
    "SELECT s.name, e.version, e.position, e.timestamp FROM stream s CROSS JOIN event e ON e.stream = s.id "
    "AND e.version = (SELECT max(version) FROM event WHERE stream = s.id) WHERE s.name > ? {category} ORDER BY s.name LIMIT ?"
)
# "." is the character after "-": the range holds all names that begin with the category and "-".
_OF_CATEGORY = "AND (s.name = ? OR (s.name >= ? AND s.name < ?))"


def read(
    connection: sqlite3.Connection, query: Query, *, after: int, before: int | None, backwards: bool, limit: int
) -> list[RecordedEvent]:
    if query.is_everything:  # one statement
        return read_within(connection, query, after=after, before=before, backwards=backwards, limit=limit)
    with snapshot(connection):
        return read_within(connection, query, after=after, before=before, backwards=backwards, limit=limit)


def read_within(
    connection: sqlite3.Connection, query: Query, *, after: int, before: int | None, backwards: bool, limit: int
) -> list[RecordedEvent]:
    """The same inside a transaction that is open already."""
    end = POSITION_MAX if before is None else before
    if query.is_everything:
        return _events(connection, _directed(_LOG, backwards), (after, end, limit))
    return _read_paths(connection, query, after=after, end=end, backwards=backwards, limit=limit)


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """One moment of the log for several statements. Without it, a kind that appears between two statements would be
    skipped, while events after it are returned."""
    try:
        connection.execute("BEGIN")
        yield
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")


def _read_paths(
    connection: sqlite3.Connection, query: Query, *, after: int, end: int, backwards: bool, limit: int
) -> list[RecordedEvent]:
    paths = selections(connection, query, after)
    if not paths:
        return []
    if len(paths) == 1 and paths[0].is_in_order:
        path = paths[0]
        sql = _directed(_ONE_PATH, backwards).format(source=path.source, where=path.where)
        return _events(connection, sql, (*path.parameters, after, end, limit))
    positions = " UNION ALL ".join(_POSITIONS.format(source=path.source, where=path.where) for path in paths)
    sql = _directed(_WINDOW, backwards).format(positions=positions)

    def read_window(low: int, high: int, limit: int) -> list[RecordedEvent]:
        bounded = [value for path in paths for value in (*path.parameters, low, high)]
        return _events(connection, sql, (*bounded, limit))

    end = min(end, head(connection)[0] + 1)
    return by_windows(read_window, after=after, end=end, backwards=backwards, limit=limit)


def read_stream(
    connection: sqlite3.Connection,
    stream: str,
    *,
    after_version: int,
    before_version: int | None,
    backwards: bool,
    limit: int,
) -> list[RecordedEvent]:
    end = POSITION_MAX if before_version is None else before_version
    return _events(connection, _directed(_STREAM, backwards), (stream, after_version, end, limit))


def events(connection: sqlite3.Connection, ids: Sequence[bytes]) -> dict[bytes, RecordedEvent]:
    found: dict[bytes, RecordedEvent] = {}
    for start in range(0, len(ids), _IDS_AT_ONCE):
        some = ids[start : start + _IDS_AT_ONCE]
        sql = _BY_IDS.format(marks=",".join("?" * len(some)))
        found.update((event.id_bytes, event) for event in _events(connection, sql, some))
    return found


def stored_events(connection: sqlite3.Connection) -> Iterator[RecordedEvent]:
    """Every event in the file, in order, for a check: one statement, which also meets rows that no page would."""
    return starmap(RecordedEvent, connection.execute(_EVERY))


def first_match(connection: sqlite3.Connection, query: Query, *, after: int, before: int) -> int | None:
    """The first position of an event that matches, strictly between the bounds. To be called inside one transaction."""
    if query.is_everything:
        return after + 1 if after < head(connection)[0] and after + 1 < before else None
    firsts = []
    for path in selections(connection, query, after):
        sql = (_FIRST_IN_ORDER if path.is_in_order else _FIRST).format(source=path.source, where=path.where)
        row = connection.execute(sql, (*path.parameters, after, before)).fetchone()
        if row is not None and row[0] is not None:
            firsts.append(row[0])
    return min(firsts, default=None)


def type_at(connection: sqlite3.Connection, position: int) -> str:
    """The type of the event at a position that is in the log."""
    sql = "SELECT k.type FROM event e JOIN kind k ON k.id = e.kind WHERE e.position = ?"
    (type,) = connection.execute(sql, (position,)).fetchone()
    return str(type)


def head(connection: sqlite3.Connection) -> tuple[int, int]:
    """The last position and its timestamp; zeros in an empty log."""
    position, timestamp_us = connection.execute(LAST).fetchone() or (0, 0)
    return position, timestamp_us


def stream(connection: sqlite3.Connection, name: str) -> StreamInfo:
    return StreamInfo(name, *(connection.execute(_LAST_OF_STREAM, (name,)).fetchone() or (0,)))


def streams(connection: sqlite3.Connection, *, category: str | None, after: str, limit: int) -> list[StreamInfo]:
    if category is None:
        rows = connection.execute(_STREAMS.format(category=""), (after, limit))
    else:
        bounds = (category, f"{category}-", f"{category}.")
        rows = connection.execute(_STREAMS.format(category=_OF_CATEGORY), (after, *bounds, limit))
    return list(starmap(StreamInfo, rows.fetchall()))


def _directed(sql: str, backwards: bool) -> str:
    return sql.replace("{direction}", "DESC" if backwards else "ASC")


def _events(connection: sqlite3.Connection, sql: str, parameters: Sequence[object]) -> list[RecordedEvent]:
    return list(starmap(RecordedEvent, connection.execute(sql, parameters).fetchall()))
