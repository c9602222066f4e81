"""Live projections: the log folded here and now; and where two definitions part."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from hansard.errors import FoldFailed
from hansard.events import RecordedEvent
from hansard.projections.definition import DELETE, Projection


def fold_all(projection: Projection, events: Iterable[RecordedEvent]) -> dict[str, Any]:
    """The states of all keys after these events, which are its query's, in order."""
    states: dict[str, Any] = {}
    for event in events:
        fold_into(projection, states, event)
    return states


def fold_into(projection: Projection, states: dict[str, Any], event: RecordedEvent) -> list[str]:
    """Fold one event. Returns the keys whose states it may have changed."""
    try:
        keys = projection.keys_of(event)
        for key in keys:
            before = states[key] if key in states else projection.before_the_first()
            new = projection.folded(before, event, key)
            if new is DELETE:
                states.pop(key, None)
            else:
                states[key] = new
    except Exception as error:
        raise FoldFailed(projection.name, event.position, f"{type(error).__name__}: {error}") from error
    return list(keys)


class Parting(NamedTuple):
    """The first event after which two versions differ, the key, and the states."""

    position: int
    key: str
    old: Any
    new: Any


def first_parting(old: Projection, new: Projection, events: Iterator[RecordedEvent]) -> Parting | None:
    """Fold the log by both, event by event; None if they never differ. Events: of the query of either."""
    old_states: dict[str, Any] = {}
    new_states: dict[str, Any] = {}
    for event in events:
        touched = fold_into(old, old_states, event) if old.events.matches(event, event.stream) else []
        touched += fold_into(new, new_states, event) if new.events.matches(event, event.stream) else []
        for key in touched:
            if old_states.get(key) != new_states.get(key):
                return Parting(event.position, key, old_states.get(key), new_states.get(key))
    return None
