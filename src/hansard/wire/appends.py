"""Appends and queries in JSON, both directions. What may be in them is checked by the values themselves, once."""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from hansard.appends import Append, StreamAppend, check_append
from hansard.errors import InvalidInput
from hansard.events import Event
from hansard.limits import (
    EVENTS_PER_APPEND_MAX,
    NAME_CHARS_MAX,
    POSITION_MAX,
    QUERY_ITEMS_MAX,
    QUERY_NAMES_MAX,
    TAGS_PER_EVENT_MAX,
    TIMESTAMP_US_MAX,
)
from hansard.query import AppendCondition, Query, QueryItem
from hansard.streams import ANY, NO_STREAM, STREAM_EXISTS
from hansard.wire.recorded import is_of_one_line


def _described(**schema: Any) -> Meta:
    """Told to readers of the schema only: the values check themselves, and say more when they refuse."""
    return Meta(extra_json_schema=schema)


_NAME: Final = {"type": "string", "minLength": 1, "maxLength": NAME_CHARS_MAX, "pattern": "^[^\\u0000]+$"}
Name = Annotated[str, _described(**_NAME)]
Category = Annotated[str, _described(**{**_NAME, "pattern": "^[^\\u0000-]+$"})]
Position = Annotated[int, _described(minimum=0, maximum=POSITION_MAX)]
_Types = Annotated[list[Name], _described(maxItems=QUERY_NAMES_MAX)]
_Tags = Annotated[list[Name], _described(maxItems=TAGS_PER_EVENT_MAX)]
_Time = Annotated[int, _described(minimum=0, maximum=TIMESTAMP_US_MAX)]

_EXPECTED: Final = {"any": ANY, "no-stream": NO_STREAM, "stream-exists": STREAM_EXISTS}
_EXPECTED_NAMES: Final = {int(ANY): "any", int(STREAM_EXISTS): "stream-exists"}
ExpectedForm = Annotated[int, _described(minimum=0, maximum=POSITION_MAX)] | Literal["any", "no-stream", "stream-exists"]


class EventForm(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """An event to store. Without `id` the server makes one; with it, a repetition stores nothing twice.

    `data` and `metadata` are kept byte for byte; as a JSON string (`data_json`) they may hold line breaks.
    """

    type: Name
    data: Raw | UnsetType = UNSET
    metadata: Annotated[Raw, _described(type="object")] | UnsetType = UNSET
    tags: _Tags = []
    id: Annotated[str, _described(format="uuid")] | None = None
    data_json: str | UnsetType = UNSET
    metadata_json: str | UnsetType = UNSET


EventForms = Annotated[list[EventForm], _described(minItems=1, maxItems=EVENTS_PER_APPEND_MAX)]


class StreamAppendForm(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Events for one stream, or for none, and the version that the stream must have before them."""

    events: EventForms
    stream: Name | None = None
    expected_version: ExpectedForm = "any"


class QueryItemForm(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """One of the types, all of the tags, and the stream or the category (not both). What is left out restricts nothing."""

    types: _Types = []
    tags: _Types = []
    stream: Name | None = None
    category: Category | None = None


class QueryForm(msgspec.Struct, forbid_unknown_fields=True):
    """Events that match any of the items. One empty item matches every event."""

    items: Annotated[list[QueryItemForm], _described(minItems=1, maxItems=QUERY_ITEMS_MAX)]


class ConditionForm(msgspec.Struct, forbid_unknown_fields=True):
    """The append fails if an event that matches stands after the position."""

    fail_if: QueryForm
    after: Position = 0


class AppendForm(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """All of it is stored, or nothing. `timestamps_us`: for copies of a log, one for each event."""

    appends: Annotated[list[StreamAppendForm], _described(minItems=1)]
    condition: ConditionForm | None = None
    timestamps_us: list[_Time] | None = None


_encode = msgspec.json.Encoder().encode


# From values to forms


def append_form(append: Append) -> bytes:
    """The JSON of an append, on one line."""
    times = None if append.timestamps_us is None else list(append.timestamps_us)
    parts = [
        StreamAppendForm([_event_form(event) for event in part.events], part.stream, _expected_form(part.expected_version))
        for part in append.parts
    ]
    condition = None if append.condition is None else ConditionForm(query_form(append.condition.fail_if), append.condition.after)
    return _encode(AppendForm(parts, condition, times))


def query_form(query: Query) -> QueryForm:
    return QueryForm([QueryItemForm(sorted(item.types), sorted(item.tags), item.stream, item.category) for item in query.items])


def _event_form(event: Event) -> EventForm:
    form = EventForm(event.type, tags=sorted(event.tags), id=str(event.id))
    if is_of_one_line(event.data_json):
        form.data = Raw(event.data_json)
    else:
        form.data_json = event.data_json.decode()
    if event.metadata_json != b"{}":
        if is_of_one_line(event.metadata_json):
            form.metadata = Raw(event.metadata_json)
        else:
            form.metadata_json = event.metadata_json.decode()
    return form


def _expected_form(expected: int) -> ExpectedForm:
    return _EXPECTED_NAMES.get(int(expected), int(expected))  # type: ignore[return-value]


# From forms to values


def append_of_form(form: AppendForm) -> Append:
    """Raises InvalidInput."""
    parts = tuple([stream_append_of(part) for part in form.appends])
    condition = None if form.condition is None else AppendCondition(query_of(form.condition.fail_if), form.condition.after)
    times = None if form.timestamps_us is None else [_checked_time(time) for time in form.timestamps_us]
    return check_append(Append(parts, condition, times))


def stream_append_of(form: StreamAppendForm) -> StreamAppend:
    return StreamAppend(form.stream, [event_of(event) for event in form.events], expected_of(form.expected_version))


def event_of(form: EventForm) -> Event:
    return Event(
        form.type,
        None,
        None,
        _at_most("tags", form.tags, TAGS_PER_EVENT_MAX),
        form.id,
        data_json=_text("data", form.data, form.data_json, b"null"),
        metadata_json=_text("metadata", form.metadata, form.metadata_json, b"{}"),
    )


def query_of(form: QueryForm) -> Query:
    return Query.of(*[_query_item_of(item) for item in form.items])


def _query_item_of(form: QueryItemForm) -> QueryItem:
    types, tags = _at_most("types", form.types, QUERY_NAMES_MAX), _at_most("tags", form.tags, QUERY_NAMES_MAX)
    return QueryItem(frozenset(types), frozenset(tags), form.stream, form.category)


def _at_most(field: str, names: list[str], count_max: int) -> list[str]:
    """As many as the schema says, whether they differ or not."""
    if len(names) > count_max:
        raise InvalidInput(field, len(names), f"expected at most {count_max} names")
    return names


def expected_of(form: ExpectedForm) -> int:
    return _EXPECTED[form] if isinstance(form, str) else form


def _text(field: str, raw: Raw | UnsetType, text: str | UnsetType, default: bytes) -> bytes:
    if text is UNSET:
        return default if raw is UNSET else bytes(raw)
    if raw is not UNSET:
        raise InvalidInput(f"{field}_json", text, f"give {field} or {field}_json, not both")
    return text.encode()


def _checked_time(time_us: int) -> int:
    if not 0 <= time_us <= TIMESTAMP_US_MAX:
        raise InvalidInput("timestamps_us", time_us, f"expected 0 to {TIMESTAMP_US_MAX}, the end of the year 9999")
    return time_us
