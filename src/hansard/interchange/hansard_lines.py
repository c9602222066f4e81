"""Our own export format, both directions: one recorded event a line, from which the identical log can be made."""

import io
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from hansard.events import RecordedEvent
from hansard.interchange.json_texts import JsonText, lines
from hansard.interchange.records import BadRecord
from hansard.wire.recorded import form_of, recorded_of

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
    return form_of(event) + b"\n"


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
        return ExportedEvent(text.place, text.text, recorded_of(text.text))
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        return BadRecord(text.place, f"not a line of an export: {error}", text.text)
