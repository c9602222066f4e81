"""Our own export format, both directions: one recorded event a line, from which the identical log can be made.

`data` and `metadata` are embedded as they are stored, byte for byte. Where that would break the line, or lose white space
at the ends, the text goes as a JSON string instead, under `data_json` or `metadata_json`.
"""

import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, NamedTuple
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from hansard.events import RecordedEvent, tags_text
from hansard.interchange.json_texts import JsonText, lines
from hansard.interchange.records import BadRecord
from hansard.limits import POSITION_MAX

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_Place = Annotated[int, Meta(ge=1, le=POSITION_MAX)]


class _Line(msgspec.Struct, omit_defaults=True):
    """The members of a line, in their order."""

    position: _Place
    stream: str | None
    version: _Place | None
    type: str
    id: str
    timestamp: str
    tags: list[str]
    metadata: Raw | UnsetType = UNSET
    metadata_json: str | UnsetType = UNSET
    data: Raw | UnsetType = UNSET
    data_json: str | UnsetType = UNSET


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Line).decode
_START: Final = re.compile(rb'\{"position":[0-9]+,"stream":')
_MEMBERS: Final = {"position", "version", "id", "timestamp", "tags"}


class ExportedEvent(NamedTuple):
    """An event of another log, and where in the file it comes from."""

    place: str
    text: bytes
    event: RecordedEvent

    @property
    def size(self) -> int:
        return len(self.event.data_json) + len(self.event.metadata_json)


def line_of(event: RecordedEvent) -> bytes:
    """The line of an event, with its newline."""
    line = _Line(
        event.position,
        event.stream,
        event.version,
        event.type,
        str(event.id),
        f"{event.timestamp.replace(tzinfo=None).isoformat(timespec='microseconds')}Z",
        sorted(event.tags),
    )
    if _is_of_one_line(event.metadata_json):
        line.metadata = Raw(event.metadata_json)
    else:
        line.metadata_json = event.metadata_json.decode()
    if _is_of_one_line(event.data_json):
        line.data = Raw(event.data_json)
    else:
        line.data_json = event.data_json.decode()
    return _encode(line) + b"\n"


def events(file: io.BufferedReader) -> Iterator[ExportedEvent | BadRecord]:
    """The recorded events of a file, whose positions must ascend."""
    last_position = 0
    for text in lines(file):
        item = text if isinstance(text, BadRecord) else _exported(text)
        if isinstance(item, ExportedEvent):
            position = item.event.position
            if position <= last_position:
                yield BadRecord(item.place, f"position {position} stands after position {last_position}", item.text)
                continue
            last_position = position
        yield item


def is_likely(start: bytes, first: Any) -> bool:
    """Whether what a file begins with, or the value of its first line, looks like ours: the line may be long or damaged."""
    return _START.match(start) is not None or (isinstance(first, dict) and first.keys() >= _MEMBERS)


def _exported(text: JsonText) -> ExportedEvent | BadRecord:
    try:
        return ExportedEvent(text.place, text.text, _recorded(_decode(text.text)))
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        return BadRecord(text.place, f"not a line of an export: {error}", text.text)


def _recorded(line: _Line) -> RecordedEvent:
    return RecordedEvent(
        line.position,
        line.stream,
        line.version,
        line.type,
        (_time(line.timestamp) - _EPOCH) // _MICROSECOND,
        UUID(line.id).bytes,
        tags_text(frozenset(line.tags)),
        _json("metadata", line.metadata, line.metadata_json),
        _json("data", line.data, line.data_json),
    )


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"timestamp {text!r} has no time zone")
    return time


def _json(name: str, raw: Raw | UnsetType, text: str | UnsetType) -> bytes:
    if (raw is UNSET) == (text is UNSET):
        raise ValueError(f"expected one of {name} and {name}_json")
    return text.encode() if isinstance(text, str) else bytes(raw)  # type: ignore[arg-type]


def _is_of_one_line(text: bytes) -> bool:
    return b"\n" not in text and b"\r" not in text and text == text.strip()
