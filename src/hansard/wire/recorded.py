"""A recorded event in JSON, on one line, both directions: from it the identical event can be made.

`data` and `metadata` are embedded as they are stored, byte for byte. Where that would break the line, or lose white space
at the ends, the text goes as a JSON string instead, under `data_json` or `metadata_json`.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Final
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from hansard.events import RecordedEvent, tags_text
from hansard.limits import POSITION_MAX

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_OURS: Final = len("2026-01-31T12:00:00.000000Z")
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
    """The JSON of an event, on one line. Put together by hand, because whole logs are written so."""
    id = event.id_bytes.hex()
    return b'{"position":%d,"stream":%b,"version":%b,"type":%b,"id":"%b","timestamp":"%b","tags":%b,%b,%b}' % (
        event.position,
        _encode(event.stream),
        b"null" if event.version is None else b"%d" % event.version,
        _encode(event.type),
        f"{id[:8]}-{id[8:12]}-{id[12:16]}-{id[16:20]}-{id[20:]}".encode(),
        time_text(event.timestamp_us).encode(),
        b"[]" if event.tags_json is None else event.tags_json.encode(),
        _member(b"metadata", event.metadata_json),
        _member(b"data", event.data_json),
    )


def _member(name: bytes, text: bytes) -> bytes:
    if is_of_one_line(text):
        return b'"%b":%b' % (name, text)
    return b'"%b_json":%b' % (name, _encode(text.decode()))


def recorded_of(text: bytes) -> RecordedEvent:
    """The event of a form. Raises msgspec.MsgspecError, ValueError, OverflowError or RecursionError."""
    form = _decode(text)
    return RecordedEvent(
        form.position,
        form.stream,
        form.version,
        form.type,
        _time_us(form.timestamp),
        UUID(form.id).bytes,
        tags_text(frozenset(form.tags)) if form.tags else None,
        given_json("metadata", form.metadata, form.metadata_json),
        given_json("data", form.data, form.data_json),
    )


def time_text(timestamp_us: int) -> str:
    """RFC 3339, in UTC, to the microsecond."""
    seconds, microseconds = divmod(timestamp_us, 1_000_000)
    return f"{_second_text(seconds)}.{microseconds:06d}Z"


@lru_cache(256)
def _second_text(seconds: int) -> str:
    """Events of one second share it."""
    return (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()


def _time_us(text: str) -> int:
    if len(text) == _OURS and text.endswith("Z") and text[20:26].isdecimal():
        return _second_us(text[:19]) + int(text[20:26])
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"timestamp {text!r} has no time zone")
    return (time - _EPOCH) // _MICROSECOND


@lru_cache(256)
def _second_us(text: str) -> int:
    return (datetime.fromisoformat(text).replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND


def given_json(name: str, raw: Raw | UnsetType, text: str | UnsetType) -> bytes:
    """The JSON text that was given under a name, or under its name with `_json`."""
    if (raw is UNSET) == (text is UNSET):
        raise ValueError(f"expected one of {name} and {name}_json")
    return text.encode() if isinstance(text, str) else bytes(raw)  # type: ignore[arg-type]


def is_of_one_line(text: bytes) -> bool:
    """Whether it can stand in a line as it is; white space at its ends would be lost."""
    return b"\n" not in text and b"\r" not in text and text[:1] > b" " and text[-1:] > b" "
