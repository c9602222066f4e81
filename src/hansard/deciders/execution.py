"""Load, decide, append, and again where others were faster: one generator that yields what is to be done.

Two drivers do it, in the caller's thread or in an event loop. What is yielded: a function to be called (it reads), an Append, or
seconds to wait. What is sent back is the result, or thrown in is the error.
"""

import copy
import random
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar
from uuid import UUID, uuid5

from hansard.appends import Append, Appended, StreamAppend, append_of
from hansard.deciders.aggregates import Aggregate
from hansard.deciders.definition import Decider, Executed, Loaded, View, Views
from hansard.deciders.snapshots import Snapshot, SnapshotBook, SnapshotWriter, key_of, text_of
from hansard.errors import AppendConditionFailed, DuplicateEventId, InvalidInput, InvalidType, WrongExpectedVersion
from hansard.event_types.registry import EventTypes
from hansard.events import Event, RecordedEvent, check_event_id, unfolded
from hansard.limits import PAGE_EVENTS_MAX
from hansard.names import definition_on
from hansard.query import AppendCondition, Query
from hansard.storage.clock import now_us
from hansard.storage.port import Storage
from hansard.storage.typed import recorded_as_seen
from hansard.streams import check_stream

Target = str | Query | Mapping[str, View]
Step = Callable[[], Any] | Append | float
_PAUSE_S = 0.002
_REPEATED_AT_ONCE = 16
_COPY_S = 0.002
_ResultT = TypeVar("_ResultT")


class _Read(NamedTuple):
    """What was loaded: `at` is the stream's version, or the head that the query was read at; `last` the last event, `since` how
    many events stand after the snapshot that was used."""

    state: Any
    at: int
    last: RecordedEvent | None
    since: int
    snapshot: Snapshot | None


