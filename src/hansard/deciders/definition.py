"""What a decider is: plain functions, and how the state that they fold is kept. Knows no storage."""

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any, Generic, NamedTuple, TypeVar

from hansard.appends import Appended
from hansard.errors import InvalidInput, InvalidType
from hansard.event_types.definition import check_event_class
from hansard.events import Event, RecordedEvent
from hansard.fingerprints import fingerprint_of
from hansard.limits import PROJECTION_NAME_CHARS_MAX
from hansard.names import check_name, definition_on
from hansard.query import Query, check_query

CommandT = TypeVar("CommandT")
StateT = TypeVar("StateT")
EventT = TypeVar("EventT")


class Snapshots(NamedTuple):
    """When a snapshot is taken: once `every` events stand after the last one, or (if given) once it is older than `after_s`
    seconds and an event stands after it."""

    every: int = 100
    after_s: float | None = None


class Decider(Generic[CommandT, StateT, EventT]):
    """How commands of one kind are decided.

    - `name`: for snapshots and the catalogue.
    - `initial`: the state before the first event, or a function that makes it.
    - `decide(command, state)` returns the events that happen (none: an empty list), or raises.
    - `evolve(state, event)` returns the state after an event. It gets the typed value where the store knows the type, the
      recorded event otherwise.
    - `events`, `commands`: the classes it works with. `execute` asks the store whether it knows the events; test kits make
      commands of these classes.
    - `snapshots`: when to keep the state beside the log; None: never. `state`: its class, where `initial` does not say it.
    - `version`: to be raised when the meaning of the state changes; snapshots of another version are dropped.

    Both functions must be pure: they may be called several times for one command.

    >>> def decide(command, balance):
    ...     if command > balance:
    ...         raise ValueError("not enough")
    ...     return [Event("withdrawn", command)]
    >>> account = Decider("account", initial=10, decide=decide, evolve=lambda balance, event: balance - event.data)
    >>> account.decided(3, account.begin())
    [Event('withdrawn', 3, id=...)]
    """

    def __init__(
        self,
        name: str,
        *,
        initial: StateT | Callable[[], StateT],
        decide: Callable[[CommandT, StateT], Iterable[EventT]],
        evolve: Callable[[StateT, EventT], StateT],
        events: Iterable[type] = (),
        commands: Iterable[type] = (),
        snapshots: Snapshots | None = None,
        state: type | None = None,
        version: int = 1,
    ) -> None:
        self.name = _checked_name(name)
        for field, function in (("decide", decide), ("evolve", evolve)):
            if not callable(function):
                raise InvalidType(field, function, "expected a function of two arguments")
            if inspect.iscoroutinefunction(function):
                raise InvalidType(field, function, "expected a plain function: it must be pure, so it has nothing to wait for")
        self.initial, self.decide, self.evolve = initial, decide, evolve
        self.events = _checked_classes("events", events)
        for kind in self.events:
            check_event_class(kind)
        self.commands = _checked_classes("commands", commands)
        self.snapshots = _checked_snapshots(snapshots)
        self.state = state
        if isinstance(version, bool) or not isinstance(version, int) or version < 1:
            raise InvalidInput("version", version, "expected a whole number from 1")
        self.version = version
        self.fingerprint = fingerprint_of(evolve)

    def begin(self) -> StateT:
        """The state before the first event."""
        initial: Any = self.initial
        made: StateT = initial() if callable(initial) else copy.deepcopy(initial)
        return made

    def decided(self, command: CommandT, state: StateT) -> list[EventT]:
        """The events that happen."""
        return checked_decision(self.decide(command, state))

    def folded(self, state: StateT, events: Iterable[RecordedEvent | Any]) -> StateT:
        """The state after these events, recorded or typed."""
        evolve = self.evolve
        for event in events:
            state = evolve(state, seen(event))
        return state

    def __repr__(self) -> str:
        return f"Decider({self.name!r})"


