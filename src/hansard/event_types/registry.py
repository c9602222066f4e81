"""The event types of one store: classes by name, how old shapes become present ones, and what is written for old programs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any, TypeVar
from uuid import uuid5
from zlib import crc32

import msgspec

from hansard.errors import EventNotDecodable, InvalidInput, InvalidType
from hansard.event_types.codecs import Codec
from hansard.event_types.definition import EventDefinition, check_event_class, check_schema_version
from hansard.event_types.upcasting import Became, Chains, Goal, Shape, Upcaster
from hansard.events import SCHEMA_VERSION, Event, RecordedEvent, ReplacedEvent, UnreadableEvent, unfolded
from hansard.fingerprints import fingerprint_of
from hansard.limits import DATA_BYTES_MAX
from hansard.names import check_name, check_type, definition_on
from hansard.query import AppendCondition, Query, QueryItem
from hansard.serialization import encode_json

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
RecordedT = TypeVar("RecordedT", bound=RecordedEvent)
Target = str | type | tuple[str, int]
"""A type, or a type and a version of it. Without a version: that of its class, or 1."""

_force = msgspec.structs.force_setattr
_MARK = f'"{SCHEMA_VERSION}"'.encode()
_WIDENED_MAX = 1_000


class EventType:
    """One class of a store: how its values are read."""

    def __init__(self, kind: type, definition: EventDefinition, codec: Codec) -> None:
        self.kind, self.definition, self.codec = kind, definition, codec
        self.name, self.version = definition.name, definition.version

    def value_of(self, event: RecordedEvent) -> Any:
        """Called by RecordedEvent.value."""
        version = schema_version_of(event)
        if version > self.version:
            raise EventNotDecodable(event.type, version, event.position, f"this program knows version {self.version}; upgrade it")
        if version < self.version:
            reason = f"{self.kind.__name__} has version {self.version}; register an upcaster from version {version}"
            raise EventNotDecodable(event.type, version, event.position, reason)
        try:
            return self.codec.of_json(event.data_json)
        except (ValueError, TypeError) as error:
            raise EventNotDecodable(event.type, version, event.position, f"{self.kind.__name__}: {error}") from error


class EventTypes:
    """The classes that a store knows, given to `hansard.open(place, types=…)`. Nothing else knows of them.

    Give classes marked by `hansard.event`, or modules that hold some. Types that it does not know stay readable as plain data.

    >>> types = EventTypes()
    >>> @types.upcast("order-placed", 1)
    ... def with_currency(data):
    ...     return {**data, "currency": "EUR"}
    """

    def __init__(self, *classes: type | ModuleType) -> None:
        self._by_name: dict[str, EventType] = {}
        self._names: dict[str, str] = {}
        """Present names by present names and aliases."""
        self._chains = Chains(self._resolved)
        self._old: set[str] = set()
        """Types of which some version has an upcaster."""
        self._downcasters: dict[Shape, Upcaster] = {}
        self._writes: dict[str, int] = {}
        self._widened: dict[Query, Query] = {}
        self._fingerprint: int | None = None
        for one in classes:
            for kind in _classes_of(one):
                self.add(kind)

    # Classes

    def add(self, kind: type) -> type:
        """One more class; also as a decorator above `hansard.event`."""
        definition = check_event_class(kind)
        known = self._by_name.get(definition.name)
        if known is not None and known.kind is not kind:
            raise InvalidInput("event class", definition.name, f"{known.kind.__qualname__} has this name already")
        one = EventType(kind, definition, definition.codec(kind))
        names = (definition.name, *definition.aliases)
        for name in names:
            if self._names.get(name, definition.name) != definition.name:
                raise InvalidInput("aliases", name, f"{self._names[name]!r} has this name already")
        self._by_name[definition.name] = one
        self._names.update(dict.fromkeys(names, definition.name))
        self._changed()
        return kind

    def _changed(self) -> None:
        self._widened.clear()
        self._fingerprint = None

    def __iter__(self) -> Iterator[EventType]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def __contains__(self, type: object) -> bool:
        return check_type("type", type) in self._by_name

    def get(self, name: str) -> EventType | None:
        """The type of a name or alias."""
        return self._by_name.get(self._names.get(name, name))

    # Upcasting and downcasting

    def upcast(
        self, type: str | type, version: int, *, to: Target | Sequence[Target] | None = None
    ) -> Callable[[FunctionT], FunctionT]:
        """Registers what events of a type and version become when they are read. The function gets the data, or the data and the
        recorded event.

        - Without `to`, it returns the data of the next version of the same type.
        - With one type as `to`, it returns the data of that type: the old one is renamed, or merged into the other.
        - With a list of types, it returns a list of (type, data): one of them, several (the event is split), or none (dropped).

        The log is not changed; tags stay as they were stored.
        """
        shape = (check_type("type", type), check_schema_version("version", version))
        is_choice = to is not None and isinstance(to, Sequence) and not isinstance(to, str) and not _is_shape(to)
        goals: list[Goal] = [(shape[0], shape[1] + 1)]
        if to is not None:
            goals = [_goal(one) for one in to] if is_choice else [_goal(to)]  # type: ignore[union-attr, arg-type]

        def register(function: FunctionT) -> FunctionT:
            if not callable(function):
                raise InvalidType("upcaster", function, "expected a function of the data, or of the data and the event")
            self._add_step(shape, goals, function, is_choice=is_choice)
            return function

        return register

    def _add_step(self, shape: Shape, goals: Sequence[Goal], function: Upcaster | None, *, is_choice: bool) -> None:
        self._chains.add(shape, goals, function, is_choice=is_choice)
        self._old.add(shape[0])
        self._changed()

    def rename(self, old: str, to: Target, *, version: int = 1) -> None:
        """Events of an old name are of this type; their data stays."""
        self._add_step((check_name("old", old), check_schema_version("version", version)), [_goal(to)], None, is_choice=False)

    def drop(self, type: str, *, version: int = 1) -> None:
        """Events of this type and version are not seen any more. They stay in the log."""
        self._add_step((check_name("type", type), check_schema_version("version", version)), [], None, is_choice=False)

    def downcast(self, type: str | type, version: int) -> Callable[[FunctionT], FunctionT]:
        """Registers how data of a version becomes that of the version before it, for `write_as`."""
        shape = (check_type("type", type), check_schema_version("version", version))
        if version < 2:
            raise InvalidInput("version", version, "expected a version from 2: there is none before version 1")

        def register(function: FunctionT) -> FunctionT:
            if not callable(function):
                raise InvalidType("downcaster", function, "expected a function of the data")
            if shape in self._downcasters:
                raise InvalidInput("downcaster", shape, "there is one for this type and version already")
            self._downcasters[shape] = function
            return function

        return register

    def write_as(self, type: str | type, version: int) -> None:
        """Append events of a type in an older version from now on, while programs run that do not know the new one."""
        name = check_type("type", type)
        known = self._by_name.get(name)
        if known is None:
            raise InvalidInput("type", name, "this registry has no class of this name")
        if check_schema_version("version", version) > known.version:
            raise InvalidInput("version", version, f"{known.kind.__name__} has version {known.version}")
        for step in range(version + 1, known.version + 1):
            if (name, step) not in self._downcasters:
                raise InvalidInput("version", version, f"there is no downcaster from version {step} of {name!r}")
        if version < known.version and not self._leads_back(name, version, known.version):
            reason = f"there is no upcaster from version {version} of {name!r} on: this program could not read what it writes"
            raise InvalidInput("version", version, reason)
        self._writes[name] = version

    def _leads_back(self, name: str, version: int, present: int) -> bool:
        return self._chains.ends((name, version)) == {(name, present)}

    def _resolved(self, goal: Goal) -> Shape:
        name = self._names.get(goal[0], goal[0])
        if goal[1] is not None:
            return name, goal[1]
        known = self._by_name.get(name)
        return name, 1 if known is None else known.version

    @property
    def chains(self) -> Chains:
        return self._chains

    @property
    def fingerprint(self) -> int:
        """A number that changes with the classes' versions, and with what upcasters do: see fingerprints.py."""
        if self._fingerprint is None:
            shapes = sorted((one.name, one.version) for one in self)
            steps = [(shape, fingerprint_of(self._chains.function(shape))) for shape in sorted(self._chains.shapes)]
            self._fingerprint = crc32(repr((shapes, steps)).encode())
        return self._fingerprint

    # What the store does with them

    def read(self, events: list[RecordedEvent]) -> list[RecordedEvent]:
        """Stored events as they are now: one for one, with ReplacedEvent where one became none or several."""
        names, old, by_name, chains = self._names, self._old, self._by_name, self._chains
        for place, event in enumerate(events):
            type = event.type
            name = names.get(type, type)
            if type in old and chains.has(type, version := schema_version_of(event)):
                events[place] = self._upcast(event, (type, version))
            elif name in old and chains.has(name, version := schema_version_of(event)):
                events[place] = self._upcast(event, (name, version))
            elif name in by_name:
                if name != type:
                    _force(event, "type", name)
                _force(event, "_reading", by_name[name])
        return events

    def read_own(self, events: list[RecordedEvent]) -> list[RecordedEvent]:
        """Events stored a moment ago, as user code is to see them."""
        return list(unfolded(self.read(list(events))))

    def _upcast(self, event: RecordedEvent, shape: Shape) -> RecordedEvent:
        """One whose upcaster fails comes as one that cannot be read: whoever looks into it meets the error, and nobody else."""
        try:
            became = self._chains.walk(shape, event)
            ids = [event.id_bytes, *(uuid5(event.id, str(number)).bytes for number in range(1, len(became)))]
            parts = tuple(self._present(event, one, id_bytes=id) for one, id in zip(became, ids, strict=False))
        except EventNotDecodable as error:
            return _as(UnreadableEvent, event, error=error, could_be=frozenset(name for name, _ in self._chains.ends(shape)))
        except InvalidInput as error:  # an upcaster has returned what is no JSON
            failure = EventNotDecodable(*shape, event.position, str(error))
            return _as(UnreadableEvent, event, error=failure, could_be=frozenset(name for name, _ in self._chains.ends(shape)))
        return parts[0] if len(parts) == 1 else replaced(event, parts)

    def _present(self, event: RecordedEvent, became: Became, *, id_bytes: bytes) -> RecordedEvent:
        name, version = became.shape
        return RecordedEvent(
            event.position,
            event.stream,
            event.version,
            name,
            event.timestamp_us,
            id_bytes,
            event.tags_json,
            _with_version(event, version),
            event.data_json if became.is_kept else encode_json("data", became.data, DATA_BYTES_MAX),
            _reading=self._by_name.get(name),
        )

    def matching(self, query: Query, events: list[RecordedEvent]) -> list[RecordedEvent]:
        """The same number of events; those that are not of the query any more are replaced by none."""
        if not self._chains or not any(item.types for item in query.items):
            return events
        for place, event in enumerate(events):
            if type(event) is ReplacedEvent:
                events[place] = replaced(event, tuple(one for one in event.by if query.matches(one, one.stream)))
            elif not query.matches(event, event.stream):
                events[place] = replaced(event, ())
        return events

    def widened(self, query: Query) -> Query:
        """The query that finds the stored events that may be of this query now."""
        known = self._widened.get(query)
        if known is None:
            if len(self._widened) >= _WIDENED_MAX:
                self._widened.clear()
            items = [_with_types(item, {old for type in item.types for old in self.stored_names(type)}) for item in query.items]
            known = self._widened[query] = query if items == list(query.items) else Query.of(*items)
        return known

    def stored_names(self, type: str) -> set[str]:
        """The names under which events are stored that are of this type now."""
        on_the_way = self._chains.types_on_the_way_to(type)
        aliases = {alias for alias, name in self._names.items() if name in on_the_way}
        return on_the_way | aliases

    def is_widened(self, condition: AppendCondition | None) -> bool:
        """Whether events under other names may fail the condition, too."""
        return condition is not None and self.widened(condition.fail_if) is not condition.fail_if

    @property
    def writes_older(self) -> bool:
        return bool(self._writes)

    def downcasted(self, event: Event) -> Event:
        """The event as it is to be stored."""
        target = self._writes.get(event.type)
        if target is None:
            return event
        metadata = event.metadata
        version, data = metadata.pop(SCHEMA_VERSION, 1), event.data
        if version <= target:
            return event
        for step in range(version, target, -1):
            try:
                data = self._downcasters[event.type, step](data)
            except Exception as error:
                reason = f"its downcaster from version {step} raised {type(error).__name__}: {error}"
                raise InvalidInput("event", event.type, reason) from error
        if target > 1:
            metadata[SCHEMA_VERSION] = target
        return Event(event.type, data, metadata, event.tags, event.id)


