"""Stored events taken through their upcasters and into their classes: whether the code can read what the store holds."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from hansard.errors import EventNotDecodable
from hansard.event_types.registry import EventTypes, schema_version_of
from hansard.events import RecordedEvent, unfolded

_FIRST, _THEN_EVERY, _FAILURES = 100, 50, 3


class Failure(NamedTuple):
    """A stored event that the code cannot read."""

    type: str
    version: int
    position: int
    id: str
    reason: str

    def __str__(self) -> str:
        return f"{self.type} version {self.version} at position {self.position} ({self.id}): {self.reason}"


class Volume(NamedTuple):
    """What a store holds of a type and version as it is stored. `is_known`: a class stands for it, or for what it becomes."""

    type: str
    version: int
    events: int
    sampled: int
    last_position: int
    last_seen: datetime
    is_known: bool


class Sampled(NamedTuple):
    volumes: list[Volume]
    failures: list[Failure]


class _Tally:
    def __init__(self) -> None:
        self.count = self.sampled = self.failed = 0
        self.last: RecordedEvent | None = None


def sampled(events: Iterable[RecordedEvent], types: EventTypes, *, reads_all: bool = False) -> Sampled:
    """Of all events of a store, as they are stored: the first of every type and version, then every fiftieth (or all)."""
    tallies: dict[tuple[str, int], _Tally] = defaultdict(_Tally)
    failures: list[Failure] = []
    for event in events:
        key = (event.type, schema_version_of(event))
        tally = tallies[key]
        tally.count += 1
        tally.last = event
        is_wanted = reads_all or tally.count <= _FIRST or tally.count % _THEN_EVERY == 0
        if is_wanted and tally.failed < _FAILURES:
            tally.sampled += 1
            try:
                for one in unfolded(types.read([event])):
                    _ = one.value
            except EventNotDecodable as error:
                tally.failed += 1
                failures.append(Failure(*key, event.position, str(event.id), error.reason))
    volumes = [_volume(*key, tally, types) for key, tally in sorted(tallies.items())]
    return Sampled(volumes, failures)


def _volume(type: str, version: int, tally: _Tally, types: EventTypes) -> Volume:
    assert tally.last is not None
    is_known = all(types.get(end) is not None for end, _ in types.chains.ends((type, version)))
    return Volume(type, version, tally.count, tally.sampled, tally.last.position, tally.last.timestamp, is_known)
