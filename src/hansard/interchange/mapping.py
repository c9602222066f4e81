"""Which fields of a foreign record are the stream, the type, the time, the id and the tags. Makes events of records."""

from collections.abc import Mapping as Fields
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from hansard.errors import InvalidInput, InvalidType
from hansard.events import Event
from hansard.interchange.derived_ids import DerivedIds
from hansard.interchange.records import BadRecord, Record, names_of
from hansard.interchange.templates import MissingField, Template
from hansard.streams import check_stream

_encode = msgspec.json.Encoder().encode


class Mapping(msgspec.Struct, frozen=True, kw_only=True):
    """Templates (see templates.py); what is None is left to the format.

    - `stream`, `type`: names. An empty stream means events without a stream.
    - `time`: kept as text, with its time zone, in the metadata; empty text means none.
    - `id`: a UUID is taken as it is, other text gives a derived one. Without it, ids come from place and content.
    - `tags`: each gives one tag, or one for each element of a list, or none where its fields are missing.
    """

    stream: str | None = None
    type: str | None = None
    time: str | None = None
    id: str | None = None
    tags: Sequence[str] = ()

    def __post_init__(self) -> None:
        for option in ("stream", "type", "time", "id"):
            value = getattr(self, option)
            if value is not None and not isinstance(value, str):
                raise InvalidType(option, value, "expected a template, such as '{name}'")
        if self.type == "":
            raise InvalidInput("type", self.type, "expected a template, such as '{name}'; every event has a type")
        if isinstance(self.tags, str) or not all(isinstance(tag, str) for tag in self.tags):
            raise InvalidType("tags", self.tags, "expected a list of templates, such as ['user:{user.login}']")


class NewEvent(NamedTuple):
    """An event to be stored, and where in the file it comes from."""

    place: str
    text: bytes
    stream: str | None
    event: Event

    @property
    def size(self) -> int:
        return len(self.event.data_json) + len(self.event.metadata_json)


class Mapper:
    """A mapping over the defaults of a format, made ready for many records."""

    def __init__(self, mapping: Mapping, defaults: Mapping, *, source: str, case_prefix: str | None = None) -> None:
        event_first = ("",) if case_prefix is None else ("", case_prefix)
        self._stream = Template("stream", _given(mapping.stream, defaults.stream, "{stream}"), event_first[::-1])
        self._type = Template("type", _given(mapping.type, defaults.type, "{type}"), event_first)
        self._time = Template("time", _given(mapping.time, defaults.time, ""), event_first)
        id = _given(mapping.id, defaults.id, "")
        self._id = Template("id", id, event_first) if id else None
        self._tags = [Template("tags", tag, event_first) for tag in mapping.tags]
        self._ids = DerivedIds(source)
        self._guesses: list[tuple[str, Template]] = []
        if mapping.stream is None and defaults.stream is None:
            self._guesses.append(("stream", self._stream))
        if mapping.type is None and defaults.type is None:
            self._guesses.append(("type", self._type))

    def event(self, record: Record) -> NewEvent | BadRecord:
        """The event of a record, or why there is none. Raises InvalidInput if nobody said what is the stream or type."""
        while self._guesses:
            self._check_guess(*self._guesses.pop(), record)
        try:
            return self._event(record)
        except MissingField as missing:
            reason = str(missing)
        except InvalidInput as error:
            reason = str(error)
        return BadRecord(record.place, reason, record.data_json)

    def _event(self, record: Record) -> NewEvent:
        fields = record.fields
        stream = self._stream.render(fields)
        event = Event(
            self._type.render(fields),
            tags=self._tags_of(fields) if self._tags else (),
            id=self._id_of(record),
            data_json=record.data_json,
            metadata_json=_metadata_json(record, self._time.render(fields)),
        )
        return NewEvent(record.place, record.data_json, check_stream(stream) if stream else None, event)

    def _id_of(self, record: Record) -> UUID:
        text = self._id.render(record.fields) if self._id is not None else ""
        return self._ids.of_text(text) if text else self._ids.of_place(record.ordinal, record.data_json)

    def _tags_of(self, fields: Fields[str, Any]) -> list[str]:
        return [tag for template in self._tags for tag in template.render_each(fields)]

    def _check_guess(self, option: str, template: Template, record: Record) -> None:
        """Nobody said which field it is, and the record has none of that name: say so before every record is rejected."""
        try:
            template.render(record.fields)
        except MissingField:
            limit = f"say which field is the {option}; the fields of {record.place}: {names_of(record.fields)}"
            raise InvalidInput(option, None, limit) from None


def _given(wanted: str | None, default: str | None, guess: str) -> str:
    return next(text for text in (wanted, default, guess) if text is not None)


def _metadata_json(record: Record, time: str) -> bytes:
    """What the format knows, and the event's own time. Not the log's timestamp: that never goes back, foreign times do."""
    if record.metadata is not None:
        return _encode({**record.metadata, "time": time} if time else record.metadata)
    return _encode({"time": time}) if time else b"{}"
