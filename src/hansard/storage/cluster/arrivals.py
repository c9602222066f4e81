"""Messages on their way to this node's replica: in order, each once, whichever way they come."""

import threading
from collections import deque
from typing import Final

_APPLIED_AT_ONCE: Final = 256
_WAITING_BYTES_MAX: Final = 32 * 1024 * 1024
"""A node that has much to catch up with takes no more than this into memory."""


class Arrivals:
    """Filled by the log, which delivers all messages, and by this node, which knows its own as soon as they are stored."""

    def __init__(self, after: int) -> None:
        """`after`: the last message that is applied."""
        self._changed = threading.Condition()
        self._in_order: deque[tuple[int, bytes]] = deque()
        self._last = after
        self._early: dict[int, bytes] = {}
        self._bytes = 0
        self._is_over = False

    def put(self, sequence: int, message: bytes) -> None:
        """Take a message: one that is known is passed by, one that comes before its turn is kept until then."""
        with self._changed:
            if sequence <= self._last:
                return
            self._early[sequence] = message
            while (following := self._early.pop(self._last + 1, None)) is not None:
                self._last += 1
                self._in_order.append((self._last, following))
                self._bytes += len(following)
            self._changed.notify()

    def is_full(self) -> bool:
        return self._bytes > _WAITING_BYTES_MAX

    def is_empty(self) -> bool:
        return not self._in_order

    def end(self) -> None:
        """What has arrived is still given out."""
        with self._changed:
            self._is_over = True
            self._changed.notify()

    def next_group(self) -> list[tuple[int, bytes]]:
        """What has arrived, once something has; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._in_order or self._is_over)
            group = [self._in_order.popleft() for _ in range(min(len(self._in_order), _APPLIED_AT_ONCE))]
            self._bytes -= sum(len(message) for _, message in group)
            return group
