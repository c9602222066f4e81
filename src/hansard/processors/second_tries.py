"""Dead letters that are tried again, because somebody has asked for it: one sequence after another, in order."""

from collections.abc import Callable

from hansard.errors import LeaseLost
from hansard.events import RecordedEvent
from hansard.processors import dead_letters
from hansard.processors.dead_letters import DeadLetter
from hansard.processors.documents import OrderDocument
from hansard.processors.handling import EventFailed, Work, describe, from_scratch
from hansard.processors.shares import Shares
from hansard.query import Query
from hansard.storage.port import Storage, StorageTransaction

_AT_ONCE = 100


class SecondTries:
    """Of one reader, as one member runs it. `fenced` raises LeaseLost in a transaction that is no longer this member's."""

    def __init__(
        self,
        storage: Storage,
        work: Work,
        shares: Shares,
        *,
        fenced: Callable[[StorageTransaction], object],
        now_us: Callable[[], int],
    ) -> None:
        self._storage, self._work, self._shares = storage, work, shares
        self._fenced, self._now_us = fenced, now_us
        self._reader = work.document.name

    def of(self, order: OrderDocument) -> OrderDocument | None:
        """Handle the letters of one sequence that was asked for. The orders as they are then; None if no sequence is ours."""
        for sequence in order.retries:
            letters = dead_letters.of_sequence(self._storage, self._reader, sequence, limit=_AT_ONCE)
            if letters and self._shares.of(self._event_of(letters[0])) is None:
                continue
            is_all_right = all(self._try_one(one) for one in letters)
            if is_all_right and len(letters) == _AT_ONCE:
                return order
            return self._storage.transact(lambda transaction: dead_letters.retries_done(transaction, self._reader, sequence))  # noqa: B023
        return None

    def _event_of(self, one: DeadLetter) -> RecordedEvent:
        (event,) = self._storage.read(Query(), after=one.position - 1, before=None, backwards=False, limit=1)
        return event

    def _try_one(self, one: DeadLetter) -> bool:
        event = self._event_of(one)

        def work(transaction: StorageTransaction) -> None:
            self._fenced(transaction)
            if self._work.is_transactional:
                self._work.handle_in(transaction, [event])
            dead_letters.remove(transaction, one)

        try:
            if not self._work.is_transactional:
                self._work.handle(event)
            self._storage.transact(from_scratch(lambda: self._work.over(is_committed=False), work))
        except LeaseLost:
            raise
        except Exception as error:
            self._work.over(is_committed=False)
            self._note_failed_retry(one, error.__cause__ if isinstance(error, EventFailed) else error)
            return False
        self._work.over(is_committed=True)
        return True

    def _note_failed_retry(self, one: DeadLetter, error: BaseException | None) -> None:
        again = DeadLetter(
            one.reader, one.sequence, one.position, one.id, one.type, one.stream,
            describe(error), one.attempts + 1, self._now_us(), one.is_parked,
        )  # fmt: skip

        def work(transaction: StorageTransaction) -> None:
            self._fenced(transaction)
            dead_letters.replace(transaction, again)

        self._storage.transact(work)
