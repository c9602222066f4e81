"""The long range of a condition is looked at before the writer's transaction, while others append. Knows no engine.

The log never changes below its head: what was not there then, never will be. The writer's transaction looks only at what has
come since.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from hansard.errors import HansardError, StorageFailed, StoreClosed
from hansard.query import AppendCondition
from hansard.storage.group_commit import GroupCommit
from hansard.storage.port import Ticket

_SHORT_RANGE = 256
"""Events that a condition may look at inside the writer's transaction; a longer range is looked at beforehand."""


def is_short(condition: AppendCondition, head: int) -> bool:
    """Whether the range up to a head, if one is known, is left to the writer's transaction."""
    return 0 < head <= condition.after + _SHORT_RANGE


class Checkers:
    """Two threads that look at conditions for those who do not wait; started at the first need."""

    def __init__(self, checked_to: Callable[[Ticket], int]) -> None:
        self._checked_to = checked_to
        self._threads: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._is_closed = False

    def submit(self, commits: GroupCommit, tickets: Sequence[Ticket]) -> None:
        ready = [ticket for ticket in tickets if ticket.append.condition is None]
        if ready:
            commits.submit(ready)
        for ticket in tickets:
            if ticket.append.condition is not None:
                self._check_then_submit(commits, ticket)

    def _check_then_submit(self, commits: GroupCommit, ticket: Ticket) -> None:
        with self._lock:
            if self._is_closed:
                raise StoreClosed("the store is closed; open it again")
            if self._threads is None:
                self._threads = ThreadPoolExecutor(2, thread_name_prefix="hansard-conditions")

        def work() -> None:
            try:
                ticket.checked_to = self._checked_to(ticket)
                commits.submit((ticket,))
            except Exception as error:
                ticket.error = error if isinstance(error, HansardError) else _failed(error)
                ticket.settled((ticket,))

        self._threads.submit(work)

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
        if self._threads is not None:
            self._threads.shutdown()


def _failed(error: Exception) -> HansardError:
    failure = StorageFailed(f"the condition could not be checked: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure
