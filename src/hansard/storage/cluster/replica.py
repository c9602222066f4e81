"""One node's replica: a SQLite file to which messages are applied in the log's order, by rules that are the same on every node.

The file is a cache of the log. It holds the number of the last message that was applied to it, and a digest of all of them.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from hansard.appends import Append, Appended
from hansard.errors import CapabilityMissing, HansardError, NewerFormat, OpenFailed, StorageFailed, StoreCorrupt, StoreUnusable
from hansard.events import RecordedEvent
from hansard.query import Query
from hansard.storage.around import AroundTransaction
from hansard.storage.cluster import messages
from hansard.storage.cluster.course import Applied, Course, course_of
from hansard.storage.cluster.lock import Lock
from hansard.storage.cluster.messages import Arrived, Message, Step
from hansard.storage.port import Capability, Dialect, InlineHook, StorageTransaction
from hansard.storage.sqlite.storage import SqliteStorage

_ResultT = TypeVar("_ResultT")


class Outcome(NamedTuple):
    """Of one message: for each append its place or its refusal; or whether the transaction has happened. `applied`: by then."""

    applied: Applied
    message: Message
    places: list[Appended | HansardError]
    has_happened: bool


class Snapshot(NamedTuple):
    """`head`: the last position that it has; `sequence`: the last message that is applied to it. The log may be trimmed up to
    there, since a node can begin with it."""

    head: int
    sequence: int


class _Again(Exception):
    """A transaction has seen what is not so any more."""


class _Rehearsed(Exception):
    """Ends a rehearsal: nothing of it is to stay."""


class Replica:
    """Used by one thread at a time for `apply`; reads by any."""

    def __init__(self, path: str, log: str) -> None:
        self._proposed_us = 0
        self._lock = Lock(path)
        try:
            self._open(path, log)
        except HansardError:
            self._lock.release()
            raise

    def _open(self, path: str, log: str) -> None:
        self.storage = SqliteStorage(path, synchronous="NORMAL", clock_us=lambda: self._proposed_us)
        found = course_of(self.storage)
        self.applied, self.words = found or (Applied(0, "", log), {})
        if self.applied.log != log:
            self.storage.close()
            raise OpenFailed(f"{path}: this is a replica of another log; give another file, or delete it")
        if self.applied.rules > messages.RULES:
            self.storage.close()
            raise NewerFormat(f"{path}: the rules of its log", self.applied.rules, messages.RULES)
        if found is None and self.storage.head():
            self.storage.close()
            raise OpenFailed(f"{path}: this is a store of its own, and no replica of a log; give another file")

    def close(self) -> None:
        self.storage.close()
        self._lock.release()

    def abandon(self) -> None:
        """In a child process: the file is its parent's."""
        self._lock.release()

    def written(self) -> int:
        """The sequence of the last message in the file. A copy of the file may have one more than `applied`, which is set after
        the commit."""
        found = course_of(self.storage)
        return 0 if found is None else found[0].sequence

    def apply(self, group: Sequence[Arrived]) -> Iterator[list[Outcome]]:
        """Apply messages, in order: as many appends as possible in one transaction. The outcomes of each transaction, when it is
        written.

        Raises StoreCorrupt if they are not the next ones; StorageFailed if nothing of the next transaction was written.
        """
        for expected, arrived in enumerate(group, self.applied.sequence + 1):
            if arrived.sequence != expected:
                raise StoreCorrupt(
                    f"message {arrived.sequence} of the log came where {expected} was expected; it was not applied"
                )
        for has_steps, some in groupby(group, key=lambda arrived: bool(arrived.message.steps)):
            if not has_steps:
                yield self._apply_appends(list(some))
                continue
            for sequence, message, _ in some:
                yield [self._apply_transaction(sequence, message)]

    def _apply_appends(self, group: Sequence[Arrived]) -> list[Outcome]:
        def work(transaction: Any) -> tuple[Course, list[Outcome]]:
            course, outcomes = Course(self.applied, self.words), list[Outcome]()
            for sequence, message, appends in group:
                self._proposed_us = message.proposed_us
                places = transaction.append_all(appends if course.counts(sequence, message) else [])
                course.took(sequence, message, messages.digest_of([_outcome_of(place) for place in places]))
                outcomes.append(Outcome(course.applied, message, places, True))
            course.note(transaction)
            return course, outcomes

        course, outcomes = self.storage.transact(work)
        self.applied = course.keep(self.words)
        return outcomes

    def _apply_transaction(self, sequence: int, message: Message) -> Outcome:
        def work(transaction: StorageTransaction) -> Course:
            course = Course(self.applied, self.words)
            if not course.counts(sequence, message):
                raise _Again
            self._proposed_us = message.proposed_us
            for step in message.steps:
                _play(transaction, step)
            course.took(sequence, message, b"done")
            course.note(transaction)
            return course

        def again(transaction: StorageTransaction) -> Course:
            course = Course(self.applied, self.words)
            course.took(sequence, message, b"again")
            course.note(transaction)
            return course

        has_happened = True
        try:
            course = self.storage.transact(work)
        except _Again:
            has_happened, course = False, self.storage.transact(again)
        self.applied = course.keep(self.words)
        return Outcome(self.applied, message, [], has_happened)

    def rehearse(
        self, work: Callable[[StorageTransaction], _ResultT], proposed_us: int, inline: InlineHook | None
    ) -> tuple[_ResultT, list[Step]]:
        """Run a function on this replica, take everything back, and give its result and what it has seen and done. What `inline`
        does with its appends is a part of it."""
        recording: list[Step] = []
        results: list[_ResultT] = []

        def run(transaction: StorageTransaction) -> None:
            recording.clear()
            results.clear()
            self._proposed_us = proposed_us
            results.append(work(_Recording(transaction, recording, inline)))
            raise _Rehearsed

        try:
            self.storage.transact(run)
        except _Rehearsed:
            return results[0], recording
        raise AssertionError("unreachable")


