"""Which events are meant: queries, and conditions on an append (the DCB specification's, extended by stream and category).

Source: the specification of dynamic consistency boundaries, https://dcb.events/specification/. Pure values.
"""

from collections.abc import Iterable, Set
from typing import Any, Protocol

import msgspec

from hansard.errors import InvalidInput, InvalidType
from hansard.events import ReplacedEvent, UnreadableEvent
from hansard.limits import QUERY_ITEMS_MAX, QUERY_NAMES_MAX
from hansard.names import check_name, check_names, check_types
from hansard.streams import category_of, check_bound

_NONE: frozenset[str] = frozenset()
_force = msgspec.structs.force_setattr


class Matchable(Protocol):
    """What a query looks at."""

    @property
    def type(self) -> str: ...
    @property
    def tags(self) -> frozenset[str]: ...


class QueryItem(msgspec.Struct, frozen=True):
    """Matches an event that has **one of** the types, **all of** the tags, and the stream or category if given.

    What is left out restricts nothing. A type may be given as a class that `hansard.event` has marked.
    """

    types: Set[Any] = _NONE
    tags: Set[str] = _NONE
    stream: str | None = None
    category: str | None = None

    def __post_init__(self) -> None:
        if self.types is not _NONE:
            _force(self, "types", check_types("types", self.types, QUERY_NAMES_MAX))
        if self.tags is not _NONE:
            _force(self, "tags", check_names("tags", self.tags, QUERY_NAMES_MAX))
        if self.stream is not None:
            _force(self, "stream", check_name("stream", self.stream))
        if self.category is not None:
            _force(self, "category", check_category(self.category))
        if self.stream is not None and self.category is not None:
            raise InvalidInput("category", self.category, "give a stream or a category, not both")

    def matches(self, event: Matchable, stream: str | None) -> bool:
        return (
            (not self.types or event.type in self.types)
            and (self.stream is None or self.stream == stream)
            and (self.category is None or (stream is not None and category_of(stream) == self.category))
            and (not self.tags or self.tags <= event.tags)
        )

    def could_match(self, event: UnreadableEvent, stream: str | None) -> bool:
        """Whether it would match, were it of one of the types that it may be of."""
        without_types = QueryItem(_NONE, self.tags, self.stream, self.category)
        return (not self.types or not self.types.isdisjoint(event.could_be)) and without_types.matches(event, stream)

    def __str__(self) -> str:
        facts = [f"{name}={sorted(value)}" for name, value in (("types", self.types), ("tags", self.tags)) if value]
        facts += [f"{name}={value!r}" for name, value in (("stream", self.stream), ("category", self.category)) if value]
        return ", ".join(facts)


def check_category(category: object) -> str:
    """A name without "-"."""
    name = check_name("category", category)
    if "-" in name:
        raise InvalidInput("category", category, 'a category ends before the first "-"')
    return name


class Query:
    """Events that match any of the items. `Query()` matches every event.

    >>> Query(types={"order-placed"}, tags={"customer:1"})
    Query(types=['order-placed'], tags=['customer:1'])
    >>> Query.of(QueryItem(types={"a"}), QueryItem(tags={"b"}))
    Query.of(types=['a'] | tags=['b'])
    """

    __slots__ = ("items",)
    items: tuple[QueryItem, ...]

    def __init__(
        self,
        types: Iterable[str | type] = _NONE,
        tags: Iterable[str] = _NONE,
        stream: str | None = None,
        category: str | None = None,
    ) -> None:
        self.items = (
            QueryItem(check_types("types", types, QUERY_NAMES_MAX), check_names("tags", tags, QUERY_NAMES_MAX), stream, category),
        )

    @classmethod
    def of(cls, *items: QueryItem) -> "Query":
        """A query of several items, joined by OR."""
        if not items:
            raise InvalidInput("items", items, "expected at least 1 query item; Query() matches every event")
        if len(items) > QUERY_ITEMS_MAX:
            raise InvalidInput("items", len(items), f"expected at most {QUERY_ITEMS_MAX} query items")
        for item in items:
            if not isinstance(item, QueryItem):
                raise InvalidType("items", item, "expected QueryItem")
        query = cls.__new__(cls)
        query.items = tuple(dict.fromkeys(items))
        return query

    @property
    def is_everything(self) -> bool:
        """Whether an item restricts nothing, so that every event matches."""
        return any(item == _EVERYTHING for item in self.items)

    def matches(self, event: Matchable, stream: str | None) -> bool:
        """Whether an event, or a recorded event, that belongs to this stream (None: to none) is meant.

        One that was replaced is meant if one of those that stand for it is.
        """
        if type(event) is ReplacedEvent:
            return any(self.matches(one, stream) for one in event.by)
        if type(event) is UnreadableEvent:
            return any(item.could_match(event, stream) for item in self.items)
        return any(item.matches(event, stream) for item in self.items)

    def __or__(self, other: "Query") -> "Query":
        return Query.of(*self.items, *other.items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Query) and set(self.items) == set(other.items)

    def __hash__(self) -> int:
        return hash(frozenset(self.items))

    def __repr__(self) -> str:
        several = ".of" if len(self.items) > 1 else ""
        return f"Query{several}({' | '.join(str(item) for item in self.items)})"


_EVERYTHING = QueryItem()


def check_query(field: str, query: object) -> Query:
    if not isinstance(query, Query):
        raise InvalidType(field, query, "expected a Query")
    return query


class AppendCondition(msgspec.Struct, frozen=True):
    """The append fails if an event that matches `fail_if` stands after the position `after` (0: anywhere in the log).

    Give as `after` the head, or the last position, that the decision was read at.
    """

    fail_if: Query
    after: int = 0

    def __post_init__(self) -> None:
        check_query("fail_if", self.fail_if)
        check_bound("after", self.after)
