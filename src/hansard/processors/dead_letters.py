"""Dead letters: events that a reader could not handle, and those of the same sequence that wait behind them, in order."""

from collections.abc import Iterator, Sequence

import msgspec

from hansard.errors import InvalidInput
from hansard.events import RecordedEvent
from hansard.limits import PAGE_DOCUMENTS_MAX
from hansard.processors.documents import ORDERS, OrderDocument, decoded, encoded
from hansard.storage.port import Storage, StorageTransaction

WAITS_BEHIND = "waits behind an earlier event of its sequence"


class DeadLetter(msgspec.Struct, frozen=True):
    """One event that was not handled.

    - `sequence`: what it was kept in order with: its stream, or its partition key.
    - `is_parked`: whether later events of the sequence wait behind it (False: it was skipped).
    """

    reader: str
    sequence: str
    position: int
    id: str
    type: str
    stream: str | None
    error: str
    attempts: int
    at_us: int
    is_parked: bool


def letters_of(reader: str) -> str:
    """The collection of a reader's letters; keys are sequence and position."""
    return f"dead-letter/{reader}"


def parked_of(reader: str) -> str:
    """The collection of a reader's parked sequences; keys are the sequences."""
    return f"parked/{reader}"


def letter_key(sequence: str, position: int) -> str:
    return f"{sequence}\n{position:020d}"


def parked_among(transaction: StorageTransaction, reader: str, sequences: Sequence[str]) -> set[str]:
    """Those of the sequences that are parked."""
    return set(transaction.get(parked_of(reader), list(dict.fromkeys(sequences)))) if sequences else set()


def letter(
    reader: str, event: RecordedEvent, sequence: str, *, error: str, attempts: int, at_us: int, is_parked: bool
) -> DeadLetter:
    return DeadLetter(
        reader, sequence, event.position, str(event.id), event.type, event.stream, error, attempts, at_us, is_parked
    )


def put(transaction: StorageTransaction, letters: Sequence[DeadLetter]) -> None:
    """Keep letters. One that was to wait behind others, which were discarded meanwhile, is to be tried at once."""
    for one in letters:
        transaction.put(letters_of(one.reader), {letter_key(one.sequence, one.position): encoded(one)})
        if one.is_parked and one.sequence not in transaction.get(parked_of(one.reader), [one.sequence]):
            transaction.put(parked_of(one.reader), {one.sequence: str(one.position).encode()})
            if one.error == WAITS_BEHIND:
                order_retries(transaction, one.reader, [one.sequence])


def order_retries(transaction: StorageTransaction, reader: str, sequences: Sequence[str]) -> None:
    """Ask whoever runs the reader to try these sequences again."""
    text = transaction.get(ORDERS, [reader]).get(reader)
    order = decoded(text, OrderDocument) if text else OrderDocument()
    order.retries = list(dict.fromkeys([*order.retries, *sequences]))
    transaction.put(ORDERS, {reader: encoded(order)})


def retries_done(transaction: StorageTransaction, reader: str, sequence: str) -> OrderDocument:
    """What is still ordered, once a sequence was tried."""
    text = transaction.get(ORDERS, [reader]).get(reader)
    order = decoded(text, OrderDocument) if text else OrderDocument()
    order.retries = [other for other in order.retries if other != sequence]
    transaction.put(ORDERS, {reader: None if order == OrderDocument() else encoded(order)})
    return order


def replace(transaction: StorageTransaction, one: DeadLetter) -> None:
    """Change a letter, unless it was discarded meanwhile."""
    key = letter_key(one.sequence, one.position)
    if transaction.get(letters_of(one.reader), [key]):
        transaction.put(letters_of(one.reader), {key: encoded(one)})


def remove(transaction: StorageTransaction, one: DeadLetter) -> None:
    """Take a letter away; where it was the last of its sequence, later events are handled again."""
    transaction.put(letters_of(one.reader), {letter_key(one.sequence, one.position): None})
    if not of_sequence(transaction, one.reader, one.sequence, limit=1):
        transaction.put(parked_of(one.reader), {one.sequence: None})


def of_sequence(source: Storage | StorageTransaction, reader: str, sequence: str, *, limit: int) -> list[DeadLetter]:
    """The first letters of one sequence, in the order of their positions."""
    found: list[DeadLetter] = []
    after = prefix = f"{sequence}\n"
    while len(found) < limit:
        page = source.scan(letters_of(reader), after=after, limit=min(PAGE_DOCUMENTS_MAX, limit + 8))
        for key, text in page:
            if not key.startswith(prefix):
                return found
            one = decoded(text, DeadLetter)
            if one.sequence == sequence and len(found) < limit:  # another one's name may begin with the same text
                found.append(one)
        if not page:
            return found
        after = page[-1][0]
    return found


class DeadLetters:
    """The dead letters of one reader, from any process: `store.dead_letters(name)`. Iterates over DeadLetter."""

    def __init__(self, storage: Storage, reader: str) -> None:
        self._storage = storage
        self.reader = reader

    def __iter__(self) -> Iterator[DeadLetter]:
        after = ""
        while page := self._storage.scan(letters_of(self.reader), after=after, limit=PAGE_DOCUMENTS_MAX):
            yield from (decoded(text, DeadLetter) for _, text in page)
            after = page[-1][0]

    def sequences(self) -> list[str]:
        """The sequences that have dead letters, each once, in order."""
        return list(dict.fromkeys(one.sequence for one in self))

    def retry(self, sequence: str | None = None) -> int:
        """Ask whoever runs the reader to handle the letters of a sequence (None: of all) again, in order.

        Returns the number of sequences asked for. They are handled when the reader next runs.
        """
        asked = self.sequences() if sequence is None else [self._known(sequence)]
        if asked:
            self._storage.transact(lambda transaction: order_retries(transaction, self.reader, asked))
        return len(asked)

    def discard(self, sequence: str, position: int | None = None) -> int:
        """Give up the letter at a position, or all letters of a sequence: they are never handled. Returns how many.

        With the last letter gone, later events of the sequence are handled again.
        """
        self._known(sequence)

        def work(transaction: StorageTransaction) -> int:
            found = [
                one for one in of_sequence(transaction, self.reader, sequence, limit=2**31) if position in (None, one.position)
            ]
            for one in found:
                remove(transaction, one)
            return len(found)

        count = self._storage.transact(work)
        if not count:
            raise InvalidInput("position", position, f"{self.reader!r} has no dead letter there in sequence {sequence!r}")
        return count

    def _known(self, sequence: str) -> str:
        if not isinstance(sequence, str) or not of_sequence(self._storage, self.reader, sequence, limit=1):
            raise InvalidInput("sequence", sequence, f"{self.reader!r} has no dead letters of this sequence")
        return sequence
