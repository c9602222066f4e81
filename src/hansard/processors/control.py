"""A reader as seen from outside, by any process: how far it is, and what it is told to do."""

import time
from collections.abc import Callable, Iterator

import msgspec

from hansard.errors import InvalidInput, InvalidType, WaitTimedOut
from hansard.limits import PAGE_DOCUMENTS_MAX, POSITION_MAX
from hansard.processors.dead_letters import DeadLetters, letters_of, parked_of
from hansard.processors.documents import (
    MEMBERS,
    ORDERS,
    READERS,
    Failure,
    MemberDocument,
    OrderDocument,
    PartitionDocument,
    ReaderDocument,
    decoded,
    encoded,
    partitions_of,
    query_of_document,
)
from hansard.query import Query
from hansard.reading import is_any
from hansard.storage.port import Storage, StorageTransaction
from hansard.streams import check_bound, check_timeout

_FIRST_LOOK_S, _LOOK_S = 0.001, 0.02


class PartitionStatus(msgspec.Struct, frozen=True):
    """One partition: its checkpoint, and the member that owns it, by its name or as "pid 4711" (None: nobody does now)."""

    number: int
    checkpoint: int
    owner: str | None


class ReaderStatus(msgspec.Struct, frozen=True):
    """A named reader at one moment.

    - `checkpoint`: everything up to here is done and saved; `lag`: positions between it and the head.
    - `events_per_s`: how fast it has been lately, in positions of the log; `eta_s`: when it will be at the head at this rate.
    - `state`: "running", "paused", "stopped" (at `failure`), or "idle" (no process runs it).
    """

    name: str
    kind: str
    version: int
    state: str
    checkpoint: int
    head: int
    events_per_s: float
    dead_letters: int
    failure: Failure | None
    partitions: list[PartitionStatus]

    @property
    def lag(self) -> int:
        return max(0, self.head - self.checkpoint)

    @property
    def eta_s(self) -> float | None:
        if not self.lag:
            return 0.0
        return self.lag / self.events_per_s if self.events_per_s else None


def statuses(storage: Storage) -> Iterator[ReaderStatus]:
    """All readers, in the order of their names."""
    after = ""
    while page := storage.scan(READERS, after=after, limit=PAGE_DOCUMENTS_MAX):
        for name, text in page:
            yield _status(storage, decoded(text, ReaderDocument))
            after = name


def _status(storage: Storage, reader: ReaderDocument) -> ReaderStatus:
    documents = {
        int(key): decoded(text, PartitionDocument)
        for key, text in storage.scan(partitions_of(reader.name), limit=PAGE_DOCUMENTS_MAX)
    }
    members = {id: decoded(text, MemberDocument) for id, text in storage.scan(MEMBERS, limit=PAGE_DOCUMENTS_MAX)}
    checkpoint = min([document.checkpoint for document in documents.values()], default=0)
    failures = [document.failure for document in documents.values() if document.failure is not None]
    return ReaderStatus(
        name=reader.name,
        kind=reader.kind,
        version=reader.version,
        state=_state(storage, reader.name, documents, members),
        checkpoint=checkpoint,
        head=max(storage.head(), checkpoint),
        events_per_s=max([document.events_per_s for document in documents.values()], default=0.0),
        dead_letters=sum(1 for _ in DeadLetters(storage, reader.name)),
        failure=max(failures, key=lambda failure: failure.at_us, default=None),
        partitions=[
            PartitionStatus(number, document.checkpoint, _named(members[document.owner]) if document.owner in members else None)
            for number, document in sorted(documents.items())
        ],
    )


def _state(storage: Storage, name: str, documents: dict[int, PartitionDocument], members: dict[str, MemberDocument]) -> str:
    if _order(storage.get(ORDERS, [name]).get(name)).is_paused:
        return "paused"
    if any(document.is_stopped for document in documents.values()):
        return "stopped"
    return "running" if any(document.owner in members for document in documents.values()) else "idle"


def _order(text: bytes | None) -> OrderDocument:
    return decoded(text, OrderDocument) if text else OrderDocument()


def _named(member: MemberDocument) -> str:
    return member.label or f"pid {member.pid}"


