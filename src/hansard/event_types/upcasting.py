"""Chains from old shapes of events to the present ones.

A chain is a walk over (type, version): at each place an upcaster says what the data becomes, and where it stands then.
Pure: takes plain data, gives plain data.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from inspect import Parameter, iscoroutinefunction, signature
from typing import Any, NamedTuple

from hansard.errors import EventNotDecodable, InvalidInput, InvalidType
from hansard.events import RecordedEvent
from hansard.names import definition_on
from hansard.serialization import decode_json

Shape = tuple[str, int]
"""A type and a version of it."""

Goal = tuple[str, int | None]
"""The same; None: whatever version the type's class has when it is looked at."""

Upcaster = Callable[..., Any]


class Step(NamedTuple):
    """What an upcaster does with one shape."""

    function: Upcaster | None
    """None: the data stays."""
    to: tuple[Goal, ...]
    """Every shape that it may lead to; none: events of this shape are dropped."""
    is_choice: bool
    """Whether the function says itself which of them its data has."""
    takes_event: bool


class Became(NamedTuple):
    """What a stored event has become, or a part of it. `is_kept`: its data is as it was stored."""

    shape: Shape
    data: Any
    is_kept: bool


class Chains:
    """All upcasters of a store. `resolve` says which shape a goal is: aliases are names, and classes have versions."""

    def __init__(self, resolve: Callable[[Goal], Shape]) -> None:
        self._steps: dict[Shape, Step] = {}
        self._resolve = resolve

    def __bool__(self) -> bool:
        return bool(self._steps)

    def add(self, shape: Shape, to: Sequence[Goal], function: Upcaster | None, *, is_choice: bool) -> None:
        if shape in self._steps:
            raise InvalidInput("upcaster", shape, "there is one for this type and version already")
        if function is not None and not callable(function):
            raise InvalidType("upcaster", function, "expected a function of the data, or of the data and the event")
        if iscoroutinefunction(function):
            raise InvalidType("upcaster", function, "expected a plain function: it must be pure, so it has nothing to wait for")
        self._steps[shape] = Step(function, tuple(to), is_choice, function is not None and _takes_event(function))
        if any(self._leads(target, shape) for target in self.next(shape)):
            del self._steps[shape]
            names = ", ".join(_named(self._resolve(goal)) for goal in to)
            raise InvalidInput("upcaster", shape, f"its chain would come back to it, by way of {names}")

    def has(self, type: str, version: int) -> bool:
        """Whether events of this shape are to be upcast."""
        return (type, version) in self._steps

    def next(self, shape: Shape) -> tuple[Shape, ...]:
        """The shapes that its upcaster may lead to."""
        step = self._steps.get(shape)
        return () if step is None else tuple(self._resolve(goal) for goal in step.to)

    def function(self, shape: Shape) -> Upcaster | None:
        return self._steps[shape].function

    def _leads(self, start: Shape, goal: Shape) -> bool:
        """Whether a chain from one shape comes by another."""
        return start == goal or any(self._leads(to, goal) for to in self.next(start))

    @property
    def shapes(self) -> Iterable[Shape]:
        """Those that have an upcaster."""
        return self._steps.keys()

    def ends(self, shape: Shape) -> set[Shape]:
        """The shapes that its chain may end at."""
        if shape not in self._steps:
            return {shape}
        return {end for to in self.next(shape) for end in self.ends(to)}

    def types_on_the_way_to(self, type: str) -> set[str]:
        """The types under which events may be stored that are of this type now; itself included."""
        return {type, *(start for start, version in self._steps if any(end == type for end, _ in self.ends((start, version))))}

    def walk(self, shape: Shape, event: RecordedEvent) -> list[Became]:
        """The present shapes and data, in order. Raises EventNotDecodable, with what an upcaster has raised as its cause.

        Upcasters get data of their own, which they may change.
        """
        return list(self._walk(Became(shape, decode_json(event.data_json), True), event))

    def _walk(self, now: Became, event: RecordedEvent) -> Iterator[Became]:
        step = self._steps.get(now.shape)
        if step is None:
            yield now
            return
        try:
            became = list(self._stepped(step, now, event))
        except Exception as error:
            raise EventNotDecodable(*now.shape, event.position, f"its upcaster raised {type(error).__name__}: {error}") from error
        for one in became:
            yield from self._walk(one, event)

    def _stepped(self, step: Step, now: Became, event: RecordedEvent) -> Iterator[Became]:
        if step.function is None:
            yield from (Became(self._resolve(goal), now.data, now.is_kept) for goal in step.to)
            return
        result = step.function(now.data, event) if step.takes_event else step.function(now.data)
        if not step.is_choice:
            yield from (Became(self._resolve(goal), result, False) for goal in step.to)
            return
        goals = {goal[0]: goal for goal in step.to}
        for type, data in _pairs(result):
            definition = definition_on(type)
            name = type if definition is None else definition.name
            if name not in goals:
                raise ValueError(f"{name!r} is not among the types that it was registered for: {', '.join(goals)}")
            yield Became(self._resolve(goals[name]), data, False)


def _pairs(result: Any) -> list[tuple[str, Any]]:
    """What a choosing upcaster has returned: data by type."""
    if isinstance(result, Mapping) or not isinstance(result, Iterable):
        raise TypeError(f"expected a list of (type, data), not {result!r}")
    return [(name, data) for name, data in result]


def _takes_event(function: Upcaster) -> bool:
    try:
        parameters = signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    places = [p for p in parameters if p.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)]
    return len([p for p in places if p.default is Parameter.empty]) >= 2


def _named(shape: Shape) -> str:
    return f"{shape[0]!r} version {shape[1]}"
