"""Verification of a store's file: every invariant of the contract, looked up in what is stored."""

import sqlite3
from collections.abc import Callable, Iterator

import msgspec

from hansard.errors import HansardError
from hansard.events import RecordedEvent
from hansard.limits import DATA_BYTES_MAX, METADATA_BYTES_MAX, TAGS_PER_EVENT_MAX
from hansard.names import check_name
from hansard.serialization import check_json
from hansard.storage.sqlite import reader
from hansard.storage.sqlite.checksum import checksum_of
from hansard.storage.sqlite.tags import signature

_SHOWN_MAX = 20
"""Problems shown of one sort; a damaged file can have millions."""

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
            found += _some(sentences)
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


def _some(sentences: Iterator[str]) -> list[str]:
    shown: list[str] = []
    for sentence in sentences:
        if len(shown) == _SHOWN_MAX:
            return [*shown, f"… and more like the last one ({_SHOWN_MAX} shown)"]
        shown.append(sentence)
    return shown


def _content_problems(connection: sqlite3.Connection) -> Iterator[str]:
    """Names, JSON and tags of each event, by the rules that let them in."""
    for (name,) in connection.execute("SELECT name FROM stream"):
        yield from _refusal("stream", check_name, "name", name)
    for (type,) in connection.execute("SELECT type FROM kind"):
        yield from _refusal("kind", check_name, "type", type)
    rows = connection.execute("SELECT position, CAST(data AS BLOB), CAST(metadata AS BLOB), tags FROM event ORDER BY position")
    for position, data, metadata, tags in rows:
        place = f"position {position}"
        yield from _refusal(place, check_json, "data", data, DATA_BYTES_MAX)
        yield from _refusal(place, _check_metadata, metadata)
        if tags is not None:
            yield from _refusal(place, _check_tags, tags)


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
    for position, tag, bits, tags in rows:
        if tags is not None and not _is_signed(tags, bits):
            yield f"position {position}: the signature of tag {tag!r} is not that of its tags"


def _is_signed(tags: str, bits: int) -> bool:
    try:
        return bits == signature(msgspec.json.decode(tags, type=list[str]))
    except msgspec.MsgspecError:  # reported with the event itself
        return True


def _refusal(place: str, rule: Callable[..., object], *arguments: object) -> Iterator[str]:
    try:
        rule(*arguments)
    except (HansardError, msgspec.MsgspecError, ValueError) as error:
        yield f"{place}: {error}"


def _check_metadata(metadata: bytes) -> None:
    if not isinstance(check_json("metadata", metadata, METADATA_BYTES_MAX), dict):
        raise ValueError("metadata: not a JSON object")


def _check_tags(tags: str) -> None:
    names = msgspec.json.decode(tags, type=list[str])
    if not 0 < len(names) <= TAGS_PER_EVENT_MAX or names != sorted(set(names)):
        raise ValueError("tags: not a sorted list of different names")
    for name in names:
        check_name("tags", name)
