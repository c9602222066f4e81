"""A recorded event in JSON, on one line, both directions: from it the identical event can be made.

`data` and `metadata` are embedded as they are stored, byte for byte. Where that would break the line, or lose white space
at the ends, the text goes as a JSON string instead, under `data_json` or `metadata_json`.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from hansard.events import RecordedEvent, tags_text
from hansard.limits import POSITION_MAX

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_Place = Annotated[int, Meta(ge=1, le=POSITION_MAX)]


class RecordedEventForm(msgspec.Struct, omit_defaults=True):
    """An event in the log. Where the text has line breaks, it stands in `data_json` and `metadata_json` instead."""

    position: _Place
    stream: str | None
    version: _Place | None
    type: str
    id: Annotated[str, Meta(extra_json_schema={"format": "uuid"})]
    timestamp: Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
    tags: list[str]
    metadata: Raw | UnsetType = UNSET
    metadata_json: str | UnsetType = UNSET
    data: Raw | UnsetType = UNSET
    data_json: str | UnsetType = UNSET


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(RecordedEventForm).decode


def form_of(event: RecordedEvent) -> bytes:
    """The JSON of an event, on one line."""
    form = RecordedEventForm(
        event.position,
        event.stream,
        event.version,
        event.type,
        str(event.id),
        time_text(event.timestamp_us),
        sorted(event.tags),
    )
    if is_of_one_line(event.metadata_json):
        form.metadata = Raw(event.metadata_json)
    else:
        form.metadata_json = event.metadata_json.decode()
    if is_of_one_line(event.data_json):
        form.data = Raw(event.data_json)
    else:
        form.data_json = event.data_json.decode()
    return _encode(form)


def recorded_of(text: bytes) -> RecordedEvent:
    """The event of a form. Raises msgspec.MsgspecError, ValueError, OverflowError or RecursionError."""
    form = _decode(text)
    return RecordedEvent(
        form.position,
        form.stream,
        form.version,
        form.type,
        (_time(form.timestamp) - _EPOCH) // _MICROSECOND,
        UUID(form.id).bytes,
        tags_text(frozenset(form.tags)) if form.tags else None,
        given_json("metadata", form.metadata, form.metadata_json),
        given_json("data", form.data, form.data_json),
    )


def time_text(timestamp_us: int) -> str:
    """RFC 3339, in UTC, to the microsecond."""
    time = _EPOCH + timedelta(microseconds=timestamp_us)
    return f"{time.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"timestamp {text!r} has no time zone")
    return time


def given_json(name: str, raw: Raw | UnsetType, text: str | UnsetType) -> bytes:
    """The JSON text that was given under a name, or under its name with `_json`."""
    if (raw is UNSET) == (text is UNSET):
        raise ValueError(f"expected one of {name} and {name}_json")
    return text.encode() if isinstance(text, str) else bytes(raw)  # type: ignore[arg-type]


def is_of_one_line(text: bytes) -> bool:
    return b"\n" not in text and b"\r" not in text and text == text.strip()
