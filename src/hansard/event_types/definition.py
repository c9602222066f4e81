"""What `hansard.event` puts on a class: the name, the version and the tags of its events. Registers nothing anywhere."""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import cached_property
from string import Formatter
from typing import Any, TypeVar

from hansard.errors import InvalidInput, InvalidType
from hansard.event_types.codecs import Codec, codec_of
from hansard.events import SCHEMA_VERSION
from hansard.limits import SCHEMA_VERSION_MAX, TAGS_PER_EVENT_MAX
from hansard.names import DEFINITION, check_name, check_names, definition_on

ClassT = TypeVar("ClassT", bound=type)
TagsOf = Callable[[Any], Iterable[str]]


def event(
    name: str,
    *,
    version: int = 1,
    aliases: Iterable[str] = (),
    tags: Iterable[str] | TagsOf = (),
    personal: Iterable[str] = (),
) -> Callable[[ClassT], ClassT]:
    """Says of a dataclass, an attrs class, a msgspec Struct or a pydantic model that it is an event.

    - `name`: the event's type in the log. It is a wire format: the class may be renamed, the name not.
    - `version`: of the data's shape, from 1; raised with every change that old data does not fit.
    - `aliases`: names under which the same shape was stored before.
    - `tags`: templates over the fields, such as "order:{order_id}"; one whose field is None gives no tag. Or a function of
      the value that returns the tags.
    - `personal`: names of fields that hold personal data, for the catalogue.

    Appends take the value itself, in place of an Event; `Event.of` adds metadata and an id.

    >>> from dataclasses import dataclass
    >>> from hansard import Event
    >>> @event("order-placed", tags=["order:{order_id}"])
    ... @dataclass(frozen=True)
    ... class OrderPlaced:
    ...     order_id: str
    ...     amount: int
    >>> Event.of(OrderPlaced("o-1", 12)).tags
    frozenset({'order:o-1'})
    """
    definition = EventDefinition(name, version, aliases, tags, personal)

    def mark(kind: ClassT) -> ClassT:
        if not isinstance(kind, type):
            raise InvalidType("event class", kind, "expected a class")
        setattr(kind, DEFINITION, definition)
        return kind

    return mark


class EventDefinition:
    """See `event`."""

    def __init__(
        self, name: str, version: int, aliases: Iterable[str], tags: Iterable[str] | TagsOf, personal: Iterable[str]
    ) -> None:
        self.name = check_name("name", name)
        self.version = check_schema_version("version", version)
        self.aliases = check_names("aliases", aliases, _NAMES_MAX)
        self.personal = check_names("personal", personal, _NAMES_MAX)
        if not isinstance(tags, Iterable) and not callable(tags):
            raise InvalidType("tags", tags, 'expected templates, such as ["order:{order_id}"], or a function of the value')
        if isinstance(tags, str):
            raise InvalidType("tags", tags, f"expected several templates; write [{tags!r}]")
        self.templates = () if callable(tags) else tuple(_Template(text) for text in tags)
        self._tags_of = tags if callable(tags) else None
        self._codecs: dict[type, Codec] = {}

    def codec(self, kind: type) -> Codec:
        """Of the class that carries this definition, checked against it."""
        if kind not in self._codecs:
            codec = codec_of(kind)
            named = {field for template in self.templates for field in template.fields} | self.personal
            for field in sorted(named):
                if field.partition(".")[0] not in codec.names and not hasattr(kind, field.partition(".")[0]):
                    raise InvalidInput("tags", field, f"{kind.__name__} has no such field")
            self._codecs[kind] = codec
        return self._codecs[kind]

    @cached_property
    def metadata(self) -> Mapping[str, Any]:
        """What each of its events says of itself."""
        return {SCHEMA_VERSION: self.version} if self.version > 1 else {}

    def plain(self, value: Any) -> Any:
        """Raises InvalidInput where a field that takes anything has been given what JSON cannot keep."""
        try:
            return self.codec(type(value)).plain(value)
        except (TypeError, ValueError, NotImplementedError, OverflowError, RecursionError) as error:
            raise InvalidInput("event", value, f"it cannot be kept as JSON: {error}") from error

    def check_back(self, value: Any, data_json: bytes) -> None:
        """Raises InvalidInput for a value that would not come back equal: better now than when it is read."""
        try:
            back = self.codec(type(value)).of_json(data_json)
        except (ValueError, TypeError) as error:
            raise InvalidInput("event", value, f"its own class could not read it back: {error}") from error
        if not self._is_same(back, value):
            raise InvalidInput("event", value, f"it would come back from JSON as another value: {back!r}")

    def _is_same(self, back: Any, value: Any) -> bool:
        if type(value).__eq__ is object.__eq__:  # type: ignore[comparison-overlap]
            return bool(self.plain(back) == self.plain(value))
        try:
            return bool(back == value)
        except Exception:  # whatever a class of the user's, or a signalling NaN, makes of the comparison
            return False

    def tags_of(self, value: Any) -> frozenset[str]:
        if self._tags_of is not None:
            return check_names("tags", self._tags_of(value), TAGS_PER_EVENT_MAX)
        return frozenset(tag for template in self.templates if (tag := template.filled(value)) is not None)


_NAMES_MAX = 1_000


class _Template:
    """A tag with fields in braces."""

    def __init__(self, text: str) -> None:
        check_name("tags", text)
        try:
            pieces = list(Formatter().parse(text))
        except ValueError as error:
            raise InvalidInput("tags", text, f"not a template: {error}") from None
        self.text = text
        self.fields = tuple(field for _, field, _, _ in pieces if field is not None)
        if any(not field for field in self.fields):
            raise InvalidInput("tags", text, "name the field: {order_id}")
        if any(conversion for _, _, _, conversion in pieces):
            raise InvalidInput("tags", text, "conversions such as !r are not known; a function of the value can do more")
        self._pieces = [(literal, field, spec or "") for literal, field, spec, _ in pieces]

    def filled(self, value: Any) -> str | None:
        text = ""
        for literal, field, spec in self._pieces:
            text += literal
            if field is None:
                continue
            found = self._reach(value, field)
            if found is None:
                return None
            text += self._formatted(field, found.value if isinstance(found, Enum) else found, spec)
        return text

    def _formatted(self, field: str, found: Any, spec: str) -> str:
        if isinstance(found, list | tuple | dict | set | frozenset):
            raise InvalidInput("tags", self.text, f"{field} is a {type(found).__name__}; give a function of the value instead")
        try:
            return format(found, spec)
        except (ValueError, TypeError) as error:
            raise InvalidInput("tags", self.text, f"{field} is {found!r}: {error}") from error

    def _reach(self, value: Any, path: str) -> Any:
        for name in path.split("."):
            if value is None:
                return None
            try:
                value = getattr(value, name)
            except AttributeError:
                raise InvalidInput("tags", self.text, f"{type(value).__name__} has no {name!r}") from None
        return value


def check_schema_version(field: str, version: object) -> int:
    if isinstance(version, bool) or not isinstance(version, int):
        raise InvalidType(field, version, f"expected a whole number from 1 to {SCHEMA_VERSION_MAX}")
    if not 1 <= version <= SCHEMA_VERSION_MAX:
        raise InvalidInput(field, version, f"expected a whole number from 1 to {SCHEMA_VERSION_MAX}")
    return version


def check_event_class(kind: object) -> EventDefinition:
    """The definition on a class."""
    definition = definition_on(kind) if isinstance(kind, type) else None
    if definition is None:
        raise InvalidType("event class", kind, "expected a class marked by @hansard.event(name)")
    assert isinstance(definition, EventDefinition)
    return definition
