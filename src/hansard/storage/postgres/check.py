"""Verification of one log in the database: every invariant of the contract, looked up in what is stored."""

from collections.abc import Iterator
from typing import Any

import psycopg

from hansard.storage import checking
from hansard.storage.postgres.connection import Connection, first_line
from hansard.storage.postgres.schema import qualified

# What must hold over the whole log, as statements that find what breaks it: one text column each. Parameter: log.
_STATEMENTS = (
    # Positions without gaps, up to the head.
    (
        "SELECT 'positions: ' || count(*) || ' events, the last position is ' || coalesce(max(position), 0) || ', the head is ' "
        "|| (SELECT head FROM {s}.log WHERE id = %(log)s) FROM {s}.event WHERE log = %(log)s "
        "HAVING count(*) <> coalesce(max(position), 0) "
        "OR coalesce(max(position), 0) <> (SELECT head FROM {s}.log WHERE id = %(log)s)"
    ),
    (
        "SELECT 'positions: no event at ' || before + 1 FROM (SELECT position, lag(position, 1, 0::int8) "
        "OVER (ORDER BY position) AS before FROM {s}.event WHERE log = %(log)s) o WHERE position <> before + 1"
    ),
    # Versions of a stream without gaps, in the order of positions.
    (
        "SELECT 'stream ' || quote_literal(coalesce(s.name, o.stream::text)) || ': version ' || version || ' at position ' "
        "|| position || ' is not the next one' FROM (SELECT stream, version, position, "
        "row_number() OVER (PARTITION BY stream ORDER BY position) AS due FROM {s}.event "
        "WHERE log = %(log)s AND stream IS NOT NULL) o LEFT JOIN {s}.stream s ON s.log = %(log)s AND s.id = o.stream "
        "WHERE version <> due"
    ),
    (
        "SELECT 'position ' || position || ': stream and version are not both there' FROM {s}.event "
        "WHERE log = %(log)s AND (stream IS NULL) <> (version IS NULL)"
    ),
    # Time never goes back.
    (
        "SELECT 'position ' || position || ': its time is before that of the event before it' FROM (SELECT position, timestamp, "
        "lag(timestamp) OVER (ORDER BY position) AS before FROM {s}.event WHERE log = %(log)s) o WHERE timestamp < before"
    ),
    # Names that are referred to are there, and nothing else is.
    (
        "SELECT 'position ' || position || ': its stream has no name' FROM {s}.event e WHERE log = %(log)s "
        "AND stream IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {s}.stream s WHERE s.log = e.log AND s.id = e.stream)"
    ),
    (
        "SELECT 'position ' || position || ': its kind is not there' FROM {s}.event e WHERE log = %(log)s "
        "AND NOT EXISTS (SELECT 1 FROM {s}.kind k WHERE k.log = e.log AND k.id = e.kind)"
    ),
    (
        "SELECT 'stream ' || quote_literal(name) || ': has a name, but no events' FROM {s}.stream s WHERE log = %(log)s "
        "AND NOT EXISTS (SELECT 1 FROM {s}.event e WHERE e.log = s.log AND e.stream = s.id)"
    ),
    (
        "SELECT 'position ' || e.position || ': category ' || quote_literal(k.category) || ' is not that of stream ' "
        "|| quote_literal(s.name) FROM {s}.event e JOIN {s}.kind k ON k.log = e.log AND k.id = e.kind LEFT JOIN {s}.stream s "
        "ON s.log = e.log AND s.id = e.stream WHERE e.log = %(log)s AND k.category <> "
        "CASE WHEN position('-' in coalesce(s.name, '')) > 0 THEN split_part(s.name, '-', 1) ELSE '' END"
    ),
    # A kind stands once; the writer's lock sees to it, not an index.
    (
        "SELECT 'kind ' || quote_literal(type) || ' in category ' || quote_literal(category) || ': stands ' || count(*) "
        "|| ' times' FROM {s}.kind WHERE log = %(log)s GROUP BY type, category HAVING count(*) > 1"
    ),
    (
        "SELECT 'event id ' || id || ': stands ' || count(*) || ' times' FROM {s}.event WHERE log = %(log)s "
        "GROUP BY id HAVING count(*) > 1"
    ),
    # The tag index holds what the events say.
    (
        "SELECT 'tag ' || quote_literal(tag) || ' at position ' || t.position || ': the event does not carry it, or is of "
        "another kind' FROM {s}.tag t LEFT JOIN {s}.event e ON e.log = t.log AND e.position = t.position WHERE t.log = %(log)s "
        "AND (e.position IS NULL OR e.kind <> t.kind OR e.tags IS NULL OR NOT (e.tags::jsonb ? t.tag))"
    ),
    (
        "SELECT 'position ' || e.position || ': tag ' || quote_literal(u.tag) || ' is not in the index' FROM {s}.event e "
        "CROSS JOIN LATERAL jsonb_array_elements_text(e.tags::jsonb) u (tag) WHERE e.log = %(log)s AND e.tags IS NOT NULL "
        "AND NOT EXISTS (SELECT 1 FROM {s}.tag t WHERE t.log = e.log AND t.tag = u.tag AND t.position = e.position)"
    ),
)

_STREAMS = "SELECT name FROM {s}.stream WHERE log = %(log)s"
_TYPES = "SELECT DISTINCT type FROM {s}.kind WHERE log = %(log)s"
_CONTENT = "SELECT position, textsend(data), textsend(metadata), tags FROM {s}.event WHERE log = %(log)s ORDER BY position"
_SIGNATURES = (
    "SELECT t.position, t.tag, t.signature, e.tags FROM {s}.tag t JOIN {s}.event e ON e.log = t.log AND e.position = t.position "
    "WHERE t.log = %(log)s"
)


def problems(connection: Connection, schema: str, log: int) -> list[str]:
    """One sentence for each invariant that does not hold, in one moment of the log; damage that stops the check is the last."""
    found: list[str] = []
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        # These look at everything, so the planner may choose freely.
        connection.execute("SET LOCAL enable_seqscan = on; SET LOCAL enable_bitmapscan = on")
        for sentences in _sorts(_Look(connection, schema, log)):
            found += checking.some(sentences)
    except (psycopg.DataError, psycopg.InternalError) as error:
        found.append(f"database: {first_line(error)}")
    finally:
        connection.execute("ROLLBACK")
    return found


class _Look:
    """Rows of a statement, from the server in portions, so that a large log is not held in memory."""

    def __init__(self, connection: Connection, schema: str, log: int) -> None:
        self._connection, self._schema, self._parameters = connection, schema, {"log": log}

    def __call__(self, statement: str) -> Iterator[tuple[Any, ...]]:
        with self._connection.cursor("hansard_check") as cursor:
            cursor.itersize = 2_000
            yield from cursor.execute(qualified(statement, self._schema), self._parameters)


def _sorts(look: _Look) -> Iterator[Iterator[str]]:
    for statement in _STATEMENTS:
        yield (str(text) for (text,) in look(statement))
    yield checking.name_problems("stream", "name", (name for (name,) in look(_STREAMS)))
    yield checking.name_problems("kind", "type", (type for (type,) in look(_TYPES)))
    yield checking.content_problems(look(_CONTENT))
    yield checking.signature_problems(look(_SIGNATURES))
