"""What caused an event and what it has caused, as far as metadata says: `causation_id` and `correlation_id`.

Causes are found by their ids. Consequences are looked for among the events that follow, up to a bound.
"""

from typing import Final
from uuid import UUID

import msgspec

from hansard.events import RecordedEvent, first_of
from hansard.limits import PAGE_EVENTS_MAX
from hansard.query import Query
from hansard.storage.port import Storage

_CAUSES_MAX: Final = 20
_EVENTS_MAX: Final = 60
_LOOKED_AT_MAX: Final = 20_000


class Graph(msgspec.Struct, frozen=True):
    """Events by position; arrows from cause to consequence; how far was looked, and whether that was to the end."""

    events: list[RecordedEvent]
    arrows: list[tuple[int, int]]
    looked_to: int
    is_whole: bool


def graph_of(storage: Storage, event: RecordedEvent) -> Graph:
    known = {event.id_bytes: event, **_causes(storage, event)}
    first = min(known.values(), key=lambda one: one.position)
    looked_to, is_whole = _follow(storage, known, first.position)
    if looked_to < event.position and len(known) < _EVENTS_MAX:  # its own consequences are what is asked for
        looked_to, is_whole = _follow(storage, known, event.position)
        is_whole = False
    events = sorted(known.values(), key=lambda one: one.position)
    arrows = [
        (known[cause].position, one.position)
        for one in events
        if (cause := _id_of(one, "causation_id")) is not None and cause in known
    ]
    return Graph(events, arrows, looked_to, is_whole)


def _causes(storage: Storage, event: RecordedEvent) -> dict[bytes, RecordedEvent]:
    """The chain of causes, and the event that all of it goes back to."""
    found: dict[bytes, RecordedEvent] = {}
    wanted = [id for id in (_id_of(event, "causation_id"), _id_of(event, "correlation_id")) if id is not None]
    while wanted and len(found) < _CAUSES_MAX:
        events = {id: first_of(one) for id, one in storage.events([id for id in wanted if id not in found]).items()}
        found |= events
        wanted = [id for one in events.values() if (id := _id_of(one, "causation_id")) is not None and id not in found]
    return found


def _follow(storage: Storage, known: dict[bytes, RecordedEvent], after: int) -> tuple[int, bool]:
    """Add the consequences of what is known, and theirs; and what has the same correlation id."""
    roots = {str(UUID(bytes=id)) for id in known}
    roots |= {given for one in known.values() if (given := _correlation(one))}
    bound = after + _LOOKED_AT_MAX
    while after < bound:
        page = storage.read(Query(), after=after, before=None, backwards=False, limit=PAGE_EVENTS_MAX)
        for one in map(first_of, page):
            if one.metadata_json != b"{}" and (_correlation(one) in roots or _cause(one) in roots):
                known[one.id_bytes] = one
                roots.add(str(one.id))
                if len(known) >= _EVENTS_MAX:
                    return one.position, False
        if len(page) < PAGE_EVENTS_MAX:
            return page[-1].position if page else after, True
        after = page[-1].position
    return after, False


def _cause(event: RecordedEvent) -> str:
    given = event.metadata.get("causation_id")
    return given if isinstance(given, str) else ""


def _correlation(event: RecordedEvent) -> str:
    given = event.metadata.get("correlation_id")
    return given if isinstance(given, str) else ""


def _id_of(event: RecordedEvent, name: str) -> bytes | None:
    given = event.metadata.get(name)
    try:
        return UUID(given).bytes if isinstance(given, str) else None
    except ValueError:  # somebody else's correlation ids may be any text
        return None