def replaced(event: RecordedEvent, by: tuple[RecordedEvent, ...]) -> ReplacedEvent:
    return _as(ReplacedEvent, event, by=by)


def _as(kind: type[RecordedT], event: RecordedEvent, **more: Any) -> RecordedT:
    """The stored facts of an event, in another class."""
    return kind(
        event.position,
        event.stream,
        event.version,
        event.type,
        event.timestamp_us,
        event.id_bytes,
        event.tags_json,
        event.metadata_json,
        event.data_json,
        **more,
    )


def schema_version_of(event: RecordedEvent) -> int:
    """Which version of its type an event has."""
    if _MARK not in event.metadata_json:
        return 1
    version = event.metadata.get(SCHEMA_VERSION, 1)
    return version if isinstance(version, int) and version >= 1 else 1


def _with_version(event: RecordedEvent, version: int) -> bytes:
    if version == schema_version_of(event):
        return event.metadata_json
    metadata = {**event.metadata, SCHEMA_VERSION: version}
    if version == 1:
        del metadata[SCHEMA_VERSION]
    return msgspec.json.encode(metadata)


def _with_types(item: QueryItem, types: set[str]) -> QueryItem:
    return item if types == item.types else QueryItem(types, item.tags, item.stream, item.category)


def _classes_of(one: object) -> Iterable[type]:
    if isinstance(one, ModuleType):
        return [value for value in vars(one).values() if definition_on(value) is not None]
    if isinstance(one, type):
        return [one]
    raise InvalidType("event class", one, "expected a class marked by @hansard.event(name), or a module that holds some")


def _is_shape(target: object) -> bool:
    return isinstance(target, tuple) and len(target) == 2 and isinstance(target[1], int)


def _goal(target: Target) -> Goal:
    if isinstance(target, tuple):
        return check_name("to", target[0]), check_schema_version("to", target[1])
    definition = definition_on(target)
    return (check_type("to", target), None if definition is None else definition.version)


def checked_types(types: object) -> EventTypes | None:
    """A registry, from one or from classes alone."""
    if types is None or isinstance(types, EventTypes):
        return types
    if isinstance(types, type | str) or not isinstance(types, Iterable):
        raise InvalidType("types", types, "expected an EventTypes, or a list of classes marked by @hansard.event(name)")
    return EventTypes(*types)
