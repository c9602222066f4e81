"""Looks at the log that the pages share: a position at a time, samples, a page newest first. To be called in threads.

A log of millions opens as fast as an empty one: nothing here reads more than a bounded number of events.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from hansard.errors import InvalidInput
from hansard.events import RecordedEvent, first_of, unfolded
from hansard.query import Query
from hansard.storage.port import Storage

EVERYTHING: Final = Query()
_SAMPLES: Final = 400


class EventsShown(msgspec.Struct, frozen=True):
    """One page of the log, newest first; whether there is more on either side."""

    events: list[RecordedEvent]
    has_older: bool
    has_newer: bool
    head: int


def shown(storage: Storage, query: Query, *, before: int | None, after: int | None, limit: int) -> EventsShown:
    """The newest events; or those next below `before`; or those next above `after`."""
    head = storage.head()
    if after is not None:
        found = storage.read(query, after=after, before=None, backwards=False, limit=limit + 1)
        events = list(unfolded(found[:limit][::-1]))
        return EventsShown(events, after > 0, len(found) > limit, head)
    found = storage.read(query, after=0, before=before, backwards=True, limit=limit + 1)
    return EventsShown(list(unfolded(found[:limit])), len(found) > limit, before is not None and before <= head, head)


def event_at(storage: Storage, position: int) -> RecordedEvent | None:
    found = storage.read(EVERYTHING, after=position - 1, before=position + 1, backwards=False, limit=1) if position > 0 else []
    return first_of(found[0]) if found else None


def last_of(storage: Storage, query: Query) -> RecordedEvent | None:
    """The last event of a query."""
    before = None
    while found := storage.read(query, after=0, before=before, backwards=True, limit=10):
        if (event := next(unfolded(found), None)) is not None:
            return event
        before = found[-1].position
    return None


def position_at(storage: Storage, time_us: int, *, low: int = 1, high: int | None = None) -> int:
    """The position of the first event at or after a time; one beyond the head if there is none. By halving: times ascend."""
    high = storage.head() + 1 if high is None else high
    while low < high:
        middle = (low + high) // 2
        event = event_at(storage, middle)
        if event is None or event.timestamp_us >= time_us:
            high = middle
        else:
            low = middle + 1
    return low


def time_us_of(text: str) -> int:
    """From what somebody has typed, or what a browser's field for times gives. Without a zone it is UTC."""
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InvalidInput("at", text, "expected a time such as 2026-01-31 12:00") from None
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time
    return round(time.timestamp() * 1e6)


class Bucket(msgspec.Struct, frozen=True):
    start_us: int
    count: int


def over_time(storage: Storage, start_us: int, end_us: int, count: int) -> list[Bucket]:
    """How many events each of `count` equal spans of time holds: exact, from the positions at their bounds."""
    bounds = [start_us + (end_us - start_us) * number // count for number in range(count + 1)]
    positions: list[int] = []
    for bound in bounds:
        positions.append(position_at(storage, bound, low=positions[-1] if positions else 1))
    return [Bucket(bound, after - before) for bound, before, after in zip(bounds, positions, positions[1:], strict=False)]


def sampled_types(storage: Storage) -> tuple[list[tuple[str, int]], int]:
    """Types with how often they stand among evenly spread samples, the most frequent first; and the number of samples."""
    head = storage.head()
    step = max(1, head // _SAMPLES)
    positions = range(head, max(0, head - step * _SAMPLES), -step)
    types: Counter[str] = Counter()
    for position in positions:
        if (event := event_at(storage, position)) is not None:
            types[event.type] += 1
    return types.most_common(), len(positions)


def stream_lengths(storage: Storage, streams_max: int) -> tuple[list[tuple[str, int]], int, bool]:
    """How many streams have how many events, in powers of two; how many were looked at, and whether those were all."""
    bins: Counter[int] = Counter()
    seen, after = 0, ""
    while seen < streams_max and (page := storage.streams(category=None, after=after, limit=500)):
        bins.update((stream.version).bit_length() - 1 for stream in page)
        seen, after = seen + len(page), page[-1].name
    is_all = not storage.streams(category=None, after=after, limit=1) if seen else True
    highest = max(bins, default=0)
    return [(_bin_name(power), bins[power]) for power in range(highest + 1)] if bins else [], seen, is_all


def _bin_name(power: int) -> str:
    low, high = 2**power, 2 ** (power + 1) - 1
    return str(low) if low == high else f"{low:,} to {high:,}"


def sizes(events: Sequence[RecordedEvent]) -> int:
    return sum(len(event.data_json) + len(event.metadata_json) for event in events)
