"""The library's DCB recorder: its query items and append conditions are ours, within a stream of the application's own.

The stream gives its decisions a category, so that its queries see no other events of the log.
"""

from collections.abc import Iterator, Sequence

from eventsourcing.dcb.api import (
    DCBAppendCondition,
    DCBEvent,
    DCBQuery,
    DCBReadResponse,
    DCBRecorder,
    DCBSequencedEvent,
    DCBSubscription,
)
from eventsourcing.persistence import ProgrammingError

from hansard.events import Event, RecordedEvent
from hansard.interchange.eventsourcing_store.layout import (
    decisions_category,
    decisions_stream,
    event_of,
    state_of,
    tags_metadata,
    tags_of,
)
from hansard.interop.eventsourcing.errors import THEIR_ERRORS
from hansard.interop.eventsourcing.opening import HansardRecorder, OpenPlace
from hansard.query import AppendCondition, Query, QueryItem


class HansardDCBRecorder(HansardRecorder, DCBRecorder):
    """Positions are those of the log."""

    def __init__(self, place: OpenPlace, category: str) -> None:
        super().__init__(place, category)
        self._stream = decisions_stream(category)
        self._category = decisions_category(category)

    def append(self, events: Sequence[DCBEvent], condition: DCBAppendCondition | None = None) -> int:
        """Returns the position of the last one. IntegrityError if an event matches the condition."""
        if not events:
            raise ProgrammingError("expected at least 1 event")
        with THEIR_ERRORS:
            new = [_event(one) for one in events]
            return self.place.store.append(self._stream, new, condition=self._condition(condition)).last_position

    def read(self, query: DCBQuery | None = None, *, after: int | None = None, limit: int | None = None) -> "HansardReadResponse":
        with THEIR_ERRORS:
            matching = self.query(query)
            if limit is not None:
                events = list(self.place.store.read(matching, after=after or 0, limit=limit))
                return HansardReadResponse(iter(events), events[-1].position if events else None)
            # The head first: events are then looked for up to it only, so that a condition after it misses none.
            head = self.place.store.stream(self._stream).last_position
            return HansardReadResponse(self.place.store.read(matching, after=after or 0, before=head + 1), head or None)

    def subscribe(self, query: DCBQuery | None = None, *, after: int | None = None) -> "HansardDCBSubscription":
        return HansardDCBSubscription(self, query, after)

    def query(self, query: DCBQuery | None) -> Query:
        """The library's query, in the application's category. No items: every event."""
        if query is None or not query.items:
            return Query(category=self._category)
        return Query.of(*(QueryItem(frozenset(i.types), frozenset(i.tags), category=self._category) for i in query.items))

    def _condition(self, condition: DCBAppendCondition | None) -> AppendCondition | None:
        if condition is None:
            return None
        return AppendCondition(fail_if=self.query(condition.fail_if_events_match), after=condition.after or 0)


class HansardReadResponse(DCBReadResponse):
    """`head`: all matching events up to here are in the response. With a limit: the last event's position."""

    def __init__(self, events: Iterator[RecordedEvent], head: int | None) -> None:
        self._events = events
        self._head = head

    @property
    def head(self) -> int | None:
        return self._head

    def __next__(self) -> DCBSequencedEvent:
        with THEIR_ERRORS:
            return _sequenced(next(self._events))


class HansardDCBSubscription(DCBSubscription[HansardDCBRecorder]):
    """Events after a position, for ever: from this process and from others. `stop` ends it from any thread."""

    def __init__(self, recorder: HansardDCBRecorder, query: DCBQuery | None, after: int | None) -> None:
        super().__init__(recorder=recorder, query=query, after=after)
        with THEIR_ERRORS:
            self._events = recorder.place.store.subscribe(recorder.query(query), after=after or 0)

    def __next__(self) -> DCBSequencedEvent:
        with THEIR_ERRORS:
            return _sequenced(next(self._events))

    def stop(self) -> None:
        super().stop()
        self._events.close()


def _event(event: DCBEvent) -> Event:
    return event_of(event.type, event.data, tags=event.tags, metadata=tags_metadata(event.tags) or None)


def _sequenced(event: RecordedEvent) -> DCBSequencedEvent:
    return DCBSequencedEvent(DCBEvent(event.type, state_of(event.data_json), tags_of(event)), event.position)
