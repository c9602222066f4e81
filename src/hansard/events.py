"""What an event is, before and after it is in the log. Knows neither storage nor handlers."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn
from uuid import UUID

import msgspec
from uuid_utils import uuid7

from hansard.errors import InvalidInput, InvalidType
from hansard.limits import DATA_BYTES_MAX, METADATA_BYTES_MAX, TAGS_PER_EVENT_MAX
from hansard.names import check_name, check_names, definition_on
from hansard.serialization import check_json, decode_json, encode_json
from hansard.streams import category_of

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # with a default, as type checkers know it

    ValueT = TypeVar("ValueT", default=Any)
else:
    from typing import TypeVar

    ValueT = TypeVar("ValueT")

SCHEMA_VERSION: Final = "schema_version"
"""The member of the metadata that says which version of its type an event has; 1 where there is none."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NO_TAGS: frozenset[str] = frozenset()
_EMPTY_OBJECT = b"{}"
_force = msgspec.structs.force_setattr


class Event:
    """Something that has happened, ready to be appended. Immutable; it keeps the JSON text of what it was given.

    - `type`: 1 to 512 characters.
    - `data`: any JSON value; `metadata`: a JSON object. Or give the JSON text itself as `data_json` and
      `metadata_json` (bytes): it is checked and stored byte for byte.
    - `tags`: a set of names, for queries and append conditions.
    - `id`: a UUID, as such or as text; without one, a version 7 UUID (RFC 9562) is made. Appending an event of the
      same id again stores nothing twice.

    Raises InvalidInput (a ValueError) or InvalidType (also a TypeError).

    >>> event = Event("order-placed", {"amount": 12}, tags={"customer:1"})
    >>> event.type, event.data, event.data_json
    ('order-placed', {'amount': 12}, b'{"amount":12}')
    """

    __slots__ = ("data_json", "id_bytes", "metadata_json", "tags", "type")

    type: str
    data_json: bytes
    metadata_json: bytes
    tags: frozenset[str]
    id_bytes: bytes

    def __init__(
        self,
        type: str,
        data: Any = None,
        metadata: Mapping[str, Any] | None = None,
        tags: Iterable[str] = NO_TAGS,
        id: UUID | str | None = None,
        *,
        data_json: bytes | None = None,
        metadata_json: bytes | None = None,
    ) -> None:
        _set_type(self, check_name("type", type))
        _set_data_json(self, _data_text(data, data_json))
        _set_metadata_json(self, _metadata_text(metadata, metadata_json))
        _set_tags(self, NO_TAGS if tags is NO_TAGS else check_names("tags", tags, TAGS_PER_EVENT_MAX))
        _set_id_bytes(self, uuid7().bytes if id is None else _id_bytes(id))

    @classmethod
    def of_checked(cls, type: str, data_json: bytes, metadata_json: bytes, tags: frozenset[str], id_bytes: bytes) -> "Event":
        """From parts of another Event, which has checked them. For engines."""
        event = cls.__new__(cls)
        _set_type(event, type)
        _set_data_json(event, data_json)
        _set_metadata_json(event, metadata_json)
        _set_tags(event, tags)
        _set_id_bytes(event, id_bytes)
        return event

    @classmethod
    def of(
        cls,
        value: Any,
        metadata: Mapping[str, Any] | None = None,
        tags: Iterable[str] = NO_TAGS,
        id: UUID | str | None = None,
    ) -> "Event":
        """The event of a value whose class is marked by `hansard.event`: its type, data and tags come from there.

        `tags` come in addition. Raises InvalidType for a value of another class, InvalidInput for one that would not come back
        equal from the log.
        """
        definition = definition_on(type(value))
        if definition is None:
            raise InvalidType("event", value, "expected an Event, or a value whose class is marked by @hansard.event(name)")
        if metadata is None:
            metadata = definition.metadata or None
        elif isinstance(metadata, Mapping):  # those of another event may be given, but not what shape that one has
            metadata = {**{name: one for name, one in metadata.items() if name != SCHEMA_VERSION}, **definition.metadata}
        own = definition.tags_of(value)
        event = cls(definition.name, definition.plain(value), metadata, own if tags is NO_TAGS else {*own, *tags}, id)
        definition.check_back(value, event.data_json)
        return event

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"an event cannot be changed: {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"an event cannot be changed: {name}")

    @property
    def data(self) -> Any:
        """The decoded data, a new value at each call."""
        return decode_json(self.data_json)

    @property
    def metadata(self) -> dict[str, Any]:
        """The decoded metadata, a new dict at each call."""
        metadata: dict[str, Any] = decode_json(self.metadata_json)
        return metadata

    @property
    def id(self) -> UUID:
        return UUID(bytes=self.id_bytes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Event):
            return NotImplemented
        return self.id_bytes == other.id_bytes and self._content == other._content

    def __hash__(self) -> int:
        return hash(self.id_bytes)

    def __repr__(self) -> str:
        tags = f", tags={sorted(self.tags)}" if self.tags else ""
        metadata = f", metadata={self.metadata}" if self.metadata_json != _EMPTY_OBJECT else ""
        return f"Event({self.type!r}, {self.data!r}{metadata}{tags}, id={str(self.id)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _event_from_json, (self.type, self.data_json, self.metadata_json, self.tags, self.id)

    @property
    def _content(self) -> tuple[str, bytes, bytes, frozenset[str]]:
        return self.type, self.data_json, self.metadata_json, self.tags


