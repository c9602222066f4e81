"""Recorders that remember how far another application's notifications were processed, together with what came of it.

A tracking record is a document: the application's name, and the id of the last notification. It changes in the transaction that
stores the events, or the read model, which came of that notification: all of it is there, or nothing is.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from eventsourcing.persistence import IntegrityError, ProcessRecorder, StoredEvent, Tracking, TrackingRecorder

from hansard.appends import Append, Appended
from hansard.interchange.eventsourcing_store.layout import tracking_collection
from hansard.interop.eventsourcing.aggregates import HansardApplicationRecorder
from hansard.interop.eventsourcing.errors import THEIR_ERRORS
from hansard.interop.eventsourcing.opening import HansardRecorder, OpenPlace
from hansard.names import check_name
from hansard.serialization import decode_json
from hansard.storage.port import StorageTransaction
from hansard.transactions import Transaction

ResultT = TypeVar("ResultT")


class HansardTrackingRecorder(HansardRecorder, TrackingRecorder):
    """The base of materialised views: derive from it, change the view with `transact`, and read it with `document`."""

    def __init__(self, place: OpenPlace, category: str) -> None:
        super().__init__(place, category)
        self._tracking = tracking_collection(category)

    def insert_tracking(self, tracking: Tracking) -> None:
        self.transact(lambda _: None, tracking=tracking)

    def max_tracking_id(self, application_name: str) -> int | None:
        with THEIR_ERRORS:
            text = self.place.storage.get(self._tracking, [application_name]).get(application_name)
        return None if text is None else int(text)

    def transact(self, work: Callable[[Transaction], ResultT], *, tracking: Tracking | None = None) -> ResultT:
        """Call `work` with a transaction of the store (`get`, `put`, `execute` …), and record `tracking` in it.

        IntegrityError, and nothing happens, if a notification with this id or a later one was recorded already.
        `work` may be called again if the database is lost: it must have no effects but those through the transaction.
        """

        def whole(transaction: StorageTransaction) -> ResultT:
            if tracking is not None:
                self._track(transaction, tracking)
            return work(Transaction(transaction))

        with THEIR_ERRORS:
            return self.place.storage.transact(whole)

    def document(self, collection: str, key: str, default: Any = None) -> Any:
        """A JSON value that a transaction has put; `default` if there is none."""
        with THEIR_ERRORS:
            check_name("collection", collection)
            text = self.place.storage.get(f"user/{collection}", [check_name("key", key)]).get(key)
        return default if text is None else decode_json(text)

    def _track(self, transaction: StorageTransaction, tracking: Tracking) -> None:
        name = check_name("application_name", tracking.application_name)
        before = transaction.get(self._tracking, [name]).get(name)
        if before is not None and int(before) >= tracking.notification_id:
            raise IntegrityError(
                f"notification {tracking.notification_id} of {name!r} was processed already: {int(before)} is the last one"
            )
        transaction.put(self._tracking, {name: b"%d" % tracking.notification_id})


class HansardProcessRecorder(HansardTrackingRecorder, HansardApplicationRecorder, ProcessRecorder):
    """Events and the tracking record of the notification that they came of, in one transaction."""

    def __init__(self, place: OpenPlace, category: str) -> None:
        HansardApplicationRecorder.__init__(self, place, category)
        self._tracking = tracking_collection(category)

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        tracking: Tracking | None = kwargs.get("tracking")
        if tracking is None:
            return super().insert_events(stored_events, **kwargs)
        if not stored_events:
            self.insert_tracking(tracking)
            return []
        return list(self._insert(stored_events, lambda append: self._append_tracked(append, tracking)))

    def _append_tracked(self, append: Append, tracking: Tracking) -> Appended:
        def whole(transaction: StorageTransaction) -> Appended:
            self._track(transaction, tracking)
            return transaction.append(append)

        return self.place.storage.transact(whole)
