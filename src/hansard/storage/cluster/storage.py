"""The engine of a cluster's node: publishes what is to be done, applies what the log says, reads its own replica."""

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final
from uuid import uuid4

import msgspec

from hansard.appends import Append, Appended
from hansard.errors import (
    HansardError,
    InvalidInput,
    OpenFailed,
    OutcomeUnknown,
    StorageFailed,
    StoreBusy,
    StoreClosed,
    StoreUnusable,
)
from hansard.limits import BUSY_TIMEOUT_S
from hansard.storage.around import Around
from hansard.storage.clock import now_us
from hansard.storage.cluster import messages
from hansard.storage.cluster.arrivals import Arrivals, Waiting
from hansard.storage.cluster.control import ClusterControl
from hansard.storage.cluster.log import MESSAGE_BYTES_MAX, ReplicatedLog
from hansard.storage.cluster.members import Members
from hansard.storage.cluster.messages import Arrived, Message, Step
from hansard.storage.cluster.replica import Applied, Outcome, Replica
from hansard.storage.group_commit import GroupCommit
from hansard.storage.port import Capability, InlineHook, ResultT, StorageTransaction, Ticket

_HEAD_BYTES: Final = 4 * 1024
"""What a message takes beside its appends, and more."""

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
        self._told, self._told_s, self._has_news = 0, time.monotonic(), False
        self._claiming: threading.Thread | None = None
        self._applying = threading.Lock()
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
                outcome = self._through_the_log([ticket.append for ticket, _ in some], [text for _, text in some])
            except HansardError as error:
                for ticket, _ in some:
                    ticket.error = error
                continue
            for (ticket, _), place in zip(some, outcome.places, strict=True):
                if isinstance(place, Appended):
                    ticket.appended = place
                else:
                    ticket.error = place

    def _through_the_log(
        self, appends: Sequence[Append] = (), texts: Sequence[Any] = (), steps: Sequence[Step] = (), rules: int = 0
    ) -> Outcome:
        """Publish, again and again under the same id until it is certain, apply it, and give the outcome."""
        self._number += 1
        number, waiting = self._number, _Waiting()
        message = self._message(number, texts, steps, rules)
        text = messages.written(message)
        if len(text) > MESSAGE_BYTES_MAX:
            raise InvalidInput(
                "append", len(text), f"expected at most {MESSAGE_BYTES_MAX} bytes in one message of the cluster's log"
            )
        self._waiting[number] = waiting
        deadline, why = time.monotonic() + BUSY_TIMEOUT_S, ""
        try:
            while True:
                self._check_open()
                try:
                    sequence = self._log.publish(text, id=f"{self._node.hex()}-{number}", timeout_s=_TRY_S)
                except OutcomeUnknown as error:
                    why = f" ({error})"
                else:
                    self._take(Arrived(sequence, message, appends), text)
                    waiting.done.wait(max(0.0, deadline - time.monotonic()))
                if waiting.done.wait(_LOOK_S):
                    break
                if time.monotonic() > deadline:
                    raise OutcomeUnknown(
                        f"the cluster's log has not answered for {BUSY_TIMEOUT_S:g} s{why}; whether it was stored is not known. "
                        "Append again with the same ids: what was stored is not stored twice"
                    )
        finally:
            self._waiting.pop(number, None)
        if waiting.error is not None:
            raise waiting.error
        assert waiting.outcome is not None
        return waiting.outcome

    def _take(self, own: Arrived, text: bytes) -> None:
        """Apply a message of ours as soon as it is stored, and what came before it."""
        if own.sequence <= own.message.applied:
            self._arrivals.fail(
                StoreUnusable(
                    f"the log gave number {own.sequence} to a message that follows {own.message.applied}: it is another log"
                )
            )
        self._arrivals.put(own.sequence, text, own)
        self._apply_arrived()

    # Transactions

    def transact(self, work: Callable[[StorageTransaction], ResultT]) -> ResultT:
        self._check_open()
        return self._commits.exclusively(lambda: self._transacted(work))

    def _transacted(self, work: Callable[[StorageTransaction], ResultT]) -> ResultT:
        for _ in range(_TRANSACTION_TRIES):
            result, steps = self._replica.rehearse(work, self._clock_us(), self._inline)
            if not any(isinstance(step, messages.Put | messages.Drop | messages.Stored) for step in steps):
                return result
            if self._through_the_log(steps=steps).has_happened:
                return result
        raise StoreBusy(f"a transaction has lost against others {_TRANSACTION_TRIES} times; nothing was stored")

    def set_inline(self, hook: InlineHook | None) -> None:
        self._inline = hook

    def barrier(self) -> None:
        """A message through the log that does nothing: when it is applied here, so is all that was acknowledged before."""
        self._check_open()
        self._commits.exclusively(self._through_the_log)

    @property
    def applied(self) -> Applied:
        """How far this node is, and the digest of all that it has applied."""
        return self._replica.applied

    @property
    def control(self) -> ClusterControl:
        return ClusterControl(self._log, self._members, lambda: self._replica.applied, lambda: self._stopped, self._switch)

    def _switch(self, rules: int) -> None:
        self._check_open()
        self._commits.exclusively(lambda: self._through_the_log(rules=rules))

    # Applying

    def _apply_for_ever(self) -> None:
        while self._arrivals.wait(_TELL_S):
            if not self._apply_arrived():
                return
            self._claim_if_due()

    def _apply_arrived(self) -> bool:
        """Apply what has arrived: done by the applier, or by who has published. False once this node goes no further."""
        with self._applying:
            if self._stopped is not None:
                return False
            group = self._arrivals.take()
            if not group and self._arrivals.failure is not None:
                self._stop(self._arrivals.failure)
                return False
            try:
                self._apply_group(group)
            except HansardError as error:
                self._stop(error)
            except Exception as error:  # whatever it is, this node may not go on as if it had applied it
                self._stop(
                    StorageFailed(f"message {group[0][0]} of the log could not be applied: {type(error).__name__}: {error}")
                )
            return self._stopped is None

    def _apply_group(self, group: Sequence[Waiting]) -> None:
        """Raises HansardError of a message that cannot be read, or was decided otherwise elsewhere; all before it is applied."""
        read, unread = _read_until_wrong(group)
        outcomes = self._replica.apply(read)
        for outcome in outcomes:
            self._members.applied(outcome.applied.sequence, outcome.applied.digest)
        with self._changed:
            self._changed.notify_all()
        for outcome in outcomes:
            self._settle(outcome)
        try:
            for outcome in outcomes:
                self._compare(outcome)
        except HansardError:
            self._begin_claim()  # a last word, by which the others know it, too
            raise
        if unread is not None:
            raise unread

    def _compare(self, outcome: Outcome) -> None:
        self._has_news |= outcome.message.number > 0
        self._members.heard(outcome.message, is_this=outcome.message.node == self._node)

    def _claim_if_due(self) -> None:
        """Tell the others, some time after the last message, how far this node is and what it has made of it, if it says nothing
        else. Of messages that only tell, it tells nothing: nodes would never be silent."""
        is_due = self._has_news and time.monotonic() - self._told_s >= _TELL_S and self._arrivals.is_empty()
        if not is_due or self._is_closed:
            return
        self._begin_claim()

    def _begin_claim(self) -> None:
        self._has_news = False
        self._claiming = threading.Thread(target=self._claim, name="hansard-claim", daemon=True)
        self._claiming.start()

    def _claim(self) -> None:
        with suppress(HansardError):
            self._log.publish(messages.written(self._message(0)), id=f"{self._node.hex()}-told-{uuid4().hex}", timeout_s=_TRY_S)

    def _message(self, number: int, texts: Sequence[Any] = (), steps: Sequence[Step] = (), rules: int = 0) -> Message:
        applied = self._replica.applied
        trail = self._members.trail(self._told, applied.sequence)
        self._told, self._told_s, self._has_news = applied.sequence, time.monotonic(), False
        return Message(
            node=self._node,
            number=number,
            proposed_us=self._clock_us(),
            appends=texts,
            steps=steps,
            name=self._name,
            applied=applied.sequence,
            digest=applied.digest,
            rules=rules,
            trail=trail,
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
        """Raises OpenFailed if nothing comes any more."""
        while self._stopped is None and (applied := self._replica.applied.sequence) < sequence:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._replica.applied.sequence > applied, BUSY_TIMEOUT_S)
            if self._replica.applied.sequence == applied and self._stopped is None:
                self._stop(
                    OpenFailed(
                        f"the log's servers have not delivered message {applied + 1} of {sequence} for {BUSY_TIMEOUT_S:g} s"
                    )
                )
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


def _read_until_wrong(group: Sequence[Waiting]) -> tuple[list[Arrived], HansardError | None]:
    read: list[Arrived] = []
    for sequence, text, own in group:
        try:
            read.append(own or messages.read(sequence, text))
        except HansardError as error:
            return read, error
    return read, None


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
