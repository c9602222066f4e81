"""A member's shares of one reader: which partitions it owns, how far they are, and the fence around their checkpoints."""

import logging
from collections.abc import Callable, Sequence

from hansard.errors import DefinitionChanged, LeaseLost
from hansard.events import RecordedEvent
from hansard.processors.documents import (
    READERS,
    Failure,
    PartitionDocument,
    ReaderDocument,
    decoded,
    encoded,
    partition_key,
    partitions_of,
)
from hansard.processors.membership import Membership
from hansard.processors.sharing import changes, partition_of
from hansard.storage.port import Storage, StorageTransaction

_RATE_WEIGHT = 0.3

_logger = logging.getLogger("hansard.processors")


class Share:
    """One partition that this member owns. `done`: all of its events up to here are done, saved or not."""

    def __init__(self, number: int, document: PartitionDocument) -> None:
        self.number = number
        self.epoch = document.epoch
        self.checkpoint = document.checkpoint
        self.handled = document.handled
        self.done = document.checkpoint


class Shares:
    def __init__(
        self,
        storage: Storage,
        membership: Membership,
        reader: ReaderDocument,
        *,
        key_of: Callable[[RecordedEvent], str],
        clock_s: Callable[[], float],
        now_us: Callable[[], int],
    ) -> None:
        self._storage = storage
        self._membership = membership
        self._reader = reader
        self._key_of = key_of
        self._clock_s = clock_s
        self._now_us = now_us
        self._keys = [partition_key(number) for number in range(reader.partitions)]
        self._collection = partitions_of(reader.name)
        self._balanced_for: list[str] | None = None
        self._balanced_s = 0.0
        self._rate = 0.0
        self._rated: tuple[int, float] | None = None
        self.owned: dict[int, Share] = {}
        self.wanted_back: set[int] = set()
        self.were_moved = False
        """Whether the last look found a checkpoint that somebody else had moved on."""

    def of(self, event: RecordedEvent) -> Share | None:
        """The share that an event belongs to; None if it is another member's."""
        return self.owned.get(0) if self._reader.partitions == 1 else self.of_key(self._key_of(event))

    def of_key(self, key: str) -> Share | None:
        return self.owned.get(partition_of(key, self._reader.partitions))

    @property
    def cursor(self) -> int:
        """All events of all shares up to here are done."""
        return min([share.done for share in self.owned.values()], default=0)

    @property
    def owns_all(self) -> bool:
        return len(self.owned) == self._reader.partitions

    @property
    def unsaved(self) -> int:
        """Positions between the lowest checkpoint and what is done."""
        return max([share.done - share.checkpoint for share in self.owned.values()], default=0)

    @property
    def saved_by_others(self) -> int | None:
        """Up to where the partitions that are not ours are saved; None if all are ours."""
        keys = [key for number, key in enumerate(self._keys) if number not in self.owned]
        texts = self._storage.get(self._collection, keys) if keys else {}
        return min([decoded(text, PartitionDocument).checkpoint for text in texts.values()], default=None)

    def advance(self, position: int) -> None:
        for share in self.owned.values():
            share.done = max(share.done, position)

    # Balance

    def balance(
        self, before_release: Callable[[StorageTransaction], None], is_busy: Callable[[int], bool] = lambda _: False
    ) -> bool:
        """Take what is ours and give back what is too much, if members have come or gone, or some time has passed.

        `before_release` writes what belongs to the checkpoints, whenever they are written here. A partition that `is_busy`
        is not given back yet, but noted in `wanted_back`.
        """
        members = self._membership.members(self._reader.name)
        now = self._clock_s()
        if members == self._balanced_for and now - self._balanced_s < self._membership.lease_s / 3:
            return False
        self._balanced_for, self._balanced_s = members, now
        texts = self._storage.get(self._collection, self._keys)
        documents = {int(key): decoded(text, PartitionDocument) for key, text in texts.items()}
        owners = {number: self._owner(number, document) for number, document in documents.items()}
        lost = [number for number in self.owned if owners.get(number) != self._membership.id]
        if lost:
            self._warn(lost)
            self.owned = {number: share for number, share in self.owned.items() if number not in lost}
        if not any(changes(owners, members, self._membership.id)):
            return bool(lost)
        balanced = self._storage.transact(lambda transaction: self._balance_in(transaction, before_release, is_busy))
        self.owned, self.wanted_back = balanced
        return True

    def balance_soon(self) -> None:
        """Look again at the next call, whatever the time."""
        self._balanced_for = None

    def _balance_in(
        self,
        transaction: StorageTransaction,
        before_release: Callable[[StorageTransaction], None],
        is_busy: Callable[[int], bool],
    ) -> tuple[dict[int, Share], set[int]]:
        """What is owned, and what is wanted back, once this is committed."""
        self._check_definition(transaction)
        members = self._membership.members_now(transaction, self._reader.name)
        documents = {
            int(key): decoded(text, PartitionDocument) for key, text in transaction.get(self._collection, self._keys).items()
        }
        owners = {number: self._owner(number, document) for number, document in documents.items()}
        change = changes(owners, members, self._membership.id)
        owned = {number: share for number, share in self.owned.items() if self._is_ours(share, documents[number])}
        release = [number for number in change.release if not is_busy(number)]
        wanted_back = {*change.release} - {*release}
        if any(number in owned for number in release):
            before_release(transaction)
        for number in release:
            document = documents[number]
            if (share := owned.pop(number, None)) is not None:
                document.checkpoint = max(document.checkpoint, share.done)
            document.owner = None
        for number in change.claim:
            document = documents[number]
            document.owner, document.epoch, document.is_stopped = self._membership.id, document.epoch + 1, False
            owned[number] = Share(number, document)
        changed = {partition_key(number): encoded(documents[number]) for number in (*release, *change.claim)}
        transaction.put(self._collection, changed)
        return owned, wanted_back

    def _check_definition(self, transaction: StorageTransaction) -> None:
        """A newer version may have taken the name while this one was running."""
        text = transaction.get(READERS, [self._reader.name]).get(self._reader.name)
        if text is None or decoded(text, ReaderDocument) != self._reader:
            raise DefinitionChanged(self._reader.name, self._reader.version, "another version of it runs now; this one ends")

    def _owner(self, number: int, document: PartitionDocument) -> str | None:
        """Who owns a partition; nobody, if it is said to be ours and we have lost sight of it."""
        is_forgotten = document.owner == self._membership.id and number not in self.owned
        return None if is_forgotten else document.owner

    def _is_ours(self, share: Share, document: PartitionDocument) -> bool:
        return document.owner == self._membership.id and document.epoch == share.epoch

    def _warn(self, lost: Sequence[int]) -> None:
        """Events may be handled twice now; whoever wonders why finds it in the log of the program."""
        _logger.warning(
            "%s: this member has lost partition %s: it was silent for longer than its lease of %g s, and another one has taken "
            "over; or somebody has reset or forgotten the reader. What was done since the last checkpoint is done again",
            self._reader.name,
            ", ".join(map(str, lost)),
            self._membership.lease_s,
        )

    # Checkpoints

    def fenced(self, transaction: StorageTransaction) -> dict[int, PartitionDocument]:
        """The partitions that we own, as they are stored; LeaseLost if one of them is another's by now."""
        texts = transaction.get(self._collection, [partition_key(number) for number in self.owned])
        documents = {int(key): decoded(text, PartitionDocument) for key, text in texts.items()}
        self.were_moved = False
        for number, share in self.owned.items():
            if number not in documents or not self._is_ours(share, documents[number]):
                self._warn([number])
                raise LeaseLost(
                    f"{self._reader.name!r}: partition {number} was taken over; its new owner goes on from the checkpoint"
                )
            if documents[number].checkpoint > share.checkpoint:  # by an append that folds inline
                share.checkpoint = documents[number].checkpoint
                share.done = max(share.done, share.checkpoint)
                self.were_moved = True
        return documents

    def put(
        self,
        transaction: StorageTransaction,
        documents: dict[int, PartitionDocument],
        *,
        upto: int | None = None,
        failure: Failure | None = None,
        is_stopped: bool = False,
    ) -> None:
        """Write the checkpoints: what is done, and everything up to `upto`. Call `saved` after the commit.

        `is_stopped`: the partitions are given back, so that another member may try.
        """
        rate = self._measured(max([upto or 0, self.cursor]))
        for number, document in documents.items():
            document.checkpoint = max(document.checkpoint, self.owned[number].done, upto or 0)
            document.handled = max(document.handled, document.checkpoint)
            document.saved_us = self._now_us()
            document.events_per_s = rate
            document.is_stopped = document.is_stopped or is_stopped
            document.owner = None if is_stopped else document.owner
            if failure is not None:
                document.failure = failure
        transaction.put(self._collection, {partition_key(number): encoded(document) for number, document in documents.items()})

    def saved(self, upto: int | None = None) -> None:
        for share in self.owned.values():
            share.done = share.checkpoint = max(share.done, upto or 0)
            share.handled = max(share.handled, share.checkpoint)

    def lose(self) -> None:
        """Forget the shares; the next balance finds out which are still ours."""
        self.owned = {}
        self._balanced_for = None

    def release(self) -> None:
        """Save what is done and give all shares back."""
        if not self.owned:
            return

        def work(transaction: StorageTransaction) -> None:
            documents = self.fenced(transaction)
            for document in documents.values():
                document.owner = None
            self.put(transaction, documents)

        self._storage.transact(work)
        self.owned = {}

    def _measured(self, position: int) -> float:
        now = self._clock_s()
        if self._rated is None:
            self._rated = (position, now)
        elif now - self._rated[1] >= 0.5:
            rate = (position - self._rated[0]) / (now - self._rated[1])
            self._rate = rate if not self._rate else self._rate + _RATE_WEIGHT * (rate - self._rate)
            self._rated = (position, now)
        return round(self._rate, 1)