class View(NamedTuple):
    """A part of a decision's state: what one query tells, folded. `store.execute(decide, {"course": View(...)}, command)`."""

    query: Query
    initial: Any
    evolve: Callable[[Any, Any], Any]


class Views:
    """A decision over several views, as a decider: the state has a member for each."""

    snapshots: Snapshots | None = None
    events: tuple[type, ...] = ()

    def __init__(self, decide: Callable[[Any, Any], Iterable[Any]], views: Mapping[str, View]) -> None:
        if not callable(decide):
            raise InvalidType("decider", decide, "expected a function of a command and a state, where the target is views")
        if not views:
            raise InvalidInput("target", views, "expected at least 1 View")
        for name, view in views.items():
            if not isinstance(view, View) or not callable(view.evolve):
                raise InvalidType(f"target[{name!r}]", view, "expected View(query, initial, evolve)")
            check_query(f"target[{name!r}].query", view.query)
        self._decide, self._views = decide, views
        self.name = f"{getattr(decide, '__module__', '')}.{getattr(decide, '__qualname__', repr(decide))}"

    @property
    def query(self) -> Query:
        return Query.of(*(item for view in self._views.values() for item in view.query.items))

    def begin(self) -> Any:
        return SimpleNamespace(
            **{
                name: view.initial() if callable(view.initial) else copy.deepcopy(view.initial)
                for name, view in self._views.items()
            }
        )

    def decided(self, command: Any, state: Any) -> list[Any]:
        return checked_decision(self._decide(command, state))

    def folded(self, state: Any, events: Iterable[RecordedEvent]) -> Any:
        for event in events:
            for name, view in self._views.items():
                if view.query.matches(event, event.stream):
                    setattr(state, name, view.evolve(getattr(state, name), seen(event)))
        return state


class Loaded(NamedTuple, Generic[StateT]):
    """A state, and where the last event of it stands: its version in the stream, or the head that the query was read at."""

    state: StateT
    version: int


class Executed(NamedTuple, Generic[StateT]):
    """What a command has led to. `appended` is None where nothing happened; `is_repeat`: a command of this id was done before."""

    events: list[RecordedEvent]
    state: StateT
    appended: Appended | None
    attempts: int
    is_repeat: bool = False


def seen(event: Any) -> Any:
    """What `evolve` gets."""
    return event.value if isinstance(event, RecordedEvent) and event.is_typed else event


def checked_decision(decided: Any) -> list[Any]:
    if decided is None:
        raise InvalidType("decide", decided, "it returned nothing; return the events that happen, or an empty list")
    if isinstance(decided, Event) or definition_on(type(decided)) is not None:
        return [decided]
    if not isinstance(decided, Iterable) or isinstance(decided, str | bytes | Mapping):
        raise InvalidType("decide", decided, "it must return a list of events")
    return list(decided)


def _checked_name(name: str) -> str:
    check_name("name", name)
    if len(name) > PROJECTION_NAME_CHARS_MAX:
        raise InvalidInput("name", name, f"expected at most {PROJECTION_NAME_CHARS_MAX} characters")
    return name


def _checked_classes(field: str, classes: object) -> tuple[type, ...]:
    if isinstance(classes, type) or not isinstance(classes, Iterable):
        raise InvalidType(field, classes, "expected a list of classes")
    return tuple(classes)


def _checked_snapshots(snapshots: Snapshots | None) -> Snapshots | None:
    if snapshots is None:
        return None
    if not isinstance(snapshots, Snapshots):
        raise InvalidType("snapshots", snapshots, "expected Snapshots(every=100), or None")
    if isinstance(snapshots.every, bool) or not isinstance(snapshots.every, int) or snapshots.every < 1:
        raise InvalidInput("snapshots.every", snapshots.every, "expected a whole number of events from 1")
    if snapshots.after_s is not None and (not isinstance(snapshots.after_s, int | float) or not snapshots.after_s > 0):
        raise InvalidInput("snapshots.after_s", snapshots.after_s, "expected more than 0 seconds")
    return snapshots
