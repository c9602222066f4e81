"""A storage seen through event types: asked by present names, it gives events in their present shapes, whatever is stored.

Each stored event stays one event here, so that pages and positions mean what they mean below; see ReplacedEvent.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Protocol

import msgspec

from hansard.appends import Append, Appended, StreamAppend, recorded_events
from hansard.errors import HansardError
from hansard.event_types.registry import EventTypes
from hansard.events import RecordedEvent
from hansard.query import AppendCondition, Query
from hansard.reading import Reads, is_any
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
        return self._storage.append(self._types_applied(append))

    def submit(self, tickets: Sequence[Ticket]) -> None:
        """Those whose conditions have to be looked at first go on from a thread of their own: this one may not wait."""
        plain: list[Ticket] = []
        for ticket in tickets:
            if self._types.is_widened(ticket.append.condition):
                self._lookers.submit(self._submit_after_a_look, ticket)
            else:
                ticket.append = _stored(self._types, ticket.append, ticket.append.condition)
                plain.append(ticket)
        if plain:
            self._storage.submit(plain)

    def _submit_after_a_look(self, ticket: Ticket) -> None:
        try:
            ticket.append = self._types_applied(ticket.append)
            self._storage.submit((ticket,))
        except HansardError as error:
            ticket.error = error
            ticket.settled((ticket,))

    @cached_property
    def _lookers(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, thread_name_prefix="hansard-typed")

    def _types_applied(self, append: Append) -> Append:
        return _stored(self._types, append, looked_at(self, self._types, append.condition))

    def close(self) -> None:
        if "_lookers" in self.__dict__:
            self._lookers.shutdown()
        self._storage.close()

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
        condition = looked_at(self, self._types, append.condition)
        return self._transaction.append(_stored(self._types, append, condition), then=hook)

    def read(self, query: Query, *, after: int, before: int | None, backwards: bool, limit: int) -> list[RecordedEvent]:
        wide = self._types.widened(query)
        events = self._transaction.read(wide, after=after, before=before, backwards=backwards, limit=limit)
        return self._types.matching(query, self._types.read(events))


def _hooked(hook: InlineHook, types: EventTypes) -> InlineHook:
    return lambda transaction, recorded: hook(_TypedTransaction(transaction, types), types.read(list(recorded)))


def recorded_as_seen(append: Append, appended: Appended, types: EventTypes | None) -> list[RecordedEvent]:
    """The events of a first append, as readers see them."""
    if types is None:
        return recorded_events(append, appended)
    if types.writes_older:
        append = msgspec.structs.replace(append, parts=_older(types, append))
    return types.read_own(recorded_events(append, appended))


class _Reads(Reads, Protocol):
    """A storage, or a transaction of one, as these types see it."""

    def head(self) -> int: ...


def looked_at(reads: _Reads, types: EventTypes, condition: AppendCondition | None) -> AppendCondition | None:
    """The condition as the engine can check it: by stored names.

    Where events of old names may or may not have become what the condition asks for, those that are there already are looked at
    here, in their present shapes. If none is meant, the engine has to check only those that come meanwhile.
    """
    if condition is None or not types.is_widened(condition):
        return condition
    head = reads.head()
    is_met = is_any(reads, condition.fail_if, after=condition.after, before=head + 1)
    return AppendCondition(types.widened(condition.fail_if), condition.after if is_met else max(condition.after, head))


def _stored(types: EventTypes, append: Append, condition: AppendCondition | None) -> Append:
    """The append as it is to be stored: in the version that is to be written."""
    parts = _older(types, append) if types.writes_older else append.parts
    if condition is append.condition and parts is append.parts:
        return append
    return msgspec.structs.replace(append, parts=parts, condition=condition)


def _older(types: EventTypes, append: Append) -> tuple[StreamAppend, ...]:
    return tuple(
        StreamAppend(part.stream, [types.downcasted(event) for event in part.events], part.expected_version)
        for part in append.parts
    )
