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
from hansard.event_types.upcasting import Chains, Shape, Upcaster
from hansard.events import SCHEMA_VERSION, Event, RecordedEvent, ReplacedEvent, unfolded
from hansard.fingerprints import fingerprint_of
from hansard.limits import DATA_BYTES_MAX
from hansard.names import check_name, check_type, definition_on
from hansard.query import AppendCondition, Query, QueryItem
from hansard.serialization import encode_json

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
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
        try:
            return self.codec.of_json(event.data_json)
        except (ValueError, TypeError) as error:
            hint = "" if version == self.version else f"; register an upcaster from version {version}"
            raise EventNotDecodable(event.type, version, event.position, f"{self.kind.__name__}: {error}{hint}") from error


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
        self._chains = Chains()
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
        self._by_name[definition.name] = one
        for name in (definition.name, *definition.aliases):
            if self._names.setdefault(name, definition.name) != definition.name:
                raise InvalidInput("aliases", name, f"{self._names[name]!r} has this name already")
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

        def register(function: FunctionT) -> FunctionT:
            if to is None:
                targets = [(shape[0], shape[1] + 1)]
            else:
                targets = [self._shape(one) for one in to] if is_choice else [self._shape(to)]  # type: ignore[union-attr, arg-type]
            self._chains.add(shape, targets, function, is_choice=is_choice)
            self._old.add(shape[0])
            self._changed()
            return function

        return register

    def rename(self, old: str, to: Target, *, version: int = 1) -> None:
        """Events of an old name are of this type; their data stays."""
        self.upcast(old, version, to=to)(_same)

    def drop(self, type: str, *, version: int = 1) -> None:
        """Events of this type and version are not seen any more. They stay in the log."""
        self.upcast(type, version, to=[])(_nothing)

    def downcast(self, type: str | type, version: int) -> Callable[[FunctionT], FunctionT]:
        """Registers how data of a version becomes that of the version before it, for `write_as`."""
        shape = (check_type("type", type), check_schema_version("version", version))
        if version < 2:
            raise InvalidInput("version", version, "expected a version from 2: there is none before version 1")

        def register(function: FunctionT) -> FunctionT:
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
        for step in range(check_schema_version("version", version) + 1, known.version + 1):
            if (name, step) not in self._downcasters:
                raise InvalidInput("version", version, f"there is no downcaster from version {step} of {name!r}")
        self._writes[name] = version

    def _shape(self, target: Target) -> Shape:
        if isinstance(target, tuple):
            return check_name("to", target[0]), check_schema_version("to", target[1])
        name = check_type("to", target)
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
        names, old, by_name = self._names, self._old, self._by_name
        for place, event in enumerate(events):
            name = names.get(event.type, event.type)
            if name in old and self._chains.has(name, schema_version_of(event)):
                events[place] = self._upcast(event, name)
            elif name in names:
                if name != event.type:
                    _force(event, "type", name)
                _force(event, "_reading", by_name[name])
        return events

    def read_own(self, events: list[RecordedEvent]) -> list[RecordedEvent]:
        """Events stored a moment ago, as user code is to see them. They are stored: what fails is left to readers to meet."""
        try:
            return list(unfolded(self.read(list(events))))
        except EventNotDecodable:
            return events

    def _upcast(self, event: RecordedEvent, name: str) -> RecordedEvent:
        version = schema_version_of(event)
        became = self._chains.walk((name, version), event.data, event)
        if len(became) == 1:
            return self._present(event, *became[0], id_bytes=event.id_bytes)
        ids = [event.id_bytes, *(uuid5(event.id, str(number)).bytes for number in range(1, len(became)))]
        parts = tuple(self._present(event, *one, id_bytes=id) for one, id in zip(became, ids, strict=False))
        return replaced(event, parts)

    def _present(self, event: RecordedEvent, shape: Shape, data: Any, *, id_bytes: bytes) -> RecordedEvent:
        name, version = shape
        text = event.data_json if data is event.data else encode_json("data", data, DATA_BYTES_MAX)
        return RecordedEvent(
            event.position,
            event.stream,
            event.version,
            name,
            event.timestamp_us,
            id_bytes,
            event.tags_json,
            _with_version(event, version),
            text,
            _data=data,
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
        if query not in self._widened:
            if len(self._widened) >= _WIDENED_MAX:
                self._widened.clear()
            items = [_with_types(item, {old for type in item.types for old in self.stored_names(type)}) for item in query.items]
            self._widened[query] = query if items == list(query.items) else Query.of(*items)
        return self._widened[query]

    def stored_names(self, type: str) -> set[str]:
        """The names under which events are stored that are of this type now."""
        on_the_way = self._chains.types_on_the_way_to(type)
        aliases = {alias for alias, name in self._names.items() if name in on_the_way}
        return on_the_way | aliases

    def conditioned(self, condition: AppendCondition | None) -> AppendCondition | None:
        """The condition that old programs' events fail too."""
        if condition is None:
            return None
        wide = self.widened(condition.fail_if)
        return condition if wide is condition.fail_if else AppendCondition(wide, condition.after)

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
            data = self._downcasters[event.type, step](data)
        if target > 1:
            metadata[SCHEMA_VERSION] = target
        return Event(event.type, data, metadata, event.tags, event.id)


def replaced(event: RecordedEvent, by: tuple[RecordedEvent, ...]) -> ReplacedEvent:
    return ReplacedEvent(
        event.position,
        event.stream,
        event.version,
        event.type,
        event.timestamp_us,
        event.id_bytes,
        event.tags_json,
        event.metadata_json,
        event.data_json,
        by=by,
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


def _same(data: Any) -> Any:
    return data


def _nothing(data: Any) -> list[tuple[str, Any]]:
    return []


def checked_types(types: object) -> EventTypes | None:
    """A registry, from one or from classes alone."""
    if types is None or isinstance(types, EventTypes):
        return types
    if isinstance(types, type | str) or not isinstance(types, Iterable):
        raise InvalidType("types", types, "expected an EventTypes, or a list of classes marked by @hansard.event(name)")
    return EventTypes(*types)
