"""Messages on their way to this node's replica: in order, each once, whichever way they come."""

import threading
from collections import deque
from collections.abc import Sequence
from typing import Final

from hansard.errors import HansardError
from hansard.storage.cluster.messages import Arrived

_APPLIED_AT_ONCE: Final = 256
_WAITING_BYTES_MAX: Final = 32 * 1024 * 1024
"""A node that has much to catch up with takes no more than this into memory."""

Waiting = tuple[int, bytes, Arrived | None]
"""The sequence of a message, its text, and what it says if this node has published it."""


class Arrivals:
    """Filled by the log, which delivers all messages, and by this node, which knows its own as soon as they are stored."""

    def __init__(self, after: int) -> None:
        """`after`: the last message that is applied."""
        self._changed = threading.Condition()
        self._in_order: deque[Waiting] = deque()
        self._last = after
        self._early: dict[int, Waiting] = {}
        self._bytes = 0
        self._is_over = False
        self.failure: HansardError | None = None

    def put(self, sequence: int, message: bytes, own: Arrived | None = None) -> None:
        """Take a message: one that is known is passed by, one that comes before its turn is kept until then."""
        with self._changed:
            if sequence <= self._last:
                return
            self._early[sequence] = (sequence, message, own)
            while (following := self._early.pop(self._last + 1, None)) is not None:
                self._last += 1
                self._in_order.append(following)
                self._bytes += len(following[1])
            if own is None:  # who publishes applies it
                self._changed.notify()

    def is_full(self) -> bool:
        return self._bytes > _WAITING_BYTES_MAX

    def has_gap(self) -> bool:
        return bool(self._early)

    def is_empty(self) -> bool:
        return not self._in_order

    def fail(self, error: HansardError) -> None:
        """See Receiver. What is here is still taken; `failure` is what comes after it."""
        with self._changed:
            self.failure = error
            self._changed.notify()

    def end(self) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify()

    def wait(self, timeout_s: float) -> bool:
        """Until something is there to be taken, or the time is over. False at the end, once all was taken."""
        with self._changed:
            self._changed.wait_for(lambda: self._in_order or self._is_over or self.failure, timeout_s)
            return bool(self._in_order) or not self._is_over

    def put_back(self, group: Sequence[Waiting]) -> None:
        """What was taken, and could not be applied now."""
        with self._changed:
            self._in_order.extendleft(reversed(group))
            self._bytes += sum(len(message) for _, message, _ in group)

    def take(self) -> list[Waiting]:
        """The next messages, if any are there."""
        with self._changed:
            group = [self._in_order.popleft() for _ in range(min(len(self._in_order), _APPLIED_AT_ONCE))]
            self._bytes -= sum(len(message) for _, message, _ in group)
            return group
