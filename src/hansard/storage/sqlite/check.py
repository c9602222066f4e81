"""Verification of a store's file: every invariant of the contract, looked up in what is stored."""

import sqlite3
from collections.abc import Iterator

from hansard.events import RecordedEvent
from hansard.storage import checking
from hansard.storage.sqlite import reader
from hansard.storage.sqlite.checksum import checksum_of

# What must hold over the whole file, as statements that find what breaks it: one text column each.
_STATEMENTS = (
    # Positions without gaps.
    (
        "SELECT 'positions: ' || count(*) || ' events, but the last position is ' || max(position) "
        "FROM event HAVING count(*) <> ifnull(max(position), 0)"
    ),
    (
        "SELECT 'positions: no event at ' || (position - 1) FROM event e "
        "WHERE position > 1 AND NOT EXISTS (SELECT 1 FROM event WHERE position = e.position - 1)"
    ),
    # Versions of a stream without gaps, in the order of positions.
    (
        "SELECT 'stream ' || quote(ifnull(s.name, e.stream)) || ': ' || count(*) || ' events, but versions ' || min(version) "
        "|| ' to ' || max(version) FROM event e LEFT JOIN stream s ON s.id = e.stream WHERE e.stream IS NOT NULL "
        "GROUP BY e.stream HAVING count(*) <> max(version) OR min(version) <> 1"
    ),
    (
        "SELECT 'stream ' || quote(ifnull(s.name, o.stream)) || ': version ' || version || ' stands at position ' || position "
        "|| ', not after the version before it' FROM (SELECT stream, version, position, "
        "lag(position) OVER (PARTITION BY stream ORDER BY version) AS before FROM event WHERE stream IS NOT NULL) o "
        "LEFT JOIN stream s ON s.id = o.stream WHERE position <= before"
    ),
    (
        "SELECT 'position ' || position || ': stream and version are not both there' FROM event "
        "WHERE (stream IS NULL) <> (version IS NULL)"
    ),
    # Time never goes back.
    (
        "SELECT 'position ' || position || ': its time is before that of the event before it' FROM (SELECT position, timestamp, "
        "lag(timestamp) OVER (ORDER BY position) AS before FROM event) WHERE timestamp < before"
    ),
    # Names that are referred to are there, and nothing else is.
    (
        "SELECT 'position ' || position || ': its stream has no name' FROM event "
        "WHERE stream IS NOT NULL AND stream NOT IN (SELECT id FROM stream)"
    ),
    "SELECT 'position ' || position || ': its kind is not there' FROM event WHERE kind NOT IN (SELECT id FROM kind)",
    (
        "SELECT 'stream ' || quote(name) || ': has a name, but no events' FROM stream s "
        "WHERE NOT EXISTS (SELECT 1 FROM event WHERE stream = s.id)"
    ),
    (
        "SELECT 'position ' || e.position || ': category ' || quote(k.category) || ' is not that of stream ' || quote(s.name) "
        "FROM event e JOIN kind k ON k.id = e.kind LEFT JOIN stream s ON s.id = e.stream WHERE k.category <> "
        "CASE WHEN instr(ifnull(s.name, ''), '-') THEN substr(s.name, 1, instr(s.name, '-') - 1) ELSE '' END"
    ),
    # Ids: 16 bytes, once.
    "SELECT 'position ' || position || ': its id is not 16 bytes' FROM event WHERE typeof(id) <> 'blob' OR length(id) <> 16",
    (
        "SELECT 'event id ' || lower(hex(id)) || ': stands ' || count(*) || ' times' FROM event NOT INDEXED "
        "GROUP BY id HAVING count(*) > 1"
    ),
    # The tag index holds what the events say.
    (
        "SELECT 'tag ' || quote(tag) || ' at position ' || t.position || ': the event does not carry it, or is of another kind' "
        "FROM tag t LEFT JOIN event e ON e.position = t.position WHERE e.position IS NULL OR e.kind <> t.kind "
        "OR NOT EXISTS (SELECT 1 FROM json_each(e.tags) WHERE value = t.tag)"
    ),
    (
        "SELECT 'position ' || position || ': tag ' || quote(value) || ' is not in the index' FROM event e, json_each(e.tags) "
        "WHERE e.tags IS NOT NULL AND NOT EXISTS (SELECT 1 FROM tag WHERE tag = value AND tag.position = e.position)"
    ),
)


def problems(connection: sqlite3.Connection) -> list[str]:
    """One sentence for each invariant that does not hold, in one moment of the log; damage that stops the check is the last."""
    found: list[str] = []
    try:
        connection.execute("BEGIN")
        for sentences in _sorts(connection):
            found += checking.some(sentences)
    except sqlite3.DatabaseError as error:
        found.append(f"file: {error}")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return found


def _sorts(connection: sqlite3.Connection) -> Iterator[Iterator[str]]:
    yield (f"file: {text}" for (text,) in connection.execute("PRAGMA integrity_check") if text != "ok")
    for statement in _STATEMENTS:
        yield (str(text) for (text,) in connection.execute(statement))
    yield _content_problems(connection)
    yield _checksum_problems(connection)
    yield _signature_problems(connection)


def _content_problems(connection: sqlite3.Connection) -> Iterator[str]:
    yield from checking.name_problems("stream", "name", (name for (name,) in connection.execute("SELECT name FROM stream")))
    yield from checking.name_problems("kind", "type", (type for (type,) in connection.execute("SELECT type FROM kind")))
    rows = connection.execute("SELECT position, CAST(data AS BLOB), CAST(metadata AS BLOB), tags FROM event ORDER BY position")
    yield from checking.content_problems(rows)


def _checksum_problems(connection: sqlite3.Connection) -> Iterator[str]:
    checksums = connection.execute("SELECT checksum FROM event ORDER BY position")
    for event in reader.stored_events(connection):
        (stored,) = checksums.fetchone()
        if not _is_as_stored(event, stored):
            yield f"position {event.position}: the checksum is not that of its content: it was changed or damaged"


def _is_as_stored(event: RecordedEvent, stored: int) -> bool:
    try:
        return stored == checksum_of(event)
    except TypeError:  # a column of another type than was ever stored
        return False


def _signature_problems(connection: sqlite3.Connection) -> Iterator[str]:
    rows = connection.execute("SELECT t.position, t.tag, t.signature, e.tags FROM tag t JOIN event e ON e.position = t.position")
    yield from checking.signature_problems(rows)
