"""A cluster from outside: its nodes, as one of them knows them, and the trimming of its log."""

import os
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from hansard.errors import CapabilityMissing, InvalidInput
from hansard.names import check_path
from hansard.storage.cluster import messages
from hansard.storage.cluster.log import ReplicatedLog
from hansard.storage.cluster.members import Member
from hansard.storage.cluster.node import Node
from hansard.storage.cluster.replica import Snapshot, snapshot_in
from hansard.storage.port import Capability, Storage
from hansard.streams import check_bound

_LOOK_S: Final = 0.02


class ClusterStatus(NamedTuple):
    """How a cluster looks from one node. `leader`: the server that takes messages now; `first`, `last`: messages that the log
    keeps; `applied`, `digest`: of this node; `agreed`: up to where another node's word was compared, and was the same;
    `stopped`: why this node goes no further, empty if it does; `asked`: see `compare`."""

    leader: str
    first: int
    last: int
    applied: int
    digest: str
    agreed: int
    stopped: str
    members: Sequence[Member]
    asked: int = 0


class ClusterControl:
    """A cluster from outside: `store.cluster`."""

    def __init__(self, log: ReplicatedLog, node: Node, send: Callable[..., None]) -> None:
        self._log, self._node, self._send = log, node, send

    def status(self) -> ClusterStatus:
        """As this node knows it: nodes tell of themselves with each message that they send, and ten seconds after others."""
        info, applied = self._log.info(), self._node.replica.applied
        return ClusterStatus(
            leader=info.leader,
            first=info.first,
            last=info.last,
            applied=applied.sequence,
            digest=applied.digest,
            agreed=self._node.members.agreed,
            stopped=str(self._node.stopped or ""),
            members=[
                member._replace(applied=applied.sequence, digest=applied.digest) if member.is_this else member
                for member in self._node.members.all()
            ],
        )

    def compare(self, timeout_s: float = 5.0) -> ClusterStatus:
        """Ask the others for their word, and wait until each has given it, or the time is over: a node is away, or has stopped,
        whose `applied` is below the status's `asked`."""
        self._send(asks=True)
        asked, ends_s = self._node.replica.applied.sequence, time.monotonic() + timeout_s
        while time.monotonic() < ends_s and self._node.stopped is None and self._is_silent(asked):
            time.sleep(_LOOK_S)
        return self.status()._replace(asked=asked)

    def _is_silent(self, asked: int) -> bool:
        return any(member.applied < asked and not member.is_this for member in self._node.members.all())

    def upgrade(self) -> tuple[int, int]:
        """Let all nodes decide by the newest rules that this version knows. Returns the rules before and now: the same, if there
        are no newer ones.

        Upgrade the program on all nodes first: one that does not know the rules stops at the message that switches them on.
        """
        before = self._node.replica.applied.rules
        if before < messages.RULES:
            self._send(rules=messages.RULES)
        return before, max(before, messages.RULES)

    def snapshot(self, target: str | os.PathLike[str]) -> Snapshot:
        """Copy this node's replica to a new file, while it goes on. A new node whose replica is a copy of that begins there."""
        path = check_path("target", target)
        self._node.replica.storage.backup(path)
        return snapshot_in(path)

    def forget(self, name: str) -> None:
        """A node is no more: it keeps no message in the log, on any node's account. If it comes again, it is known again.

        Raises InvalidInput for a name that is not known, or that of this node.
        """
        names = [member.name for member in self._node.members.all() if not member.is_this]
        if name not in names:
            raise InvalidInput("name", name, f"there is no other node of this name; known are: {', '.join(names) or 'none'}")
        self._send(forgets=name)

    def trim(self, to: int, *, is_forced: bool = False) -> int:
        """Let the log forget the messages up to one, which is in a snapshot that is kept (`store.backup(...)` of this node, say).

        Refused for messages that this node, or another that is known, has not applied; `is_forced`: then such a node has to begin
        with a snapshot. Returns the first message that is left. Raises InvalidInput.
        """
        check_bound("to", to)
        behind = [member for member in self._node.members.all() if member.applied < to and not member.is_this]
        written = self._node.replica.written()
        if to > written:
            raise InvalidInput("to", to, f"expected at most {written}: this node has applied no more")
        if behind and not is_forced:
            names = ", ".join(f"{member.name} (at {member.applied}, heard of {_time(member.heard_us)})" for member in behind)
            raise InvalidInput(
                "to",
                to,
                f"still needed by {names}; use force (--force) if they may begin with a "
                "snapshot, or forget those that are no more",
            )
        self._log.trim(to)
        return self._log.info().first


def _time(time_us: int) -> str:
    return f"{datetime.fromtimestamp(time_us / 1e6, UTC):%Y-%m-%d %H:%M:%S} UTC"


class AsyncClusterControl:
    """The same, awaited: `await store.cluster.status()`."""

    def __init__(self, control: ClusterControl, in_thread: Callable[..., Awaitable[Any]]) -> None:
        self._control, self._in_thread = control, in_thread

    async def status(self) -> ClusterStatus:
        """See `ClusterControl.status`."""
        status: ClusterStatus = await self._in_thread(self._control.status)
        return status

    async def compare(self, timeout_s: float = 5.0) -> ClusterStatus:
        """See `ClusterControl.compare`."""
        status: ClusterStatus = await self._in_thread(self._control.compare, timeout_s)
        return status

    async def upgrade(self) -> tuple[int, int]:
        """See `ClusterControl.upgrade`."""
        rules: tuple[int, int] = await self._in_thread(self._control.upgrade)
        return rules

    async def snapshot(self, target: str | os.PathLike[str]) -> Snapshot:
        """See `ClusterControl.snapshot`."""
        snapshot: Snapshot = await self._in_thread(self._control.snapshot, target)
        return snapshot

    async def forget(self, name: str) -> None:
        """See `ClusterControl.forget`."""
        await self._in_thread(self._control.forget, name)

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
