"""The engine of a cluster: appends and transactions go through the log, reads are the replica's."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from hansard.appends import Append, Appended
from hansard.errors import Conflict, HansardError, OutcomeUnknown, StoreBusy, StoreReadOnly
from hansard.limits import BUSY_TIMEOUT_S
from hansard.storage.around import Around
from hansard.storage.clock import now_us
from hansard.storage.cluster import messages
from hansard.storage.cluster.control import ClusterControl
from hansard.storage.cluster.course import Applied
from hansard.storage.cluster.log import MESSAGE_BYTES_MAX, ReplicatedLog
from hansard.storage.cluster.node import Node
from hansard.storage.group_commit import GroupCommit
from hansard.storage.port import Capability, InlineHook, ResultT, StorageTransaction, Ticket

_HEAD_BYTES: Final = 4 * 1024
"""What a message takes beside its appends, and more."""

_TRANSACTION_TRIES: Final = 200


class ClusterStorage(Around):
    """See Storage."""

    capabilities = frozenset({Capability.PROCESSES, Capability.CHECK, Capability.BACKUP, Capability.CLUSTER})

    def __init__(
        self,
        log: ReplicatedLog,
        path: str,
        *,
        replicas: int,
        read_only: bool = False,
        clock_us: Callable[[], int] = now_us,
    ) -> None:
        self._is_read_only = read_only
        self._node = Node(log, path, clock_us)
        self._clock_us = clock_us
        super().__init__(self._node.replica.storage)
        self._inline: InlineHook | None = None
        self._commits = GroupCommit(self._write_group)
        self._control = ClusterControl(log, self._node, self._send)
        kept = f"a quorum of {replicas} servers" if replicas > 1 else "one server"
        self._durability = f"fsync by {kept} before acknowledged (if run with sync_interval: always)"

    @property
    def durability(self) -> str:
        return self._durability

    @property
    def applied(self) -> Applied:
        """How far this node is, and the digest of all that it has applied."""
        return self._node.replica.applied

    @property
    def control(self) -> ClusterControl:
        return self._control

    # Appending

    def append(self, append: Append) -> Appended:
        self._check_writable()
        return self._commits.append(append)

    def submit(self, tickets: Sequence[Ticket]) -> None:
        self._check_writable()
        self._commits.submit(tickets)

    def _write_group(self, tickets: Sequence[Ticket]) -> None:
        """Everything that has gathered. Once the log does not answer, nothing more of it is sent."""
        deadline_s, is_answering = time.monotonic() + BUSY_TIMEOUT_S, True
        for some in _bundles(tickets) if self._inline is None else [[(ticket, msgspec.Raw())] for ticket in tickets]:
            try:
                if not is_answering:
                    raise StoreBusy("the cluster's log does not answer; this append was not sent, nothing of it is stored")
                places = self._written(some, deadline_s)
            except HansardError as error:
                is_answering = is_answering and not isinstance(error, OutcomeUnknown)
                places = [error] * len(some)
            for (ticket, _), place in zip(some, places, strict=True):
                if isinstance(place, Appended):
                    ticket.appended = place
                else:
                    ticket.error = place

    def _written(self, some: Sequence[tuple[Ticket, msgspec.Raw]], deadline_s: float) -> Sequence[Appended | HansardError]:
        """As one message; what inline projections do with an append makes it a transaction of its own."""
        if self._inline is not None:
            ((ticket, _),) = some
            return [self._transacted(lambda transaction: transaction.append(ticket.append), deadline_s)]
        return self._node.send([ticket.append for ticket, _ in some], [text for _, text in some], deadline_s=deadline_s).places

    # Transactions

    def transact(self, work: Callable[[StorageTransaction], ResultT]) -> ResultT:
        self._check_writable()
        return self._commits.exclusively(lambda: self._transacted(work, None))

    def _transacted(self, work: Callable[[StorageTransaction], ResultT], deadline_s: float | None) -> ResultT:
        """Rehearse, and let the log say whether it was so. A conflict with what is here may be over: a barrier, once more."""
        is_confirmed = False
        for _ in range(_TRANSACTION_TRIES):
            proposed_us = self._clock_us()
            try:
                result, steps = self._node.replica.rehearse(work, proposed_us, self._inline)
            except Conflict:
                if is_confirmed:
                    raise
                self._node.send(deadline_s=deadline_s)
                is_confirmed = True
                continue
            if not any(isinstance(step, messages.Put | messages.Drop | messages.Stored) for step in steps):
                return result
            if self._node.send(steps=steps, proposed_us=proposed_us, deadline_s=deadline_s).has_happened:
                return result
        raise StoreBusy(f"a transaction has lost against others {_TRANSACTION_TRIES} times; nothing was stored")

    def set_inline(self, hook: InlineHook | None) -> None:
        self._inline = hook

    def barrier(self) -> None:
        """A message through the log that does nothing: when it is applied here, so is all that was acknowledged before."""
        self._send()

    def _send(self, **what: Any) -> None:
        self._node.check_open()
        self._commits.exclusively(lambda: self._node.send(**what))

    def _check_writable(self) -> None:
        self._node.check_open()
        if self._is_read_only:
            raise StoreReadOnly("this node of the cluster was opened read-only")

    def wait(self, after: int, timeout_s: float) -> int:
        """Raises what has stopped this node, if nothing will come any more."""
        head = self._storage.wait(after, timeout_s if self._node.stopped is None else 0.0)
        if head <= after and self._node.stopped is not None:
            self._node.check_open()
        return head

    def close(self) -> None:
        if not self._node.is_forked:
            self._node.closing()
            self._commits.close()
        self._node.close()


def _bundles(tickets: Sequence[Ticket]) -> list[list[tuple[Ticket, msgspec.Raw]]]:
    """Appends that go into one message each, as they stand there; one that is too large for any stands alone, and is refused."""
    bundles: list[list[tuple[Ticket, msgspec.Raw]]] = []
    room = 0
    for ticket in tickets:
        text = messages.text_of(ticket.append)
        size = len(bytes(text))
        if not bundles or size > room:
            bundles.append([])
            room = MESSAGE_BYTES_MAX - _HEAD_BYTES
        bundles[-1].append((ticket, text))
        room -= size
    return bundles
