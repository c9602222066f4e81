"""Inline projections: folded in the transaction of each append, so that a read model is never behind the log."""

from collections.abc import Sequence

from hansard.errors import InvalidInput
from hansard.events import RecordedEvent
from hansard.limits import PAGE_EVENTS_MAX
from hansard.processors.documents import PartitionDocument, decoded, encoded, partition_key, partitions_of
from hansard.processors.handling import EventFailed
from hansard.projections import builds
from hansard.projections.builds import BuildState
from hansard.projections.definition import Projection
from hansard.projections.work import ProjectionWork
from hansard.storage.port import StorageTransaction


class Inline:
    """The hook that the engine calls inside each append: see StorageTransaction and Storage.set_inline.

    Events that others stored without this hook are found by the checkpoint, and folded first.
    """

    def __init__(self, projections: Sequence[Projection]) -> None:
        self.projections = tuple(projection.checked() for projection in projections)
        for projection in self.projections:
            if projection.into.kind == "own":
                raise InvalidInput("projections", projection.name, "a place of your own cannot be undone with a refused append")

    def __call__(self, transaction: StorageTransaction, recorded: Sequence[RecordedEvent]) -> None:
        for projection in self.projections:
            document = builds.find(transaction, projection.name)
            for label in document.labels_of(projection.version) if document is not None else ():
                assert document is not None
                if document.builds[label].state is BuildState.ACTIVE:
                    _fold(transaction, projection, label, recorded)


def _fold(transaction: StorageTransaction, projection: Projection, label: str, recorded: Sequence[RecordedEvent]) -> None:
    collection, key = partitions_of(builds.reader_name(projection.name, label)), partition_key(0)
    text = transaction.get(collection, [key]).get(key)
    if text is None:
        return  # registered, but not yet begun: whoever begins it starts from the first event
    partition = decoded(text, PartitionDocument)
    work = ProjectionWork(projection, label, is_unfinished=False)
    head = transaction.head()
    try:
        if partition.checkpoint == recorded[0].position - 1:
            _handle(work, transaction, [event for event in recorded if work.query.matches(event, event.stream)])
        else:
            _handle_from(work, transaction, partition.checkpoint, head)
    except EventFailed as failed:
        cause = failed.__cause__
        assert cause is not None
        cause.add_note(f"in projection {projection.name!r}, for {failed.event.type!r} at position {failed.event.position}")
        raise cause from None
    partition.checkpoint = head
    partition.handled = max(partition.handled, head)
    transaction.put(collection, {key: encoded(partition)})


def _handle(work: ProjectionWork, transaction: StorageTransaction, events: list[RecordedEvent]) -> None:
    while events:
        events = events[work.handle_in(transaction, events) :]


def _handle_from(work: ProjectionWork, transaction: StorageTransaction, after: int, head: int) -> None:
    while after < head:
        page = transaction.read(work.query, after=after, before=head + 1, backwards=False, limit=PAGE_EVENTS_MAX)
        _handle(work, transaction, page)
        after = page[-1].position if len(page) == PAGE_EVENTS_MAX else head
