"""The rules that every engine obeys: who wins, and when an append is only a repetition. Pure: no I/O, no clock.

Engines call these inside their own transaction, or say the same in one SQL statement.
"""

from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from hansard.appends import Append, Appended, StreamAppend
from hansard.errors import DuplicateEventId, TimestampTooEarly, WrongExpectedVersion
from hansard.events import Event, RecordedEvent
from hansard.streams import ANY, STREAM_EXISTS


def check_version(stream: str, expected: int, current: int) -> None:
    """The rule of conflict: raises WrongExpectedVersion unless the stream is as the writer expected it."""
    if expected == current or expected is ANY or (expected is STREAM_EXISTS and current > 0):
        return
    raise WrongExpectedVersion(stream, expected, current)


def check_versions(parts: Sequence[StreamAppend], version_of: Callable[[str], int]) -> None:
    """Raises if a stream is not as expected; a later part of a stream finds it as the earlier left it."""
    versions: dict[str, int] = {}
    for part in parts:
        if part.stream is not None:
            version = versions.get(part.stream)
            if version is None:
                version = version_of(part.stream)
            check_version(part.stream, part.expected_version, version)
            versions[part.stream] = version + len(part.events)


def commit_times(append: Append, count: int, *, now_us: int, last_us: int) -> Sequence[int]:
    """The timestamps of an append's events: now, or those of a copied log; never before the log's last."""
    if append.timestamps_us is None:
        return (max(now_us, last_us),) * count
    for time_us in append.timestamps_us:
        if time_us < last_us:
            raise TimestampTooEarly("timestamps_us", time_us, f"the log is at {last_us} already, and time never goes back in it")
        last_us = time_us
    return append.timestamps_us


def repeated(append: Append, known: Mapping[bytes, RecordedEvent]) -> Appended | None:
    """The retry rule. `known` holds the recorded events whose ids this append uses.

    None: all ids are new. An Appended: the very same append is in the log, at that place.
    Anything between the two raises DuplicateEventId.
    """
    if not known:
        return None
    versions: dict[str, int] = {}
    places: list[RecordedEvent] = []
    for part in append.parts:
        for event in part.events:
            recorded = known.get(event.id_bytes)
            if recorded is None:
                raise _only_in_part(append, known)
            _check_same(event, part.stream, recorded)
            if places and recorded.position != places[-1].position + 1:
                raise DuplicateEventId(event.id, recorded.position, "its append was stored in another order, or in several")
            places.append(recorded)
            if recorded.stream is not None and recorded.version is not None:
                versions[recorded.stream] = recorded.version
    return placed(places[0].position, places[-1].position, versions, places[-1].timestamp_us, is_repeat=True)


def placed(first: int, last: int, versions: dict[str, int], timestamp_us: int, *, is_repeat: bool = False) -> Appended:
    """The result of an append that has this place."""
    version = next(iter(versions.values())) if len(versions) == 1 else None
    return Appended(first, last, version, versions, timestamp_us, is_repeat)


def check_ids_once(append: Append) -> None:
    """Raises DuplicateEventId if one append carries an id twice."""
    if len(append.parts) == 1 and len(append.parts[0].events) == 1:
        return
    seen: set[bytes] = set()
    for event in append.events:
        if event.id_bytes in seen:
            raise DuplicateEventId(event.id, None, "it is given twice in one append")
        seen.add(event.id_bytes)


def _check_same(event: Event, stream: str | None, recorded: RecordedEvent) -> None:
    if recorded.stream != stream:
        raise DuplicateEventId(event.id, recorded.position, f"it belongs to stream {recorded.stream!r}")
    same = (event.type, event.data_json, event.metadata_json, event.tags)
    if same != (recorded.type, recorded.data_json, recorded.metadata_json, recorded.tags):
        raise DuplicateEventId(event.id, recorded.position, "its type, data, metadata or tags are not the same")


def _only_in_part(append: Append, known: Mapping[bytes, RecordedEvent]) -> DuplicateEventId:
    id_bytes, recorded = next(iter(known.items()))
    return DuplicateEventId(UUID(bytes=id_bytes), recorded.position, "only a part of this append is in the log")
