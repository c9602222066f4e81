"""Import: a file's records become events, batch by batch, in the order of the file. What is bad goes to the rejects file.

An import that was stopped is simply run again: ids are the same at every run, so what is stored already is recognised,
also when the batches are cut differently.
"""

import os
import time
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Final, TypeVar

import msgspec

from hansard.appends import Appended, StreamAppend
from hansard.errors import DuplicateEventId, InvalidInput, InvalidType
from hansard.events import RecordedEvent
from hansard.interchange import hansard_lines
from hansard.interchange.batches import BATCH_BYTES_MAX
from hansard.interchange.formats import FOREIGN_FORMATS, HANSARD, checked_format, detected_format
from hansard.interchange.hansard_lines import ExportedEvent
from hansard.interchange.mapping import Mapper, Mapping, NewEvent
from hansard.interchange.records import BadRecord, Damaged
from hansard.interchange.rejects import Rejects
from hansard.interchange.source_file import SourceFile, opened
from hansard.limits import EVENTS_PER_APPEND_MAX
from hansard.names import check_name
from hansard.store import Store

Progress = Callable[[int, int, int], object]
"""Called now and then with the bytes done, the bytes in all (0: unknown), and the records so far."""

_DEFAULT: Final = Mapping()
_ItemT = TypeVar("_ItemT", NewEvent, ExportedEvent)


class ImportReport(msgspec.Struct, frozen=True):
    """What an import did: `read` records are those `stored` now, `repeated` (known before), and `rejected`."""

    read: int
    stored: int
    repeated: int
    rejected: int
    seconds: float
    rejects_path: str | None


def import_log(
    store: Store,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    mapping: Mapping = _DEFAULT,
    source: str | None = None,
    rejects: str | os.PathLike[str] | None = None,
    batch_events: int = 1_000,
    progress: Progress | None = None,
) -> ImportReport:
    """Store the events of a file, in its order; gz is unpacked. Run again after a stop, it stores nothing twice.

    - `format`: one of FORMATS; without it, told from the file. `mapping`: which fields are stream, type, time, id and tags.
    - `source`: the name that derived ids rest on; the file's own name if not given. Another name means other events.
    - `rejects`: where bad records go; `<file name>.rejects.jsonl` in the current folder if not given.
    - `batch_events`: how many events are stored at once.

    Raises InvalidInput for options that cannot be and files that cannot be read, and whatever the store raises.
    """
    started = time.monotonic()
    _check_batch_events(batch_events)
    name = os.path.basename(os.fspath(path))
    with opened(path) as file, Rejects(rejects or f"{name}.rejects.jsonl", of=path) as bad:
        chosen = checked_format(format) if format is not None else detected_format(file.content, name)
        done = _Import(file, bad, batch_events, progress)
        if chosen == HANSARD:
            done.run(_exported_events(file, mapping, store), _restorer(store))
        else:
            done.run(_new_events(file, chosen, mapping, check_name("source", source or name)), _appender(store))
        return ImportReport(done.read, done.stored, done.repeated, bad.count, time.monotonic() - started, bad.path)


class _Import:
    """One import under way: gathers batches, stores them, counts."""

    def __init__(self, file: SourceFile, rejects: Rejects, batch_events: int, progress: Progress | None) -> None:
        self._file = file
        self._rejects = rejects
        self._batch_events = batch_events
        self._progress = progress
        self.read = self.stored = self.repeated = 0

    def run(self, items: Iterator[_ItemT | BadRecord], append: Callable[[list[_ItemT]], Appended]) -> None:
        batch: list[_ItemT] = []
        batch_bytes = 0
        for item in _until_damage(items):
            self.read += 1
            if isinstance(item, BadRecord):
                self._rejects.add(item)
                continue
            if batch and (len(batch) == self._batch_events or batch_bytes + item.size > BATCH_BYTES_MAX):
                self._store(batch, append)
                self._tell_progress()
                batch, batch_bytes = [], 0
            batch.append(item)
            batch_bytes += item.size
        if batch:
            self._store(batch, append)
        self._tell_progress()

    def _store(self, items: list[_ItemT], append: Callable[[list[_ItemT]], Appended]) -> None:
        """Halves a batch that is refused, until the guilty and the known ones stand alone."""
        try:
            appended = append(items)
        except (DuplicateEventId, InvalidInput) as error:
            if len(items) == 1:
                self._rejects.add(BadRecord(items[0].place, str(error), items[0].text))
                return
            middle = len(items) // 2
            self._store(items[:middle], append)
            self._store(items[middle:], append)
            return
        if appended.is_repeat:
            self.repeated += len(items)
        else:
            self.stored += len(items)

    def _tell_progress(self) -> None:
        if self._progress is not None:
            self._progress(self._file.done_bytes(), self._file.total_bytes, self.read)


def _until_damage(items: Iterator[_ItemT | BadRecord]) -> Iterator[_ItemT | BadRecord]:
    """Damage to the file ends it, with one bad record that says after which place."""
    place = "the start"
    try:
        for item in items:
            place = item.place
            yield item
    except Damaged as damage:
        yield BadRecord(f"after {place}", str(damage))


# Foreign formats: new events


def _new_events(file: SourceFile, format: str, mapping: Mapping, source: str) -> Iterator[NewEvent | BadRecord]:
    foreign = FOREIGN_FORMATS[format]
    mapper = Mapper(mapping, foreign.defaults, source=source, case_prefix=foreign.case_prefix)
    return (record if isinstance(record, BadRecord) else mapper.event(record) for record in foreign.records(file.content))


def _appender(store: Store) -> Callable[[list[NewEvent]], Appended]:
    def append(items: list[NewEvent]) -> Appended:
        # Neighbours of one stream together, and nothing is sorted: positions are in the order of the file.
        runs = groupby(items, key=lambda item: item.stream)
        return store.append_streams([StreamAppend(stream, [item.event for item in run]) for stream, run in runs])

    return append


# Our own format: the same events again


def _exported_events(file: SourceFile, mapping: Mapping, store: Store) -> Iterator[ExportedEvent | BadRecord]:
    if mapping != _DEFAULT:
        limit = "a Hansard export needs no mapping; to import it as new events, give the format jsonl"
        raise InvalidInput("mapping", mapping, limit)
    is_first = True
    for item in hansard_lines.events(file.content):
        if is_first and isinstance(item, ExportedEvent):
            _check_not_before(store, item.event)
            is_first = False
        yield item


def _check_not_before(store: Store, first: RecordedEvent) -> None:
    """Say it at once, rather than of each event, if the log has gone on beyond the times of the file."""
    last = next(store.read(backwards=True, limit=1), None)
    if last is not None and first.timestamp_us < last.timestamp_us and store.event(first.id) is None:
        limit = f"the log is at {last.timestamp.isoformat()} already, and time never goes back; import into an empty store"
        raise InvalidInput("timestamp", first.timestamp.isoformat(), limit)


def _restorer(store: Store) -> Callable[[list[ExportedEvent]], Appended]:
    return lambda items: store.restore([item.event for item in items])


def _check_batch_events(count: object) -> None:
    if isinstance(count, bool) or not isinstance(count, int):
        raise InvalidType("batch_events", count, "expected an int")
    if not 1 <= count <= EVENTS_PER_APPEND_MAX:
        raise InvalidInput("batch_events", count, f"expected 1 to {EVENTS_PER_APPEND_MAX}")
