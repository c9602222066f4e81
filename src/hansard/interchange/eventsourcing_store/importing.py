"""A store of the library comes over: events with their originators' ids and versions, in their order; then what is beside them.

An import that was stopped is run again and goes on after its last event. Events have the same ids at every run.
"""

import os
from collections.abc import Callable, Iterator
from typing import Final, TypeVar
from uuid import UUID

from hansard.errors import InvalidInput, WrongExpectedVersion
from hansard.events import Event, RecordedEvent
from hansard.interchange.batches import batches
from hansard.interchange.derived_ids import DerivedIds
from hansard.interchange.eventsourcing_store import tables
from hansard.interchange.eventsourcing_store.databases import Database, opened
from hansard.interchange.eventsourcing_store.layout import (
    NOTIFICATION_ID,
    category_of,
    decisions_category,
    decisions_stream,
    event_of,
    snapshot_document,
    snapshot_key,
    snapshots_collection,
    stream_of,
    tags_metadata,
    tracking_collection,
)
from hansard.interchange.eventsourcing_store.numbering import NewEvent, Numbering
from hansard.interchange.eventsourcing_store.tables import DecisionRow, EventRow, Table
from hansard.names import shown_place
from hansard.query import Query
from hansard.storage.port import StorageTransaction
from hansard.store import Store

Progress = Callable[[int], object]
"""Called after each append with the number of events stored so far."""

"""Of states; those that are no JSON become a third larger."""

_ATTEMPTS: Final = 10
"""Looks at streams that were taken for new, or that others append to meanwhile."""

_NewT = TypeVar("_NewT", NewEvent, Event)


def import_store(
    source: str | os.PathLike[str], store: Store, *, application: str | None = None, progress: Progress | None = None
) -> int:
    """Bring over a SQLite file, or a PostgreSQL database (postgresql://…), that version 9 of `eventsourcing` has written.

    - `application`: whose events these are, by the name that the application has. A SQLite file does not say: without a name
      its streams are called stored-…. On PostgreSQL it chooses one application of several; without it all come, one by one.

    Returns the number of events stored now. Snapshots and tracking records come too; a tracking record that is further on in the
    store stays. In an empty store, and if the source has one application and no gaps, positions are the notifications' ids.

    Raises InvalidInput or OpenFailed for what cannot be read, WrongExpectedVersion for an event that is in the store already.
    """
    with opened(source) as database:
        found = tables.found(database, application)
        if not found:
            shown = shown_place(os.fspath(source))
            raise InvalidInput("source", shown, f"has no tables of {application or 'the library eventsourcing'}")
        importing = _Import(database, store, progress)
        steps = {
            "events": importing.events,
            "decisions": importing.decisions,
            "snapshots": importing.snapshots,
            "trackings": importing.trackings,
        }
        for kind, step in steps.items():
            for table, category in found:
                if table.kind == kind:
                    step(table, category)
        return importing.stored


