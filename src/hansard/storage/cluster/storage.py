"""The engine of a cluster's node: publishes what is to be done, applies what the log says, reads its own replica."""

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final
from uuid import uuid4

from hansard.appends import Append, Appended
from hansard.errors import HansardError, InvalidInput, OpenFailed, OutcomeUnknown, StorageFailed, StoreBusy, StoreClosed
from hansard.limits import BUSY_TIMEOUT_S
from hansard.storage.around import Around
from hansard.storage.clock import now_us
from hansard.storage.cluster import messages
from hansard.storage.cluster.arrivals import Arrivals
from hansard.storage.cluster.control import ClusterControl
from hansard.storage.cluster.log import ReplicatedLog
from hansard.storage.cluster.members import Members
from hansard.storage.cluster.messages import AppendForm, Message, Step
from hansard.storage.cluster.replica import Applied, Outcome, Replica
from hansard.storage.group_commit import GroupCommit
from hansard.storage.port import Capability, InlineHook, ResultT, StorageTransaction, Ticket

_MESSAGE_BYTES_MAX: Final = 1024 * 1024 - 8 * 1024
"""JetStream takes 1 MiB unless its servers are set otherwise; headers need a little."""

_TRY_S: Final = 2.0
_TRANSACTION_TRIES: Final = 200
_LOOK_S: Final = 0.1
_TELL_S: Final = 10.0