# The slots' own setters: they pass by __setattr__, which refuses everybody else.
_set_type = Event.__dict__["type"].__set__
_set_data_json = Event.__dict__["data_json"].__set__
_set_metadata_json = Event.__dict__["metadata_json"].__set__
_set_tags = Event.__dict__["tags"].__set__
_set_id_bytes = Event.__dict__["id_bytes"].__set__


def _event_from_json(type: str, data_json: bytes, metadata_json: bytes, tags: frozenset[str], id: UUID) -> Event:
    return Event(type, tags=tags, id=id, data_json=data_json, metadata_json=metadata_json)


def _data_text(data: Any, data_json: bytes | None) -> bytes:
    if data_json is None:
        return encode_json("data", data, DATA_BYTES_MAX)
    if data is not None:
        raise InvalidInput("data_json", data_json, "give data or data_json, not both")
    check_json("data_json", data_json, DATA_BYTES_MAX)
    return data_json


def _metadata_text(metadata: Mapping[str, Any] | None, metadata_json: bytes | None) -> bytes:
    if metadata_json is not None:
        return _given_metadata_text(metadata, metadata_json)
    if metadata is None:
        return _EMPTY_OBJECT
    if not isinstance(metadata, dict):
        if not isinstance(metadata, Mapping):
            raise InvalidType("metadata", metadata, "expected a JSON object (dict)")
        metadata = dict(metadata)
    return encode_json("metadata", metadata, METADATA_BYTES_MAX)


def _given_metadata_text(metadata: Mapping[str, Any] | None, metadata_json: bytes) -> bytes:
    if metadata is not None:
        raise InvalidInput("metadata_json", metadata_json, "give metadata or metadata_json, not both")
    if not isinstance(check_json("metadata_json", metadata_json, METADATA_BYTES_MAX), dict):
        raise InvalidInput("metadata_json", metadata_json, "expected a JSON object")
    return metadata_json


def _id_bytes(id: object) -> bytes:
    return check_event_id("id", id).bytes


def check_event_id(field: str, id: object) -> UUID:
    """A UUID from a UUID or its text; InvalidInput or InvalidType otherwise."""
    if isinstance(id, UUID):
        return id
    if not isinstance(id, str):
        raise InvalidType(field, id, "expected a UUID or its text")
    try:
        return UUID(id)
    except ValueError:
        raise InvalidInput(field, id, "expected a UUID, such as '0190c7a4-8f00-7000-8000-000000000001'") from None


