"""Given, when, then: for deciders, projections, processors and process managers, on a store in memory whose time stands still."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Self, overload

from hansard.deciders.aggregates import Aggregate
from hansard.deciders.definition import Decider, View
from hansard.deciders.execution import checked
from hansard.errors import InvalidInput, InvalidType, ProcessorStopped
from hansard.events import Event
from hansard.names import definition_on
from hansard.processors.definitions import Processor
from hansard.projections.definition import Projection
from hansard.query import Query
from hansard.store import Types
from hansard.testing.frozen import FrozenStore
from hansard.testing.showing import Fact, command_text, difference, fact_of, indented, is_same_state, state_text, story

STREAM = "test-1"
"""The stream of events that are given without one."""


@overload
def scenario(
    subject: "Decider[Any, Any, Any] | type[Aggregate]", target: str | Query | None = None, *, types: Types | None = None
) -> "DeciderScenario": ...
@overload
def scenario(
    subject: Callable[[Any, Any], Iterable[Any]], target: Mapping[str, View], *, types: Types | None = None
) -> "DeciderScenario": ...
@overload
def scenario(subject: Projection, *, types: Types | None = None) -> "ProjectionScenario": ...
@overload
def scenario(subject: Processor, *, types: Types | None = None) -> "ProcessorScenario": ...
def scenario(
    subject: Any, target: str | Query | Mapping[str, View] | None = None, *, types: Types | None = None
) -> "DeciderScenario | ProjectionScenario | ProcessorScenario":
    """Begins a scenario of a decider, an Aggregate class, a projection, a processor or a process manager.

    - `target`: of a decider, where it is not one stream: a query, or views (then `subject` is the deciding function).
    - `types`: the event classes that the store is to know; a decider's own are known already.

    >>> from hansard import Decider, Event
    >>> account = Decider("account", initial=0, evolve=lambda balance, event: balance + event.data,
    ...                   decide=lambda amount, balance: [Event("paid", amount)])
    >>> _ = scenario(account).given(Event("paid", 5)).when(7).then(Event("paid", 7)).then_state(12)
    """
    if isinstance(subject, Projection):
        return ProjectionScenario(subject, types)
    if isinstance(subject, Processor):
        return ProcessorScenario(subject, types)
    return DeciderScenario(subject, target, types)


class _Scenario:
    """What all of them share: what was given, and how it is told."""

    def __init__(self, types: Types | None, stream: str = STREAM) -> None:
        self.store = FrozenStore(types)
        self._stream = stream
        self._told: list[str] = []
        self._when: str | None = None

    def given(self, *events: Any) -> Self:
        """What has happened: Event or typed values, each after a text goes to the stream of that name.

        `given("order-1", placed, paid, "order-2", placed)`; without a text, to the stream that is decided on, or "test-1".
        """
        for stream, event in _placed(events, self._stream):
            self.store.append(stream, [event])
            self._told.append(fact_of(event).text if stream == self._stream else f"{stream}: {fact_of(event).text}")
        return self

    def _fail(self, verdict: str) -> AssertionError:
        return AssertionError(story(self._told, self._when, verdict))

    def _compare(self, wanted: Sequence[Fact], happened: Sequence[Fact]) -> None:
        found = difference(wanted, happened)
        if found is not None:
            raise self._fail(f"then (- expected, + happened)\n{indented(found)}")

    def _compare_values(self, what: str, wanted: Any, found: Any) -> None:
        if not is_same_state(wanted, found):
            raise self._fail(f"{what} (- expected, + found)\n  - {state_text(wanted)}\n  + {state_text(found)}")


class DeciderScenario(_Scenario):
    def __init__(self, subject: Any, target: str | Query | Mapping[str, View] | None, types: Types | None) -> None:
        self._target = STREAM if target is None else target
        decider, _ = checked(subject, self._target)
        super().__init__(
            types if types is not None else decider.events or None, self._target if isinstance(self._target, str) else STREAM
        )
        self._subject = subject
        self._error: Exception | None = None
        self._happened: list[Any] = []

    def when(self, command: Any) -> Self:
        """Execute a command. What it raises is kept for `then_raises`."""
        if self._when is not None:
            self._told += [f"when {self._when}", *(f"then {fact_of(event).text}" for event in self._happened)]
        self._when, self._error, self._happened = command_text(command), None, []
        try:
            self._happened = self.store.execute(self._subject, self._target, command).events
        except InvalidInput:
            raise
        except Exception as error:
            self._error = error
        return self

    def then(self, *events: Any) -> Self:
        """These events have happened, in this order, and no others: types and data are compared."""
        self._check_done()
        if self._error is not None:
            error = f"  + raised {type(self._error).__name__}: {self._error}"
            raise self._fail(
                "\n".join(["then (- expected, + happened)", *(f"  - {fact_of(event).text}" for event in events), error])
            )
        self._compare([fact_of(event) for event in events], [fact_of(event) for event in self._happened])
        return self

    def then_nothing(self) -> Self:
        """Nothing has happened, and nothing was raised."""
        return self.then()

    def then_raises(self, kind: type[Exception], match: str | None = None) -> Self:
        """The command was refused by this error, whose text matches a regular expression."""
        self._check_done()
        error = self._error
        if isinstance(error, kind) and (match is None or re.search(match, str(error))):
            return self
        wanted = kind.__name__ if match is None else f"{kind.__name__} matching {match!r}"
        if error is not None:
            found = [f"  + raised {type(error).__name__}: {error}"]
        else:
            found = [f"  + {fact_of(event).text}" for event in self._happened] or ["  + nothing"]
        raise self._fail("\n".join(["then (- expected, + happened)", f"  - raised {wanted}", *found]))

    def then_state(self, state: Any) -> Self:
        """The state is now equal to this one."""
        found = self.store.load(self._subject, self._target).state
        self._compare_values("then the state", state, found)
        return self

    def _check_done(self) -> None:
        if self._when is None:
            raise InvalidInput("when", None, "call when(command) before then")


class ProjectionScenario(_Scenario):
    def __init__(self, projection: Projection, types: Types | None) -> None:
        super().__init__(types)
        self._projection = projection

    def then_state(self, key: str, state: Any) -> Self:
        """The state of a key; None: there is none."""
        self._compare_values(f"then the state of {key!r}", state, self._states().get(key))
        return self

    def then_states(self, states: Mapping[str, Any]) -> Self:
        """All states, by key, and no others."""
        self._compare_values("then the states", dict(states), self._states())
        return self

    def _states(self) -> dict[str, Any]:
        """Folded on the way, as a running projection does it; and once more from the log, which must give the same."""
        try:
            self.store.catch_up(self._projection)
        except ProcessorStopped as error:
            raise self._fail(f"but the fold failed: {error}") from error
        states = dict(self.store.model(self._projection.name).items())
        folded = self.store.project(self._projection)
        if self._projection.into.kind != "table" and states != folded:
            raise self._fail(f"the fold depends on more than its events: it gave {states!r} on the way, {folded!r} from the log")
        return states


class ProcessorScenario(_Scenario):
    def __init__(self, processor: Processor, types: Types | None) -> None:
        super().__init__(types)
        self._processor = processor
        self._is_history_done = False
        self._from = 0

    def when(self, *events: Any) -> Self:
        """These events happen (see `given` for streams), and are handled."""
        self._begin(", ".join(fact_of(event).text for _, event in _placed(events, self._stream)))
        for stream, event in _placed(events, self._stream):
            self.store.append(stream, [event])
        self._from = self.store.head()
        self._catch_up()
        return self

    def after(self, time: timedelta) -> Self:
        """Time passes: timers that are due fire, and what they store is handled."""
        self._begin(f"{time} later")
        self._from = self.store.head()
        self.store.clock.advance(time)
        self._catch_up()
        return self

    def _catch_up(self) -> None:
        try:
            self.store.catch_up(self._processor)
        except ProcessorStopped as error:
            raise self._fail(f"but the handler failed: {error}") from error

    def _begin(self, when: str) -> None:
        if not self._is_history_done:
            self._catch_up()  # what is given has been handled before
            self._is_history_done = True
        if self._when is not None:
            self._told.append(f"when {self._when}")
        self._when = when

    def then(self, *events: Any) -> Self:
        """Since then these events were stored, in this order, and no others. A text before one names its stream."""
        if self._when is None:
            raise InvalidInput("when", None, "call when(event) or after(time) before then")
        wanted = [fact_of(event, None if stream == self._stream else stream) for stream, event in _placed(events, self._stream)]
        self._compare(wanted, [fact_of(event) for event in self.store.read(after=self._from)])
        return self

    def then_nothing(self) -> Self:
        """Nothing was stored."""
        return self.then()

    def then_timer(self, name: str, due_in: timedelta | None = None) -> Self:
        """A timer of this name waits; it is due in this time from now."""
        timers = {timer.name: timer for timer in self.store.timers}
        if name not in timers:
            raise self._fail(f"then a timer {name!r} waits\n  + there are {', '.join(map(repr, timers)) or 'none'}")
        if due_in is not None:
            self._compare_values(f"then the timer {name!r} is due in", due_in, timers[name].due - self.store.clock.now)
        return self

    def then_no_timer(self) -> Self:
        """No timer waits."""
        names = [timer.name for timer in self.store.timers]
        if names:
            raise self._fail(f"then no timer waits\n  + there are {', '.join(map(repr, names))}")
        return self


def _placed(events: Sequence[Any], stream: str) -> list[tuple[str, Any]]:
    """Each event with its stream: the text before it, or this one."""
    placed: list[tuple[str, Any]] = []
    for event in events:
        if isinstance(event, str):
            stream = event
        elif isinstance(event, Event) or definition_on(type(event)) is not None:
            placed.append((stream, event))
        else:
            raise InvalidType("events", event, "expected Event, a typed value, or the name of a stream before them")
    return placed
