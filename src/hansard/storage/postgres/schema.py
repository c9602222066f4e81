"""The tables, the migrations that make them, and what must hold before a log is opened.

A log needs five things: the events in order, a stream's events by version, an event by its id, events by kind, and events by
tag. Each is one table or index below. The log's id leads every key. `{s}` stands for the schema's name.
"""

import time
from contextlib import suppress
from typing import Any, Final, NamedTuple

from psycopg import errors

from hansard.errors import NewerFormat, OlderFormat, OpenFailed, StoreNotFound, StoreReadOnly
from hansard.storage.port import Dialect
from hansard.storage.postgres.connection import Connection, Database, first_line

DIALECT: Final = Dialect("%s", {"INTEGER": "BIGINT", "REAL": "DOUBLE PRECISION", "BLOB": "BYTEA"}, 'TEXT COLLATE "C"', 63)


class Migration(NamedTuple):
    """One step forward. There is no way back: a backup is."""

    number: int
    title: str
    statements: tuple[str, ...]


_LOG: Final = Migration(
    1,
    "the log",
    (
        # The head row of each log: whoever holds it is the log's only writer. streams, kinds, collections: the last id of each.
        # Its page keeps room, so that it is updated in place.
        (
            'CREATE TABLE {s}.log (id int8 PRIMARY KEY, name text COLLATE "C" NOT NULL UNIQUE, head int8 NOT NULL DEFAULT 0, '
            "last_us int8 NOT NULL DEFAULT 0, streams int8 NOT NULL DEFAULT 0, kinds int8 NOT NULL DEFAULT 0) "
            "WITH (fillfactor = 50)"
        ),
        # A stream's name, once.
        'CREATE TABLE {s}.stream (log int8, id int8, name text COLLATE "C" NOT NULL, PRIMARY KEY (log, id), UNIQUE (log, name))',
        # A kind is a type in a category ('' where the stream has no '-', or there is no stream). Few, even in a large log, so
        # every reader keeps them. Not unique by an index, whose entries could be too large: the head row's lock sees to it.
        (
            'CREATE TABLE {s}.kind (log int8, id int8, type text COLLATE "C" NOT NULL, category text COLLATE "C" NOT NULL, '
            "PRIMARY KEY (log, id))"
        ),
        # The log. Positions are given by the writer, so that they have no gaps. JSON is kept as text, byte for byte as appended.
        # timestamp: microseconds since 1970 UTC. tags: sorted JSON array, or NULL.
        (
            "CREATE TABLE {s}.event (log int8, position int8, stream int8, version int8, kind int8 NOT NULL, "
            "timestamp int8 NOT NULL, id uuid NOT NULL, tags text, metadata text NOT NULL, data text NOT NULL, "
            "PRIMARY KEY (log, position))"
        ),
        "CREATE UNIQUE INDEX event_by_version ON {s}.event (log, stream, version) WHERE stream IS NOT NULL",
        "CREATE UNIQUE INDEX event_by_id ON {s}.event (log, id)",
        "CREATE INDEX event_by_kind ON {s}.event (log, kind, position)",
        # Which events carry a tag. signature: the bits of all tags of the event, so that a query for several tags rules out most
        # events without looking them up.
        (
            'CREATE TABLE {s}.tag (log int8, tag text COLLATE "C", position int8, kind int8 NOT NULL, signature int8 NOT NULL, '
            "PRIMARY KEY (log, tag, position) INCLUDE (kind, signature))"
        ),
        # For people with psql. The product itself does not read it.
        (
            "CREATE VIEW {s}.events AS SELECT l.name AS log, e.position, s.name AS stream, e.version, k.type, "
            "e.data, e.metadata, e.tags, to_timestamp(e.timestamp / 1000000.0) AS time, e.id "
            "FROM {s}.event e JOIN {s}.log l ON l.id = e.log JOIN {s}.kind k ON k.log = e.log AND k.id = e.kind "
            "LEFT JOIN {s}.stream s ON s.log = e.log AND s.id = e.stream"
        ),
    ),
)

_DOCUMENTS: Final = Migration(
    2,
    "documents beside the log, and who writes",
    (
        # What reacting keeps: checkpoints, leases, read models. JSON by key, in named collections.
        (
            'CREATE TABLE {s}.collection (log int8, id int8, name text COLLATE "C" NOT NULL, PRIMARY KEY (log, id), '
            "UNIQUE (log, name))"
        ),
        (
            'CREATE TABLE {s}.document (log int8, collection int8, key text COLLATE "C", value text NOT NULL, '
            "PRIMARY KEY (log, collection, key)) WITH (fillfactor = 80)"
        ),
        # The number of each writer's last transaction of documents: tells after a lost connection whether it was committed.
        (
            "CREATE TABLE {s}.writer (log int8, id uuid, number int8 NOT NULL, seen timestamptz NOT NULL DEFAULT now(), "
            "PRIMARY KEY (log, id)) WITH (fillfactor = 50)"
        ),
    ),
)

MIGRATIONS: Final = (_LOG, _DOCUMENTS)

_BOOK = (
    "CREATE TABLE IF NOT EXISTS {s}.migration "
    "(number int4 PRIMARY KEY, title text NOT NULL, applied timestamptz NOT NULL DEFAULT now())"
)

_RACE_S = 5.0
"""How long others may take to make the schema that is being made here, too."""

