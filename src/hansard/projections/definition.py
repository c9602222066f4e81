"""What a projection is: which events, by which key, folded how, kept where. Knows no storage."""

import copy
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from inspect import Parameter, signature
from typing import Any, ClassVar, Final, TypeVar

from hansard.errors import InvalidInput, InvalidType
from hansard.events import RecordedEvent
from hansard.limits import DATA_BYTES_MAX, NAME_CHARS_MAX, PROJECTION_NAME_CHARS_MAX
from hansard.names import check_name, check_type
from hansard.processors.definitions import check_at_least_1
from hansard.projections.places import Documents, Place
from hansard.query import Query, check_query
from hansard.serialization import encode_json


class _Delete(Enum):
    """Says of a state: there is none any more."""

    DELETE = "delete"


DELETE: Final = _Delete.DELETE

Fold = Callable[..., Any]
FoldT = TypeVar("FoldT", bound=Fold)
KeysOf = Callable[[RecordedEvent], "str | Iterable[str] | None"]
_MARK = "_hansard_folds"


def folds(*types: str | type) -> Callable[[FoldT], FoldT]:
    """Marks a method of a Projection class as the fold of these event types."""

    def mark(method: FoldT) -> FoldT:
        setattr(method, _MARK, tuple(check_type("type", type) for type in types))
        return method

    return mark


class Projection:
    """A named fold of events into states, one for each key. The same definition runs in three ways:

    - *live*: `store.project(projection)` folds the log here and now;
    - *inline*: `store.inline(projection)` folds in the transaction of each append;
    - *async*: `store.run(projection)` follows the log at its own pace.

    Parameters:

    - `fold(state, event)` or `fold(state, event, key)` returns the new state, a JSON value, or DELETE. For one function a
      type, use `@projection.on("type")` instead, or methods marked by `@folds("type")` in a class.
    - `key`: a function of the event that returns the key, several keys, or None for none; or one text, where there is but one
      state. Without it, the key is the event's stream.
    - `initial`: the state before the first event of a key: a JSON value, or a function that makes it.
    - `query`: which events; without it, the types that have a fold.
    - `into`: where states are kept: Documents() (JSON by key), Table({...}) (a table in the store's file), or a Place of yours.
    - `version`: to be raised with every change; a new version is built beside the old one, and takes over once it has caught up
      (`switches_by_itself=False`: once it is promoted).

    >>> totals = Projection("totals", initial=0)
    >>> @totals.on("paid")
    ... def paid(total, event):
    ...     return total + event.data["amount"]
    """

    kind: ClassVar[str] = "projection"
    name: str = ""
    version: int = 1
    initial: Any = None
    query: Query | None = None
    into: Place = Documents()  # holds nothing, so that all may share it
    key: Any = None
    switches_by_itself: bool = True

    def __init__(
        self,
        name: str | None = None,
        fold: Fold | None = None,
        *,
        key: str | KeysOf | None = None,
        initial: Any = None,
        query: Query | None = None,
        into: Place | None = None,
        version: int | None = None,
        switches_by_itself: bool | None = None,
    ) -> None:
        self.name = _checked_name(name if name is not None else self.name)
        self.version = check_at_least_1("version", version if version is not None else self.version)
        self.initial = initial if initial is not None else _class_function(self, "initial")
        self._key = key if key is not None else _class_function(self, "key")
        self._query = check_query("query", query) if query is not None else self.query
        self.into = into if into is not None else self.into
        self.switches_by_itself = self.switches_by_itself if switches_by_itself is None else switches_by_itself
        if not isinstance(self.into, Place):
            raise InvalidType("into", self.into, "expected Documents(), Table(...) or a Place")
        if self._key is not None and not callable(self._key):
            check_name("key", self._key)
        if not callable(self.initial):
            encode_json("initial", self.initial, DATA_BYTES_MAX)
        self._folds: dict[str, Fold] = {}
        self._fold: Fold | None = None if fold is None else _with_key(fold)
        for method in _marked(self):
            self.on(*getattr(method, _MARK))(method)

    def on(self, *types: str | type) -> Callable[[FoldT], FoldT]:
        """Registers the fold of these event types."""
        if not types:
            raise InvalidInput("types", types, "expected at least one event type")

        def register(fold: FoldT) -> FoldT:
            for given in types:
                type = check_type("type", given)
                if type in self._folds:
                    raise InvalidInput("type", type, f"projection {self.name!r} has a fold for it already")
                self._folds[type] = _with_key(fold)
            return fold

        return register

    @property
    def events(self) -> Query:
        """Which events it folds."""
        if self._query is not None:
            return self._query
        return Query(types=self._folds) if self._folds and self._fold is None else Query()

    @property
    def is_by_stream(self) -> bool:
        return self._key is None

    @property
    def fingerprint(self) -> str:
        """What may not change without a new version, as it is told to people."""
        query = "of every event" if self.events.is_everything else f"of {self.events}"
        key = "by stream" if self._key is None else "by a key of its own" if callable(self._key) else f"under {self._key!r}"
        return f"{query}, {key}, {_in_words(self.into.facts)}, folding {', '.join(sorted(self._folds)) or 'by one function'}"

    def checked(self) -> "Projection":
        """This projection, if it can fold anything."""
        if self._fold is None and not self._folds:
            raise InvalidInput("fold", None, f"projection {self.name!r} has no fold; give one, or register some with .on(type)")
        return self

    def keys_of(self, event: RecordedEvent) -> Sequence[str]:
        """The keys whose states an event changes, each once."""
        key = self._key
        if key is None:
            return (event.stream,) if event.stream is not None else ()
        found = key(event) if callable(key) else key
        if found is None:
            return ()
        keys = (found,) if isinstance(found, str) else tuple(dict.fromkeys(found))
        for one in keys:
            _check_key(one)
        return keys

    def before_the_first(self) -> Any:
        return self.initial() if callable(self.initial) else copy.deepcopy(self.initial)

    def folded(self, state: Any, event: RecordedEvent, key: str) -> Any:
        """The state after an event; an event without a fold of its type changes nothing."""
        fold = self._folds.get(event.type, self._fold)
        if fold is None:
            return state
        new = fold(state, event, key)
        if new is None:
            name = getattr(fold, "__qualname__", "the fold")
            raise InvalidType("state", new, f"{name} returned nothing for {event.type!r}; return the new state, or DELETE")
        return new