class ReaderControl:
    """One named reader: `store.reader(name)`. Orders are followed by whoever runs it, within a quarter of a second."""

    def __init__(self, storage: Storage, name: str) -> None:
        self._storage = storage
        self.name = name
        self._document()

    def _document(self) -> ReaderDocument:
        text = self._storage.get(READERS, [self.name]).get(self.name) if isinstance(self.name, str) else None
        if text is None:
            known = ", ".join(key for key, _ in self._storage.scan(READERS, limit=20)) or "none yet"
            raise InvalidInput("name", self.name, f"there is no reader of this name; known are: {known}")
        return decoded(text, ReaderDocument)

    def status(self) -> ReaderStatus:
        return _status(self._storage, self._document())

    @property
    def query(self) -> Query:
        """Which events it asks for."""
        return query_of_document(self._document().query)

    @property
    def dead_letters(self) -> DeadLetters:
        return DeadLetters(self._storage, self.name)

    def pause(self) -> None:
        """Take no more events until `resume`; also across restarts."""
        self._told(lambda order: msgspec.structs.replace(order, is_paused=True))

    def resume(self) -> None:
        self._told(lambda order: msgspec.structs.replace(order, is_paused=False))

    def throttle(self, events_per_s: float | None) -> None:
        """Take at most so many events a second; None: as many as there are."""
        if events_per_s is not None:
            if isinstance(events_per_s, bool) or not isinstance(events_per_s, int | float):
                raise InvalidType("events_per_s", events_per_s, "expected a number, or None")
            if not 0 < events_per_s <= POSITION_MAX:
                raise InvalidInput("events_per_s", events_per_s, "expected more than 0; pause() stops it")
        rate = None if events_per_s is None else float(events_per_s)
        self._told(lambda order: msgspec.structs.replace(order, events_per_s=rate))

    def reset(self, position: int = 0) -> None:
        """Go back, or forward, to a position. A handler that is not replay-safe does not see again what it has had."""
        check_bound("position", position)
        self._check_no_projection("it is rebuilt, not reset: store.projection(name).rebuild()")

        def work(transaction: StorageTransaction) -> None:
            head = transaction.head()
            if position > head:
                raise InvalidInput("position", position, f"the log ends at {head}")
            collection = partitions_of(self.name)
            documents = transaction.scan(collection, limit=PAGE_DOCUMENTS_MAX)
            for key, text in documents:
                document = decoded(text, PartitionDocument)
                document.checkpoint, document.is_stopped, document.failure = position, False, None
                document.owner, document.epoch = None, document.epoch + 1  # whoever runs it is fenced off and begins anew
                transaction.put(collection, {key: encoded(document)})

        self._storage.transact(work)

    def forget(self) -> None:
        """Delete everything that is kept of this reader; run again, it is a new one. To be called while nobody runs it."""

        self._check_no_projection("its builds are dropped: store.projection(name).drop(build)")

        def work(transaction: StorageTransaction) -> None:
            transaction.put(READERS, {self.name: None})
            transaction.drop(f"user/process/{self.name}")
            transaction.put(ORDERS, {self.name: None})
            for collection in (partitions_of(self.name), letters_of(self.name), parked_of(self.name)):
                transaction.drop(collection)

        self._storage.transact(work)

    def _check_no_projection(self, instead: str) -> None:
        if self._document().kind == "projection":
            raise InvalidInput("name", self.name, f"a build of a projection keeps states with its checkpoint; {instead}")

    def wait_for(self, position: int, timeout_s: float = 10.0) -> None:
        """Until everything up to a position is done and saved, by whichever process. Raises WaitTimedOut.

        Read your own writes: `store.reader("orders").wait_for(store.append(...).last_position)`.
        """
        check_bound("position", position)
        deadline, pause_s = time.monotonic() + check_timeout(timeout_s), _FIRST_LOOK_S
        query = self.query
        while (reached := self._checkpoint()) < position:
            if not is_any(self._storage, query, after=reached, before=position + 1):
                return  # nothing of what it reads lies between
            if time.monotonic() >= deadline:
                raise WaitTimedOut(self.name, position, reached, timeout_s)
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LOOK_S)

    def _checkpoint(self) -> int:
        documents = self._storage.scan(partitions_of(self.name), limit=PAGE_DOCUMENTS_MAX)
        return min([decoded(text, PartitionDocument).checkpoint for _, text in documents], default=0)

    def _told(self, change: Callable[[OrderDocument], OrderDocument]) -> None:
        def work(transaction: StorageTransaction) -> None:
            order = change(_order(transaction.get(ORDERS, [self.name]).get(self.name)))
            transaction.put(ORDERS, {self.name: None if order == OrderDocument() else encoded(order)})

        self._storage.transact(work)
