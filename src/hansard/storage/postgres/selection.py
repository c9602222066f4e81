"""Paths (see storage/paths.py) in SQL. The first parameters are always the log, after, before and limit."""

from collections.abc import Callable, Sequence

from hansard.limits import POSITION_MAX
from hansard.storage.paths import Path
from hansard.storage.postgres import arrays
from hansard.storage.tags import signature

# A subquery that cannot be turned into a join: it looks up one entry for each row that is left.
_CARRIES = "(SELECT 1 FROM {s}.tag o WHERE o.log = $1 AND o.tag = {tag} AND o.position = {table}.position) = 1"

# The first position of a path. Rides on the path's index; "+ 0" keeps it from walking along the log. Parameters: as before.
_FIRST = "SELECT min(position + 0) FROM ({positions}) p LIMIT $4"
_FIRST_IN_ORDER = "SELECT position FROM ({positions}) p ORDER BY position LIMIT $4"

# Where nothing can match. Parameters: as before; a statement must use what it is given.
_NOWHERE = "SELECT NULL::int8 WHERE num_nulls($1::int8, $2::int8, $3::int8, $4::int8) = 4"

# One stream in the order of versions, which is that of positions. Parameters: as before.
_STREAM_IN_ORDER = "SELECT position FROM ({positions} ORDER BY version {direction} LIMIT $4) s"

# Many kinds, each read in order: the planner would rather walk along the log. Parameters: as before, and kinds.
_SOME_KINDS = (
    "SELECT e.position FROM unnest({kinds}::int8[]) k CROSS JOIN LATERAL (SELECT position FROM {s}.event WHERE log = $1 "
    "AND kind = k AND position > $2 AND position < $3 ORDER BY position {direction} LIMIT $4) e"
)

# What every path is bounded by. A page that goes on after an event of the same stream begins at its version.
_BOUNDS = "log = $1 AND position > $2 AND position < $3"
_STREAM_BOUNDS = (
    "AND version > coalesce((SELECT version FROM {s}.event WHERE log = $1 AND position = $2 AND stream = {stream}), 0) "
    "AND version < coalesce((SELECT version FROM {s}.event WHERE log = $1 AND position = $3 AND stream = {stream}), {most})"
)


def positions(found: Sequence[Path]) -> tuple[str, list[object]]:
    """A query for the positions of all paths, in any order, and its parameters from `$5` on. `{direction}` is left open.

    One stream alone is limited and in order, so that it is not read to its end.
    """
    marks = _Marks()
    arms = [_arm(path, marks) for path in found]
    if len(found) == 1 and found[0].stream is not None:
        return _STREAM_IN_ORDER.replace("{positions}", arms[0]), marks.values
    return " UNION ALL ".join(arms), marks.values


def first(found: Sequence[Path]) -> tuple[str, list[object]]:
    """A query for the first position of all paths; NULL if there is none."""
    marks = _Marks()
    firsts = [(_FIRST_IN_ORDER if path.is_in_order else _FIRST).replace("{positions}", _arm(path, marks)) for path in found]
    if not firsts:
        return _NOWHERE, []
    return f"SELECT least(NULL::int8, {', '.join(f'({first})' for first in firsts)})".replace("{direction}", "ASC"), marks.values


def is_in_order(found: Sequence[Path]) -> bool:
    """Whether a page can be read at once: otherwise it is read by windows."""
    return len(found) == 1 and (found[0].is_in_order or found[0].stream is not None)


def _arm(path: Path, mark: Callable[[object], str]) -> str:
    """The positions of one path; `mark` takes a parameter and gives its `$n`."""
    if path.tag is None and path.stream is None and path.kinds is not None and len(path.kinds) > 1:
        return _SOME_KINDS.replace("{kinds}", mark(arrays.int8s(path.kinds)))
    where = [_BOUNDS]
    if path.tag is not None:
        table = "tag"
        where.append(f"AND tag = {mark(path.tag)}")
        if path.other_tags:
            bits = mark(signature(path.other_tags))
            where.append(f"AND signature & {bits} = {bits}")
    else:
        table = "event"
    if path.stream is not None:
        stream = mark(path.stream)
        where.append(f"AND stream = {stream}")
        where.append(_STREAM_BOUNDS.replace("{stream}", stream).replace("{most}", str(POSITION_MAX)))
    if path.kinds is not None:
        is_one = len(path.kinds) == 1
        where.append(f"AND kind = {mark(path.kinds[0])}" if is_one else f"AND kind = ANY ({mark(arrays.int8s(path.kinds))})")
    where += [f"AND {_CARRIES.replace('{tag}', mark(tag)).replace('{table}', table)}" for tag in path.other_tags]
    return f"SELECT position FROM {{s}}.{table} WHERE {' '.join(where)}"


class _Marks:
    """Takes parameters of paths and gives each its `$n`."""

    def __init__(self) -> None:
        self.values: list[object] = []

    def __call__(self, value: object) -> str:
        self.values.append(value)
        return f"${len(self.values) + 4}"
