"""Which version of ours comes next, when an originator's version is to be recorded. Reads the store where it must.

The library lets an originator's numbering begin anywhere and leave gaps; our versions are 1, 2, 3 …. Both rise together: so the
version of ours to expect is that of the last event, and the originator's version must be beyond that event's.
"""

import threading
from collections.abc import Iterable
from itertools import groupby
from typing import Any, Final, NamedTuple
from uuid import UUID

from hansard.appends import StreamAppend
from hansard.errors import WrongExpectedVersion
from hansard.events import Event, RecordedEvent
from hansard.interchange.eventsourcing_store.layout import event_of, originator_metadata, originator_version_of
from hansard.store import Store

_KNOWN_MAX: Final = 10_000
"""Streams whose last event is remembered; one that is forgotten costs an append that fails, and a look-up."""


class Place(NamedTuple):
    """One event of a stream: its version, and what the library calls its version."""

    version: int
    originator_version: int


NOWHERE: Final = Place(0, -1)
"""Before the first event."""


class NewEvent(NamedTuple):
    """What is to be recorded. `metadata` comes in addition to what the numbering needs."""

    stream: str
    originator_id: UUID | str
    originator_version: int
    topic: str
    state: bytes
    metadata: dict[str, Any] | None = None
    id: UUID | None = None

    def event(self, version: int) -> Event:
        metadata = originator_metadata(self.originator_id, self.originator_version, version)
        return event_of(self.topic, self.state, metadata={**metadata, **(self.metadata or {})} or None, id=self.id)


class Plan(NamedTuple):
    """What to append, and where each stream then ends."""

    parts: list[StreamAppend]
    ends: dict[str, Place]


class Numbering:
    """Remembers events that were seen. Whether one is the last of its stream, the append finds out: it expects that version.

    If it fails, `look_up` the streams of the plan, and plan again.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, Place] = {}
        self._lock = threading.Lock()

    def plan(self, events: Iterable[NewEvent]) -> Plan:
        """Raises WrongExpectedVersion, with the originator's versions, for one that is recorded already or lies behind."""
        parts: list[StreamAppend] = []
        ends: dict[str, Place] = {}
        for stream, run in groupby(events, key=lambda event: event.stream):
            begin = place = ends.get(stream) or self.known(stream)
            made: list[Event] = []
            for event in run:
                if event.originator_version <= place.originator_version:
                    raise WrongExpectedVersion(stream, event.originator_version - 1, place.originator_version)
                place = Place(place.version + 1, event.originator_version)
                made.append(event.event(place.version))
            parts.append(StreamAppend(stream, made, begin.version))
            ends[stream] = place
        return Plan(parts, ends)

    def known(self, stream: str) -> Place:
        """The last event of a stream that was seen."""
        return self._known.get(stream, NOWHERE)

    def look_up(self, *streams: str) -> None:
        """Their last events."""
        for stream in streams:
            for last in self._store.read_stream(stream, backwards=True, limit=1):
                self.note(last)

    def note(self, event: RecordedEvent) -> None:
        """Remember an event that was read."""
        assert event.stream is not None
        assert event.version is not None
        self.saw({event.stream: Place(event.version, originator_version_of(event))})

    def saw(self, places: dict[str, Place]) -> None:
        with self._lock:
            for stream, place in places.items():
                if place > self._known.get(stream, NOWHERE):
                    self._known[stream] = place
            while len(self._known) > _KNOWN_MAX:
                del self._known[next(iter(self._known))]