class RecordedEvent(msgspec.Struct, Generic[ValueT], frozen=True, eq=False, gc=False):
    """An event in the log. `data`, `metadata`, `tags`, `id`, `timestamp` and `value` are decoded when first asked for.

    - `position`: place in the log, from 1, without gaps and in commit order.
    - `stream` and `version`: the stream and the place in it, from 1; both None for an event without a stream.
    - `data_json`, `metadata_json`: the JSON text, byte for byte as appended.
    - `timestamp_us`: microseconds since 1970-01-01 UTC, never less than that of the event before it in the log.
    """

    position: int
    stream: str | None
    version: int | None
    type: str
    timestamp_us: int
    id_bytes: bytes
    tags_json: str | None
    metadata_json: bytes
    data_json: bytes
    _data: Any = msgspec.UNSET
    _metadata: Any = msgspec.UNSET
    _value: Any = msgspec.UNSET
    _reading: Any = None
    """What decodes `value`: set where the store knows the event's type."""

    @property
    def is_typed(self) -> bool:
        """Whether the store knows this event's type."""
        return self._reading is not None

    @property
    def value(self) -> ValueT:
        """The typed value, where the store was opened with this event's type (see EventTypes); the data otherwise. Read-only.

        Raises EventNotDecodable if the data does not fit the class.
        """
        if self._value is msgspec.UNSET:
            _force(self, "_value", self.data if self._reading is None else self._reading.value_of(self))
        value: ValueT = self._value
        return value

    @property
    def data(self) -> Any:
        """The decoded data; decoded once, so treat it as read-only."""
        if self._data is msgspec.UNSET:
            _force(self, "_data", decode_json(self.data_json))
        return self._data

    @property
    def metadata(self) -> dict[str, Any]:
        """The decoded metadata; decoded once, so treat it as read-only."""
        if self._metadata is msgspec.UNSET:
            _force(self, "_metadata", decode_json(self.metadata_json))
        metadata: dict[str, Any] = self._metadata
        return metadata

    @property
    def tags(self) -> frozenset[str]:
        return frozenset(decode_json(self.tags_json)) if self.tags_json else NO_TAGS

    @property
    def id(self) -> UUID:
        return UUID(bytes=self.id_bytes)

    @property
    def timestamp(self) -> datetime:
        """When it was stored, in UTC, to the microsecond."""
        return _EPOCH + timedelta(microseconds=self.timestamp_us)

    @property
    def category(self) -> str | None:
        """The stream's name up to the first "-"; None without a stream."""
        return None if self.stream is None else category_of(self.stream)

    @property
    def _facts(self) -> tuple[object, ...]:
        return (
            self.position,
            self.stream,
            self.version,
            self.type,
            self.timestamp_us,
            self.id_bytes,
            self.tags,
            self.metadata_json,
            self.data_json,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RecordedEvent):
            return NotImplemented
        return self._facts == other._facts

    def __hash__(self) -> int:
        return hash((self.position, self.id_bytes))

    def __repr__(self) -> str:
        place = f"stream={self.stream!r}, version={self.version}, " if self.stream is not None else ""
        tags = f", tags={sorted(self.tags)}" if self.tags_json else ""
        return f"RecordedEvent(position={self.position}, {place}type={self.type!r}, data={self.data!r}{tags})"


class ReplacedEvent(RecordedEvent[Any], frozen=True, eq=False, gc=False):
    """A stored event that its upcasters have turned into none, or into several. It keeps the place of the stored one.

    Whatever counts positions moves it as one; `unfolded` gives what stands for it where events are handed to user code.
    """

    by: tuple[RecordedEvent[Any], ...] = ()


class UnreadableEvent(RecordedEvent[Any], frozen=True, eq=False, gc=False):
    """A stored event whose upcaster has failed: whoever asks for its data or value gets the error. `data_json` is what is stored.

    `could_be`: the types that it may be of now; queries for them find it, so that no reader passes it by.
    """

    error: Any = None
    could_be: frozenset[str] = NO_TAGS

    @property
    def data(self) -> Any:
        raise self.error

    @property
    def value(self) -> Any:
        raise self.error

    def __repr__(self) -> str:
        return f"UnreadableEvent(position={self.position}, type={self.type!r}: {self.error})"


def event_of(type: Any, data: Any, metadata: Mapping[str, Any] | None, tags: Iterable[str], id: UUID | str | None) -> Event:
    """The event that is meant by a type and data, or by a value in place of the type."""
    if type.__class__ is str or definition_on(type.__class__) is None:
        return Event(type, data, metadata, tags, id)
    if data is not None:
        raise InvalidInput("data", data, "a value in place of the type brings its own data")
    return Event.of(type, metadata, tags, id)


def first_of(event: RecordedEvent) -> RecordedEvent:
    """The first of those that stand for an event; the stored one itself, where none does."""
    return next(unfolded([event]), event)


def unfolded(events: Iterable[RecordedEvent], *, backwards: bool = False) -> Iterator[RecordedEvent]:
    """The events that user code is to see."""
    for event in events:
        if type(event) is ReplacedEvent:
            yield from reversed(event.by) if backwards else event.by
        else:
            yield event


def tags_text(tags: frozenset[str]) -> str | None:
    """The tags as engines store them: sorted JSON, None for none."""
    return msgspec.json.encode(sorted(tags)).decode() if tags else None
