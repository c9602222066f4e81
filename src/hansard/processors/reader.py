"""One reader as one member runs it: step by step, without a thread or a clock of its own.

A step takes the next matching events of the shares that this member owns, has them handled, and notes how far it is.
Everything that may go wrong between two steps (a crash, a takeover, a lost lease) leaves checkpoints that lie at or
before what was done, so that no event is skipped.
"""

from collections.abc import Callable, Sequence

from hansard.errors import DefinitionChanged, HandlerLoop, LeaseLost, ProcessorStopped, TooLarge
from hansard.events import RecordedEvent
from hansard.limits import PAGE_EVENTS_MAX
from hansard.processors import dead_letters
from hansard.processors.dead_letters import WAITS_BEHIND, DeadLetter
from hansard.processors.definitions import OnFailure
from hansard.processors.documents import Failure, OrderDocument, PartitionDocument
from hansard.processors.handling import EventFailed, Work, describe, from_scratch
from hansard.processors.membership import Membership
from hansard.processors.second_tries import SecondTries
from hansard.processors.shares import Shares
from hansard.reading import is_any
from hansard.storage.port import Storage, StorageTransaction
from hansard.subscriptions.tail import Tail

_PAUSED_S = 0.25
_SAVE_EVERY, _SAVE_QUIETLY_S = 10_000, 5.0
"""Positions, and seconds, without an event of ours after which the checkpoint is saved all the same."""
_TURN_S = 0.05
"""How long handlers run before the checkpoint, the orders and the shares are looked at again."""


class _Attempts:
    """The event that fails at present."""

    def __init__(self, position: int) -> None:
        self.position = position
        self.count = 0
        self.not_before_s = 0.0


