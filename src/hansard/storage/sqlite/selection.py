"""From a query to SQL: which index ranges hold its events. Knows the schema; runs only small look-ups.

Each item of a query becomes one or two **paths**. A path is one range of one index, with filters on top:

- tags: the range of the rarest tag; the other tags by signature, then exactly;
- types, category: the ranges of their kinds;
- stream: the stream's range.

A query of one path is read straight off its index. Several paths are read window by window of positions,
because SQLite would otherwise sort all that is to come for every page.
"""

import sqlite3
from collections.abc import Sequence, Set
from typing import NamedTuple

import msgspec

from hansard.limits import TAGS_PER_EVENT_MAX
from hansard.query import Query, QueryItem
from hansard.storage.sqlite.connection import Connection, TagCounts
from hansard.storage.sqlite.tags import signature

_COUNTS = (16, 256, 4_096)
"""Bounds of the counts that find the rarest tag."""

_PATHS_MAX = 200
"""Paths of one statement; SQLite joins at most 500."""

_KIND_PATHS_MAX = 32
"""Kinds that get a path each, which is read in order; more share one."""


class Path(NamedTuple):
    """`SELECT position FROM {source} WHERE {where} AND position > ? AND position < ?` finds the positions of one path."""

    source: str
    where: str
    parameters: tuple[object, ...]
    is_in_order: bool
    """Whether its index gives positions in order."""


def paths_of(connection: sqlite3.Connection, query: Query, after: int) -> list[Path]:
    """The paths to all events that match; none if nothing can match. `after` only helps to choose the rarest tag."""
    paths = [path for item in query.items for path in _item_paths(connection, item, after, _KIND_PATHS_MAX)]
    if len(paths) > _PATHS_MAX:
        paths = [path for item in query.items for path in _item_paths(connection, item, after, 1)]
    return paths


def _item_paths(connection: sqlite3.Connection, item: QueryItem, after: int, kind_paths_max: int) -> list[Path]:
    if len(item.tags) > TAGS_PER_EVENT_MAX:
        return []  # no event carries so many
    kinds = _kinds(connection, item)
    if kinds is not None and not kinds and item.category is None:
        return []
    if item.stream is not None:
        return _stream_path(connection, item.stream, kinds, item.tags)
    paths = (
        [] if kinds is not None and not kinds else _kind_or_tag_path(connection, kinds, sorted(item.tags), after, kind_paths_max)
    )
    if item.category is not None:
        # A stream whose name has no "-" is a category of its own; its kinds carry the category ''.
        paths += _stream_path(connection, item.category, _kinds_of_types(connection, item.types), item.tags)
    return paths


def _kind_or_tag_path(
    connection: sqlite3.Connection, kinds: Sequence[int] | None, tags: Sequence[str], after: int, kind_paths_max: int
) -> list[Path]:
    if tags:
        return _tag_path(connection, tags, kinds, after)
    if kinds is None:
        return [Path("event", "TRUE", (), True)]
    if len(kinds) > kind_paths_max:
        return [Path("event INDEXED BY event_by_kind", *_among("kind", kinds), False)]
    return [Path("event INDEXED BY event_by_kind", "kind = ?", (kind,), True) for kind in kinds]


def _tag_path(connection: sqlite3.Connection, tags: Sequence[str], kinds: Sequence[int] | None, after: int) -> list[Path]:
    rarest = _rarest(connection, tags, after)
    if rarest is None:
        return []
    where: list[str] = ["tag = ?"]
    parameters: list[object] = [rarest]
    others = [tag for tag in tags if tag != rarest]
    if others:
        bits = signature(others)
        where.append(f"signature & {bits} = {bits}")
    if kinds is not None:
        condition, values = _among("kind", kinds)
        where.append(condition)
        parameters += values
    for other in others:
        where.append("EXISTS (SELECT 1 FROM tag other WHERE other.tag = ? AND other.position = tag.position)")
        parameters.append(other)
    return [Path("tag", " AND ".join(where), tuple(parameters), True)]


def _stream_path(connection: sqlite3.Connection, name: str, kinds: Sequence[int] | None, tags: Set[str]) -> list[Path]:
    row = connection.execute("SELECT id FROM stream WHERE name = ?", (name,)).fetchone()
    if row is None or (kinds is not None and not kinds):
        return []
    where: list[str] = ["stream = ?"]
    parameters: list[object] = [*row]
    if kinds is not None:
        condition, values = _among("kind", kinds)
        where.append(condition)
        parameters += values
    for tag in sorted(tags):
        where.append("EXISTS (SELECT 1 FROM tag WHERE tag.tag = ? AND tag.position = event.position)")
        parameters.append(tag)
    return [Path("event INDEXED BY event_by_version", " AND ".join(where), tuple(parameters), False)]


def _among(column: str, values: Sequence[int]) -> tuple[str, tuple[object, ...]]:
    if len(values) == 1:
        return f"{column} = ?", (values[0],)
    return f"{column} IN (SELECT value FROM json_each(?))", (msgspec.json.encode(values).decode(),)


def _kinds(connection: sqlite3.Connection, item: QueryItem) -> list[int] | None:
    """The kinds of an item's types and category; None if it names neither."""
    if item.category is None:
        return _kinds_of_types(connection, item.types)
    # Rides on kind_by_category.
    rows = connection.execute("SELECT id, type FROM kind WHERE category = ?", (item.category,))
    return [kind for kind, type in rows if not item.types or type in item.types]


def _kinds_of_types(connection: sqlite3.Connection, types: object) -> list[int] | None:
    if not types:
        return None
    # Rides on the unique index (type, category).
    sql = "SELECT id FROM kind WHERE type IN (SELECT value FROM json_each(?))"
    return [kind for (kind,) in connection.execute(sql, (msgspec.json.encode(types).decode(),))]


def _rarest(connection: sqlite3.Connection, tags: Sequence[str], after: int) -> str | None:
    """The tag with the fewest events; None if one of them has none after the position.

    Any choice is right, the rarest is the fastest. So counts are bounded, and a connection remembers them for a while.
    """
    if len(tags) == 1:
        return tags[0]
    remembered = connection.tag_counts if isinstance(connection, Connection) else TagCounts()
    if (rarest := remembered.rarest(tags)) is not None:
        return rarest
    counts = _counts(connection, tags, after)
    if not all(counts.values()):
        return None
    remembered.learn(counts)
    return min(tags, key=counts.__getitem__)


def _counts(connection: sqlite3.Connection, tags: Sequence[str], after: int) -> dict[str, int]:
    """Events of each tag after a position, counted up to a bound that grows until the fewest are known, or one has none."""
    # Rides on the primary key of tag. Parameters: tag, after, bound.
    sql = "SELECT count(*) FROM (SELECT 1 FROM tag WHERE tag = ? AND position > ? LIMIT ?)"
    counts: dict[str, int] = {}
    for bound in _COUNTS:
        for tag in tags:
            (counts[tag],) = connection.execute(sql, (tag, after, bound)).fetchone()
            if not counts[tag]:
                return counts
        if min(counts.values()) < bound:
            break
    return counts
