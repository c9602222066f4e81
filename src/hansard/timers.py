"""Durable timers: "store this event at that time, unless something has happened". Kept beside the log; survive restarts.

A timer does one thing: it appends an event, in the transaction that deletes the timer, so that it fires once, whoever fires
it. What is to be done then is up to whoever reacts to the event.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from hansard.appends import StreamAppend, append_of, recorded_events
from hansard.errors import Conflict, InlineFailed, InvalidInput, InvalidType
from hansard.events import Event, RecordedEvent
from hansard.limits import PAGE_DOCUMENTS_MAX, TIMESTAMP_US_MAX
from hansard.names import check_name
from hansard.processors.documents import decoded, encoded, query_document, query_of_document
from hansard.query import Query, check_query
from hansard.reading import is_any
from hansard.storage.clock import now_us
from hansard.storage.port import Storage, StorageTransaction
from hansard.streams import check_stream

_BY_TIME, _BY_NAME = "timer", "timer-name"
_FIRED_AT_ONCE = 100
_TRIED_AGAIN_US = 60_000_000


class Timer(msgspec.Struct, frozen=True):
    """ "Append `event` to `stream` at `due`, unless an event that matches `unless` is stored before." `name` is its handle.

    - `due`: an aware datetime, or a timedelta from now (in a process manager: from the event that it answers).
    """

    name: str
    due: datetime | timedelta
    stream: str | None
    event: Any
    """Event, or a value of a class that `hansard.event` has marked; made into Event."""
    unless: Query | None = None

    def __post_init__(self) -> None:
        check_name("name", self.name)
        if self.stream is not None:
            check_stream(self.stream)
        if not isinstance(self.event, Event):
            msgspec.structs.force_setattr(self, "event", Event.of(self.event))
        if self.unless is not None:
            check_query("unless", self.unless)
        if not isinstance(self.due, datetime | timedelta):
            raise InvalidType("due", self.due, "expected a datetime or a timedelta")
        if isinstance(self.due, datetime) and self.due.tzinfo is None:
            raise InvalidInput("due", self.due, "expected a datetime with a time zone")

    def due_us(self, from_us: int) -> int:
        """When it fires, in microseconds since 1970 UTC; `from_us`: what a timedelta counts from."""
        due_us = from_us + _us(self.due) if isinstance(self.due, timedelta) else _us(self.due - datetime(1970, 1, 1, tzinfo=UTC))
        if not 0 <= due_us <= TIMESTAMP_US_MAX:
            raise InvalidInput("due", self.due, "expected a time from 1970 to 9999")
        return due_us


class CancelTimer(msgspec.Struct, frozen=True):
    """Forget the timer of a name, if there is one."""

    name: str


class TimerInfo(msgspec.Struct, frozen=True):
    """A timer that waits. One whose event was refused (`error`) is tried again, after a minute more each time."""

    name: str
    due_us: int
    stream: str | None
    type: str
    set_after: int
    event: dict[str, Any]
    unless: list[dict[str, Any]] | None
    attempts: int = 0
    error: str | None = None

    @property
    def due(self) -> datetime:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self.due_us)


def _us(delta: timedelta) -> int:
    return delta // timedelta(microseconds=1)


def set_in(transaction: StorageTransaction, timer: Timer, from_us: int) -> None:
    """Set a timer, instead of one of the same name that waits."""
    cancel_in(transaction, timer.name)
    info = TimerInfo(
        timer.name,
        timer.due_us(from_us),
        timer.stream,
        timer.event.type,
        transaction.head(),
        _event_document(timer.event),
        None if timer.unless is None else query_document(timer.unless),
    )
    _put(transaction, info)


def cancel_in(transaction: StorageTransaction, name: str) -> bool:
    """Whether there was one."""
    key = transaction.get(_BY_NAME, [name]).get(name)
    if key is not None:
        _delete(transaction, key.decode(), name)
    return key is not None


def fire_due(transaction: StorageTransaction, time_us: int) -> tuple[list[RecordedEvent], float | None]:
    """Fire the timers that are due. Returns what was stored, and the seconds to the next one (0: at once; None: none)."""
    stored: list[RecordedEvent] = []
    for key, text in transaction.scan(_BY_TIME, limit=_FIRED_AT_ONCE):
        info = decoded(text, TimerInfo)
        if info.due_us > time_us:
            break
        _delete(transaction, key, info.name)
        if not _is_obsolete(transaction, info):
            stored += _fired(transaction, info, time_us)
    return stored, next_due_s(transaction, time_us)


def _fired(transaction: StorageTransaction, info: TimerInfo, time_us: int) -> list[RecordedEvent]:
    """Store the event; one that is refused stays a timer, so that no other timer waits for it."""
    append = append_of((StreamAppend(info.stream, (_event_of(info.event),)),), None)
    try:
        appended = transaction.append(append)
    except (Conflict, InlineFailed) as error:
        attempts = info.attempts + 1
        due_us = min(time_us + attempts * _TRIED_AGAIN_US, TIMESTAMP_US_MAX)
        _put(transaction, msgspec.structs.replace(info, due_us=due_us, attempts=attempts, error=str(error)))
        return []
    return [] if appended.is_repeat else recorded_events(append, appended)


def _put(transaction: StorageTransaction, info: TimerInfo) -> None:
    key = f"{info.due_us:020d}/{info.name}"
    transaction.put(_BY_TIME, {key: encoded(info)})
    transaction.put(_BY_NAME, {info.name: key.encode()})


def _delete(transaction: StorageTransaction, key: str, name: str) -> None:
    transaction.put(_BY_TIME, {key: None})
    transaction.put(_BY_NAME, {name: None})


def next_due_s(source: Storage | StorageTransaction, time_us: int) -> float | None:
    """Seconds to the next timer; None if there is none."""
    first = source.scan(_BY_TIME, limit=1)
    return max(0.0, (decoded(first[0][1], TimerInfo).due_us - time_us) / 1e6) if first else None


def _is_obsolete(transaction: StorageTransaction, info: TimerInfo) -> bool:
    if info.unless is None:
        return False
    query = query_of_document(info.unless)
    return is_any(transaction, query, after=info.set_after, before=None)


def _event_document(event: Event) -> dict[str, Any]:
    return {
        "type": event.type,
        "data": event.data_json.decode(),
        "metadata": event.metadata_json.decode(),
        "tags": sorted(event.tags),
        "id": str(Event(event.type).id),  # one of its own: the same event may be given to many timers
    }


def _event_of(document: dict[str, Any]) -> Event:
    return Event(
        document["type"],
        tags=document["tags"],
        id=document["id"],
        data_json=document["data"].encode(),
        metadata_json=document["metadata"].encode(),
    )


class Timers:
    """`store.timers`: set, cancel and list timers. Whoever runs `Timers` (or a process manager) fires them."""

    def __init__(self, storage: Storage, clock_us: Callable[[], int] = now_us) -> None:
        self._storage = storage
        self._clock_us = clock_us

    def set(self, timer: Timer) -> None:
        """Set it; one of the same name that still waits is replaced."""
        if not isinstance(timer, Timer):
            raise InvalidType("timer", timer, "expected a Timer")
        timer.due_us(self._clock_us())
        self._storage.transact(lambda transaction: set_in(transaction, timer, self._clock_us()))

    def cancel(self, name: str) -> bool:
        """Forget it. Returns whether there was one that waited."""
        check_name("name", name)
        return self._storage.transact(lambda transaction: cancel_in(transaction, name))

    def __iter__(self) -> Iterator[TimerInfo]:
        """All that wait, the next one first."""
        after = ""
        while page := self._storage.scan(_BY_TIME, after=after, limit=PAGE_DOCUMENTS_MAX):
            yield from (decoded(text, TimerInfo) for _, text in page)
            after = page[-1][0]

    def fire(self) -> int:
        """Fire those that are due, here and now. Returns how many events were stored."""
        stored = 0
        while True:
            events, next_s = self._storage.transact(lambda transaction: fire_due(transaction, self._clock_us()))
            stored += len(events)
            if next_s is None or next_s > 0:
                return stored
