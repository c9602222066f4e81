"""What drives a catch-up in the caller's thread."""

import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, NamedTuple, Self

from hansard.errors import InvalidInput, InvalidType
from hansard.events import RecordedEvent
from hansard.query import Query
from hansard.streams import check_timeout
from hansard.subscriptions.catch_up import CatchUp
from hansard.subscriptions.tail import Tail

Callback = Callable[[int], Any]
"""Called with the position up to which all matching events were handed out."""


class Callbacks(NamedTuple):
    """What a subscription tells besides events."""

    on_caught_up: Callback | None = None
    on_idle: Callback | None = None
    idle_s: float | None = None


def checked_callbacks(on_caught_up: Callback | None, on_idle: Callback | None, idle_s: float) -> Callbacks:
    for name, callback in (("on_caught_up", on_caught_up), ("on_idle", on_idle)):
        if callback is not None and not callable(callback):
            raise InvalidType(name, callback, "expected a function of one argument, a position")
    if check_timeout(idle_s, "idle_s") <= 0:
        raise InvalidInput("idle_s", idle_s, "expected more than 0 seconds")
    return Callbacks(on_caught_up, on_idle, float(idle_s) if on_idle is not None else None)


class Subscription:
    """Events that match a query, from a position on, for ever: an iterator and a context manager.

    It ends by `close()`, from any thread, or by leaving its `with` block.
    """

    def __init__(self, tail: Tail, query: Query, after: int, callbacks: Callbacks) -> None:
        self._tail = tail
        self._query = query
        self._callbacks = callbacks
        self._catch_up = CatchUp(after)
        self._closed = threading.Event()

    @property
    def is_caught_up(self) -> bool:
        """Whether the last look found no event that was not handed out."""
        return self._catch_up.is_live

    @property
    def position(self) -> int:
        """All matching events up to here were handed out: the checkpoint to go on from."""
        return self._catch_up.handed_out

    def close(self) -> None:
        self._closed.set()
        self._tail.wake()

    def __iter__(self) -> Iterator[RecordedEvent]:
        return self

    def __next__(self) -> RecordedEvent:
        """Not a generator: after an error that a later look may not meet, such as StoreBusy, the next call goes on."""
        while not self._closed.is_set():
            if (event := self._catch_up.next()) is not None:
                return event
            self._look()
        raise StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _look(self) -> None:
        """For the next events; where there are none, wait for some."""
        catch_up, callbacks = self._catch_up, self._callbacks
        catch_up.took(*self._tail.page(self._query, catch_up.position))
        if not catch_up.is_caught_up:
            return
        if catch_up.tells_caught_up() and callbacks.on_caught_up is not None:
            callbacks.on_caught_up(catch_up.position)
        self._tail.wait(catch_up.position, callbacks.idle_s, self._closed.is_set)
        if callbacks.on_idle is not None and not self._closed.is_set() and self._tail.head <= catch_up.position:
            callbacks.on_idle(catch_up.position)
