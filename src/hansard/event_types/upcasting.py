"""Chains from old shapes of events to the present ones, and back for programs that are not yet upgraded.

A chain is a walk over (type, version): at each place an upcaster says what the data becomes, and where it stands then.
Pure: takes plain data, gives plain data.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import Parameter, signature
from typing import Any, NamedTuple

from hansard.errors import EventNotDecodable, InvalidInput, InvalidType
from hansard.events import RecordedEvent

Shape = tuple[str, int]
"""A type and a version of it."""

Upcaster = Callable[..., Any]


class Step(NamedTuple):
    """What an upcaster does with one shape."""

    function: Upcaster
    to: tuple[Shape, ...]
    """Every shape that it may lead to; none: events of this shape are dropped."""
    is_choice: bool
    """Whether the function says itself which of them its data has."""
    takes_event: bool


class Chains:
    """All upcasters of a store."""

    def __init__(self) -> None:
        self._steps: dict[Shape, Step] = {}

    def __bool__(self) -> bool:
        return bool(self._steps)

    def add(self, shape: Shape, to: Sequence[Shape], function: Upcaster, *, is_choice: bool) -> None:
        if shape in self._steps:
            raise InvalidInput("upcaster", shape, "there is one for this type and version already")
        if not callable(function):
            raise InvalidType("upcaster", function, "expected a function of the data, or of the data and the event")
        self._steps[shape] = Step(function, tuple(to), is_choice, _takes_event(function))
        if any(self._leads(target, shape) for target in to):
            del self._steps[shape]
            raise InvalidInput("upcaster", shape, f"its chain would come back to it, by way of {', '.join(map(_named, to))}")

    def has(self, type: str, version: int) -> bool:
        """Whether events of this shape are to be upcast."""
        return (type, version) in self._steps

    def _leads(self, start: Shape, goal: Shape) -> bool:
        """Whether a chain from one shape comes by another."""
        return start == goal or any(self._leads(to, goal) for step in self._of(start) for to in step.to)

    def _of(self, shape: Shape) -> list[Step]:
        step = self._steps.get(shape)
        return [] if step is None else [step]

    @property
    def shapes(self) -> Iterable[Shape]:
        """Those that have an upcaster."""
        return self._steps.keys()

    def next(self, shape: Shape) -> tuple[Shape, ...]:
        """The shapes that its upcaster may lead to."""
        return self._steps[shape].to

    def function(self, shape: Shape) -> Upcaster:
        return self._steps[shape].function

    def ends(self, shape: Shape) -> set[Shape]:
        """The shapes that its chain may end at."""
        step = self._steps.get(shape)
        if step is None:
            return {shape}
        return {end for to in step.to for end in self.ends(to)}

    def types_on_the_way_to(self, type: str) -> set[str]:
        """The types under which events may be stored that are of this type now; itself included."""
        return {type, *(start for start, version in self._steps if any(end == type for end, _ in self.ends((start, version))))}

    def walk(self, shape: Shape, data: Any, event: RecordedEvent) -> list[tuple[Shape, Any]]:
        """The present shapes and data, in order. Raises EventNotDecodable, with what an upcaster has raised as its cause."""
        step = self._steps.get(shape)
        if step is None:
            return [(shape, data)]
        try:
            result = step.function(data, event) if step.takes_event else step.function(data)
            became = _pairs(result, step) if step.is_choice else [(to, result) for to in step.to]
        except Exception as error:
            raise EventNotDecodable(*shape, event.position, f"its upcaster raised {type(error).__name__}: {error}") from error
        return [found for to, one in became for found in self.walk(to, one, event)]


def _pairs(result: Any, step: Step) -> list[tuple[Shape, Any]]:
    """What a choosing upcaster has returned: data by type."""
    if isinstance(result, Mapping) or not isinstance(result, Iterable):
        raise TypeError(f"expected a list of (type, data), not {result!r}")
    versions = dict(step.to)
    pairs = [(name, data) for name, data in result]
    for name, _ in pairs:
        if name not in versions:
            raise ValueError(f"{name!r} is not among the types that it was registered for: {', '.join(versions)}")
    return [((name, versions[name]), data) for name, data in pairs]


def _takes_event(function: Upcaster) -> bool:
    try:
        parameters = signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    places = [p for p in parameters if p.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)]
    return len([p for p in places if p.default is Parameter.empty]) >= 2


def _named(shape: Shape) -> str:
    return f"{shape[0]!r} version {shape[1]}"
