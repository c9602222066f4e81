"""Where states are kept: as JSON documents, as rows of a table in the store's own file, or in a place of the user's.

A place belongs to one build of a projection; `label` names the build. What a place writes through the transaction is
committed together with the checkpoint.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from hansard.errors import InvalidInput, InvalidType
from hansard.limits import DATA_BYTES_MAX, PAGE_DOCUMENTS_MAX, TABLE_COLUMNS_MAX
from hansard.serialization import decode_json, encode_json
from hansard.storage.port import Dialect, Storage, StorageTransaction

MODELS = "model/"
"""Collections that begin so hold states."""

States = dict[str, Any]
Changes = Mapping[str, Any]
"""New states by key; None for one that is deleted."""


class Place(ABC):
    """Keeps the states of a projection. A place of your own keeps the position together with them, in one step."""

    kind: ClassVar[str] = "own"

    @property
    def facts(self) -> dict[str, Any]:
        """What it is, as JSON: so that any process can read and drop a build, and part of what may not change in a version."""
        return {"kind": self.kind}

    def make(self, transaction: StorageTransaction, name: str, label: str) -> None:
        """Make room for a build that begins."""

    def position(self, name: str, label: str) -> int:
        """Up to which position the place has taken in events; places inside the store need not know."""
        return 0

    @abstractmethod
    def load(self, transaction: StorageTransaction, name: str, label: str, keys: Sequence[str]) -> States:
        """The states of these keys; an unknown key is left out."""

    @abstractmethod
    def save(self, transaction: StorageTransaction, name: str, label: str, changes: Changes, position: int) -> None:
        """Set new states, and note that everything up to a position is in them."""

    @abstractmethod
    def get(self, storage: Storage, name: str, label: str, keys: Sequence[str]) -> States:
        """The states of these keys, for a reader."""

    @abstractmethod
    def page(self, storage: Storage, name: str, label: str, after: str, limit: int) -> list[tuple[str, Any]]:
        """Keys > after with their states, in the order of the keys' code points, for a reader."""

    def switch(self, transaction: StorageTransaction, name: str, label: str) -> None:
        """This build is the one to be read from now on."""

    def drop(self, transaction: StorageTransaction, name: str, label: str) -> None:
        """Delete a build."""


class Documents(Place):
    """JSON documents by key, beside the log; on every engine."""

    kind = "documents"

    def load(self, transaction: StorageTransaction, name: str, label: str, keys: Sequence[str]) -> States:
        return {key: decode_json(text) for key, text in transaction.get(_collection(name, label), keys).items()}

    def save(self, transaction: StorageTransaction, name: str, label: str, changes: Changes, position: int) -> None:
        texts = {key: None if state is None else encode_json("state", state, DATA_BYTES_MAX) for key, state in changes.items()}
        transaction.put(_collection(name, label), texts)

    def get(self, storage: Storage, name: str, label: str, keys: Sequence[str]) -> States:
        return {key: decode_json(text) for key, text in storage.get(_collection(name, label), keys).items()}

    def page(self, storage: Storage, name: str, label: str, after: str, limit: int) -> list[tuple[str, Any]]:
        limit = min(limit, PAGE_DOCUMENTS_MAX)
        return [(key, decode_json(text)) for key, text in storage.scan(_collection(name, label), after=after, limit=limit)]

    def drop(self, transaction: StorageTransaction, name: str, label: str) -> None:
        transaction.drop(_collection(name, label))


def _collection(name: str, label: str) -> str:
    return f"{MODELS}{name}@{label}"


