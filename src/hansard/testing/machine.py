"""Commands in any order, made up by Hypothesis, against a decider. Needs hypothesis.

What must always hold, holds; or the shortest story that breaks it is told as given, when, then.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from hansard.appends import Append, Appended, StreamAppend, recorded_events
from hansard.deciders.aggregates import Aggregate
from hansard.deciders.definition import Decider, seen
from hansard.errors import HansardError, InvalidInput, InvalidType
from hansard.event_types.registry import EventTypes
from hansard.events import Event
from hansard.names import definition_on
from hansard.testing.showing import command_text, event_text, is_same_state, state_text, story

Invariant = Callable[[Any], object]


def state_machine(
    decider: Decider[Any, Any, Any] | type[Aggregate],
    commands: Mapping[type, st.SearchStrategy[Any]] | Iterable[st.SearchStrategy[Any]] | None = None,
    *,
    invariants: Iterable[Invariant] = (),
    refusals: Iterable[type[Exception]] = (),
) -> type[RuleBasedStateMachine]:
    """A Hypothesis state machine whose rules are the decider's commands.

    - `commands`: how to make them: strategies by command type, or alone. Without it, Hypothesis makes them from the decider's
      `commands`, by their annotations.
    - `invariants`: functions of the state, which raise or return False where it cannot be.
    - `refusals`: errors by which the decider may refuse a command. Any other error is a failure.

    It also checks that every event survives JSON, and that the state folded from what would be read is the state decided on.

    Use it in a test file as `TestAccount = state_machine(account, invariants=[...]).TestCase`.
    """
    one = decider.decider() if isinstance(decider, type) and issubclass(decider, Aggregate) else decider
    if not isinstance(one, Decider):
        raise InvalidType("decider", decider, "expected a Decider or an Aggregate class")
    rules = {name: rule(command=strategy)(_doing(name)) for name, strategy in _strategies(one, commands).items()}
    facts = {"decider": one, "checks": _checked_invariants(invariants), "refusals": _checked_refusals(refusals)}
    return type(f"{one.name.title()}Machine", (_Machine,), {**facts, **rules})


def _checked_invariants(invariants: object) -> tuple[Invariant, ...]:
    if not isinstance(invariants, Iterable) or not all(map(callable, found := tuple(invariants))):
        raise InvalidType("invariants", invariants, "expected a list of functions of the state")
    return found


def _checked_refusals(refusals: object) -> tuple[type[Exception], ...]:
    found = tuple(refusals) if isinstance(refusals, Iterable) else (refusals,)
    if not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in found):
        raise InvalidType("refusals", refusals, "expected a list of exception classes")
    return found


class _Machine(RuleBasedStateMachine):
    decider: Decider[Any, Any, Any]
    checks: tuple[Invariant, ...]
    refusals: tuple[type[Exception], ...]

    def __init__(self) -> None:
        super().__init__()
        self._state = self.decider.begin()
        self._read = self.decider.begin()
        self._told: list[str] = []
        self._check(None)

    def do(self, command: Any) -> None:
        """Decide, fold, and look whether all is well."""
        try:
            events = self.decider.decided(command, self._state)
        except self.refusals:
            return
        except Exception as error:
            raise AssertionError(story(self._told, command_text(command), f"then {type(error).__name__}: {error}")) from error
        self._happened = events
        try:
            read = [_stored(event, self.decider) for event in events]
        except HansardError as error:
            raise AssertionError(self._story(command, f"but it cannot be kept: {error}")) from error
        try:
            self._state = self.decider.folded(self._state, events)
            self._read = self.decider.folded(self._read, read)
        except Exception as error:
            raise AssertionError(self._story(command, f"but evolve raised {type(error).__name__}: {error}")) from error
        self._check(command)
        self._told += [event_text(event) for event in events]

    def _check(self, command: Any) -> None:
        for invariant in self.checks:
            try:
                holds = invariant(self._state) is not False
                why = ""
            except AssertionError as error:
                holds, why = False, f": {error}" if str(error) else ""
            except Exception as error:
                holds, why = False, f": it raised {error!r}"
            if not holds:
                name = getattr(invariant, "__name__", repr(invariant))
                raise AssertionError(
                    self._story(command, f"but {name} does not hold{why}\n  the state is {state_text(self._state)}")
                )
        if not is_same_state(self._read, self._state):
            verdict = f"but the state read from the log differs\n  - {state_text(self._state)}\n  + {state_text(self._read)}"
            raise AssertionError(self._story(command, verdict))

    def _story(self, command: Any, verdict: str) -> str:
        if command is None:
            return story(self._told, None, verdict)
        happened = [f"  {event_text(event)}" for event in self._happened] or ["  nothing"]
        return story(self._told, command_text(command), "\n".join(["then", *happened, verdict]))


def _doing(name: str) -> Callable[[Any, Any], None]:
    def do(self: _Machine, command: Any) -> None:
        self.do(command)

    do.__name__ = name
    return do


def _stored(event: Any, decider: Decider[Any, Any, Any]) -> Any:
    """The event as `evolve` gets it once it was stored and read."""
    definition = definition_on(type(event))
    if definition is None:
        return event
    if decider.events and type(event) not in decider.events:
        raise InvalidInput("events", type(event).__name__, f"{decider.name} does not name it among its events")
    types = EventTypes(type(event))
    return seen(_recorded(Event.of(event), types))


def _recorded(event: Event, types: EventTypes) -> Any:
    append = Append((StreamAppend("s-1", (event,)),))
    (recorded,) = types.read(recorded_events(append, Appended(1, 1, 1, {"s-1": 1}, 0)))
    return recorded


def _strategies(
    decider: Decider[Any, Any, Any], commands: Mapping[type, st.SearchStrategy[Any]] | Iterable[st.SearchStrategy[Any]] | None
) -> dict[str, st.SearchStrategy[Any]]:
    """By the name of a rule."""
    if commands is None:
        commands = {kind: st.from_type(kind) for kind in decider.commands}
    if isinstance(commands, Mapping):
        found = dict(_named(commands))
    else:
        found = {f"when_command_{number}": strategy for number, strategy in enumerate(commands, 1)}
    if not found:
        raise InvalidInput("commands", commands, "expected at least one; give them here, or to the decider")
    return found


def _named(commands: Mapping[type, st.SearchStrategy[Any]]) -> Iterable[tuple[str, st.SearchStrategy[Any]]]:
    """Names of rules that are names of nothing else, each once."""
    seen: Counter[str] = Counter()
    for kind, strategy in commands.items():
        name = f"when_{_snake(kind.__name__)}"
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name}_{seen[name]}", strategy


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).strip("_")
