"""How far a replica is in the log, and the last word of each node up to there: what it writes with everything that it applies."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Final

import msgspec

from hansard.names import REPLICA_DOCUMENT
from hansard.storage.cluster.messages import Message
from hansard.storage.port import Storage, StorageTransaction

_COLLECTION, _APPLIED = REPLICA_DOCUMENT
_NODE: Final = "node/"
_AGAIN_MAX: Final = 200_000
"""A message may be in the log twice, when a server has failed while it was published again: the second time within so many
messages. More than the log takes while a node tries."""

_SILENT_US: Final = 7 * 24 * 3600 * 1_000_000
"""A node that says nothing for so long is forgotten."""

_PRUNED_EACH: Final = 1_000
_PAGE: Final = 1_000


class Applied(msgspec.Struct, frozen=True):
    """The sequence of the last message, the digest of all that was decided up to it, which log they are of, and by which rules
    it is decided now."""

    sequence: int
    digest: str
    log: str
    rules: int = 1


class Word(msgspec.Struct, frozen=True, order=True):
    """The last message of a node: its sequence, the node's number for it, and what it says of the node (see Message)."""

    sequence: int
    number: int
    name: str
    applied: int
    digest: str
    heard_us: int


class Course:
    """One step further, of one or more messages. It counts once it is written with what they do: see `keep`."""

    def __init__(self, applied: Applied, words: Mapping[str, Word]) -> None:
        """`words`: by node, as they are before."""
        self.applied = applied
        self._before = words
        self._new: dict[str, Word] = {}
        self._pruned: set[str] = set()

    def counts(self, sequence: int, message: Message) -> bool:
        """Not if it was there already, nor if its node has come further in the log than the log itself: that was set back."""
        before = self._of(message.node.hex())
        is_known = before is not None and before.sequence > sequence - _AGAIN_MAX and 0 < message.number <= before.number
        return not is_known and message.applied < sequence

    def took(self, sequence: int, message: Message, outcome: bytes) -> None:
        """The digest goes on over what was decided, so replicas that decide otherwise differ from there on."""
        if self.counts(sequence, message):
            self._hear(sequence, message)
        if message.forgets:
            self._forget(message.forgets)
        if sequence % _PRUNED_EACH == 0:
            self._prune(sequence, message.proposed_us)
        digest = blake2b(f"{self.applied.digest} {sequence} ".encode() + outcome, digest_size=16).hexdigest()
        self.applied = Applied(sequence, digest, self.applied.log, message.rules or self.applied.rules)

    def note(self, transaction: StorageTransaction) -> None:
        documents: dict[str, bytes | None] = {_NODE + node: msgspec.json.encode(word) for node, word in self._new.items()}
        documents |= {_NODE + node: None for node in self._pruned}
        transaction.put(_COLLECTION, {_APPLIED: msgspec.json.encode(self.applied), **documents})

    def keep(self, words: dict[str, Word]) -> Applied:
        """It is written: bring the words up to it."""
        words |= self._new
        for node in self._pruned:
            words.pop(node, None)
        return self.applied

    def _of(self, node: str) -> Word | None:
        return self._new.get(node) or self._before.get(node)

    def _hear(self, sequence: int, message: Message) -> None:
        node = message.node.hex()
        before = self._of(node)
        number = message.number or (before.number if before is not None else 0)
        self._new[node] = Word(sequence, number, message.name, message.applied, message.digest, message.proposed_us)
        self._pruned.discard(node)

    def _forget(self, name: str) -> None:
        """Its last number stays, since a message of it may come twice."""
        for node, word in {**self._before, **self._new}.items():
            if word.name == name:
                self._new[node] = msgspec.structs.replace(word, name="")

    def _prune(self, sequence: int, now_us: int) -> None:
        """Of a node that was started again its last start is enough, once messages of an earlier one cannot come any more."""
        words = {**self._before, **self._new}
        last = {word.name: word.sequence for word in sorted(words.values())}
        for node, word in words.items():
            is_old = word.sequence != last[word.name] or word.heard_us < now_us - _SILENT_US
            if is_old and word.sequence <= sequence - _AGAIN_MAX:
                self._pruned.add(node)
                self._new.pop(node, None)


def course_of(storage: Storage) -> tuple[Applied, dict[str, Word]] | None:
    """What a replica's file says; None if it is none."""
    text = storage.get(_COLLECTION, [_APPLIED]).get(_APPLIED)
    if text is None:
        return None
    words: dict[str, Word] = {}
    after = _NODE
    while page := storage.scan(_COLLECTION, after=after, limit=_PAGE):
        words |= {key.removeprefix(_NODE): msgspec.json.decode(text, type=Word) for key, text in page if key.startswith(_NODE)}
        after = page[-1][0]
    return msgspec.json.decode(text, type=Applied), words
