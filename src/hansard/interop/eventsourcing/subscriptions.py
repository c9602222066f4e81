"""Subscriptions as the library iterates over them: ours underneath, without a thread of their own."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from eventsourcing.persistence import Notification, Subscription

from hansard.interop.eventsourcing.errors import THEIR_ERRORS

if TYPE_CHECKING:
    from hansard.interop.eventsourcing.aggregates import HansardApplicationRecorder


class HansardSubscription(Subscription["HansardApplicationRecorder"]):
    """Notifications with ids greater than `gt`, for ever: from this process and from others. `stop` ends it from any thread."""

    def __init__(self, recorder: "HansardApplicationRecorder", gt: int | None, topics: Sequence[str]) -> None:
        super().__init__(recorder=recorder, gt=gt, topics=topics)
        with THEIR_ERRORS:
            self._events = recorder.place.store.subscribe(recorder.query(topics), after=gt or 0)

    def __next__(self) -> Notification:
        with THEIR_ERRORS:
            return self._recorder.notification(next(self._events))

    def stop(self) -> None:
        super().stop()
        self._events.close()