class Table(Place):
    """Rows of a table in the store's own database: `SELECT * FROM <the projection's name>` reads the build that counts.

    `columns`: names and SQL types, such as {"amount": "INTEGER", "paid": "INTEGER"}; states are dicts of these. Type JSON
    holds any JSON value. The key is a column of its own, `key`. `indexes`: columns that get an index.

    Needs an engine with a connection (Capability.CONNECTION). On PostgreSQL the tables stand in the first schema of the role's
    search path, and INTEGER, REAL and BLOB become BIGINT, DOUBLE PRECISION and BYTEA.
    """

    def __init__(self, columns: Mapping[str, str], *, indexes: Sequence[str] = ()) -> None:
        if not isinstance(columns, Mapping) or not columns:
            raise InvalidType("columns", columns, "expected names of columns with their types")
        if len(columns) > TABLE_COLUMNS_MAX:
            raise InvalidInput("columns", len(columns), f"expected at most {TABLE_COLUMNS_MAX}")
        for column, type in columns.items():
            if not isinstance(column, str) or not _NAME.fullmatch(column) or column.lower() == "key":
                raise InvalidInput("columns", column, "expected letters, digits and _, and not `key`, which there is already")
            if not isinstance(type, str) or not _TYPE.fullmatch(type):
                raise InvalidInput("columns", type, f"{column!r}: expected an SQL type, such as INTEGER, REAL, TEXT or JSON")
        for column in indexes:
            if column not in columns:
                raise InvalidInput("indexes", column, f"expected some of {', '.join(columns)}")
        self._columns = dict(columns)
        self._indexes = tuple(indexes)

    kind = "table"

    @property
    def facts(self) -> dict[str, Any]:
        return {"kind": self.kind, "columns": self._columns, "indexes": list(self._indexes)}

    def make(self, transaction: StorageTransaction, name: str, label: str) -> None:
        dialect, connection = transaction.dialect, transaction.connection
        _check_table_name(name)
        if len(_bare(name, label)) > dialect.name_bytes_max:
            raise InvalidInput("name", name, f"with the version, this database takes at most {dialect.name_bytes_max} bytes")
        columns = ", ".join(f'"{column}" {_sql_type(type, dialect)}' for column, type in self._columns.items())
        connection.execute(f"CREATE TABLE {_table(name, label)} (key {dialect.key} PRIMARY KEY, {columns})")
        for column in self._indexes:
            connection.execute(f'CREATE INDEX {_index(name, label, column)} ON {_table(name, label)} ("{column}")')

    def load(self, transaction: StorageTransaction, name: str, label: str, keys: Sequence[str]) -> States:
        found: States = {}
        for start in range(0, len(keys), PAGE_DOCUMENTS_MAX):
            some = keys[start : start + PAGE_DOCUMENTS_MAX]
            rows = transaction.connection.execute(self._of_keys(name, label, transaction.dialect, len(some)), some)
            found.update(self._state(row) for row in rows.fetchall())
        return found

    def save(self, transaction: StorageTransaction, name: str, label: str, changes: Changes, position: int) -> None:
        cursor, mark = transaction.connection.cursor(), transaction.dialect.mark
        rows = [self._row(key, state) for key, state in changes.items() if state is not None]
        if rows:
            marks, table = ", ".join([mark] * (len(self._columns) + 1)), _table(name, label)
            new = ", ".join(f'"{column}" = excluded."{column}"' for column in self._columns)
            cursor.executemany(
                f"INSERT INTO {table} ({self._selected}) VALUES ({marks}) ON CONFLICT (key) DO UPDATE SET {new}", rows
            )
        gone = [(key,) for key, state in changes.items() if state is None]
        if gone:
            cursor.executemany(f"DELETE FROM {_table(name, label)} WHERE key = {mark}", gone)

    def get(self, storage: Storage, name: str, label: str, keys: Sequence[str]) -> States:
        rows = storage.rows(self._of_keys(name, label, storage.dialect, len(keys)), keys)
        return dict(self._state(row) for row in rows)

    def page(self, storage: Storage, name: str, label: str, after: str, limit: int) -> list[tuple[str, Any]]:
        mark = storage.dialect.mark
        statement = f"SELECT {self._selected} FROM {_table(name, label)} WHERE key > {mark} ORDER BY key LIMIT {mark}"
        return [self._state(row) for row in storage.rows(statement, (after, limit))]

    def switch(self, transaction: StorageTransaction, name: str, label: str) -> None:
        transaction.connection.execute(f'DROP VIEW IF EXISTS "{name}"')
        transaction.connection.execute(f'CREATE VIEW "{name}" AS SELECT * FROM {_table(name, label)}')

    def drop(self, transaction: StorageTransaction, name: str, label: str) -> None:
        transaction.connection.execute(f"DROP TABLE IF EXISTS {_table(name, label)}")

    def _of_keys(self, name: str, label: str, dialect: Dialect, count: int) -> str:
        marks = ",".join([dialect.mark] * count)
        return f"SELECT {self._selected} FROM {_table(name, label)} WHERE key IN ({marks})"

    @property
    def _selected(self) -> str:
        return ", ".join(["key", *[f'"{column}"' for column in self._columns]])

    def _row(self, key: str, state: Any) -> tuple[Any, ...]:
        if not isinstance(state, dict):
            raise InvalidType("state", state, f"expected a dict with {', '.join(self._columns)}")
        for column in state:
            if column not in self._columns:
                raise InvalidInput("state", column, f"the table has no such column; it has {', '.join(self._columns)}")
        return (key, *[_cell(column, type, state.get(column)) for column, type in self._columns.items()])

    def _state(self, row: Sequence[Any]) -> tuple[str, Any]:
        cells = zip(self._columns.items(), row[1:], strict=True)
        state = {column: decode_json(cell) if type == "JSON" and cell is not None else cell for (column, type), cell in cells}
        return row[0], state


def place_of(facts: Mapping[str, Any]) -> Place | None:
    """The place that facts tell of; None for one of the user's own, which only its own code can make."""
    if facts["kind"] == Documents.kind:
        return Documents()
    return Table(facts["columns"], indexes=facts["indexes"]) if facts["kind"] == Table.kind else None


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_TYPE = re.compile(r"[A-Za-z]+( [A-Za-z]+)*")


def _cell(column: str, type: str, value: Any) -> Any:
    if type == "JSON":
        return None if value is None else encode_json(column, value, DATA_BYTES_MAX).decode()
    if isinstance(value, bool) and type.upper() != "BOOLEAN":
        return int(value)
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    raise InvalidType(f"state.{column}", value, "expected a number, text or None; give the column the type JSON for more")


def _check_table_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidInput("name", name, "a projection into a table is named with letters, digits and _ only")


def _bare(name: str, label: str) -> str:
    return f"{name}__{label.replace('.', '_')}"


def _table(name: str, label: str) -> str:
    return f'"{_bare(name, label)}"'


def _index(name: str, label: str, column: str) -> str:
    return f'"{_bare(name, label)}_by_{column}"'


def _sql_type(type: str, dialect: Dialect) -> str:
    return "TEXT" if type == "JSON" else dialect.types.get(type.upper(), type)