_OLD_WRITERS = "DELETE FROM {s}.writer WHERE log = $1 AND seen < now() - interval '7 days'"


def qualified(statement: str, schema: str) -> str:
    return statement.replace("{s}", f'"{schema}"')


def found(connection: Connection, schema: str) -> int:
    """The number of the last migration that was done; 0 if there is no schema."""
    if not _has_book(connection, schema):
        return 0
    (number,) = connection.execute(qualified("SELECT coalesce(max(number), 0) FROM {s}.migration", schema)).fetchone() or (0,)
    return int(number)


def _has_book(connection: Connection, schema: str) -> bool:
    return _one(connection, "SELECT to_regclass(%s) IS NOT NULL", f'"{schema}".migration')


def plan(number: int, schema: str, migrations: tuple[Migration, ...] = MIGRATIONS) -> list[str]:
    """The statements that lead from a migration to the last one."""
    statements = [] if number else ["CREATE SCHEMA IF NOT EXISTS {s}", _BOOK]
    for migration in migrations[number:]:
        statements += migration.statements
        statements.append(f"INSERT INTO {{s}}.migration (number, title) VALUES ({migration.number}, '{migration.title}')")
    return [qualified(statement, schema) for statement in statements]


def migrate(database: Database, migrations: tuple[Migration, ...] = MIGRATIONS) -> list[str]:
    """Do what is missing, all of it or nothing; of several at once, one does it and the others wait. Returns the statements."""
    schema = database.address.schema
    connection = database.connect()
    deadline = time.monotonic() + _RACE_S
    try:
        while True:
            try:
                with connection.transaction():
                    return _migrate_within(connection, database, schema, migrations)
            except (errors.UniqueViolation, errors.DuplicateSchema, errors.DuplicateTable) as error:
                # Another one is making the schema: its lock comes after it. Or the tables are of somebody else.
                if time.monotonic() > deadline:
                    raise OpenFailed(f"{database.shown}: the schema {schema!r} cannot be made: {first_line(error)}") from error
                time.sleep(0.02)
    finally:
        connection.close()


def _migrate_within(connection: Connection, database: Database, schema: str, migrations: tuple[Migration, ...]) -> list[str]:
    # Nothing of the table may be read before it is locked: two readers that both want to lock it would wait for each other.
    if not _has_book(connection, schema):
        connection.execute(qualified("CREATE SCHEMA IF NOT EXISTS {s}", schema))
        connection.execute(qualified(_BOOK, schema))
    connection.execute(qualified("LOCK TABLE {s}.migration IN ACCESS EXCLUSIVE MODE", schema))
    number = found(connection, schema)
    _refuse_newer(database, number, len(migrations))
    statements = plan(number, schema, migrations)
    for statement in statements:
        connection.execute(statement)
    return statements


def prepare(database: Database, connection: Connection, *, may_create: bool) -> int:
    """The id of the log, which is made if it is new and may be. Raises OpenFailed or StoreReadOnly and changes nothing."""
    schema = database.address.schema
    if not database.is_read_only and _is_standby(connection):
        raise StoreReadOnly(f"{database.shown}: the server is a standby; open it with read_only=True")
    number = found(connection, schema)
    if not number:
        if database.is_read_only or not may_create:
            raise StoreNotFound(f"{database.shown}: there is no schema {schema!r} in this database")
        migrate(database)
        number = found(connection, schema)
    _refuse_newer(database, number, len(MIGRATIONS))
    if number < len(MIGRATIONS):
        raise OlderFormat(database.shown, number, len(MIGRATIONS))
    if not database.is_read_only:
        _refuse_without_privilege(database, connection, schema)
    return _log_id(database, connection, schema, may_create=may_create and not database.is_read_only)


def _refuse_newer(database: Database, number: int, known: int) -> None:
    if number > known:
        raise NewerFormat(database.shown, number, known)


def _is_standby(connection: Connection) -> bool:
    return _one(connection, "SELECT pg_is_in_recovery()")


def _refuse_without_privilege(database: Database, connection: Connection, schema: str) -> None:
    if not _one(connection, "SELECT has_table_privilege(%s, 'INSERT')", f'"{schema}".event'):
        raise StoreReadOnly(
            f"{database.shown}: the role {connection.info.user!r} may not write here; open it with read_only=True, "
            "or let the schema's owner run: hansard migrate --writer ROLE"
        )


def _log_id(database: Database, connection: Connection, schema: str, *, may_create: bool) -> int:
    name = database.address.log
    look_up = qualified("SELECT id FROM {s}.log WHERE name = %s", schema)
    add = qualified("INSERT INTO {s}.log (id, name) SELECT coalesce(max(id), 0) + 1, %s FROM {s}.log", schema)
    while (row := connection.execute(look_up, (name,)).fetchone()) is None:
        if not may_create:
            raise StoreNotFound(f"{database.shown}: there is no log {name!r} here")
        with suppress(errors.UniqueViolation):  # another one has made a log in this moment: look again
            connection.execute(add, (name,))
    return int(row[0])


def forget_old_writers(connection: Connection, schema: str, log: int) -> None:
    connection.own.run(qualified(_OLD_WRITERS, schema), (log,))


def _one(connection: Connection, statement: str, *parameters: Any) -> bool:
    row = connection.execute(statement, parameters).fetchone()
    return bool(row and row[0])
