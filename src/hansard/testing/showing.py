"""How failed scenarios are told: what was given, what was done, and the difference, line by line."""

import difflib
import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

from hansard.deciders.aggregates import held_by
from hansard.events import Event, RecordedEvent


class Fact(NamedTuple):
    """What two events are compared by: where one says nothing of the stream, any stream will do."""

    stream: str | None
    type: str
    data: Any
    text: str


def fact_of(event: Any, stream: str | None = None) -> Fact:
    """Of an Event, a recorded event, or a typed value."""
    if isinstance(event, RecordedEvent):
        return Fact(event.stream, event.type, event.data, event_text(event))
    made = event if isinstance(event, Event) else Event.of(event)
    return Fact(stream, made.type, made.data, event_text(event))


def event_text(event: Any) -> str:
    """As scenarios tell it, whether it can be stored or not."""
    if isinstance(event, RecordedEvent):
        return repr(event.value) if event.is_typed else _text(event.type, event.data)
    return _text(event.type, event.data) if isinstance(event, Event) else repr(event)


def _text(type: str, data: Any) -> str:
    return f"{type} {data!r}" if data is not None else type


def difference(wanted: Sequence[Fact], happened: Sequence[Fact]) -> str | None:
    """None where they agree."""
    if len(wanted) == len(happened) and all(_agree(*pair) for pair in zip(wanted, happened, strict=True)):
        return None
    shows_stream = any(one.stream is not None for one in wanted)
    before, after = ([_line(one, shows_stream) for one in facts] or ["nothing"] for facts in (wanted, happened))
    return "\n".join(line.rstrip("\n") for line in difflib.ndiff(before, after) if not line.startswith("?"))


def _agree(wanted: Fact, happened: Fact) -> bool:
    return (wanted.type, wanted.data) == (happened.type, happened.data) and wanted.stream in (None, happened.stream)


def _line(one: Fact, shows_stream: bool) -> str:
    return f"{one.stream}: {one.text}" if shows_stream else one.text


def story(given: Iterable[str], when: str | None, verdict: str) -> str:
    """The whole scenario, as people read it."""
    lines = ["", "given", *(f"  {line}" for line in given)]
    if lines[-1] == "given":
        lines.append("  nothing")
    if when is not None:
        lines += ["when", f"  {when}"]
    return "\n".join([*lines, verdict])


def indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def is_same_state(one: Any, other: Any) -> bool:
    """Equal; objects of a class that does not say what equal is, by what they hold."""
    return _is_same(one, other, set())


def _is_same(one: Any, other: Any, seen: set[tuple[int, int]]) -> bool:
    if type(one) is not type(other) or one is other:
        return bool(one == other)
    if (id(one), id(other)) in seen:  # they lead back to themselves, both of them
        return True
    seen.add((id(one), id(other)))
    if _is_plain_object(one, "__eq__"):
        one, other = held_by(one), held_by(other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_is_same(value, other[name], seen) for name, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(_is_same(*pair, seen) for pair in zip(one, other, strict=True))
    return bool(one == other)


def state_text(state: Any) -> str:
    """As it says of itself, or by what it holds."""
    return _state_text(state, ())


def _state_text(state: Any, within: tuple[int, ...]) -> str:
    if id(state) in within:
        return "…"
    inside = (*within, id(state))
    if _is_plain_object(state, "__repr__"):
        fields = (f"{name}={_state_text(value, inside)}" for name, value in held_by(state).items())
        return f"{type(state).__name__}({', '.join(fields)})"
    if type(state) is list:
        return f"[{', '.join(_state_text(item, inside) for item in state)}]"
    if type(state) is dict:
        return f"{{{', '.join(f'{key!r}: {_state_text(value, inside)}' for key, value in state.items())}}}"
    return repr(state)


def _is_plain_object(state: Any, method: str) -> bool:
    """Whether its class does not say for itself what this method does."""
    return getattr(type(state), method) is getattr(object, method) and hasattr(state, "__dict__")


def command_text(command: Any) -> str:
    """A command as it says of itself; one that is a function by its name or place, and what it was made with."""
    if not isinstance(command, FunctionType):
        return repr(command)
    code = command.__code__
    text = (
        code.co_name if code.co_name != "<lambda>" else f"the lambda of {Path(code.co_filename).name}, line {code.co_firstlineno}"
    )
    try:
        held = inspect.getclosurevars(command).nonlocals
    except ValueError:  # one of them is not set yet
        held = {}
    return f"{text}, with {', '.join(f'{name}={value!r}' for name, value in held.items())}" if held else text