class Reader:
    """`step()` until it returns None (nothing more to do now) or the seconds to the next useful step; 0 means at once."""

    def __init__(
        self,
        storage: Storage,
        tail: Tail,
        work: Work,
        membership: Membership,
        *,
        clock_s: Callable[[], float],
        now_us: Callable[[], int],
    ) -> None:
        self.work = work
        self.name = work.document.name
        self.order = OrderDocument()
        self.stopped: ProcessorStopped | None = None
        self.is_stopping = False
        self.is_retiring = False
        self._storage = storage
        self._tail = tail
        self._clock_s = clock_s
        self._now_us = now_us
        self.shares = Shares(storage, membership, work.document, key_of=work.key_of, clock_s=clock_s, now_us=now_us)
        self._second_tries = SecondTries(storage, work, self.shares, fenced=self._fenced, now_us=now_us)
        self._attempts: _Attempts | None = None
        self._fitting = PAGE_EVENTS_MAX  # events whose outcome fits into one transaction, as far as is known
        self._parked_here: list[DeadLetter] = []
        self._is_dirty = False
        self._saved_s = 0.0
        self._not_before_s = 0.0

    @property
    def position(self) -> int:
        """How far this member is with the reader, if it owns all of it; 0 otherwise."""
        return self.shares.cursor if self.shares.owns_all else 0

    def is_behind(self, head: int) -> bool:
        """Whether something up to a head is still to be done, here or by another member. A paused reader is not waited for."""
        if self.order.is_paused:
            return False
        if self.order.retries and self.shares.owns_all:
            return True
        if self.shares.owned and self.shares.cursor < head:
            return True
        others = self.shares.saved_by_others
        if others is None or others >= head:
            return False
        return is_any(self._storage, self.work.query, after=others, before=head + 1)

    def step(self) -> float | None:
        if self.stopped is not None:
            return None
        if self.is_retiring:
            self.leave()
            return None
        try:
            return self._step()
        except LeaseLost:
            self._forget()
            return 0.0
        except DefinitionChanged as error:
            self._forget()
            self.stopped = ProcessorStopped(self.name, self.shares.cursor, str(error))
            self.stopped.__cause__ = error
            return None
        except EventFailed as failed:  # its key could not be found out, so no policy can say what it is in order with
            failure = Failure(failed.event.position, failed.event.type, describe(failed.__cause__), 1, self._now_us())
            self._stop(failure, failed.__cause__)
            return None

    def flush(self) -> None:
        """Save what is done."""
        try:
            self._save()
        except LeaseLost:
            self._forget()

    def leave(self) -> None:
        """Save what is done and give the shares back."""
        try:
            self._save()
            self.shares.release()
        except LeaseLost:
            self._forget()

    def _forget(self) -> None:
        self.shares.lose()
        self.work.over(is_committed=False)
        self._attempts = None
        self._parked_here = []
        self._is_dirty = False

    def _step(self) -> float | None:
        self._balance()
        if not self.shares.owned:
            return None
        now = self._clock_s()
        if (pause := self._pause(now)) > 0:
            return min(pause, self._save_if_due(now) or pause)
        if self.order.retries:
            self._save()  # letters that wait to be saved stand behind those that are tried now
            if (order := self._second_tries.of(self.order)) is not None:
                self.order = order
                return 0.0
        cursor = self.shares.cursor
        page, upto = self._tail.page(self.work.query, cursor)
        if upto <= cursor:
            return self._finish() if self.work.is_unfinished else self._save_if_due(now)
        self._take(page, upto)
        self._save_if_due(self._clock_s())
        return 0.0

    def _balance(self) -> None:
        """Letters that wait for the next save go with the checkpoints of shares that are given back."""
        put: list[DeadLetter] = []

        def before_release(transaction: StorageTransaction) -> None:
            put[:] = self._parked_here
            dead_letters.put(transaction, put)

        if self.shares.balance(before_release):
            self._attempts = None
            self.work.over(is_committed=False)
            self._parked_here = [] if put else [one for one in self._parked_here if self.shares.of_key(one.sequence) is not None]

    def _pause(self, now: float) -> float:
        if self.order.is_paused:
            return _PAUSED_S
        retry_s = self._attempts.not_before_s if self._attempts is not None else 0.0
        return max(retry_s, self._not_before_s) - now

    def _save_if_due(self, now: float) -> float | None:
        """Save the checkpoint if it is time; otherwise say when it is, or None if there is nothing to save."""
        if not self.shares.unsaved:
            return None
        is_soon = self._is_dirty or self.shares.unsaved >= _SAVE_EVERY
        due = self._saved_s + (self.work.checkpoint_s if is_soon else _SAVE_QUIETLY_S) - now
        if due > 0:
            return due
        self._save()
        return None

    def _save(self) -> None:
        if self._parked_here or self.shares.unsaved:
            self._write()
        self._is_dirty = False
        self._saved_s = self._clock_s()

    def _write(
        self, *, letters: Sequence[DeadLetter] = (), upto: int | None = None, failure: Failure | None = None, stops: bool = False
    ) -> None:
        """Write checkpoints and letters in one transaction; nothing is forgotten before it is committed."""
        waiting = list(self._parked_here)

        def work(transaction: StorageTransaction) -> None:
            documents = self._fenced(transaction)
            dead_letters.put(transaction, [*waiting, *letters])
            self.shares.put(transaction, documents, upto=upto, failure=failure, is_stopped=stops)

        self._storage.transact(work)
        self._parked_here = self._parked_here[len(waiting) :]
        self.shares.saved(upto)
        self._is_dirty = False

    def _fenced(self, transaction: StorageTransaction) -> dict[int, PartitionDocument]:
        documents = self.shares.fenced(transaction)
        if self.shares.were_moved:  # by an append that folds inline, which has changed states, too
            self.work.over(is_committed=False)
        return documents

    def _finish(self) -> float | None:
        """Nothing is left to be done: say so in a transaction, in which nobody can add anything."""

        def work(transaction: StorageTransaction) -> bool:
            documents = self._fenced(transaction)
            if self.shares.cursor < transaction.head():
                return False
            self.work.saving(transaction, self.shares.cursor, True)
            self.shares.put(transaction, documents)
            return True

        if not self._storage.transact(work):
            return 0.0
        self.shares.saved()
        self.work.is_unfinished = False
        return None

    # Taking events

    def _take(self, page: Sequence[RecordedEvent], upto: int) -> None:
        events, upto = self._ours(page, upto)
        limit = self._batch_limit()
        if len(events) > limit:
            upto = events[limit].position - 1
            events = events[:limit]
        if not events:
            self.shares.advance(upto)
        elif self.work.is_transactional:
            self._take_in_transaction(events, upto)
        else:
            self._take_one_by_one(events, upto)

    def _ours(self, page: Sequence[RecordedEvent], upto: int) -> tuple[list[RecordedEvent], int]:
        """The events of our shares; up to before one whose key cannot be found out, which then comes first in the next step."""
        ours: list[RecordedEvent] = []
        for event in page:
            try:
                share = self.shares.of(event)
                if self.work.on_failure is OnFailure.PARK:
                    self.work.key_of(event)
            except EventFailed:
                if not ours:
                    raise
                return ours, event.position - 1
            if share is not None and event.position > share.done:
                ours.append(event)
        return ours, upto

    def _batch_limit(self) -> int:
        if self._attempts is not None:
            return 1
        rate = self.order.events_per_s
        return self._fitting if rate is None else max(1, min(self._fitting, int(rate * 0.1)))

    def _is_done_before(self, event: RecordedEvent) -> bool:
        """Whether a handler that must not see an event again has had it."""
        share = self.shares.of(event)
        return not self.work.replay_safe and share is not None and event.position <= share.handled

    def _take_one_by_one(self, events: Sequence[RecordedEvent], upto: int) -> None:
        parked = self._parked(events)
        ends_s = self._clock_s() + max(self.work.checkpoint_s, _TURN_S)
        for count, event in enumerate(events, 1):
            sequence = self.work.key_of(event) if parked else ""
            if parked and sequence in parked:
                self._parked_here.append(self._waiting(event, sequence))
            elif not self._is_done_before(event):
                try:
                    self.work.handle(event)
                except Exception as error:
                    self._failed(event, error)
                    return
            self._is_dirty = True
            self._attempts = None
            self.shares.advance(event.position)
            if self.is_stopping or self.order.is_paused or self._clock_s() >= ends_s:
                self._throttle(count)
                return
        self.shares.advance(upto)
        self._throttle(len(events))

    def _parked(self, events: Sequence[RecordedEvent]) -> set[str]:
        if self.work.on_failure is not OnFailure.PARK:
            return set()
        sequences = list(dict.fromkeys(self.work.key_of(event) for event in events))
        return set(self._storage.get(dead_letters.parked_of(self.name), sequences))

    def _waiting(self, event: RecordedEvent, sequence: str) -> DeadLetter:
        return dead_letters.letter(
            self.name, event, sequence, error=WAITS_BEHIND, attempts=0, at_us=self._now_us(), is_parked=True
        )

    def _take_in_transaction(self, events: Sequence[RecordedEvent], upto: int) -> None:
        reached = 0

        def work(transaction: StorageTransaction) -> None:
            nonlocal reached
            documents = self._fenced(transaction)
            parked = self._parked_in(transaction, events)
            behind = {event.position: event for event in events if self.work.key_of(event) in parked} if parked else {}
            todo = [event for event in events if event.position not in behind and self._is_to_do(event, documents)]
            count = self.work.handle_in(transaction, todo)
            reached = upto if count == len(todo) else todo[count].position - 1
            waiting = [self._waiting(event, self.work.key_of(event)) for event in behind.values() if event.position <= reached]
            dead_letters.put(transaction, waiting)
            self.work.saving(transaction, reached, reached >= transaction.head())
            self.shares.put(transaction, documents, upto=reached)

        try:
            self._storage.transact(from_scratch(lambda: self.work.over(is_committed=False), work))
        except TooLarge as error:
            self.work.over(is_committed=False)
            self._fitting = max(1, len(events) // 2)
            if len(events) == 1:
                self._failed(events[0], error)
            return
        except EventFailed as failed:
            self.work.over(is_committed=False)
            before = [event for event in events if event.position < failed.event.position]
            if before:
                self._take_in_transaction(before, failed.event.position - 1)
            if self.shares.cursor == failed.event.position - 1 or not before:
                self._failed(failed.event, failed.__cause__)
            return
        except BaseException:
            self.work.over(is_committed=False)
            raise
        self._attempts = None
        self._fitting = min(PAGE_EVENTS_MAX, self._fitting + self._fitting // 16 + 1)
        self.shares.saved(reached)
        self._saved_s = self._clock_s()
        self._throttle(len(events))
        self.work.over(is_committed=True)

    def _is_to_do(self, event: RecordedEvent, documents: dict[int, PartitionDocument]) -> bool:
        """Whether nobody has done it: not this reader, nor an append that folds inline, which moves the checkpoint too."""
        share = self.shares.of(event)
        return share is not None and event.position > documents[share.number].checkpoint and not self._is_done_before(event)

    def _parked_in(self, transaction: StorageTransaction, events: Sequence[RecordedEvent]) -> set[str]:
        if self.work.on_failure is not OnFailure.PARK:
            return set()
        return dead_letters.parked_among(transaction, self.name, [self.work.key_of(event) for event in events])

    def _throttle(self, count: int) -> None:
        if self.order.events_per_s:
            self._not_before_s = self._clock_s() + count / self.order.events_per_s

    # Failing

    def _failed(self, event: RecordedEvent, error: BaseException | None) -> None:
        """Note a failed attempt; after the last one, do what the policy says."""
        if self._attempts is None or self._attempts.position != event.position:
            self._attempts = _Attempts(event.position)
        attempts = self._attempts
        attempts.count += self.work.retry.attempts if isinstance(error, HandlerLoop) else 1  # a loop is no passing fault
        if attempts.count < self.work.retry.attempts:
            attempts.not_before_s = self._clock_s() + self.work.retry.pause_s(attempts.count)
            return
        reason = describe(error)
        failure = Failure(event.position, event.type, reason, attempts.count, self._now_us())
        if self.work.on_failure is OnFailure.STOP:
            self._stop(failure, error)
        else:
            self._give_up(event, failure)
        self._attempts = None

    def _stop(self, failure: Failure, error: BaseException | None) -> None:
        self._write(failure=failure, stops=True)
        self.shares.lose()
        self.stopped = ProcessorStopped(self.name, failure.position, failure.error)
        self.stopped.__cause__ = error

    def _give_up(self, event: RecordedEvent, failure: Failure) -> None:
        one = dead_letters.letter(
            self.name,
            event,
            self.work.key_of(event),
            error=failure.error,
            attempts=failure.attempts,
            at_us=failure.at_us,
            is_parked=self.work.on_failure is OnFailure.PARK,
        )
        self._write(letters=[one], upto=event.position, failure=failure)