class Execution:
    """Of one store."""

    def __init__(self, storage: Storage, types: EventTypes | None) -> None:
        self._storage = storage
        self._types = types
        self.snapshots = SnapshotWriter(storage, types)
        self._not_copied: set[str] = set()

    def load(self, decider: Any, target: Target) -> Loaded[Any]:
        """See `Store.load`."""
        one, where = checked(decider, target)
        self._check_known(one)
        read = self._read(one, where)
        return Loaded(read.state, read.at)

    def steps(
        self,
        decider: Any,
        target: Target,
        command: Any,
        *,
        stream: str | None,
        command_id: UUID | str | None,
        metadata: Mapping[str, Any] | None,
        attempts: int,
    ) -> Generator[Step, Any, Executed[Any]]:
        """See `Store.execute`."""
        one, where = checked(decider, target)
        self._check_known(one)
        _check_call(where, stream, metadata, attempts)
        ids = None if command_id is None else _Ids(check_event_id("command_id", command_id), one.name, where, stream)
        for attempt in range(1, attempts + 1):
            if ids is not None and (stored := (yield lambda: self._done_before(ids))):
                read = yield lambda: self._read(one, where)
                return Executed(list(unfolded(stored)), read.state, _place_of(stored), attempt, is_repeat=True)
            read = yield lambda: self._read(one, where)
            decided = _guarded(one.name, one.decided, command, read.state)
            if not decided:
                return Executed([], read.state, None, attempt)
            events = [self._event_of(value, number, ids, metadata) for number, value in enumerate(decided)]
            append = _conditioned(where, read, stream, events)
            state = self._folded_ahead(one, where, read, append)
            try:
                appended: Appended = yield append
            except (WrongExpectedVersion, AppendConditionFailed, DuplicateEventId) as error:
                if attempt == attempts or (isinstance(error, DuplicateEventId) and ids is None):
                    error.add_note(f"{one.name}: decided {attempt} times; each time others were faster")
                    raise
                yield random.uniform(0, _PAUSE_S * min(attempt, 8))
                continue
            if appended.is_repeat:  # another one with these ids was a moment faster
                stored = yield partial(self._stored, [event.id_bytes for event in events])
                read = yield lambda: self._read(one, where)
                return Executed(list(unfolded(stored)), read.state, appended, attempt, is_repeat=True)
            recorded = recorded_as_seen(append, appended, self._types)
            if not all(event.is_typed for event in recorded):
                state = _guarded(one.name, one.folded, read.state, recorded)
            self._keep(one, where, read, state, append, appended)
            return Executed(recorded, state, appended, attempt)
        raise AssertionError("unreachable")

    def _folded_ahead(self, one: Any, where: str | Query, read: _Read, append: Append) -> Any:
        """The state after what is about to be stored: an event that cannot be read or folded must not be, or its stream could
        never be loaded again.

        Typed values say nothing of where they stand, so this is the state to go on with. Where others are among them, what is
        folded here is a copy: it is done once more when they have their places. A state that takes long to copy is not tried, nor
        is what goes to a stream whose version was not read.
        """
        recorded = recorded_as_seen(append, _expected(read, append), self._types)
        state = read.state
        if not all(event.is_typed for event in recorded):
            if one.name in self._not_copied or (append.parts[0].stream is not None and not isinstance(where, str)):
                return state
            started = time.perf_counter()
            try:
                state = copy.deepcopy(state)
            except Exception:  # it holds what has no copy, such as a lock
                self._not_copied.add(one.name)
                return state
            if time.perf_counter() - started > _COPY_S:
                self._not_copied.add(one.name)
        return _guarded(one.name, one.folded, state, recorded)

    # Loading

    def _read(self, one: Any, where: str | Query) -> _Read:
        return _guarded(one.name, self._read_with_snapshot, one, where)

    def _read_with_snapshot(self, one: Any, where: str | Query) -> _Read:
        snapshot, book = None, self._book_of(one)
        if book is not None:
            snapshot = book.read(self._storage, key_of(where))
        if snapshot is not None:
            read = self._folded(one, where, snapshot)
            if read is not None:
                self._roll(book, where, read)
                return read
        read = self._folded(one, where, None)
        assert read is not None
        self._roll(book, where, read)
        return read

    def _folded(self, one: Any, where: str | Query, snapshot: Snapshot | None) -> _Read | None:
        """From a snapshot on, or from the beginning; None if the snapshot's event is not in the log."""
        after = 0 if snapshot is None else snapshot.at - 1
        state = one.begin() if snapshot is None else snapshot.state
        last, since = None, 0
        pages, end = self._pages(where, after)
        for page in pages:
            events: Sequence[RecordedEvent] = page
            if snapshot is not None and last is None:
                first = page[0]
                place = first.version if isinstance(where, str) else first.position
                if place != snapshot.at or first.id_bytes != snapshot.event_id:
                    return None
                events = page[1:]
            state = one.folded(state, events if self._types is None else unfolded(events))
            last, since = page[-1], since + len(events)
        if snapshot is not None and last is None:
            return None
        version = 0 if last is None or last.version is None else last.version
        return _Read(state, version if isinstance(where, str) else end, last, since, snapshot)

    def _pages(self, where: str | Query, after: int) -> tuple[Iterable[list[RecordedEvent]], int]:
        storage = self._storage
        if isinstance(where, str):
            stream = where
            return _paged(
                lambda after: storage.read_stream(
                    stream, after_version=after, before_version=None, backwards=False, limit=PAGE_EVENTS_MAX
                ),
                after,
                lambda event: event.version or 0,
            ), 0
        query, head = where, storage.head()
        return _paged(
            lambda after: storage.read(query, after=after, before=head + 1, backwards=False, limit=PAGE_EVENTS_MAX),
            after,
            lambda event: event.position,
        ), head

    def _done_before(self, ids: "_Ids") -> list[RecordedEvent]:
        """The events of an earlier time, in order, as they are stored."""
        events: list[RecordedEvent] = []
        while True:
            wanted = [ids.of(number).bytes for number in range(len(events), len(events) + _REPEATED_AT_ONCE)]
            found = self._stored(wanted)
            events += found
            if len(found) < len(wanted):
                return events

    def _stored(self, ids: Sequence[bytes]) -> list[RecordedEvent]:
        found = self._storage.events(ids)
        return [found[id] for id in ids if id in found]

    # Snapshots

    def _book_of(self, one: Any) -> SnapshotBook | None:
        if one.snapshots is None:
            return None
        book = self.snapshots.book_of(one)
        return None if book.is_off else book

    def _roll(self, book: SnapshotBook | None, where: str | Query, read: _Read) -> None:
        """After a long way from the last snapshot, whoever comes next is to have a shorter one."""
        if book is None or read.last is None:
            return
        at = read.at if isinstance(where, str) else read.last.position
        if book.is_due(read.snapshot, at, read.since):
            self._put(book, where, Snapshot(read.state, at, read.last.id_bytes, time.time()))

    def _keep(self, one: Any, where: str | Query, read: _Read, state: Any, append: Append, appended: Appended) -> None:
        """After an append, if it has made a snapshot due that was not due before it."""
        book = self._book_of(one)
        events = append.parts[0].events
        if book is None or appended.is_repeat or not isinstance(where, str):  # a query's own events are found when it is read
            return
        since = read.since + len(events)
        if book.is_due(read.snapshot, appended.version or 0, since) and not book.is_due(read.snapshot, read.at, read.since):
            self._put(book, where, Snapshot(state, appended.version or 0, events[-1].id_bytes, time.time()))

    def _put(self, book: SnapshotBook, where: str | Query, snapshot: Snapshot) -> None:
        text = book.text(snapshot)  # here and now: the state is the caller's, and may be changed by it
        if text is not None:
            self.snapshots.put(book, key_of(where), text)

    # Events

    def _check_known(self, one: Any) -> None:
        for kind in one.events:
            if self._types is None or kind not in self._types:
                raise _unknown(kind)

    def _event_of(self, value: Any, number: int, ids: "_Ids | None", metadata: Mapping[str, Any] | None) -> Event:
        more = dict(metadata) if metadata else {}
        if ids is not None:
            more["command_id"] = str(ids.command_id)
        id = None if ids is None else ids.of(number)
        if not isinstance(value, Event):
            definition = definition_on(type(value))
            if definition is not None and (self._types is None or definition.name not in self._types):
                raise _unknown(type(value))
            return Event.of(value, more, id=id)
        if not more and id is None:
            return value
        return Event(
            value.type, None, {**value.metadata, **more}, value.tags, value.id if id is None else id, data_json=value.data_json
        )


