"""The class style: an object that is told what to do, and records what happens. A thin layer over deciders."""

import copy
import inspect
from collections.abc import Callable
from typing import Any, ClassVar, Self, TypeVar

from hansard.deciders.definition import Decider, Snapshots
from hansard.errors import InvalidInput, InvalidType
from hansard.events import Event, RecordedEvent
from hansard.fingerprints import fingerprint_of
from hansard.names import check_type, definition_on

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
_MARK = "_hansard_applies"


def applies(*types: str | type) -> Callable[[FunctionT], FunctionT]:
    """Marks a method of an Aggregate as what events of these types do to it."""
    names = tuple(check_type("type", type) for type in types)

    def mark(method: FunctionT) -> FunctionT:
        setattr(method, _MARK, names)
        return method

    return mark


class Aggregate:
    """Subclass it; methods that decide call `self.record(event)`, methods marked by `applies` change the object.

    A command is a function of the object: `store.execute(Account, "account-1", lambda account: account.withdraw(5))`.
    With `snapshots`, the class must be a dataclass, an attrs class or a pydantic model.

    >>> class Counter(Aggregate):
    ...     name = "counter"
    ...     count = 0
    ...     def increase(self):
    ...         self.record(Event("increased"))
    ...     @applies("increased")
    ...     def _increased(self, event):
    ...         self.count += 1
    >>> counter = Counter()
    >>> counter.increase()
    >>> counter.count, counter.recorded
    (1, [Event('increased', None, id=...)])
    """

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    snapshots: ClassVar[Snapshots | None] = None

    def record(self, event: Any) -> None:
        """Say that something happens: it is applied now, and stored when the command is over."""
        self.recorded.append(event)
        self.apply(event)

    @property
    def recorded(self) -> list[Any]:
        """What this command has recorded."""
        recorded: list[Any] = self.__dict__.setdefault("_recorded", [])
        return recorded

    def apply(self, event: Any) -> None:
        """What an event does to this object; an event of a type that no method applies does nothing."""
        definition = definition_on(type(event))
        name = _methods_of(type(self)).get(event.type if definition is None else definition.name)
        if name is not None:
            getattr(self, name)(event)

    @classmethod
    def decider(cls) -> Decider[Callable[[Self], Any], Self, Any]:
        """The class as a decider."""
        known = cls.__dict__.get("_hansard_decider")
        if known is None:
            if not cls.name:
                raise InvalidInput("name", cls.name, f"give {cls.__name__} a name: snapshots and the catalogue need it")
            known = Decider(
                cls.name,
                initial=cls,
                decide=_decide,
                evolve=_evolve,
                snapshots=cls.snapshots,
                state=cls,
                version=cls.version,
            )
            known.fingerprint = fingerprint_of(*_functions_of(cls))
            cls._hansard_decider = known  # type: ignore[attr-defined]
        decider: Decider[Callable[[Self], Any], Self, Any] = known
        return decider


def _decide(command: Callable[[Any], Any], aggregate: Aggregate) -> list[Any]:
    """On a copy: the object that was folded is folded on afterwards."""
    if not callable(command):
        raise InvalidType("command", command, "expected a function of the aggregate")
    working = copy.deepcopy(aggregate)
    _check_done("command", command(working))
    return working.recorded


def _check_done(field: str, result: object) -> None:
    """What a command returns is nobody's; but a coroutine or a generator has not begun yet."""
    if inspect.isawaitable(result) or inspect.isgenerator(result) or inspect.isasyncgen(result):
        if inspect.iscoroutine(result) or inspect.isgenerator(result):
            result.close()
        raise InvalidType(field, result, "it has not run: commands of an aggregate are plain functions, with nothing to wait for")


def _evolve(aggregate: Aggregate, event: Event | RecordedEvent | Any) -> Aggregate:
    aggregate.apply(event)
    return aggregate


def held_by(state: Any) -> dict[str, Any]:
    """All that an object holds, but for what an Aggregate has recorded on the way."""
    return {name: value for name, value in vars(state).items() if name != "_recorded"}


def _methods_of(kind: type) -> dict[str, str]:
    """The name of the method that applies a type. A subclass that overrides it need not mark it again."""
    known: dict[str, str] | None = kind.__dict__.get("_hansard_methods")
    if known is None:
        known = {}
        for base in reversed(kind.__mro__):
            of_base: dict[str, str] = {}
            for name, method in vars(base).items():
                for type in getattr(method, _MARK, ()):
                    if type in of_base:
                        raise InvalidInput("applies", type, f"{of_base[type]} and {name} of {base.__name__} both apply it")
                    of_base[type] = name
            known |= of_base
        kind._hansard_methods = known  # type: ignore[attr-defined]
    return known


def _functions_of(kind: type) -> list[Any]:
    """All functions of a class and its bases up to Aggregate, by name."""
    names = sorted(name for base in kind.__mro__ if issubclass(base, Aggregate) for name in vars(base) if name[:2] != "__")
    return [getattr(kind, name) for name in dict.fromkeys(names) if inspect.isfunction(getattr(kind, name, None))]