class _Import:
    """One import under way."""

    def __init__(self, database: Database, store: Store, progress: Progress | None) -> None:
        self._database = database
        self._store = store
        self._numbering = Numbering(store)
        self._progress = progress
        self.stored = 0

    # Events

    def events(self, table: Table, category: str) -> None:
        ids = DerivedIds(f"eventsourcing/{category}")
        last = self._last_imported(category) if table.order is not None else None
        rows = tables.events(self._database, table, begin=_notification_id(last))
        new = _after(last, (_new_event(row, category, ids) for row in rows))
        if table.order is None:  # what is new has no place of its own among the rows
            new = (event for event in new if event.id is None or self._store.event(event.id) is None)
        for batch in batches(new, lambda event: len(event.state)):
            self._append(batch)

    def _append(self, new: list[NewEvent]) -> None:
        for _ in range(_ATTEMPTS):
            plan = self._numbering.plan(new)
            try:
                appended = self._store.append_streams(plan.parts)
            except WrongExpectedVersion:
                self._numbering.look_up(*plan.ends)
                continue
            self._numbering.saw(plan.ends)
            self._count(len(new), is_repeat=appended.is_repeat)
            return
        raise InvalidInput("store", new[0].stream, "others append to the streams that are imported; stop them first")

    def decisions(self, table: Table, category: str) -> None:
        ids = DerivedIds(f"eventsourcing/{decisions_category(category)}")
        last = self._last_imported(decisions_category(category))
        rows = tables.decisions(self._database, table, begin=_notification_id(last))
        new = _after(last, (_decision(row, ids) for row in rows))
        for batch in batches(new, lambda event: len(event.data_json)):
            appended = self._store.append(decisions_stream(category), batch)
            self._count(len(batch), is_repeat=appended.is_repeat)

    def _last_imported(self, category: str) -> RecordedEvent | None:
        events = self._store.read(Query(category=category), backwards=True)
        return next((event for event in events if NOTIFICATION_ID in event.metadata), None)

    def _count(self, events: int, *, is_repeat: bool) -> None:
        if not is_repeat:
            self.stored += events
        if self._progress is not None:
            self._progress(self.stored)

    # Documents

    def snapshots(self, table: Table, category: str) -> None:
        collection = snapshots_collection(category, table.purpose)
        documents = (
            (snapshot_key(row.originator_id, row.originator_version), snapshot_document(row.topic, row.state))
            for row in tables.snapshots(self._database, table)
        )
        for batch in batches(documents, lambda item: len(item[1])):
            self._put(collection, dict(batch))

    def trackings(self, table: Table, category: str) -> None:
        collection = tracking_collection(category)
        there = tables.trackings(self._database, table)
        found = {name: self._position_of(name, notification_id) for name, notification_id in there.items()}

        def put(transaction: StorageTransaction) -> None:
            before = transaction.get(collection, list(found))
            further = {name: b"%d" % last for name, last in found.items() if last > int(before.get(name, b"-1"))}
            transaction.put(collection, further)

        self._transact(put)

    def _position_of(self, application: str, notification_id: int) -> int:
        """Where a notification stands now, if its application was imported into this store; its old id otherwise."""
        is_here = False
        for category in (category_of(application), decisions_category(category_of(application))):
            for event in self._store.read(Query(category=category), backwards=True):
                old = event.metadata.get(NOTIFICATION_ID)
                is_here = is_here or old is not None
                if old is not None and old <= notification_id:
                    return event.position
        return 0 if is_here else notification_id

    def _put(self, collection: str, documents: dict[str, bytes]) -> None:
        self._transact(lambda transaction: transaction.put(collection, documents))

    def _transact(self, work: Callable[[StorageTransaction], None]) -> None:
        # The face gives transactions to handlers only, and these documents are no handler's.
        self._store._storage.transact(work)


def _new_event(row: EventRow, category: str, ids: DerivedIds) -> NewEvent:
    content = f"{row.originator_id}/{row.originator_version}"
    if row.notification_id is None:
        id, metadata = ids.of_text(content), None
    else:
        id = ids.of_place(row.notification_id, b"\0".join((content.encode(), row.topic.encode(), row.state)))
        metadata = {NOTIFICATION_ID: row.notification_id}
    stream = stream_of(category, row.originator_id)
    return NewEvent(stream, row.originator_id, row.originator_version, row.topic, row.state, metadata, id)


def _decision(row: DecisionRow, ids: DerivedIds) -> Event:
    id = ids.of_place(row.position, b"\0".join((row.type.encode(), row.data)))
    metadata = {NOTIFICATION_ID: row.position, **tags_metadata(row.tags)}
    return event_of(row.type, row.data, tags=row.tags, metadata=metadata, id=id)


def _notification_id(event: RecordedEvent | None) -> int:
    return 0 if event is None else int(event.metadata[NOTIFICATION_ID])


def _after(last: RecordedEvent | None, new: Iterator[_NewT]) -> Iterator[_NewT]:
    """What follows the last event that an earlier import has stored. `new` begins with that one."""
    if last is not None:
        first = next(new, None)
        if first is None or _id_of(first) != last.id:
            limit = "the events of this name in the store come from another source; give another application"
            raise InvalidInput("source", f"notification {_notification_id(last)}", limit)
    yield from new


def _id_of(event: NewEvent | Event) -> UUID | None:
    return event.id
