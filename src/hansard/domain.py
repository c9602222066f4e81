"""The user's own code, as the command line and the server's page get it: event types, deciders, projections, processors."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from hansard.deciders.aggregates import Aggregate
from hansard.deciders.definition import Decider
from hansard.errors import InvalidInput
from hansard.event_types.registry import EventTypes
from hansard.names import definition_on
from hansard.projections.definition import Projection


class Domain(NamedTuple):
    """What of it says what events mean. `types`: None where there are none."""

    types: EventTypes | None = None
    deciders: Mapping[str, Decider[Any, Any, Any]] = {}
    projections: Mapping[str, Projection] = {}


NO_DOMAIN = Domain()


def domain_of(parts: Iterable[object]) -> Domain:
    """From an EventTypes, classes of events, deciders, Aggregate classes and projections; the rest is left out."""
    parts = list(parts)
    deciders = [one.decider() if _is_aggregate(one) else one for one in parts if is_model(one)]  # type: ignore[attr-defined]
    return Domain(
        _types_of(parts),
        {one.name: one for one in deciders if isinstance(one, Decider)},
        {one.name: one for one in parts if isinstance(one, Projection)},
    )


def is_model(one: object) -> bool:
    """Whether it says what events and decisions are, and is not run."""
    return isinstance(one, EventTypes | Decider) or definition_on(one) is not None or _is_aggregate(one)


def _is_aggregate(one: object) -> bool:
    return isinstance(one, type) and issubclass(one, Aggregate)


def _types_of(parts: list[object]) -> EventTypes | None:
    found: EventTypes | None = None
    for one in parts:
        if isinstance(one, EventTypes):
            if found is not None and found is not one:
                raise InvalidInput("app", one, "expected one EventTypes; a store has one registry")
            found = one
    classes: list[Any] = [one for one in parts if definition_on(one) is not None]
    classes += [kind for one in parts if isinstance(one, Decider) for kind in one.events]
    if not classes:
        return found
    found = found or EventTypes()
    for kind in classes:
        found.add(kind)
    return found
