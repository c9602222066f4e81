"""A cluster from outside: its nodes, as one of them knows them, and the trimming of its log."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from hansard.errors import CapabilityMissing, HansardError, InvalidInput
from hansard.storage.cluster import messages
from hansard.storage.cluster.log import ReplicatedLog
from hansard.storage.cluster.members import Member, Members
from hansard.storage.cluster.replica import Applied
from hansard.storage.port import Capability, Storage
from hansard.streams import check_bound


class ClusterStatus(NamedTuple):
    """How a cluster looks from one node. `leader`: the server that takes messages now; `first`, `last`: messages that the log
    keeps; `applied`, `digest`: of this node; `agreed`: up to where another node's word was compared, and was the same;
    `stopped`: why this node goes no further, empty if it does."""

    leader: str
    first: int
    last: int
    applied: int
    digest: str
    agreed: int
    stopped: str
    members: Sequence[Member]


class ClusterControl:
    """A cluster from outside: `store.cluster`."""

    def __init__(
        self,
        log: ReplicatedLog,
        members: Members,
        applied: Callable[[], Applied],
        stopped: Callable[[], HansardError | None],
        switch: Callable[[int], None],
    ) -> None:
        self._log, self._members, self._applied, self._stopped, self._switch = log, members, applied, stopped, switch

    def status(self) -> ClusterStatus:
        """As this node knows it: nodes tell of themselves with each message that they send, and ten seconds after others."""
        info, applied = self._log.info(), self._applied()
        return ClusterStatus(
            leader=info.leader,
            first=info.first,
            last=info.last,
            applied=applied.sequence,
            digest=applied.digest,
            agreed=self._members.agreed,
            stopped=str(self._stopped() or ""),
            members=self._members.all(),
        )

    def upgrade(self) -> tuple[int, int]:
        """Let all nodes decide by the newest rules that this version knows. Returns the rules before and now: the same, if there
        are no newer ones.

        Upgrade the program on all nodes first: one that does not know the rules stops at the message that switches them on.
        """
        before = self._applied().rules
        if before < messages.RULES:
            self._switch(messages.RULES)
        return before, max(before, messages.RULES)

    def trim(self, to: int, *, is_forced: bool = False) -> int:
        """Let the log forget the messages up to one, which is in a snapshot that is kept (`store.backup(...)` of this node, say).

        Refused for messages that this node, or another that is known, has not applied; `is_forced`: then such a node has to begin
        with a snapshot. Returns the first message that is left. Raises InvalidInput.
        """
        check_bound("to", to)
        behind = [member for member in self._members.all() if member.applied < to]
        if to > self._applied().sequence:
            raise InvalidInput("to", to, f"expected at most {self._applied().sequence}: this node has applied no more")
        if behind and not is_forced:
            names = ", ".join(f"{member.name} ({member.applied})" for member in behind)
            raise InvalidInput("to", to, f"still needed by {names}; force it if they may begin with a snapshot")
        self._log.trim(to)
        return self._log.info().first


class AsyncClusterControl:
    """The same, awaited: `await store.cluster.status()`."""

    def __init__(self, control: ClusterControl, in_thread: Callable[..., Awaitable[Any]]) -> None:
        self._control, self._in_thread = control, in_thread

    async def status(self) -> ClusterStatus:
        """See `ClusterControl.status`."""
        status: ClusterStatus = await self._in_thread(self._control.status)
        return status

    async def upgrade(self) -> tuple[int, int]:
        """See `ClusterControl.upgrade`."""
        rules: tuple[int, int] = await self._in_thread(self._control.upgrade)
        return rules

    async def trim(self, to: int, *, is_forced: bool = False) -> int:
        """See `ClusterControl.trim`."""
        first: int = await self._in_thread(lambda: self._control.trim(to, is_forced=is_forced))
        return first


def control_of(storage: Storage) -> ClusterControl:
    """Raises CapabilityMissing where the storage is not a node of a cluster."""
    control: ClusterControl | None = getattr(storage, "control", None)
    if control is None:
        raise CapabilityMissing(Capability.CLUSTER, "", "one that has is opened with nats://HOST,HOST,HOST/LOG?replica=FILE")
    return control
