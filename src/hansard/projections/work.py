"""One build of a projection as a reader's work: a batch of events is folded in memory and written once, with the checkpoint."""

import time
from collections.abc import Sequence
from typing import Any

from hansard.events import RecordedEvent
from hansard.limits import BATCH_S, STATES_CACHED_MAX
from hansard.processors.definitions import OnFailure, Retry
from hansard.processors.documents import ReaderDocument, query_document
from hansard.processors.handling import EventFailed, meant
from hansard.projections import builds
from hansard.projections.builds import BuildState
from hansard.projections.definition import DELETE, Projection
from hansard.storage.port import StorageTransaction

_LOOK_AT_CLOCK_EVERY = 64


class ProjectionWork:
    """Keeps states that it has used in memory, as long as every transaction ends well."""

    on_failure = OnFailure.STOP
    replay_safe = True
    checkpoint_s = 0.0
    is_transactional = True

    def __init__(self, projection: Projection, label: str, *, is_unfinished: bool) -> None:
        self.projection = projection
        self.label = label
        self.query = projection.events
        self.retry = Retry(attempts=3)
        self.is_unfinished = is_unfinished
        self.document = ReaderDocument(
            builds.reader_name(projection.name, label),
            projection.kind,
            projection.version,
            1,
            projection.fingerprint,
            query_document(projection.events),
        )
        self._states: dict[str, Any] = {}
        self._epoch: int | None = None

    def key_of(self, event: RecordedEvent) -> str:
        return ""

    def handle(self, event: RecordedEvent) -> None:
        raise AssertionError("a projection works inside transactions")

    def handle_in(self, transaction: StorageTransaction, events: Sequence[RecordedEvent]) -> int:
        if not events:
            return 0
        taken_in = self.projection.into.position(self.projection.name, self.label)
        ones = meant(self.query, events)
        count, changed = self._folded(transaction, ones, taken_in)
        upto = events[-1].position if count == len(ones) else ones[count - 1].position
        self.projection.into.save(transaction, self.projection.name, self.label, changed, upto)
        return count if ones is events else sum(event.position <= upto for event in events)

    def _folded(
        self, transaction: StorageTransaction, events: Sequence[RecordedEvent], taken_in: int
    ) -> tuple[int, dict[str, Any]]:
        """How many events were folded, never a part of those at one position; and the states that have changed."""
        projection, states, changed = self.projection, self._states, dict[str, Any]()
        keys = self._keys(events)
        missing = [key for some in keys for key in some if key not in states]
        if missing and len(states) + len(missing) > STATES_CACHED_MAX:
            states.clear()
            missing = [key for some in keys for key in some]
        if missing:
            self._load(transaction, list(dict.fromkeys(missing)))
        ends = time.monotonic() + BATCH_S
        for count, (event, some) in enumerate(zip(events, keys, strict=True), 1):
            if event.position <= taken_in:  # a place of the user's own was ahead of the checkpoint when the program died
                continue
            try:
                for key in some:
                    state = states.get(key)
                    new = projection.folded(projection.before_the_first() if state is None else state, event, key)
                    changed[key] = states[key] = None if new is DELETE else new
            except Exception as error:
                raise EventFailed(event) from error
            if not count % _LOOK_AT_CLOCK_EVERY and time.monotonic() > ends:
                is_whole = count == len(events) or events[count].position > event.position
                if is_whole:
                    return count, changed
        return len(events), changed

    def _keys(self, events: Sequence[RecordedEvent]) -> list[Sequence[str]]:
        if self.projection.is_by_stream:
            return [(event.stream,) if event.stream is not None else () for event in events]
        keys = []
        for event in events:
            try:
                keys.append(self.projection.keys_of(event))
            except Exception as error:
                raise EventFailed(event) from error
        return keys

    def _load(self, transaction: StorageTransaction, keys: Sequence[str]) -> None:
        found = self.projection.into.load(transaction, self.projection.name, self.label, keys)
        self._states.update({key: found.get(key) for key in keys})

    def saving(self, transaction: StorageTransaction, upto: int, is_last: bool) -> None:
        """Take over from the build that counts, in the very transaction in which there is nothing left to catch up with."""
        if not self.is_unfinished or not is_last:
            return
        document = builds.known(transaction, self.projection.name)
        build = document.builds.get(self.label)
        if build is None or build.state is not BuildState.BUILDING:
            return
        active = document.builds[document.active].version if document.active is not None else 0
        if self.projection.switches_by_itself and active <= build.version:
            builds.activate(transaction, document, self.label)
        else:
            build.state = BuildState.READY
            builds.put(transaction, document)

    def over(self, *, is_committed: bool) -> None:
        if not is_committed:
            self._states.clear()
