"""A consumer of a group: events by turns, finished one by one with ack, nack or park. Several share one subscription."""

import threading
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from hansard.errors import InvalidInput, InvalidType, LeaseLost, StoreClosed
from hansard.events import RecordedEvent
from hansard.limits import CONSUMER_WINDOW_MAX, POSITION_MAX
from hansard.processors import dead_letters
from hansard.processors.dead_letters import WAITS_BEHIND, DeadLetter
from hansard.processors.definitions import KeyOf, Retry
from hansard.processors.documents import ORDERS, OrderDocument, ReaderDocument, decoded, query_document
from hansard.processors.handling import meant
from hansard.processors.keeper import Keeper
from hansard.processors.membership import Membership
from hansard.processors.shares import Share, Shares, register
from hansard.processors.window import Taken, Window
from hansard.processors.work import key_of, query_in_words
from hansard.query import Query
from hansard.storage.clock import now_us
from hansard.storage.port import Storage, StorageTransaction
from hansard.subscriptions.tail import Tail

_SAVE_S = 0.1
_LISTEN_S = 0.25
_FULL_PAUSE_S = 0.05
_PAUSED_S = 0.25


class Consumer:
    """`with store.join("billing", query) as consumer: for event in consumer: ...; consumer.ack(event)`.

    An iterator for one thread or several. An event that is out and not acked keeps the later ones of its stream back.
    Acks are saved together, at the latest after a tenth of a second, and when the consumer is closed; what is not saved
    when a program dies is handed out again, to whoever takes over.
    """

    def __init__(
        self,
        storage: Storage,
        tail: Tail,
        keeper: Keeper,
        name: str,
        query: Query,
        *,
        partitions: int,
        partition_by: KeyOf | None,
        after: int | None,
        lease_s: float,
        retry: Retry,
        member: str = "",
    ) -> None:
        self.name = name
        self._storage = storage
        self._tail = tail
        self._query = query
        self._partition_by = partition_by
        self._retry = retry
        self._changed = threading.RLock()
        self._window = Window()
        self._fetched: dict[int, int] = {}
        self._parked: list[DeadLetter] = []
        self._letters: dict[int, DeadLetter] = {}
        self._order = OrderDocument()
        self._not_before_s = 0.0
        self._saved_s = time.monotonic()
        self._epochs: dict[int, int] = {}
        self._finished = 0
        self._is_closed = False
        key = "by a key of its own" if partition_by is not None else "by stream"
        fingerprint = f"{query_in_words(query)}, {partitions} partitions, {key}"
        document = ReaderDocument(name, "group", 1, partitions, fingerprint, query_document(query))
        register(storage, document, after=after, begins_anew=False)
        self._membership = Membership(storage, lease_s=lease_s, clock_s=time.monotonic, label=member)
        self._shares = Shares(storage, self._membership, document, key_of=self._sequence, clock_s=time.monotonic, now_us=now_us)
        self._membership.run([name])
        self._membership.beat()
        self._stops = [keeper.every(lease_s / 3, self._beat), keeper.every(_LISTEN_S, self._listen)]
        self._unlisten = tail.listen(lambda: None)

    # Taking

    def __iter__(self) -> Iterator[RecordedEvent]:
        return self

    def __next__(self) -> RecordedEvent:
        """The next event whose turn it is; waits for one. Ends when the consumer is closed."""
        while not self._is_closed:
            with self._changed:
                event, pause_s = self._next_now()
                seen = self._finished
            if event is not None:
                return event
            self._wait(pause_s, seen)
        raise StopIteration

    def take(self, timeout_s: float) -> RecordedEvent | None:
        """The next event whose turn it is, or None if there is none within the time."""
        deadline = time.monotonic() + timeout_s
        while not self._is_closed:
            with self._changed:
                event, pause_s = self._next_now()
                seen = self._finished
            left = deadline - time.monotonic()
            if event is not None or left <= 0:
                return event
            self._wait(min(pause_s, left), seen)
        return None

    def take_now(self) -> tuple[RecordedEvent | None, float]:
        """The next event whose turn it is now, or None and how long to wait, in seconds, before asking again."""
        with self._changed:
            return (None, 0.0) if self._is_closed else self._next_now()

    def is_out(self, event: RecordedEvent) -> bool:
        """Whether an event that was taken is this consumer's still, to be acked, nacked or parked."""
        with self._changed:
            one = self._window.out(event.position)
            return one is not None and one.event is event

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def _wait(self, pause_s: float, seen: int) -> None:
        """Until there may be an event: one was stored, or finished since `seen`, or the time is over."""
        after = POSITION_MAX if self._is_full or self._order.is_paused else self._cursor
        self._tail.wait(after, pause_s, lambda: self._is_closed or self._finished != seen)

    @property
    def _is_full(self) -> bool:
        return len(self._window) >= CONSUMER_WINDOW_MAX

    def put_back(self, event: RecordedEvent) -> None:
        """The event was taken, but given to nobody: it has its turn again, as if it had not been out."""
        with self._changed:
            one = self._window.out(event.position)
            if one is not None:
                one.is_out = False
                self._finished += 1
        self._tail.wake()

    @property
    def _cursor(self) -> int:
        return min([self._fetched.get(number, share.done) for number, share in self._fetching.items()], default=POSITION_MAX)

    @property
    def _fetching(self) -> dict[int, Share]:
        """Shares of which more is taken: not those that are wanted back, which are to run empty."""
        return {number: share for number, share in self._shares.owned.items() if number not in self._shares.wanted_back}

    def _next_now(self) -> tuple[RecordedEvent | None, float]:
        """An event, or how long to wait at most before looking again."""
        try:
            self._balance()
            self._save_if_due()
        except LeaseLost:
            return None, 0.0
        now = time.monotonic()
        if (pause_s := _PAUSED_S if self._order.is_paused else self._not_before_s - now) > 0:
            return None, pause_s
        one = self._window.hand_out(now)
        while one is None and self._fetch():
            one = self._window.hand_out(now)
        if one is not None:
            if self._order.events_per_s:
                self._not_before_s = now + 1 / self._order.events_per_s
            return one.event, 0.0
        turn = self._window.next_turn_s()
        pause_s = min(_SAVE_S if self._unsaved else self._membership.lease_s / 6, 1.0)
        if self._is_full:
            pause_s = _FULL_PAUSE_S
        return None, pause_s if turn is None else max(0.001, min(pause_s, turn - now))

    def _fetch(self) -> bool:
        """Take more events into the window. Returns whether the log had more."""
        fetching = self._fetching
        if not fetching or self._is_full:
            return False
        if self._order.retries and self._fetch_letters():
            return True
        page, upto = self._tail.page(self._query, self._cursor)
        if upto <= self._cursor:
            return False
        parked = self._parked_among(page)
        for event in page:
            share = self._shares.of(event)
            if share is None or share.number not in fetching or event.position <= self._fetched.get(share.number, share.done):
                continue
            ones = meant(self._query, (event,))
            if not ones:
                continue
            sequence = self._sequence(event)
            if sequence in parked:
                self._parked.append(self._letter(event, sequence, WAITS_BEHIND, 0))
            else:
                self._window.take(ones, share.number, sequence)
        for number, share in fetching.items():
            self._fetched[number] = max(self._fetched.get(number, share.done), upto)
        self._advance()
        return True

    def _parked_among(self, page: list[RecordedEvent]) -> set[str]:
        sequences = list(dict.fromkeys(self._sequence(event) for event in page))
        return set(self._storage.get(dead_letters.parked_of(self.name), sequences)) if sequences else set()

    def _sequence(self, event: RecordedEvent) -> str:
        return key_of(event, self._partition_by)

    def _advance(self) -> None:
        """A partition is done up to its lowest event that is not finished. Letters stand beside the log's order."""
        for number, share in self._shares.owned.items():
            open_ones = [one.event.position for one in self._window.of_partition(number)]
            lowest = min([position for position in open_ones if position not in self._letters], default=None)
            share.done = max(share.done, self._fetched.get(number, share.done) if lowest is None else lowest - 1)

    # Finishing

    def ack(self, event: RecordedEvent) -> None:
        """The event is done. Raises LeaseLost if another member has taken over meanwhile."""
        with self._changed:
            one = self._out(event)
            if not self._window.goes_on(one):
                if (letter := self._letters.get(event.position)) is not None:
                    self._remove(letter)
                self._window.finish(one)
                self._advance()
            self._after_finish(one)

    def nack(self, event: RecordedEvent, *, delay_s: float | None = None) -> None:
        """The event could not be handled now: hand it out again after a while, or park it after the last attempt."""
        with self._changed:
            one = self._out(event)
            if one.attempts + 1 >= self._retry.attempts:
                self._park(one, "given back too often")
                return
            pause_s = self._retry.pause_s(one.attempts + 1) if delay_s is None else delay_s
            self._window.give_back(one, time.monotonic() + pause_s)
            self._after_finish(one)

    def park(self, event: RecordedEvent, reason: str) -> None:
        """The event cannot be handled: it becomes a dead letter, and later ones of its stream wait behind it."""
        if not isinstance(reason, str) or not reason:
            raise InvalidType("reason", reason, "expected a text")
        with self._changed:
            self._park(self._out(event), reason)

    def _park(self, one: Taken, reason: str) -> None:
        letter = self._letters.get(one.event.position)
        attempts = one.attempts + 1 + (letter.attempts if letter is not None else 0)
        rest = [other for other in self._window.rest_of(one.sequence) if other is not one]
        parked = [self._letter(one.event, one.sequence, reason, attempts)]
        parked += [self._letter(other.event, other.sequence, WAITS_BEHIND, 0) for other in rest if letter is None]
        self._save(parked)
        for other in (one, *rest):
            self._window.finish(other)
            self._letters.pop(other.event.position, None)
        self._advance()
        self._after_finish(one)

    def _out(self, event: RecordedEvent) -> Taken:
        if not isinstance(event, RecordedEvent):
            raise InvalidType("event", event, "expected an event that this consumer has handed out")
        one = self._window.out(event.position)
        if one is None or self._shares.of(event) is None:
            if self._shares.of(event) is None:
                raise LeaseLost(f"{self.name!r}: the event at position {event.position} belongs to another member now")
            raise InvalidInput("event", event.position, "it is not out: it was acked, nacked or parked before")
        return one

    def _after_finish(self, one: Taken) -> None:
        if one.partition in self._shares.wanted_back:
            self._shares.balance_soon()
        self._finished += 1
        self._save_if_due()
        self._tail.wake()

    def _letter(self, event: RecordedEvent, sequence: str, error: str, attempts: int) -> DeadLetter:
        return dead_letters.letter(self.name, event, sequence, error=error, attempts=attempts, at_us=now_us(), is_parked=True)

    # Dead letters that are tried again

    def _fetch_letters(self) -> bool:
        """Take the first letters of a sequence that was asked for; they are handed out like events, in order."""
        for sequence in self._order.retries:
            share = self._shares.of_key(sequence)
            if share is None or any(letter.sequence == sequence for letter in self._letters.values()):
                continue
            self._save()  # letters that wait to be saved stand behind those that are tried now
            letters = dead_letters.of_sequence(self._storage, self.name, sequence, limit=CONSUMER_WINDOW_MAX)
            for letter in letters:
                (event,) = self._storage.read(Query(), after=letter.position - 1, before=None, backwards=False, limit=1)
                self._letters[letter.position] = letter
                self._window.take(meant(self._query, (event,)) or (event,), share.number, sequence)
            if len(letters) < CONSUMER_WINDOW_MAX:
                self._order = self._storage.transact(lambda t, s=sequence: dead_letters.retries_done(t, self.name, s))  # type: ignore[misc]
            return True
        return False

    def _remove(self, letter: DeadLetter) -> None:
        waiting = list(self._parked)

        def work(transaction: StorageTransaction) -> None:
            self._shares.fenced(transaction)
            dead_letters.put(transaction, waiting)
            dead_letters.remove(transaction, letter)
            rest = dead_letters.of_sequence(transaction, self.name, letter.sequence, limit=1)
            if rest and rest[0].position not in self._letters:  # they came while this one was tried
                dead_letters.order_retries(transaction, self.name, [letter.sequence])

        self._storage.transact(work)
        self._parked = self._parked[len(waiting) :]
        del self._letters[letter.position]

    # Checkpoints and shares

    def flush(self) -> None:
        """Save what was acked."""
        with self._changed:
            self._save()

    @property
    def _unsaved(self) -> bool:
        return bool(self._parked or self._shares.unsaved)

    def _save_if_due(self) -> None:
        if self._unsaved and time.monotonic() - self._saved_s >= _SAVE_S:
            self._save()

    def _save(self, letters: Sequence[DeadLetter] = ()) -> None:
        """Write checkpoints and letters in one transaction; nothing is forgotten before it is committed."""
        if not self._shares.owned:
            self._parked = []
            return
        waiting = list(self._parked)

        def work(transaction: StorageTransaction) -> None:
            documents = self._shares.fenced(transaction)
            dead_letters.put(transaction, [*waiting, *letters])
            self._shares.put(transaction, documents)

        try:
            self._storage.transact(work)
        except LeaseLost:
            self._shares.lose()
            raise
        self._parked = self._parked[len(waiting) :]
        self._shares.saved()
        self._saved_s = time.monotonic()

    def _balance(self) -> None:
        put: list[DeadLetter] = []

        def before_release(transaction: StorageTransaction) -> None:
            put[:] = self._parked
            dead_letters.put(transaction, put)

        if not self._shares.balance(before_release, self._window.is_busy):
            return
        self._parked = [] if put else [one for one in self._parked if self._shares.of_key(one.sequence) is not None]
        epochs = {number: share.epoch for number, share in self._shares.owned.items()}
        for number in [number for number in {*self._epochs, *epochs} if self._epochs.get(number) != epochs.get(number)]:
            self._window.drop(number)
            self._fetched.pop(number, None)
        self._epochs = epochs
        self._letters = {p: letter for p, letter in self._letters.items() if self._window.has(p)}

    def _beat(self) -> None:
        self._membership.beat()
        self._tail.wake()

    def _listen(self) -> None:
        text = self._storage.get(ORDERS, [self.name]).get(self.name)
        order = decoded(text, OrderDocument) if text else OrderDocument()
        with self._changed:
            self._finished += order != self._order
            self._order = order
        self._tail.wake()

    def close(self) -> None:
        """Save what was acked, and give the shares back; events that are out will be handed out again, to another member."""
        with self._changed:
            if self._is_closed:
                return
            self._is_closed = True
            for stop in (*self._stops, self._unlisten):
                stop()
            try:
                self._save()
                self._shares.release()
            except LeaseLost:
                self._shares.lose()
            except StoreClosed:  # what was acked since the last save comes again
                return
            self._membership.leave()
        self._tail.wake()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
