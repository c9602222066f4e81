"""A storage seen through event types: asked by present names, it gives events in their present shapes, whatever is stored.

Each stored event stays one event here, so that pages and positions mean what they mean below; see ReplacedEvent.
"""

from collections.abc import Callable, Sequence

import msgspec

from hansard.appends import Append, Appended, StreamAppend
from hansard.event_types.registry import EventTypes
from hansard.events import RecordedEvent
from hansard.query import Query
from hansard.storage.around import Around, AroundTransaction
from hansard.storage.port import InlineHook, ResultT, Storage, StorageTransaction, Ticket


def typed(storage: Storage, types: EventTypes | None) -> Storage:
    """The storage as these types see it."""
    return storage if types is None else TypedStorage(storage, types)


class TypedStorage(Around):
    """See Storage."""

    def __init__(self, storage: Storage, types: EventTypes) -> None:
        super().__init__(storage)
        self._types = types

    def append(self, append: Append) -> Appended:
        return self._storage.append(_stored(self._types, append))

    def submit(self, tickets: Sequence[Ticket]) -> None:
        for ticket in tickets:
            ticket.append = _stored(self._types, ticket.append)
        self._storage.submit(tickets)

    def read(self, query: Query, *, after: int, before: int | None, backwards: bool, limit: int) -> list[RecordedEvent]:
        wide = self._types.widened(query)
        events = self._storage.read(wide, after=after, before=before, backwards=backwards, limit=limit)
        return self._types.matching(query, self._types.read(events))

    def read_stream(
        self, stream: str, *, after_version: int, before_version: int | None, backwards: bool, limit: int
    ) -> list[RecordedEvent]:
        events = self._storage.read_stream(
            stream, after_version=after_version, before_version=before_version, backwards=backwards, limit=limit
        )
        return self._types.read(events)

    def events(self, ids: Sequence[bytes]) -> dict[bytes, RecordedEvent]:
        found = self._storage.events(ids)
        return dict(zip(found, self._types.read(list(found.values())), strict=True))

    def transact(self, work: Callable[[StorageTransaction], ResultT]) -> ResultT:
        return self._storage.transact(lambda transaction: work(_TypedTransaction(transaction, self._types)))

    def set_inline(self, hook: InlineHook | None) -> None:
        self._storage.set_inline(None if hook is None else _hooked(hook, self._types))


class _TypedTransaction(AroundTransaction):
    def __init__(self, transaction: StorageTransaction, types: EventTypes) -> None:
        super().__init__(transaction)
        self._types = types

    def append(self, append: Append, *, then: InlineHook | None = None) -> Appended:
        hook = None if then is None else _hooked(then, self._types)
        return self._transaction.append(_stored(self._types, append), then=hook)

    def read(self, query: Query, *, after: int, before: int | None, backwards: bool, limit: int) -> list[RecordedEvent]:
        wide = self._types.widened(query)
        events = self._transaction.read(wide, after=after, before=before, backwards=backwards, limit=limit)
        return self._types.matching(query, self._types.read(events))


def _hooked(hook: InlineHook, types: EventTypes) -> InlineHook:
    return lambda transaction, recorded: hook(_TypedTransaction(transaction, types), types.read(list(recorded)))


def _stored(types: EventTypes, append: Append) -> Append:
    """The append as it is to be stored: conditions find old names too, and events have the version that is to be written."""
    condition = types.conditioned(append.condition)
    parts = append.parts
    if types.writes_older:
        parts = tuple(
            StreamAppend(part.stream, [types.downcasted(event) for event in part.events], part.expected_version)
            for part in append.parts
        )
    if condition is append.condition and parts is append.parts:
        return append
    return msgspec.structs.replace(append, parts=parts, condition=condition)
