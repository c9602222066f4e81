"""What is appended at once, and the place it got. Pure values."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec

from hansard.errors import InvalidInput, InvalidType
from hansard.events import Event, RecordedEvent, tags_text
from hansard.limits import APPEND_BYTES_MAX, EVENTS_PER_APPEND_MAX, TIMESTAMP_US_MAX, UUID_BYTES
from hansard.names import definition_on
from hansard.query import AppendCondition
from hansard.streams import ANY, ExpectedVersion, check_bound, check_expected, check_stream

_force = msgspec.structs.force_setattr


class StreamAppend(msgspec.Struct, frozen=True):
    """Events for one stream, or for none (`stream=None`), and the version that the stream must have before them."""

    stream: str | None
    events: Sequence[Any]
    """Event, or values of classes that `hansard.event` has marked; made into Event."""
    expected_version: int | ExpectedVersion = ANY

    def __post_init__(self) -> None:
        if self.stream is not None:
            _force(self, "stream", check_stream(self.stream))
        _force(self, "events", _checked_events(self.events))
        if self.expected_version is not ANY:
            check_expected(self.expected_version)
            if self.stream is None:
                raise InvalidInput("expected_version", self.expected_version, "events without a stream have no version")


def _checked_events(events: object) -> tuple[Event, ...]:
    given = tuple(events) if isinstance(events, list | tuple) else _from_iterable(events)
    if not given:
        raise InvalidInput("events", given, "expected at least 1 event")
    for event in given:
        if not isinstance(event, Event):
            return tuple([event if isinstance(event, Event) else _of_value(event) for event in given])
    return given


def _of_value(value: object) -> Event:
    if definition_on(type(value)) is None:
        raise InvalidType("events", value, "expected Event, or a value whose class is marked by @hansard.event(name)")
    return Event.of(value)


def _from_iterable(events: object) -> tuple[Any, ...]:
    if isinstance(events, Event) or definition_on(type(events)) is not None:
        return (events,)
    if not isinstance(events, Iterable) or isinstance(events, str | bytes | Mapping):
        raise InvalidType("events", events, "expected a list of Event")
    return tuple(events)


class Append(msgspec.Struct, frozen=True):
    """One append as engines get it: all of it is stored, or nothing.

    Parts are applied in the order given; a stream may come again, and its later part finds it as the earlier left it.
    `timestamps_us` is for copies of a log that keep their times: one per event, in order; None: now.
    """

    parts: tuple[StreamAppend, ...]
    condition: AppendCondition | None = None
    timestamps_us: Sequence[int] | None = None

    @property
    def events(self) -> Iterator[Event]:
        """All events, in the order in which they get their positions."""
        return (event for part in self.parts for event in part.events)


def check_append(append: Append) -> Append:
    """The append as given, within the limits of one transaction."""
    if len(append.parts) == 1 and len(append.parts[0].events) == 1 and append.timestamps_us is None:
        return append  # one event keeps its own limits
    if not append.parts:
        raise InvalidInput("appends", append.parts, "expected at least 1 StreamAppend")
    count = sum([len(part.events) for part in append.parts])
    if count > EVENTS_PER_APPEND_MAX:
        raise InvalidInput("events", count, f"expected at most {EVENTS_PER_APPEND_MAX} events in one append")
    size = sum([len(event.data_json) + len(event.metadata_json) for part in append.parts for event in part.events])
    if size > APPEND_BYTES_MAX:
        raise InvalidInput("events", size, f"expected at most {APPEND_BYTES_MAX} bytes of data in one append")
    if append.timestamps_us is not None and len(append.timestamps_us) != count:
        raise InvalidInput("timestamps_us", len(append.timestamps_us), f"expected one for each of {count} events")
    return append


def append_of(parts: tuple[StreamAppend, ...], condition: AppendCondition | None) -> Append:
    """What the caller gave, checked."""
    if condition is not None and not isinstance(condition, AppendCondition):
        raise InvalidType("condition", condition, "expected an AppendCondition")
    return check_append(Append(parts, condition))


def checked_parts(appends: Iterable[StreamAppend]) -> tuple[StreamAppend, ...]:
    if isinstance(appends, StreamAppend) or not isinstance(appends, Iterable):
        raise InvalidType("appends", appends, "expected a list of StreamAppend")
    parts = tuple(appends)
    for part in parts:
        if not isinstance(part, StreamAppend):
            raise InvalidType("appends", part, "expected StreamAppend")
    return parts


class Appended(msgspec.Struct, frozen=True, eq=False):
    """The place that an append got.

    `version` is the new version of the stream (None if the append was to no stream, or to several);
    `versions` gives it for each stream. `is_repeat` says that the same append had been stored before,
    and that this is its place; two results for the same place are equal.
    """

    first_position: int
    last_position: int
    version: int | None
    versions: dict[str, int]
    timestamp_us: int
    is_repeat: bool = False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Appended):
            return NotImplemented
        return (self.first_position, self.last_position, self.versions) == (
            other.first_position,
            other.last_position,
            other.versions,
        )

    def __hash__(self) -> int:
        return hash((self.first_position, self.last_position))


def restored(events: Iterable[RecordedEvent], condition: AppendCondition | None = None) -> Append:
    """The append that stores recorded events of another log again: same ids, order, timestamps and JSON text."""
    given = tuple(events)
    for event in given:
        if not isinstance(event, RecordedEvent):
            raise InvalidType("events", event, "expected RecordedEvent")
    runs = groupby(given, key=lambda event: event.stream)
    parts = tuple(StreamAppend(stream, [_as_event(event) for event in run]) for stream, run in runs)
    times = [_checked_time(event.timestamp_us) for event in given]
    return check_append(Append(parts, condition, timestamps_us=times))


def _checked_time(timestamp_us: int) -> int:
    if check_bound("timestamp_us", timestamp_us) > TIMESTAMP_US_MAX:
        raise InvalidInput("timestamp_us", timestamp_us, f"expected at most {TIMESTAMP_US_MAX}, the end of the year 9999")
    return timestamp_us


def _as_event(event: RecordedEvent) -> Event:
    if not isinstance(event.id_bytes, bytes) or len(event.id_bytes) != UUID_BYTES:
        raise InvalidInput("id_bytes", event.id_bytes, f"expected {UUID_BYTES} bytes")
    return Event(event.type, None, None, event.tags, event.id, data_json=event.data_json, metadata_json=event.metadata_json)


def recorded_events(append: Append, appended: Appended) -> list[RecordedEvent]:
    """The events of a first append as they now stand in the log. Not for a repetition, whose times only the log knows."""
    versions: dict[str, int] = dict(appended.versions)
    for part in append.parts:
        if part.stream is not None:
            versions[part.stream] -= len(part.events)
    recorded: list[RecordedEvent] = []
    for part in append.parts:
        for event in part.events:
            if part.stream is not None:
                versions[part.stream] += 1
            recorded.append(
                RecordedEvent(
                    appended.first_position + len(recorded),
                    part.stream,
                    None if part.stream is None else versions[part.stream],
                    event.type,
                    appended.timestamp_us if append.timestamps_us is None else append.timestamps_us[len(recorded)],
                    event.id_bytes,
                    tags_text(event.tags) if event.tags else None,
                    event.metadata_json,
                    event.data_json,
                )
            )
    return recorded