def check_projection(projection: object) -> Projection:
    if not isinstance(projection, Projection):
        raise InvalidType("projection", projection, "expected a Projection")
    return projection.checked()


def _checked_name(name: str) -> str:
    check_name("name", name)
    if len(name) > PROJECTION_NAME_CHARS_MAX or "@" in name or "/" in name:
        raise InvalidInput("name", name, f"expected at most {PROJECTION_NAME_CHARS_MAX} characters, without @ and /")
    return name


def _in_words(facts: dict[str, Any]) -> str:
    columns = ", ".join(f"{name} {type}" for name, type in facts.get("columns", {}).items())
    return f"into a table of {columns}" if columns else f"into {facts['kind']}"


def _check_key(key: object) -> None:
    if not isinstance(key, str):
        raise InvalidType("key", key, "expected a text, several of them, or None")
    if not key or "\0" in key or len(key) > 2 * NAME_CHARS_MAX:
        raise InvalidInput("key", key, f"expected 1 to {2 * NAME_CHARS_MAX} characters, without NUL")


def _class_function(projection: Projection, name: str) -> Any:
    """A method or value that a subclass gives."""
    value = getattr(type(projection), name, None)
    return getattr(projection, name) if callable(value) else value


def _marked(projection: Projection) -> list[Fold]:
    names = [name for name in dir(type(projection)) if hasattr(getattr(type(projection), name, None), _MARK)]
    return [getattr(projection, name) for name in names]


def _with_key(fold: Fold) -> Fold:
    """A fold of (state, event, key), whether the given one wants the key or not."""
    if not callable(fold):
        raise InvalidType("fold", fold, "expected a function of state and event")
    try:
        parameters = signature(fold).parameters.values()
    except (TypeError, ValueError):
        return lambda state, event, key: fold(state, event)
    positional = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    places = [p for p in parameters if p.kind in positional and p.default is Parameter.empty]
    if any(p.kind is Parameter.VAR_POSITIONAL for p in parameters) or len(places) >= 3:
        return fold
    if len(places) < 2:
        raise InvalidType("fold", fold, "expected a function of state and event, and of the key if it wants to")

    def without_key(state: Any, event: RecordedEvent, key: str) -> Any:
        return fold(state, event)

    without_key.__qualname__ = getattr(fold, "__qualname__", repr(fold))
    return without_key