class _Waiting:
    """A message of ours on its way through the log."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.outcome: Outcome | None = None
        self.error: HansardError | None = None


class ClusterStorage(Around):
    """See Storage. Reading is the replica's; appends and transactions go through the log."""

    capabilities = frozenset({Capability.PROCESSES, Capability.CHECK, Capability.BACKUP, Capability.CLUSTER})

    def __init__(self, log: ReplicatedLog, path: str, *, replicas: int, clock_us: Callable[[], int] = now_us) -> None:
        self._log = log
        self._clock_us = clock_us
        self._node = uuid4().bytes
        self._name = f"{socket.gethostname()}:{os.path.abspath(path)}"
        self._members = Members()
        self._told_s = time.monotonic()
        self._claiming: threading.Thread | None = None
        self._number = 0
        self._waiting: dict[int, _Waiting] = {}
        self._inline: InlineHook | None = None
        self._changed = threading.Condition()
        self._stopped: HansardError | None = None
        self._is_closed = False
        info = log.info()
        self._replica = Replica(path, info.identity)
        super().__init__(self._replica.storage)
        try:
            self._check_place(path, info.first, info.last)
        except HansardError:
            self._replica.close()
            raise
        self._members.applied(self._replica.applied.sequence, self._replica.applied.digest)
        self._arrivals = Arrivals(self._replica.applied.sequence)
        self._commits = GroupCommit(self._write_group)
        self._applier = threading.Thread(target=self._apply_for_ever, name="hansard-applier", daemon=True)
        self._applier.start()
        log.follow(self._replica.applied.sequence, self._arrivals)
        self._wait_until_applied(info.last)
        kept = f"a quorum of {replicas} servers" if replicas > 1 else "one server"
        self._durability = f"fsync by {kept} before acknowledged (they must run with sync_interval: always)"

    @property
    def durability(self) -> str:
        return self._durability

    def _check_place(self, path: str, first: int, last: int) -> None:
        applied = self._replica.applied.sequence
        if applied > last:
            raise OpenFailed(f"{path}: the replica is at message {applied}, the log ends at {last}: it is not of this log")
        if applied + 1 < first:
            raise OpenFailed(
                f"{path}: the log begins at message {first} now, the replica ends at {applied}; begin with a snapshot"
            )

    # Appending

    def append(self, append: Append) -> Appended:
        if self._inline is not None:
            return self.transact(lambda transaction: transaction.append(append))
        self._check_open()
        return self._commits.append(append)

    def submit(self, tickets: Sequence[Ticket]) -> None:
        self._check_open()
        if self._inline is None:
            self._commits.submit(tickets)
            return
        for ticket in tickets:
            try:
                ticket.appended = self.append(ticket.append)
            except HansardError as error:
                ticket.error = error
            ticket.settled((ticket,))

    def _write_group(self, tickets: Sequence[Ticket]) -> None:
        """Bundle the appends into messages, publish them one after the other, and wait until they are applied here."""
        for some in _bundles(tickets):
            try:
                outcome = self._through_the_log([form for _, form, _ in some], [])
            except HansardError as error:
                for ticket, _, _ in some:
                    ticket.error = error
                continue
            for (ticket, _, _), place in zip(some, outcome.places, strict=True):
                if isinstance(place, Appended):
                    ticket.appended = place
                else:
                    ticket.error = place

    def _through_the_log(self, appends: list[AppendForm], steps: list[Step]) -> Outcome:
        """Publish, again and again under the same id until it is certain, and wait for the outcome."""
        self._number += 1
        number, waiting = self._number, _Waiting()
        self._waiting[number] = waiting
        text = self._written(number, appends, steps)
        if len(text) > _MESSAGE_BYTES_MAX:
            del self._waiting[number]
            raise InvalidInput(
                "append", len(text), f"expected at most {_MESSAGE_BYTES_MAX} bytes in one message of the cluster's log"
            )
        deadline = time.monotonic() + BUSY_TIMEOUT_S
        try:
            while True:
                self._check_open()
                with suppress(OutcomeUnknown):
                    self._arrivals.put(self._log.publish(text, id=f"{self._node.hex()}-{number}", timeout_s=_TRY_S), text)
                    waiting.done.wait(max(0.0, deadline - time.monotonic()))
                if waiting.done.wait(_LOOK_S):
                    break
                if time.monotonic() > deadline:
                    raise OutcomeUnknown(
                        f"the cluster's log has not answered for {BUSY_TIMEOUT_S:g} s; whether it was stored is not known. "
                        "Append again with the same ids: what was stored is not stored twice"
                    )
        finally:
            self._waiting.pop(number, None)
        if waiting.error is not None:
            raise waiting.error
        assert waiting.outcome is not None
        return waiting.outcome

    # Transactions

    def transact(self, work: Callable[[StorageTransaction], ResultT]) -> ResultT:
        self._check_open()
        return self._commits.exclusively(lambda: self._transacted(work))

    def _transacted(self, work: Callable[[StorageTransaction], ResultT]) -> ResultT:
        for _ in range(_TRANSACTION_TRIES):
            result, steps = self._replica.rehearse(work, self._clock_us(), self._inline)
            if not any(isinstance(step, messages.Put | messages.Drop | messages.Stored) for step in steps):
                return result
            if self._through_the_log([], steps).has_happened:
                return result
        raise StoreBusy(f"a transaction has lost against others {_TRANSACTION_TRIES} times; nothing was stored")

    def set_inline(self, hook: InlineHook | None) -> None:
        self._inline = hook

    def barrier(self) -> None:
        """A message through the log that does nothing: when it is applied here, so is all that was acknowledged before."""
        self._check_open()
        self._commits.exclusively(lambda: self._through_the_log([], []))

    @property
    def applied(self) -> Applied:
        """How far this node is, and the digest of all that it has applied."""
        return self._replica.applied

    @property
    def control(self) -> ClusterControl:
        return ClusterControl(self._log, self._members, lambda: self._replica.applied, lambda: self._stopped)

    # Applying

    def _apply_for_ever(self) -> None:
        while group := self._arrivals.next_group():
            try:
                self._apply_group(group)
            except HansardError as error:
                self._stop(error)
                return
            except Exception as error:  # whatever it is, this node may not go on as if it had applied it
                self._stop(
                    StorageFailed(f"message {group[0][0]} of the log could not be applied: {type(error).__name__}: {error}")
                )
                return
            self._claim_if_due()

    def _apply_group(self, group: Sequence[tuple[int, bytes]]) -> None:
        """Raises HansardError of a message that cannot be read, or was decided otherwise elsewhere; all before it is applied."""
        read, unread = _read_until_wrong(group)
        outcomes = self._replica.apply(read)
        with self._changed:
            self._changed.notify_all()
        for outcome in outcomes:
            self._settle(outcome)
        for outcome in outcomes:
            self._compare(outcome)
        if unread is not None:
            raise unread

    def _compare(self, outcome: Outcome) -> None:
        self._members.applied(outcome.applied.sequence, outcome.applied.digest)
        self._members.heard(outcome.message, is_this=outcome.message.node == self._node)

    def _claim_if_due(self) -> None:
        """Tell the others now and then how far this node is, and what it has made of it, if it says nothing else."""
        now = time.monotonic()
        if now - self._told_s < _TELL_S or not self._arrivals.is_empty() or self._is_closed:
            return
        self._told_s = now
        self._claiming = threading.Thread(target=self._claim, name="hansard-claim", daemon=True)
        self._claiming.start()

    def _claim(self) -> None:
        with suppress(HansardError):
            self._log.publish(self._written(0, [], []), id=f"{self._node.hex()}-told-{uuid4().hex}", timeout_s=_TRY_S)

    def _written(self, number: int, appends: list[AppendForm], steps: list[Step]) -> bytes:
        applied = self._replica.applied
        self._told_s = time.monotonic()
        return messages.written(
            Message(self._node, number, self._clock_us(), appends, steps, self._name, applied.sequence, applied.digest)
        )

    def _settle(self, outcome: Outcome) -> None:
        if outcome.message.node != self._node:
            return
        waiting = self._waiting.get(outcome.message.number)
        if waiting is not None and not waiting.done.is_set():  # what is in the log twice counts the first time
            waiting.outcome = outcome
            waiting.done.set()

    def _stop(self, error: HansardError) -> None:
        """This node goes no further: who waits is told, and who comes."""
        self._stopped = error
        for waiting in list(self._waiting.values()):
            waiting.error = error
            waiting.done.set()
        with self._changed:
            self._changed.notify_all()

    def _wait_until_applied(self, sequence: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped is not None or self._replica.applied.sequence >= sequence)
        if self._stopped is not None:
            error = self._stopped
            self.close()
            raise error

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreClosed("the store is closed; open it again")
        if self._stopped is not None:
            raise self._stopped

    def close(self) -> None:
        if self._is_closed:
            return
        if hasattr(self, "_commits"):
            self._commits.close()
        self._is_closed = True
        if self._claiming is not None:
            self._claiming.join()
        self._log.close()
        self._arrivals.end()
        self._applier.join()
        self._replica.close()


def _read_until_wrong(group: Sequence[tuple[int, bytes]]) -> tuple[list[tuple[int, Message]], HansardError | None]:
    read: list[tuple[int, Message]] = []
    for sequence, text in group:
        try:
            read.append((sequence, messages.read(sequence, text)))
        except HansardError as error:
            return read, error
    return read, None


def _bundles(tickets: Sequence[Ticket]) -> list[list[tuple[Ticket, AppendForm, int]]]:
    """Appends that go into one message each; one that is too large for any stands alone, and is refused there."""
    bundles: list[list[tuple[Ticket, AppendForm, int]]] = []
    room = 0
    for ticket in tickets:
        form = messages.form_of(ticket.append)
        size = 64 + sum(len(e.data_json) + len(e.metadata_json) + 64 + 64 * len(e.tags) for e in ticket.append.events)
        if not bundles or size > room:
            bundles.append([])
            room = _MESSAGE_BYTES_MAX
        bundles[-1].append((ticket, form, size))
        room -= size
    return bundles
