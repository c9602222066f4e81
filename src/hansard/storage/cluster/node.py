"""A node: sends its messages through the log, applies all that come to its replica, and compares what others say with it."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from typing import Any, Final
from uuid import uuid4

from hansard.appends import Append
from hansard.errors import (
    HansardError,
    OpenFailed,
    OutcomeUnknown,
    StorageFailed,
    StoreBusy,
    StoreClosed,
    StoreForked,
    StoreUnusable,
    TooLarge,
)
from hansard.limits import BUSY_TIMEOUT_S
from hansard.storage.cluster import messages
from hansard.storage.cluster.arrivals import Arrivals, Waiting
from hansard.storage.cluster.log import MESSAGE_BYTES_MAX, ReplicatedLog
from hansard.storage.cluster.members import Members
from hansard.storage.cluster.messages import Arrived, Message, Step
from hansard.storage.cluster.replica import Outcome, Replica

_logger = logging.getLogger("hansard.cluster")

_TRY_S: Final = 2.0
_LOOK_S: Final = 0.1
_TELL_S: Final = 10.0


class _Sent:
    """A message of ours on its way through the log."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.outcome: Outcome | None = None
        self.error: HansardError | None = None


class Node:
    """Sends one message at a time: the caller sees to that."""

    def __init__(self, log: ReplicatedLog, path: str, clock_us: Callable[[], int]) -> None:
        """Raises OpenFailed if the replica is not one of this log, or if the log does not have what comes next."""
        self._log, self._clock_us = log, clock_us
        self._id = uuid4().bytes
        self._name = f"{socket.gethostname()}:{os.path.realpath(path)}"
        self._pid = os.getpid()
        self._number = self._began_at = 0
        self._sent: dict[int, _Sent] = {}
        self._told, self._told_s, self._has_news = 0, time.monotonic(), False
        self._claiming: threading.Thread | None = None
        self._applying = threading.Lock()
        self._changed = threading.Condition()
        self._is_closing = self._is_closed = False
        self.stopped: HansardError | None = None
        info = log.info()
        self.replica = Replica(path, info.identity)
        self.members = Members(self.replica.words.values())
        self.members.applied(self.replica.applied.sequence, self.replica.applied.digest)
        self._arrivals = Arrivals(self.replica.applied.sequence)
        self._applier = threading.Thread(target=self._apply_for_ever, name="hansard-applier", daemon=True)
        try:
            self._check_place(path, info.first, info.last)
            self._begin(info.last)
        except BaseException:
            self.close()
            raise

    def _check_place(self, path: str, first: int, last: int) -> None:
        applied = self.replica.applied.sequence
        if applied > last:
            raise OpenFailed(f"{path}: the replica is at message {applied}, the log ends at {last}: it is not of this log")
        if applied + 1 < first:
            raise OpenFailed(
                f"{path}: the log begins at message {first} now, the replica ends at {applied}; begin with a snapshot"
            )

    def _begin(self, last: int) -> None:
        """Tell the others that this node is there, and from where on it needs the log; then apply all up to that message."""
        self._applier.start()
        self._began_at = upto = self._claim() or last
        self._log.follow(self.replica.applied.sequence, self._arrivals)
        while self.stopped is None and (applied := self.replica.applied.sequence) < upto:
            with self._changed:
                self._changed.wait_for(lambda: self.stopped or self.replica.applied.sequence > applied, BUSY_TIMEOUT_S)
            if self.replica.applied.sequence == applied and self.stopped is None:
                raise OpenFailed(
                    f"the log's servers have not delivered message {applied + 1} of {upto} for {BUSY_TIMEOUT_S:g} s"
                    f"{self._log.trouble}"
                )
        if self.stopped is not None:
            raise self.stopped

    @property
    def is_forked(self) -> bool:
        return os.getpid() != self._pid

    def check_open(self) -> None:
        if self.is_forked:
            raise StoreForked("the cluster's node was opened before a fork; open it again, with a replica of its own")
        if self._is_closed:
            raise StoreClosed("the store is closed; open it again")
        if self.stopped is not None:
            raise copy(self.stopped)

    def close(self) -> None:
        """What is on its way is waited for, as long as the log answers."""
        if self._is_closed:
            return
        self._is_closed = True
        if self.is_forked:
            self.replica.abandon()
            return
        if self._claiming is not None:
            self._claiming.join()
        self._log.close()
        self._arrivals.end()
        if self._applier.ident is not None:
            self._applier.join()
        self.replica.close()

    def closing(self) -> None:
        """From now on, what the log does not take at once is not tried again."""
        self._is_closing = True

    # Sending

    def send(
        self,
        appends: Sequence[Append] = (),
        texts: Sequence[Any] = (),
        steps: Sequence[Step] = (),
        *,
        rules: int = 0,
        forgets: str = "",
        asks: bool = False,
        proposed_us: int | None = None,
        deadline_s: float | None = None,
    ) -> Outcome:
        """Publish a message, again and again under the same id until it is certain, apply it, and give the outcome.

        Raises OutcomeUnknown if it was not certain by then (see time.monotonic), another StorageFailed if nothing is stored.
        """
        self._number += 1
        number, sent = self._number, _Sent()
        message = self._message(number, appends=texts, steps=steps, rules=rules, forgets=forgets, asks=asks)
        if proposed_us is not None:
            message.proposed_us = proposed_us
        text = messages.written(message)
        if len(text) > MESSAGE_BYTES_MAX:
            what = "transaction" if steps else "append"
            raise TooLarge(what, len(text), f"expected at most {MESSAGE_BYTES_MAX} bytes in one message of the cluster's log")
        self._sent[number] = sent
        try:
            self._publish(Arrived(0, message, appends), text, sent, deadline_s or time.monotonic() + BUSY_TIMEOUT_S)
        finally:
            self._sent.pop(number, None)
        if sent.error is not None:
            raise copy(sent.error)
        assert sent.outcome is not None
        return sent.outcome

    def _publish(self, own: Arrived, text: bytes, sent: _Sent, deadline_s: float) -> None:
        """Until the message is applied here, or this node has stopped."""
        id, is_unsent, why = f"{self._id.hex()}-{own.message.number}", True, ""
        while True:
            self.check_open()
            try:
                sequence = self._log.publish(text, id=id, timeout_s=_TRY_S)
            except OutcomeUnknown as error:
                is_unsent, why = False, f" ({error})"
            except StorageFailed as error:
                if is_unsent:
                    raise
                why = f" ({error})"
            else:
                self._take(own._replace(sequence=sequence), text)
                sent.done.wait(max(0.0, deadline_s - time.monotonic()))
            if sent.done.wait(_LOOK_S):
                return
            if not self._is_closing and time.monotonic() <= deadline_s:
                continue
            if not own.message.appends and not own.message.steps:
                raise StorageFailed(f"the cluster's log takes no messages now{why}")
            raise OutcomeUnknown(
                f"the cluster's log has not answered{why}; whether it was stored is not known. Append again with the same "
                "ids: what was stored is not stored twice"
            )

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

    def _message(self, number: int, **what: Any) -> Message:
        applied = self.replica.applied
        trail = self.members.trail(self._told, applied.sequence)
        self._told, self._told_s, self._has_news = applied.sequence, time.monotonic(), False
        return Message(
            node=self._id,
            number=number,
            proposed_us=self._clock_us(),
            name=self._name,
            applied=applied.sequence,
            digest=applied.digest,
            trail=trail,
            **what,
        )

    # Applying

    def _apply_for_ever(self) -> None:
        while self._arrivals.wait(_TELL_S):
            if not self._apply_arrived():
                return
            self._claim_if_due()

    def _apply_arrived(self) -> bool:
        """Apply what has arrived: done by the applier, or by who has published. False once this node goes no further."""
        with self._applying:
            if self.stopped is not None:
                return False
            group = self._arrivals.take()
            if not group and self._arrivals.failure is not None:
                self._stop(self._arrivals.failure)
                return False
            try:
                self._apply_group(group)
                self.members.decide()
            except StoreBusy:  # a long transaction of ours: later
                self._arrivals.put_back([waiting for waiting in group if waiting[0] > self.replica.applied.sequence])
            except HansardError as error:
                self._stop(error)
            except Exception as error:  # whatever it is, this node may not go on as if it had applied it
                sequence = self.replica.applied.sequence + 1
                self._stop(StorageFailed(f"message {sequence} of the log could not be applied: {type(error).__name__}: {error}"))
            return self.stopped is None

    def _apply_group(self, group: Sequence[Waiting]) -> None:
        """Raises HansardError of a message that cannot be read, or was decided otherwise elsewhere; all before it is applied."""
        read, unread = _read_until_wrong(group)
        for outcomes in self.replica.apply(read):
            self._applied_now(outcomes)
        if unread is not None:
            raise unread

    def _applied_now(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            self.members.applied(outcome.applied.sequence, outcome.applied.digest)
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

    def _settle(self, outcome: Outcome) -> None:
        if outcome.message.node != self._id:
            return
        sent = self._sent.get(outcome.message.number)
        if sent is not None and not sent.done.is_set():  # what is in the log twice counts the first time
            sent.outcome = outcome
            sent.done.set()

    def _compare(self, outcome: Outcome) -> None:
        self._has_news |= outcome.message.number > 0
        if outcome.message.applied < outcome.applied.sequence:
            self.members.heard(outcome.message, is_this=self._is_own(outcome))
        if outcome.message.forgets:
            self.members.forget(outcome.message.forgets)
        if outcome.message.asks and outcome.applied.sequence > self._began_at and not self._is_own(outcome):
            self._begin_claim()

    def _is_own(self, outcome: Outcome) -> bool:
        """Also what this node has said before it was started again."""
        message = outcome.message
        is_earlier = message.name == self._name and outcome.applied.sequence <= self._began_at
        return message.node == self._id or is_earlier

    def _stop(self, error: HansardError) -> None:
        """This node goes no further: who waits is told, and who comes."""
        self.stopped = error
        _logger.error("this node of the cluster has stopped: %s", error)
        for sent in list(self._sent.values()):
            sent.error = error
            sent.done.set()
        with self._changed:
            self._changed.notify_all()

    # Telling

    def _claim_if_due(self) -> None:
        """Tell the others, some time after the last message, how far this node is and what it has made of it, if it says nothing
        else. Of messages that only tell, it tells nothing: nodes would never be silent."""
        is_due = self._has_news and time.monotonic() - self._told_s >= _TELL_S and self._arrivals.is_empty()
        if is_due and not self._is_closed:
            self._begin_claim()

    def _begin_claim(self) -> None:
        self._has_news = False
        self._claiming = threading.Thread(target=self._claim, name="hansard-claim", daemon=True)
        self._claiming.start()

    def _claim(self) -> int | None:
        """The sequence of the message; None if the log does not answer now."""
        text = messages.written(self._message(0))
        with suppress(HansardError):
            return self._log.publish(text, id=f"{self._id.hex()}-told-{uuid4().hex}", timeout_s=_TRY_S)
        return None


def _read_until_wrong(group: Sequence[Waiting]) -> tuple[list[Arrived], HansardError | None]:
    read: list[Arrived] = []
    for sequence, text, own in group:
        try:
            read.append(own or messages.read(sequence, text))
        except HansardError as error:
            return read, error
    return read, None
