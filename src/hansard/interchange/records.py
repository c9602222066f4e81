"""What a reader of a foreign format yields: records, good and bad. Knows no format and no store."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from hansard.limits import DATA_BYTES_MAX, METADATA_BYTES_MAX

RECORD_BYTES_MAX: Final = 2 * (DATA_BYTES_MAX + METADATA_BYTES_MAX) + 1024 * 1024
"""One line, row or item. The largest event that can be stored, with every character escaped, still fits."""

_FIELDS_SHOWN = 12


class Record(NamedTuple):
    """One event as the file tells it.

    - `fields`: what templates look at.
    - `data_json`: the JSON text that becomes the event's data.
    - `place`: where it stands in the file, for people; `ordinal` the same for ids, ascending.
    - `metadata`: what the format knows of the event beside its data.
    """

    fields: Mapping[str, Any]
    data_json: bytes
    place: str
    ordinal: int
    metadata: Mapping[str, Any] | None = None


class BadRecord(NamedTuple):
    """What could not be read or mapped: where, why, and the text as it stands in the file, as far as it is known."""

    place: str
    reason: str
    text: bytes = b""


class Damaged(Exception):
    """The file cannot be read on from here. Does not leave this room: it becomes one BadRecord."""


def names_of(fields: Mapping[str, Any]) -> str:
    """The names of a record's fields for messages, shortened."""
    names = list(fields)
    more = f", … ({len(names)} in all)" if len(names) > _FIELDS_SHOWN else ""
    return ", ".join(names[:_FIELDS_SHOWN]) + more if names else "none"