def register(storage: Storage, reader: ReaderDocument, *, after: int | None, begins_anew: bool) -> None:
    """Write down what a name stands for, or make sure that it still stands for the same.

    `after`: where a new reader begins; None: at the head. `begins_anew`: whether a new version goes back there.
    """
    storage.transact(lambda transaction: _register_in(transaction, reader, after, begins_anew))


def _register_in(transaction: StorageTransaction, reader: ReaderDocument, after: int | None, begins_anew: bool) -> None:
    known_text = transaction.get(READERS, [reader.name]).get(reader.name)
    known = None if known_text is None else decoded(known_text, ReaderDocument)
    if known is not None:
        _check_same(known, reader)
        if known == reader:
            return
    transaction.put(READERS, {reader.name: encoded(reader)})
    begin = transaction.head() if after is None else after
    collection = partitions_of(reader.name)
    old = [decoded(text, PartitionDocument) for _, text in transaction.scan(collection, limit=1_000)]
    if old and known is not None and known.partitions != reader.partitions and not begins_anew:
        _check_even(reader, old)
    epoch = max([document.epoch for document in old], default=0) + 1
    checkpoint = begin if begins_anew or not old else min(document.checkpoint for document in old)
    handled = max([document.handled for document in old], default=0)
    if begins_anew or len(old) != reader.partitions:
        transaction.drop(collection)
        fresh = PartitionDocument(checkpoint=checkpoint, handled=handled, epoch=epoch)
        transaction.put(collection, {partition_key(number): encoded(fresh) for number in range(reader.partitions)})
    else:  # whoever runs the former version is fenced off
        for number, document in enumerate(old):
            document.owner, document.epoch = None, epoch
            transaction.put(collection, {partition_key(number): encoded(document)})


def _check_same(known: ReaderDocument, reader: ReaderDocument) -> None:
    if known.kind != reader.kind:
        raise DefinitionChanged(reader.name, reader.version, f"the name belongs to a {known.kind}, not a {reader.kind}")
    if known.version > reader.version:
        raise DefinitionChanged(
            reader.name, reader.version, f"version {known.version} has run already; an older one would go back"
        )
    if known.version == reader.version and known.fingerprint != reader.fingerprint:
        reason = f"it was {known.fingerprint}, now it is {reader.fingerprint}; give it a new version"
        raise DefinitionChanged(reader.name, reader.version, reason)


def _check_even(reader: ReaderDocument, old: Sequence[PartitionDocument]) -> None:
    if len({(document.checkpoint, document.handled) for document in old}) > 1:
        reason = "its partitions stand at different positions; let it catch up and stop it, then change their number"
        raise DefinitionChanged(reader.name, reader.version, reason)
