"""What a node knows of the others: how far they are, and whether they have decided as it has."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

from hansard.errors import StoreCorrupt
from hansard.storage.cluster.messages import Message

_KEPT: Final = 100_000
"""Digests of the last messages, to compare what other nodes say of them. A node that is further behind is compared later."""


class Member(NamedTuple):
    """A node, as its last message tells of it. `name`: its machine and the path of its replica, the same after a restart.
    `heard_us`: when that was, by its own clock, in microseconds since 1970 UTC."""

    name: str
    applied: int
    digest: str
    heard_us: int
    is_this: bool


class Members:
    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self._digests: OrderedDict[int, str] = OrderedDict()
        self._agreed = 0

    def applied(self, sequence: int, digest: str) -> None:
        """Remember what this node has."""
        self._digests[sequence] = digest
        while len(self._digests) > _KEPT:
            self._digests.popitem(last=False)

    def heard(self, message: Message, *, is_this: bool) -> None:
        """Raises StoreCorrupt if the node that has sent it has decided otherwise than this one."""
        self._members[message.name] = Member(message.name, message.applied, message.digest, message.proposed_us, is_this)
        ours = self._digests.get(message.applied)
        if ours is None or not message.digest:
            return
        if ours != message.digest:
            raise StoreCorrupt(
                f"this replica and that of {message.name} have decided differently, between messages {self._agreed + 1} "
                f"and {message.applied} of the log; this node has stopped. "
                "Compare both with a third one, and begin the wrong one anew"
            )
        self._agreed = max(self._agreed, message.applied)

    @property
    def agreed(self) -> int:
        """The last message of which another node's word was compared, and was the same."""
        return self._agreed

    def all(self) -> Sequence[Member]:
        return sorted(self._members.values(), key=lambda member: member.name)
