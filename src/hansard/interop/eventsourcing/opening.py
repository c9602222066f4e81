"""The store under one factory and its recorders. It is closed by the factory, or once nobody uses it any more."""

import weakref

from eventsourcing.persistence import Recorder

from hansard.interop.eventsourcing.errors import THEIR_ERRORS
from hansard.storage.opening import open_storage
from hansard.store import Store


class OpenPlace:
    """`store` is the face; `storage` is for transactions over events and documents.

    Runners of the library drop a factory and keep its recorder, and close neither: hence the finalizer.
    """

    def __init__(self, place: str, *, durability: str = "fsync") -> None:
        with THEIR_ERRORS:
            self.storage = open_storage(place, durability=durability)
            self.store = Store(self.storage)
        self.close = weakref.finalize(self, self.store.close)


class HansardRecorder(Recorder):
    """What all recorders have: a place, and the category of the application's streams in it."""

    def __init__(self, place: OpenPlace, category: str) -> None:
        self.place = place
        self.category = category
