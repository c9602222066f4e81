"""What an application keeps beside its events: snapshots.

They are documents, not events: a snapshot tells nothing new, may be taken of any version in any order, and may be thrown away.
In the log each would take a position, and so a notification's id, and would stay for ever.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final
from uuid import UUID

from eventsourcing.persistence import AggregateRecorder, IntegrityError, StoredEvent

from hansard.interchange.eventsourcing_store.layout import (
    snapshot_document,
    snapshot_key,
    snapshot_of,
    snapshot_prefix,
    snapshot_version,
    snapshots_collection,
)
from hansard.interop.eventsourcing.errors import THEIR_ERRORS
from hansard.interop.eventsourcing.opening import HansardRecorder, OpenPlace
from hansard.storage.port import StorageTransaction

_PAGE: Final = 16
"""Documents read at once where nobody said how many: an aggregate's snapshots are few, and large."""


class HansardSnapshotRecorder(HansardRecorder, AggregateRecorder):
    """Versions of an originator in any order, each of them once."""

    def __init__(self, place: OpenPlace, category: str, *, purpose: str = "snapshots") -> None:
        super().__init__(place, category)
        self._collection = snapshots_collection(category, purpose)

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        with THEIR_ERRORS:
            documents = {
                snapshot_key(one.originator_id, one.originator_version): snapshot_document(one.topic, one.state)
                for one in stored_events
            }
            if len(documents) < len(stored_events):
                raise IntegrityError("a version of an originator is given twice")
            if documents:
                self.place.storage.transact(lambda transaction: self._put(transaction, documents))
        return None

    def _put(self, transaction: StorageTransaction, documents: dict[str, bytes]) -> None:
        if there := transaction.get(self._collection, list(documents)):
            raise IntegrityError(f"recorded already: version {snapshot_version(next(iter(there)))} of an originator")
        transaction.put(self._collection, documents)

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        with THEIR_ERRORS:
            found = self._descending(originator_id, gt, lte, limit if desc else None)
            return list(islice(found, limit)) if desc else list(found)[::-1][:limit]

    def _descending(self, originator_id: UUID | str, gt: int | None, lte: int | None, limit: int | None) -> Iterator[StoredEvent]:
        """Down from `lte`: the keys put the highest version first."""
        if lte is not None and lte < 0:
            return
        prefix = snapshot_prefix(originator_id)
        after = prefix if lte is None else snapshot_key(originator_id, lte + 1)
        wanted = min(limit or _PAGE, _PAGE)
        while page := self.place.storage.scan(self._collection, after=after, limit=wanted):
            for key, document in page:
                if not key.startswith(prefix) or (gt is not None and snapshot_version(key) <= gt):
                    return
                topic, state = snapshot_of(document)
                yield StoredEvent(originator_id, snapshot_version(key), topic, state)
            after = page[-1][0]
