"""JSON lines (or one JSON array) of whatever objects: the object's text, byte for byte, is the event's data."""

import io
from collections.abc import Iterator

from hansard.interchange.json_texts import JsonText, decoded, texts
from hansard.interchange.records import BadRecord, Record


def records(file: io.BufferedReader) -> Iterator[Record | BadRecord]:
    for text in texts(file):
        yield text if isinstance(text, BadRecord) else _record(text)


def _record(text: JsonText) -> Record | BadRecord:
    value = decoded(text)
    if isinstance(value, BadRecord):
        return value
    if not isinstance(value, dict):
        return BadRecord(text.place, f"expected a JSON object, not {type(value).__name__}", text.text)
    return Record(value, text.text, text.place, text.ordinal)
