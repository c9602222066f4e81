"""Migrating on demand, and what roles may do with the tables. For the schema's owner."""

from psycopg import errors, sql

from hansard.errors import InvalidInput, NewerFormat
from hansard.storage.postgres import schema
from hansard.storage.postgres.address import parse
from hansard.storage.postgres.connection import Connection, Database, translated

_FOR_READERS = (
    "GRANT USAGE ON SCHEMA {s} TO {role}",
    "GRANT SELECT ON ALL TABLES IN SCHEMA {s} TO {role}",
)
# Nothing that is in the log may be changed or deleted, not even by those who append.
_FOR_WRITERS = (
    *_FOR_READERS,
    "GRANT INSERT ON {s}.log, {s}.stream, {s}.kind, {s}.event, {s}.tag, {s}.collection TO {role}",
    "GRANT UPDATE (head, last_us, streams, kinds) ON {s}.log TO {role}",
    "GRANT INSERT, UPDATE, DELETE ON {s}.document, {s}.writer TO {role}",
)


def migrate(url: str, *, plan: bool, writer: str | None, reader: str | None) -> list[str]:
    """See hansard.migrate."""
    database = Database(parse(url))
    connection = database.connect()
    try:
        with translated(database.shown):
            found = schema.found(connection, database.address.schema)
            if found > len(schema.MIGRATIONS):
                raise NewerFormat(database.shown, found, len(schema.MIGRATIONS))
            grants = _grants(connection, database.address.schema, writer, reader)
            if plan:
                return schema.plan(found, database.address.schema) + grants
            statements = schema.migrate(database)
            _grant(connection, grants)
            return statements + grants
    finally:
        connection.close()


def _grants(connection: Connection, name: str, writer: str | None, reader: str | None) -> list[str]:
    statements: list[str] = []
    for role, wanted in ((writer, _FOR_WRITERS), (reader, _FOR_READERS)):
        if role is not None:
            identifier = sql.Identifier(role).as_string(connection)
            statements += [schema.qualified(statement, name).replace("{role}", identifier) for statement in wanted]
    return statements


def _grant(connection: Connection, statements: list[str]) -> None:
    with connection.transaction():
        for statement in statements:
            try:
                connection.execute(statement)
            except errors.UndefinedObject as error:
                raise InvalidInput("role", statement.rpartition(" ")[2], "there is no such role; create it first") from error
