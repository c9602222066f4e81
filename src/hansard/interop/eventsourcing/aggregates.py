"""Recorders of aggregates' events: an originator is a stream, a notification's id is a position of the log."""

from collections.abc import Callable, Iterator, Sequence
from itertools import dropwhile, islice, takewhile
from typing import Any, Final
from uuid import UUID

from eventsourcing.persistence import AggregateRecorder, ApplicationRecorder, IntegrityError, Notification, StoredEvent

from hansard.appends import Append, Appended, append_of
from hansard.errors import WrongExpectedVersion
from hansard.events import RecordedEvent
from hansard.interchange.eventsourcing_store.layout import originator_id_of, originator_version_of, state_of, stream_of
from hansard.interchange.eventsourcing_store.numbering import NewEvent, Numbering
from hansard.interop.eventsourcing.errors import THEIR_ERRORS
from hansard.interop.eventsourcing.opening import HansardRecorder, OpenPlace
from hansard.interop.eventsourcing.subscriptions import HansardSubscription
from hansard.query import Query

_ATTEMPTS: Final = 10
"""Looks at streams that others append to meanwhile. Each one that fails has found the stream longer."""

_GUESSES: Final = 2
"""Looks for the place where an originator's version is, before the stream is read from its beginning."""


class HansardAggregateRecorder(HansardRecorder, AggregateRecorder):
    """Events of originators. Their versions rise; a version that is there already, or lies behind, is an IntegrityError."""

    def __init__(self, place: OpenPlace, category: str) -> None:
        super().__init__(place, category)
        self._numbering = Numbering(place.store)

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        self._insert(stored_events, self.place.storage.append)
        return None

    def _insert(self, stored_events: Sequence[StoredEvent], append: Callable[[Append], Appended]) -> Sequence[int]:
        """All of them or none, in the order given. Returns their positions."""
        if not stored_events:
            return []
        new = [
            NewEvent(stream_of(self.category, one.originator_id), one.originator_id, one.originator_version, one.topic, one.state)
            for one in stored_events
        ]
        with THEIR_ERRORS:
            appended = self._appended(new, append)
        return range(appended.first_position, appended.last_position + 1)

    def _appended(self, new: Sequence[NewEvent], append: Callable[[Append], Appended]) -> Appended:
        """What is known of a stream may be old: then the append fails, and its last event is looked up."""
        for _ in range(_ATTEMPTS):
            plan = self._numbering.plan(new)
            try:
                appended = append(append_of(tuple(plan.parts), None))
            except WrongExpectedVersion:
                self._numbering.look_up(*plan.ends)
                continue
            self._numbering.saw(plan.ends)
            return appended
        raise IntegrityError(f"others append to {', '.join(sorted(plan.ends))} all the time")

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        stream = stream_of(self.category, originator_id)
        with THEIR_ERRORS:
            found = self._backwards(stream, gt, lte, limit) if desc else self._forwards(stream, gt, lte, limit)
            events = list(islice(found, limit))
        if events:
            self._numbering.note(events[0 if desc else -1])
        return [
            StoredEvent(originator_id, originator_version_of(event), event.type, state_of(event.data_json)) for event in events
        ]

    def _backwards(self, stream: str, gt: int | None, lte: int | None, limit: int | None) -> Iterator[RecordedEvent]:
        read = self.place.store.read_stream
        if lte is None:
            found = read(stream, backwards=True, limit=limit)
        else:
            found = dropwhile(
                lambda event: originator_version_of(event) > lte,
                read(stream, before_version=_beyond(lte), backwards=True),
            )
        return found if gt is None else takewhile(lambda event: originator_version_of(event) > gt, found)

    def _forwards(self, stream: str, gt: int | None, lte: int | None, limit: int | None) -> Iterator[RecordedEvent]:
        before = None if lte is None else _beyond(lte)
        if gt is None:
            found = self.place.store.read_stream(stream, before_version=before, limit=limit)
        else:
            found = self._after(stream, gt, before, limit)
        return found if lte is None else takewhile(lambda event: originator_version_of(event) <= lte, found)

    def _after(self, stream: str, gt: int, before: int | None, limit: int | None) -> Iterator[RecordedEvent]:
        """Begins at the event that should have the version `gt`. If it has, what follows is what is wanted."""
        read = self.place.store.read_stream
        known = self._numbering.known(stream)
        shift = known.originator_version - known.version if known.version else 0
        for _ in range(_GUESSES):
            begin = gt - shift
            if begin < 1:
                break
            found = read(stream, after_version=begin - 1, before_version=before, limit=None if limit is None else limit + 1)
            first = next(found, None)
            if first is None:
                break
            if originator_version_of(first) == gt:
                return found
            shift = originator_version_of(first) - begin
        return dropwhile(lambda event: originator_version_of(event) <= gt, read(stream, before_version=before))


def _beyond(originator_version: int) -> int:
    """A version of ours beyond that of any event up to an originator's version: numbering begins at 0 or later, and rises."""
    return max(0, originator_version + 2)


class HansardApplicationRecorder(HansardAggregateRecorder, ApplicationRecorder):
    """The same, with the application's sequence: the events of its category, by position."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        return list(self._insert(stored_events, self.place.storage.append))

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        after = 0 if start is None else max(0, start - 1 if inclusive_of_start else start)
        before = None if stop is None else max(0, stop + 1)
        with THEIR_ERRORS:
            query = self.query(topics)
            return [self.notification(event) for event in self.place.store.read(query, after=after, before=before, limit=limit)]

    def max_notification_id(self) -> int | None:
        with THEIR_ERRORS:
            last = next(self.place.store.read(self.query(), backwards=True, limit=1), None)
        return None if last is None else last.position

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> HansardSubscription:
        return HansardSubscription(self, gt, topics)

    def query(self, topics: Sequence[str] = ()) -> Query:
        """The application's events, of these topics (none: of all)."""
        return Query(types=topics, category=self.category)

    def notification(self, event: RecordedEvent) -> Notification:
        return Notification(
            originator_id=originator_id_of(event, self.category),
            originator_version=originator_version_of(event),
            topic=event.type,
            state=state_of(event.data_json),
            id=event.position,
        )
