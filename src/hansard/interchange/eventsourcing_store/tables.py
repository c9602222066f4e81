"""Which tables of a database are the library's, whose they are, and what their rows say. Knows no store."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from hansard.interchange.eventsourcing_store.databases import ROWID, Database
from hansard.interchange.eventsourcing_store.layout import category_of

_EVENT: Final = {"originator_id", "originator_version", "topic", "state"}
_TRACKING: Final = {"application_name", "notification_id"}
_DECISION: Final = {"id", "type", "data", "tags"}
_DECISIONS_END: Final = "_events_tt_main"
_UNNAMED: Final = {"events": "stored", "snapshots": "stored", "decisions": "dcb", "trackings": "notification"}
"""What names of tables begin with where the application has no name. On SQLite they never tell it."""

_OLD: Final = ("old1_", "bkup1_")
"""What the library puts before the name of a tracking table that it has replaced."""

_MIGRATION: Final = "__migration__"
"""The library's own row in a tracking table."""

_ORIGINATOR: Final = ("originator_id", "originator_version")
_HEX_DIGITS: Final = 32
_PAGE_ROWS: Final = 500


class Table(NamedTuple):
    """`application`: None if the name does not tell. `order`: the column that numbers events as they were recorded, if any."""

    name: str
    kind: str
    application: str | None
    purpose: str
    order: str | None

    @property
    def sql(self) -> str:
        return '"' + self.name.replace('"', '""') + '"'


class EventRow(NamedTuple):
    """`notification_id`: None where the table has no order but that of each originator."""

    notification_id: int | None
    originator_id: UUID | str
    originator_version: int
    topic: str
    state: bytes


class DecisionRow(NamedTuple):
    position: int
    type: str
    data: bytes
    tags: list[str]


def found(database: Database, application: str | None) -> list[tuple[Table, str]]:
    """The tables of an application, or (None) of all of them, each with its category.

    Where none bears the application's name, those without a name are its own.
    """
    tables = [table for name, columns in sorted(database.tables().items()) if (table := _table(name, columns)) is not None]
    if application is None:
        return [(table, category_of(table.application or "")) for table in tables]
    named = [table for table in tables if table.application == application.lower()]
    return [(table, category_of(application)) for table in named or tables if table in named or table.application is None]


def _table(name: str, columns: set[str]) -> Table | None:
    prefix, _, purpose = name.rpartition("_")
    order: str | None = next((column for column in ("notification_id", ROWID) if column in columns), None)
    if columns >= _DECISION and name.endswith(_DECISIONS_END):
        kind, prefix, order = "decisions", name.removesuffix(_DECISIONS_END), "id"
    elif columns >= _EVENT:
        kind = "events" if purpose == "events" else "snapshots"
    elif columns - {ROWID} == _TRACKING and purpose == "tracking" and not name.startswith(_OLD):
        kind = "trackings"
    else:
        return None
    return Table(name, kind, None if prefix in ("", _UNNAMED[kind]) else prefix, purpose, order)


def events(database: Database, table: Table, *, begin: int) -> Iterator[EventRow]:
    """In the order in which they were recorded, from a notification on; without such an order all, by originator."""
    if table.order is None:
        yield from snapshots(database, table)
        return
    id_of = _id_reader(database, table)
    columns = "originator_id, originator_version, topic, state"
    for number, id, version, topic, state in _pages(database, table, (table.order,), columns, (begin - 1,)):
        yield EventRow(number, id_of(id), version, topic, _bytes(state))


def snapshots(database: Database, table: Table) -> Iterator[EventRow]:
    """By originator and version."""
    id_of = _id_reader(database, table)
    for id, version, topic, state in _pages(database, table, _ORIGINATOR, "topic, state", None):
        yield EventRow(None, id_of(id), version, topic, _bytes(state))


def decisions(database: Database, table: Table, *, begin: int) -> Iterator[DecisionRow]:
    for id, type, data, tags in _pages(database, table, ("id",), "type, data, tags", (begin - 1,)):
        yield DecisionRow(id, type, _bytes(data), tags)


def trackings(database: Database, table: Table) -> dict[str, int]:
    """Application's name -> the last notification that was processed."""
    rows = database.rows(f"SELECT application_name, max(notification_id) FROM {table.sql} GROUP BY application_name")
    return {name: int(last) for name, last in rows if name != _MIGRATION}


def _pages(
    database: Database, table: Table, key: Sequence[str], columns: str, start: tuple[Any, ...] | None
) -> Iterator[tuple[Any, ...]]:
    """Rows in the order of a unique key, page by page, after one (None: all). Rides on the key's index."""
    keys = ", ".join(key)
    while True:
        where = "" if start is None else f"WHERE ({keys}) > ({', '.join(database.mark for _ in key)})"
        page = database.rows(
            f"SELECT {keys}, {columns} FROM {table.sql} {where} ORDER BY {keys} LIMIT {_PAGE_ROWS}", *(start or ())
        )
        yield from page
        if len(page) < _PAGE_ROWS:
            return
        start = page[-1][: len(key)]


def _id_reader(database: Database, table: Table) -> Callable[[Any], UUID | str]:
    """SQLite keeps a UUID as 32 digits, and does not say whether a text is one. All of a table are, or none."""
    if not database.is_typed:
        others = f"length(originator_id) <> {_HEX_DIGITS} OR originator_id GLOB '*[^0-9a-f]*'"
        if not database.rows(f"SELECT 1 FROM {table.sql} WHERE {others} LIMIT 1"):
            return UUID
    return lambda id: id


def _bytes(value: Any) -> bytes:
    """Recorders that keep JSON as text exist."""
    return value.encode() if isinstance(value, str) else bytes(value or b"")
