"""Appends of many callers meet here and are committed in groups. Knows threads and tickets, no engine.

While one group waits for the disk, the next one gathers. With nothing waiting, an append is committed in its caller's
own thread, without a hand-off; otherwise one writer thread, started at the first need, takes what has gathered.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from hansard.appends import Append, Appended
from hansard.errors import HansardError, StorageFailed, StoreBusy, StoreClosed, StoreUnusable
from hansard.limits import BUSY_TIMEOUT_S, GROUP_APPENDS_MAX, QUEUE_APPENDS_MAX
from hansard.storage.port import Ticket

_SUBMITTED_AT_ONCE = QUEUE_APPENDS_MAX // 4

_ResultT = TypeVar("_ResultT")
WriteGroup = Callable[[Sequence[Ticket]], None]
"""Writes a group in one transaction and gives every ticket its outcome. An exception is the outcome of all without one."""


class GroupCommit:
    def __init__(self, write_group: WriteGroup) -> None:
        self._write_group = write_group
        self._writing = threading.RLock()  # re-entrant, so that a signal handler finds out instead of waiting for itself
        self._gathered: deque[Ticket] = deque()
        self._changed = threading.Condition(threading.Lock())
        self._writer: threading.Thread | None = None
        self._is_closed = False
        self._waiting_for_room = 0
        self._owner: int | None = None

    def append(self, append: Append, checked_to: int = 0) -> Appended:
        """Wait until the append is committed, or raise what refused it. `checked_to`: see Ticket."""
        ticket = Ticket(append, _nobody_waits)
        ticket.checked_to = checked_to
        self._check_not_inside()
        is_mine = False
        try:
            if is_mine := not self._gathered and self._writing.acquire(blocking=False):
                self._check_open()
                self._write((ticket,))
        finally:
            if is_mine or self._writing._is_owned():  # type: ignore[attr-defined]  # see _turn
                self._writing.release()
        if not is_mine:
            self._write_in_turn(ticket)
        if ticket.error is not None:
            raise ticket.error
        assert ticket.appended is not None
        return ticket.appended

    def exclusively(self, work: Callable[[], _ResultT]) -> _ResultT:
        """Do other work that writes, while no group is being written."""
        self._check_not_inside()
        with self._turn():
            self._check_open()
            self._owner = threading.get_ident()
            try:
                return work()
            finally:
                self._owner = None

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Alone with the writer. An exception that another thread sends to this one may arrive right after the lock was taken,
        so whether it was taken is asked of the lock itself."""
        try:
            if not self._writing.acquire(timeout=BUSY_TIMEOUT_S):
                raise StoreBusy(
                    f"another transaction of this store has not ended within {BUSY_TIMEOUT_S:g} s; nothing was stored"
                )
            yield
        finally:
            if self._writing._is_owned():  # type: ignore[attr-defined]
                self._writing.release()

    def _check_not_inside(self) -> None:
        if self._owner == threading.get_ident():
            raise StoreUnusable(
                "this thread is inside a transaction of this store: append with the transaction that you were given "
                "(in a signal handler: append later)"
            )

    def submit(self, tickets: Sequence[Ticket]) -> None:
        """Queue tickets for the writer thread; waits while the queue is full, then raises StoreBusy."""
        with self._changed:
            self._check_open()
            self._start_writer()
            for start in range(0, len(tickets), _SUBMITTED_AT_ONCE):
                some = tickets[start : start + _SUBMITTED_AT_ONCE]
                self._wait_for_room(len(some))
                self._gathered.extend(some)
                self._changed.notify_all()

    def close(self) -> None:
        """Commit what has gathered, then refuse more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._writer is not None and self._writer is not threading.current_thread():
            self._writer.join()
        with self._writing:
            pass

    def _write_in_turn(self, ticket: Ticket) -> None:
        settled = threading.Lock()
        settled.acquire()
        ticket.settled = _Waiter(settled)
        self.submit((ticket,))
        settled.acquire()

    def _wait_for_room(self, count: int) -> None:
        if len(self._gathered) + count <= QUEUE_APPENDS_MAX:
            return
        self._waiting_for_room += 1
        try:
            has_room = self._changed.wait_for(
                lambda: self._is_closed or len(self._gathered) + count <= QUEUE_APPENDS_MAX, BUSY_TIMEOUT_S
            )
        finally:
            self._waiting_for_room -= 1
        self._check_open()
        if not has_room:
            raise StoreBusy(f"the writer's queue of {QUEUE_APPENDS_MAX} appends stayed full for {BUSY_TIMEOUT_S:g} s")

    def _start_writer(self) -> None:
        if self._writer is None:
            writer = threading.Thread(target=self._write_for_ever, name="hansard-writer", daemon=True)
            try:
                writer.start()
            except RuntimeError as error:
                raise StorageFailed(f"the writer's thread cannot be started: {error}") from error
            self._writer = writer

    def _write_for_ever(self) -> None:
        while group := self._next_group():
            try:
                with self._turn():
                    self._write(group)
            except StoreBusy as error:
                _fail(group, error)
            _settle(group)

    def _next_group(self) -> list[Ticket]:
        """What has gathered, once something has; nothing when closed and empty."""
        with self._changed:
            while not self._gathered and not self._is_closed:
                self._changed.wait()
            group = [self._gathered.popleft() for _ in range(min(len(self._gathered), GROUP_APPENDS_MAX))]
            if self._waiting_for_room:
                self._changed.notify_all()
            return group

    def _write(self, group: Sequence[Ticket]) -> None:
        self._owner = threading.get_ident()
        try:
            self._write_group(group)
        except HansardError as error:
            _fail(group, error)
        except Exception as error:
            failure = StorageFailed(f"the writer failed: {type(error).__name__}: {error}")
            failure.__cause__ = error
            _fail(group, failure)
        finally:
            self._owner = None

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreClosed("the store is closed; open it again")


class _Waiter:
    """Wakes one waiting thread."""

    __slots__ = ("_settled",)

    def __init__(self, settled: threading.Lock) -> None:
        self._settled = settled

    def __call__(self, tickets: Sequence[Ticket]) -> None:
        self._settled.release()


def _nobody_waits(tickets: Sequence[Ticket]) -> None:
    """The ticket of a caller that commits in its own thread."""


def _fail(group: Sequence[Ticket], error: HansardError) -> None:
    for ticket in group:
        if ticket.appended is None and ticket.error is None:
            ticket.error = error


def _settle(group: Sequence[Ticket]) -> None:
    by_waiter: dict[Callable[[Sequence[Ticket]], None], list[Ticket]] = {}
    for ticket in group:
        by_waiter.setdefault(ticket.settled, []).append(ticket)
    for settled, tickets in by_waiter.items():
        settled(tickets)
