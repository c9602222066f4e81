"""From a query to the index ranges that hold its events. Pure but for small look-ups, which the engine answers.

Each item of a query becomes one or two **paths**. A path is one range of one index, with filters on top:

- tags: the range of the rarest tag; the other tags by signature, then exactly;
- types, category: the ranges of their kinds (a kind is a type in a category);
- stream: the stream's range.

A query of one path that is in order is read straight off its index. Several paths are read window by window of positions,
because a database would otherwise sort all that is to come for every page.
"""

from collections.abc import Callable, Iterator, Sequence, Set
from typing import NamedTuple, Protocol

from hansard.events import RecordedEvent
from hansard.limits import TAGS_PER_EVENT_MAX
from hansard.query import Query, QueryItem
from hansard.storage.tags import TagCounts

_COUNTS = (16, 256, 4_096)
"""Bounds of the counts that find the rarest tag."""

_PATHS_MAX = 200
"""Paths of one statement; SQLite joins at most 500."""

_KIND_PATHS_MAX = 32
"""Kinds that get a path each, which is read in order; more share one."""

_WINDOW_POSITIONS_MIN = 256
_WINDOW_GROWTH = 4


class Path(NamedTuple):
    """Positions of one index range: of the tag, else the stream, else the kinds, else the whole log; the rest filters."""

    tag: str | None = None
    other_tags: tuple[str, ...] = ()
    stream: int | None = None
    kinds: tuple[int, ...] | None = None

    @property
    def is_in_order(self) -> bool:
        """Whether its index gives positions in order."""
        return self.tag is not None or (self.stream is None and (self.kinds is None or len(self.kinds) == 1))


class Lookups(Protocol):
    """What an engine is asked for to find the paths, all of one moment of the log."""

    @property
    def tag_counts(self) -> TagCounts:
        """Remembered from query to query."""

    def kinds(self, types: Set[str], category: str | None) -> list[int]:
        """Kinds with one of the types (empty: any) in the category (None: any)."""

    def stream_id(self, name: str) -> int | None: ...

    def counts(self, tags: Sequence[str], after: int, bound: int) -> dict[str, int]:
        """Events with each tag after a position, counted up to a bound."""


def paths_of(look: Lookups, query: Query, after: int) -> list[Path]:
    """The paths to all events that match; none if nothing can match. `after` only helps to choose the rarest tag."""
    paths = [path for item in query.items for path in _item_paths(look, item, after, _KIND_PATHS_MAX)]
    if len(paths) > _PATHS_MAX:
        paths = [path for item in query.items for path in _item_paths(look, item, after, 1)]
    return paths


def _item_paths(look: Lookups, item: QueryItem, after: int, kind_paths_max: int) -> list[Path]:
    if len(item.tags) > TAGS_PER_EVENT_MAX:
        return []  # no event carries so many
    kinds = tuple(look.kinds(item.types, item.category)) if item.types or item.category is not None else None
    if item.stream is not None:
        return _stream_path(look, item.stream, kinds, item.tags)
    paths = _kind_or_tag_path(look, kinds, sorted(item.tags), after, kind_paths_max)
    if item.category is not None:
        # A stream whose name has no "-" is a category of its own; its kinds carry the category ''.
        paths += _stream_path(look, item.category, tuple(look.kinds(item.types, None)) if item.types else None, item.tags)
    return paths


def _kind_or_tag_path(
    look: Lookups, kinds: tuple[int, ...] | None, tags: Sequence[str], after: int, kind_paths_max: int
) -> list[Path]:
    if kinds is not None and not kinds:
        return []
    if tags:
        rarest = _rarest(look, tags, after)
        return [Path(rarest, tuple(tag for tag in tags if tag != rarest), None, kinds)]
    if kinds is None or len(kinds) > kind_paths_max:
        return [Path(kinds=kinds)]
    return [Path(kinds=(kind,)) for kind in kinds]


def _stream_path(look: Lookups, name: str, kinds: tuple[int, ...] | None, tags: Set[str]) -> list[Path]:
    if kinds is not None and not kinds:
        return []
    stream = look.stream_id(name)
    return [] if stream is None else [Path(None, tuple(sorted(tags)), stream, kinds)]


def _rarest(look: Lookups, tags: Sequence[str], after: int) -> str:
    """The tag with the fewest events. Any choice is right, the rarest is the fastest: so counts are bounded, and remembered for
    a while."""
    if len(tags) == 1:
        return tags[0]
    if (rarest := look.tag_counts.rarest(tags)) is not None:
        return rarest
    counts = _counts(look, tags, after)
    look.tag_counts.learn(counts)
    return min(tags, key=counts.__getitem__)


def _counts(look: Lookups, tags: Sequence[str], after: int) -> dict[str, int]:
    """Events of each tag after a position, counted up to a bound that grows until the fewest are known, or one has none."""
    counts: dict[str, int] = {}
    for bound in _COUNTS:
        counts = look.counts(tags, after, bound)
        if min(counts.values()) < bound:
            break
    return counts


def by_windows(
    read: Callable[[int, int, int], list[RecordedEvent]], *, after: int, end: int, backwards: bool, limit: int
) -> list[RecordedEvent]:
    """Up to `limit` events with after < position < end. `read(after, end, limit)` reads one window; they grow."""
    page: list[RecordedEvent] = []
    for low, high in _windows(after, end, backwards, max(limit * _WINDOW_GROWTH, _WINDOW_POSITIONS_MIN)):
        page += read(low, high, limit - len(page))
        if len(page) == limit:
            break
    return page


def _windows(after: int, end: int, backwards: bool, width: int) -> Iterator[tuple[int, int]]:
    """Neighbouring windows with low < position < high, each wider than the one before."""
    while end - after > 1:
        low, high = (max(after, end - 1 - width), end) if backwards else (after, min(end, after + width + 1))
        yield low, high
        after, end = (after, low + 1) if backwards else (high - 1, end)
        width *= _WINDOW_GROWTH