def _check_call(where: str | Query, stream: str | None, metadata: object, attempts: int) -> None:
    if stream is not None:
        if isinstance(where, str):
            raise InvalidInput("stream", stream, "the target names the stream already")
        check_stream(stream)
    if metadata is not None and not isinstance(metadata, Mapping):
        raise InvalidType("metadata", metadata, "expected a JSON object (dict)")
    if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
        raise InvalidInput("attempts", attempts, "expected a whole number from 1")


def _unknown(kind: type) -> InvalidInput:
    name = definition_on(kind).name
    return InvalidInput(
        "types", name, f"the store does not know {kind.__name__}, and would give it back as plain data; open it with types=[…]"
    )


class _Ids:
    """The ids of a command's events: the same each time it is sent."""

    def __init__(self, command_id: UUID, decider: str, target: str | Query, stream: str | None) -> None:
        self.command_id = command_id
        self._name = "\n".join([decider, text_of(target), *([] if stream is None else [stream])])

    def of(self, number: int) -> UUID:
        return uuid5(self.command_id, f"{self._name}\n{number}")


def checked(decider: Any, target: Target) -> tuple[Any, str | Query]:
    """The decider (a Decider or Views), and where its events are."""
    if isinstance(target, Mapping):
        views = Views(decider, target)
        return views, views.query
    if isinstance(decider, type) and issubclass(decider, Aggregate):
        decider = decider.decider()
    if not isinstance(decider, Decider):
        raise InvalidType("decider", decider, "expected a Decider, an Aggregate class, or (where the target is views) a function")
    if isinstance(target, Query):
        return decider, target
    return decider, check_stream(target)


def _conditioned(where: str | Query, read: _Read, stream: str | None, events: list[Event]) -> Append:
    if isinstance(where, str):
        return append_of((StreamAppend(where, events, read.at),), None)
    return append_of((StreamAppend(stream, events),), AppendCondition(where, read.at))


def _expected(read: _Read, append: Append) -> Appended:
    """Where the events would stand if nothing else came."""
    (part,) = append.parts
    count = len(part.events)
    position = (read.at if read.last is None else max(read.at, read.last.position)) + 1
    version = None if part.stream is None else read.at + count
    versions = {} if part.stream is None or version is None else {part.stream: version}
    return Appended(position, position + count - 1, version, versions, now_us())


def _guarded(name: str, function: Callable[..., _ResultT], *arguments: Any) -> _ResultT:
    """Call what calls a user's function: no generator and no future can carry a StopIteration."""
    try:
        return function(*arguments)
    except StopIteration as error:
        raise RuntimeError(f"{name}: one of its functions raised StopIteration") from error


def _place_of(events: Sequence[RecordedEvent]) -> Appended:
    first, last = events[0], events[-1]
    versions = {} if last.stream is None or last.version is None else {last.stream: last.version}
    return Appended(first.position, last.position, last.version, versions, last.timestamp_us, is_repeat=True)


def _paged(
    fetch: Callable[[int], list[RecordedEvent]], after: int, place_of: Callable[[RecordedEvent], int]
) -> Iterable[list[RecordedEvent]]:
    while page := fetch(after):
        yield page
        if len(page) < PAGE_EVENTS_MAX:
            return
        after = place_of(page[-1])


def driven(steps: Generator[Step, Any, _ResultT], append: Callable[[Append], Appended]) -> _ResultT:
    """Do the steps in this thread."""

    def do(step: Step) -> Any:
        if isinstance(step, float):
            time.sleep(step)
            return None
        return append(step) if isinstance(step, Append) else step()

    try:
        step = next(steps)
        while True:
            try:
                result = do(step)
            except Exception as error:
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as done:
        value: _ResultT = done.value
        return value
