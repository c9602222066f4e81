"""How the things of `eventsourcing` look in our log: stream names, metadata, the text of states, documents. Pure.

stream    bankaccounts-7c0c…   application's name in lower case, originator's id
version   1, 2, 3 …            the originator's version is the same, or stands in the metadata
type      bank:Account.Opened  the topic
data      {"owner":"Jo"}       the state, if it is JSON; otherwise {"base64":"…"}
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

import msgspec

from hansard.errors import InvalidInput
from hansard.events import Event, RecordedEvent

UNNAMED: Final = "stored"
"""The category of an application without a name; the library begins names of tables with this word."""

NOTIFICATION_ID: Final = "notification_id"
"""In the metadata of imported events: the place in the application's sequence that they came from."""

_ORIGINATOR_VERSION: Final = "originator_version"
"""In the metadata where it is not the version of ours: the library lets numbering begin anywhere."""

_ORIGINATOR_ID: Final = "originator_id"
"""In the metadata, as "text", where an id is text that looks like a UUID."""

_TAGS: Final = "tags"
"""In the metadata where tags were not given once each and in order: we keep a set, the library a list."""

_NOTHING: Final = b"{}"
_BASE64: Final = b'{"base64":"'
_END: Final = b'"}'
_UUID: Final = re.compile("[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_VERSION_MAX: Final = 2**63 - 1
_VERSION_DIGITS: Final = len(str(_VERSION_MAX))


# Names


def category_of(application: str) -> str:
    """The category of an application's streams. A "-" would end it, so it is quoted."""
    return _quoted(application.lower() or UNNAMED, "-")


def stream_of(category: str, originator_id: UUID | str) -> str:
    return f"{category}-{originator_id}"


def decisions_category(category: str) -> str:
    """The category of what an application stores through the library's DCB recorder, apart from its aggregates."""
    return f"{category}.dcb"


def decisions_stream(category: str) -> str:
    """The one stream of that category."""
    return f"{decisions_category(category)}-events"


def _quoted(text: str, mark: str) -> str:
    return text.replace("%", "%25").replace(mark, f"%{ord(mark):02X}")


# Events


def event_of(
    topic: str,
    state: bytes,
    *,
    tags: Iterable[str] = (),
    metadata: Mapping[str, Any] | None = None,
    id: UUID | None = None,
) -> Event:
    """The event of a topic and a state. Raises InvalidInput for what cannot be stored."""
    state = bytes(state)
    if _may_be_plain(state):
        try:
            return Event(topic, None, metadata, tags, id, data_json=state)
        except InvalidInput as error:
            if error.field != "data_json":
                raise
    return Event(topic, None, metadata, tags, id, data_json=text_of(state))


def state_of(data_json: bytes) -> bytes:
    """The state, byte for byte."""
    return b64decode(data_json[len(_BASE64) : -len(_END)]) if data_json.startswith(_BASE64) else data_json


def text_of(state: bytes) -> bytes:
    """A state that is not JSON as JSON."""
    return _BASE64 + b64encode(state) + _END


def _may_be_plain(state: bytes) -> bool:
    """White space around a text would be lost where the text stands inside another; ours must not be taken for theirs."""
    return bool(state) and state == state.strip() and not state.startswith(_BASE64)


def originator_metadata(originator_id: UUID | str, originator_version: int, version: int) -> dict[str, Any]:
    """What the stream's name and version do not say."""
    metadata: dict[str, Any] = {}
    if originator_version != version:
        metadata[_ORIGINATOR_VERSION] = originator_version
    if isinstance(originator_id, str) and _UUID.fullmatch(originator_id):
        metadata[_ORIGINATOR_ID] = "text"
    return metadata


def originator_version_of(event: RecordedEvent) -> int:
    assert event.version is not None
    return event.version if event.metadata_json == _NOTHING else event.metadata.get(_ORIGINATOR_VERSION, event.version)


def originator_id_of(event: RecordedEvent, category: str) -> UUID | str:
    """A UUID, or the text that was given."""
    assert event.stream is not None
    text = event.stream[len(category) + 1 :]
    if not _UUID.fullmatch(text) or (event.metadata_json != _NOTHING and _ORIGINATOR_ID in event.metadata):
        return text
    return UUID(text)


def tags_metadata(tags: list[str]) -> dict[str, Any]:
    return {} if tags == sorted(set(tags)) else {_TAGS: tags}


def tags_of(event: RecordedEvent) -> list[str]:
    """The tags as they were given."""
    given: list[str] | None = None if event.metadata_json == _NOTHING else event.metadata.get(_TAGS)
    return sorted(event.tags) if given is None else list(given)


# Documents


def tracking_collection(category: str) -> str:
    """Application's name -> the last notification that was processed, as a JSON number."""
    return f"eventsourcing/tracking/{category}"


def snapshots_collection(category: str, purpose: str) -> str:
    """What an aggregate recorder keeps beside the log."""
    return f"eventsourcing/stored_{purpose}/{category}"


class Snapshot(msgspec.Struct, frozen=True):
    """A document of that collection. `state` as in an event's data."""

    topic: str
    state: msgspec.Raw


def snapshot_document(topic: str, state: bytes) -> bytes:
    """Raises InvalidInput for what could not be stored as an event either."""
    event = event_of(topic, state)
    return msgspec.json.encode(Snapshot(event.type, msgspec.Raw(event.data_json)))


def snapshot_of(document: bytes) -> tuple[str, bytes]:
    """Topic and state."""
    snapshot = msgspec.json.decode(document, type=Snapshot)
    return snapshot.topic, state_of(bytes(snapshot.state))


def snapshot_prefix(originator_id: UUID | str) -> str:
    """What the keys of an originator begin with."""
    return f"{_quoted(str(originator_id), '/')}/"


def snapshot_key(originator_id: UUID | str, originator_version: int) -> str:
    """The highest version comes first, because that is the one asked for."""
    if not 0 <= originator_version < _VERSION_MAX:
        raise InvalidInput("originator_version", originator_version, f"expected 0 to {_VERSION_MAX - 1}")
    return f"{snapshot_prefix(originator_id)}{_VERSION_MAX - originator_version:0{_VERSION_DIGITS}}"


def snapshot_version(key: str) -> int:
    return _VERSION_MAX - int(key[-_VERSION_DIGITS:])
