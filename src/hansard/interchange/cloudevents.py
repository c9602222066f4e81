"""CloudEvents 1.0 in JSON: one structured event, one a line, or a batch (an array).

The `data` member is the event's data, byte for byte; all the other attributes are its metadata.
"""

import io
import re
from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

import msgspec

from hansard.interchange.json_texts import JsonText, decoded, start_of, texts
from hansard.interchange.records import RECORD_BYTES_MAX, BadRecord, Record

_REQUIRED: Final = ("specversion", "id", "source", "type")
_SPECVERSION: Final = re.compile(rb'"specversion"\s*:\s*"')
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def records(file: io.BufferedReader) -> Iterator[Record | BadRecord]:
    for text in [_whole(file)] if _is_one_on_several_lines(file) else texts(file):
        yield text if isinstance(text, BadRecord) else _record(text)


def is_likely(start: bytes) -> bool:
    """Whether what a file begins with looks like a CloudEvent."""
    return _SPECVERSION.search(start) is not None


def _is_one_on_several_lines(file: io.BufferedReader) -> bool:
    first_line, newline, _ = start_of(file).partition(b"\n")
    return bool(newline) and first_line.startswith(b"{") and isinstance(decoded(JsonText("", 0, first_line)), BadRecord)


def _whole(file: io.BufferedReader) -> JsonText | BadRecord:
    text = file.read(RECORD_BYTES_MAX + 1)
    if len(text) > RECORD_BYTES_MAX:
        return BadRecord("line 1", f"expected at most {RECORD_BYTES_MAX} bytes in one event", text[:1_000])
    return JsonText("line 1", 1, text[text.index(b"{") :])


def _record(text: JsonText) -> Record | BadRecord:
    event = decoded(text)
    if isinstance(event, BadRecord):
        return event
    problem = _problem(event)
    if problem:
        return BadRecord(text.place, problem, text.text)
    data = _data(text.text, event)
    attributes = {name: value for name, value in event.items() if name not in {"data", "data_base64"}}
    return Record({**attributes, ":id": _id(event)}, data, text.place, text.ordinal, attributes)


def _problem(event: Any) -> str | None:
    if not isinstance(event, dict):
        return f"expected a JSON object, not {type(event).__name__}"
    for name in _REQUIRED:
        if not isinstance(event.get(name), str) or not event[name]:
            return f"not a CloudEvent: attribute {name!r} must be there and be text"
    if "data" in event and "data_base64" in event:
        return "not a CloudEvent: it has both data and data_base64"
    return None


def _data(text: bytes, event: dict[str, Any]) -> bytes:
    if "data_base64" in event:
        return msgspec.json.encode({"data_base64": event["data_base64"]})
    return bytes(_members.decode(text)["data"]) if "data" in event else b"null"


def _id(event: dict[str, Any]) -> str:
    """CloudEvents promise only that source and id together are unique; a UUID is unique by itself."""
    id = str(event["id"])
    try:
        return str(UUID(id))
    except ValueError:
        return f"{event['source']} {id}"