def _placed(transaction: StorageTransaction, append: Append) -> Appended | HansardError:
    try:
        return transaction.append(append)
    except (StorageFailed, StoreUnusable):  # this node's disk, and no decision
        raise
    except HansardError as refusal:
        return refusal


def _outcome_of(place: Appended | HansardError) -> Any:
    """What must be the same on every node."""
    if isinstance(place, Appended):
        return place.first_position, place.last_position, sorted(place.versions.items()), place.timestamp_us, place.is_repeat
    return place.code


def _play(transaction: StorageTransaction, step: Step) -> None:
    """One step of a transcript. Raises _Again if it sees something else than before."""
    match step:
        case messages.Put():
            transaction.put(step.collection, step.documents)
        case messages.Drop():
            transaction.drop(step.collection)
        case messages.Get():
            _same(step.found, messages.digest_of(sorted(transaction.get(step.collection, step.keys).items())))
        case messages.Scan():
            _same(step.found, messages.digest_of(transaction.scan(step.collection, after=step.after, limit=step.limit)))
        case messages.Head():
            _same(b"", b"" if transaction.head() == step.position else b"other")
        case messages.Read():
            events = transaction.read(
                messages.query_of(step.items), after=step.after, before=step.before, backwards=step.backwards, limit=step.limit
            )
            _same(step.found, messages.digest_of_events(events))
        case messages.Stored():
            _same(step.outcome, messages.digest_of(_outcome_of(_placed(transaction, messages.append_of(step.append)))))


def _same(before: bytes, now: bytes) -> None:
    if before != now:
        raise _Again


class _Recording(AroundTransaction):
    """Writes down what a transaction sees and does. It lends no database: what is done there, other nodes would not do."""

    def __init__(self, transaction: StorageTransaction, steps: list[Step], inline: InlineHook | None) -> None:
        super().__init__(transaction)
        self._steps = steps
        self._inline = inline

    def get(self, collection: str, keys: Sequence[str]) -> dict[str, bytes]:
        found = self._transaction.get(collection, keys)
        self._steps.append(messages.Get(collection, list(keys), messages.digest_of(sorted(found.items()))))
        return found

    def scan(self, collection: str, *, after: str = "", limit: int) -> list[tuple[str, bytes]]:
        found = self._transaction.scan(collection, after=after, limit=limit)
        self._steps.append(messages.Scan(collection, after, limit, messages.digest_of(found)))
        return found

    def put(self, collection: str, documents: Any) -> None:
        self._transaction.put(collection, documents)
        self._steps.append(messages.Put(collection, dict(documents)))

    def drop(self, collection: str) -> None:
        self._transaction.drop(collection)
        self._steps.append(messages.Drop(collection))

    def append(self, append: Append, *, then: InlineHook | None = None) -> Appended:
        then = then or self._inline
        hook = None if then is None else (lambda _, recorded: then(self, recorded))
        before, step = len(self._steps), messages.Stored(messages.form_of(append), b"")
        self._steps.append(step)
        try:
            appended = self._transaction.append(append, then=hook)
        except (StorageFailed, StoreUnusable):  # this node's disk, and no decision
            raise
        except HansardError as refusal:
            del self._steps[before:]
            if then is None:
                step.outcome = messages.digest_of(_outcome_of(refusal))
                self._steps.append(step)
            raise
        step.outcome = messages.digest_of(_outcome_of(appended))
        return appended

    def read(self, query: Query, *, after: int, before: int | None, backwards: bool, limit: int) -> list[RecordedEvent]:
        events = self._transaction.read(query, after=after, before=before, backwards=backwards, limit=limit)
        found = messages.digest_of_events(events)
        self._steps.append(messages.Read(messages.items_of(query), after, before, backwards, limit, found))
        return events

    def head(self) -> int:
        position = self._transaction.head()
        self._steps.append(messages.Head(position))
        return position

    @property
    def dialect(self) -> Dialect:
        raise CapabilityMissing(Capability.CONNECTION, "a cluster")

    @property
    def connection(self) -> Any:
        raise CapabilityMissing(Capability.CONNECTION, "a cluster")


def snapshot_in(path: str) -> Snapshot:
    """Raises OpenFailed if the file is none."""
    with closing(SqliteStorage(path, read_only=True, must_exist=True)) as copy:
        if (found := course_of(copy)) is None:
            raise OpenFailed(f"{path}: this is no snapshot of a node of a cluster")
        return Snapshot(copy.head(), found[0].sequence)


def restore(snapshot: str, replica: str) -> Snapshot:
    """See hansard.restore_replica."""
    found = snapshot_in(snapshot)
    lock = Lock(replica)
    try:
        for file in (replica, f"{replica}-wal", f"{replica}-shm"):
            Path(file).unlink(missing_ok=True)
        shutil.copyfile(snapshot, replica)
    except OSError as error:
        raise OpenFailed(f"{replica}: {error.strerror}") from error
    finally:
        lock.release()
    return found
