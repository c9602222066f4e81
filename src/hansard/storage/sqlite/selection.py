"""Paths (see storage/paths.py) in SQL: which table, which condition, which index."""

import sqlite3
from collections.abc import Sequence, Set
from typing import NamedTuple

import msgspec

from hansard.query import Query
from hansard.storage import paths
from hansard.storage.paths import Path
from hansard.storage.sqlite.connection import Connection
from hansard.storage.tags import TagCounts, signature


class Selection(NamedTuple):
    """`SELECT position FROM {source} WHERE {where} AND position > ? AND position < ?` finds the positions of one path."""

    source: str
    where: str
    parameters: tuple[object, ...]
    is_in_order: bool


def selections(connection: sqlite3.Connection, query: Query, after: int) -> list[Selection]:
    """One for each path of the query; none if nothing can match."""
    return [_selection(path) for path in paths.paths_of(_Lookups(connection), query, after)]


def _selection(path: Path) -> Selection:
    where: list[str] = []
    parameters: list[object] = []
    if path.tag is not None:
        source, position = "tag", "tag.position"
        where.append("tag = ?")
        parameters.append(path.tag)
        if path.other_tags:
            bits = signature(path.other_tags)
            where.append(f"signature & {bits} = {bits}")
    else:
        source, position = _source(path), "event.position"
    if path.stream is not None:
        where.append("stream = ?")
        parameters.append(path.stream)
    if path.kinds is not None:
        condition, values = _among("kind", path.kinds)
        where.append(condition)
        parameters += values
    for tag in path.other_tags:
        where.append(f"EXISTS (SELECT 1 FROM tag other WHERE other.tag = ? AND other.position = {position})")
        parameters.append(tag)
    return Selection(source, " AND ".join(where) or "TRUE", tuple(parameters), path.is_in_order)


def _source(path: Path) -> str:
    if path.stream is not None:
        return "event INDEXED BY event_by_version"
    return "event" if path.kinds is None else "event INDEXED BY event_by_kind"


def _among(column: str, values: Sequence[int]) -> tuple[str, tuple[object, ...]]:
    if len(values) == 1:
        return f"{column} = ?", (values[0],)
    return f"{column} IN (SELECT value FROM json_each(?))", (msgspec.json.encode(values).decode(),)


class _Lookups:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.tag_counts = connection.tag_counts if isinstance(connection, Connection) else TagCounts()

    def kinds(self, types: Set[str], category: str | None) -> list[int]:
        if category is not None:
            # Rides on kind_by_category.
            rows = self._connection.execute("SELECT id, type FROM kind WHERE category = ?", (category,))
            return [kind for kind, type in rows if not types or type in types]
        # Rides on the unique index (type, category).
        sql = "SELECT id FROM kind WHERE type IN (SELECT value FROM json_each(?))"
        return [kind for (kind,) in self._connection.execute(sql, (msgspec.json.encode(types).decode(),))]

    def stream_id(self, name: str) -> int | None:
        row = self._connection.execute("SELECT id FROM stream WHERE name = ?", (name,)).fetchone()
        return None if row is None else int(row[0])

    def counts(self, tags: Sequence[str], after: int, bound: int) -> dict[str, int]:
        # Rides on the primary key of tag. Parameters: tag, after, bound.
        sql = "SELECT count(*) FROM (SELECT 1 FROM tag WHERE tag = ? AND position > ? LIMIT ?)"
        return {tag: self._connection.execute(sql, (tag, after, bound)).fetchone()[0] for tag in tags}
