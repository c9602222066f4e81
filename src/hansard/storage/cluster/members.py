"""What a node knows of the others: how far they are, and whether they have decided as it has.

Each message tells the digest of all that its sender has decided, and short forms of those before it. Digests are chained, so two
that are the same mean the same history. A node that differs from another one looks for a third: whom it agrees with is right.
"""

import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from hansard.errors import StoreCorrupt
from hansard.storage.cluster.course import Word
from hansard.storage.cluster.messages import Message

_KEPT: Final = 100_000
"""Digests of the last messages, to compare what other nodes say of them. A node that is further behind is compared later."""

_TRAIL_MAX: Final = 64
_SHORT_BYTES: Final = 4
_UNDECIDED_S: Final = 30.0
"""For so long a node that differs from another one waits for the word of a third."""


class Member(NamedTuple):
    """A node, as its last message tells of it. `name`: its machine and the path of its replica, the same after a restart.
    `heard_us`: when that was, by its own clock, in microseconds since 1970 UTC. `agrees_to`: the last message up to which it was
    found to have decided as this node has; `differs_from`: the first which it has decided otherwise, 0 if there is none."""

    name: str
    applied: int
    digest: str
    heard_us: int
    is_this: bool
    agrees_to: int
    differs_from: int


class Members:
    def __init__(self, words: Iterable[Word]) -> None:
        """`words`: what the replica has kept of them."""
        self._members = {
            word.name: Member(word.name, word.applied, word.digest, word.heard_us, False, 0, 0)
            for word in sorted(words)
            if word.name
        }
        self._digests: OrderedDict[int, str] = OrderedDict()
        self._undecided_since_s = 0.0

    def applied(self, sequence: int, digest: str) -> None:
        """Remember what this node has."""
        self._digests[sequence] = digest
        while len(self._digests) > _KEPT:
            self._digests.popitem(last=False)

    def trail(self, told: int, applied: int) -> list[bytes]:
        """Short digests of the messages before `applied`, from the last one that was told on, the oldest first."""
        known = [self._digests.get(sequence, "") for sequence in range(max(told, applied - _TRAIL_MAX, 1), applied)]
        return [_short(digest) for digest in known] if all(known) else []

    def heard(self, message: Message, *, is_this: bool) -> None:
        """Raises StoreCorrupt if this node is the one that has decided otherwise than the others."""
        before = self._members.get(message.name)
        agrees_to, differs_from = (0, 0) if before is None else (before.agrees_to, before.differs_from)
        ours = self._digests.get(message.applied)
        if not is_this and ours is not None and message.digest:
            if ours == message.digest:
                agrees_to, differs_from = message.applied, 0  # also of one that was begun anew
            elif not differs_from:
                differs_from = self._first_difference(message)
        self._members[message.name] = Member(
            message.name, message.applied, message.digest, message.proposed_us, is_this, agrees_to, differs_from
        )
        self.decide()

    def forget(self, name: str) -> None:
        self._members.pop(name, None)

    def _first_difference(self, message: Message) -> int:
        """The first message that the trail shows to have been decided otherwise; the one at its end, if it shows none."""
        for sequence, theirs in enumerate(message.trail, message.applied - len(message.trail)):
            ours = self._digests.get(sequence)
            if ours is not None and _short(ours) != theirs:
                return sequence
        return message.applied

    def decide(self) -> None:
        """Raises StoreCorrupt once it is this node that is wrong, or when nobody says otherwise in time."""
        others = [member for member in self._members.values() if not member.is_this]
        right = [other for other in others if not other.differs_from]
        undecided = [one for one in others if one.differs_from and not any(o.agrees_to >= one.differs_from for o in right)]
        if not undecided:
            self._undecided_since_s = 0.0
            return
        self._undecided_since_s = self._undecided_since_s or time.monotonic()
        if len(undecided) > 1 or not right or time.monotonic() - self._undecided_since_s > _UNDECIDED_S:
            one = undecided[0]
            raise StoreCorrupt(
                f"this replica and that of {one.name} have decided message {one.differs_from} of the log differently, and no "
                "other node says the same as this one, which has stopped. Begin the wrong one anew; compare with a third"
            )

    @property
    def agreed(self) -> int:
        """The last message of which another node's word was compared, and was the same."""
        return max((member.agrees_to for member in self._members.values()), default=0)

    def all(self) -> Sequence[Member]:
        return sorted(self._members.values(), key=lambda member: member.name)


def _short(digest: str) -> bytes:
    return bytes.fromhex(digest)[:_SHORT_BYTES]
