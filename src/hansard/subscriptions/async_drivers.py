"""What drives a catch-up in an asyncio task; and the tail, for the tasks of one event loop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from hansard.events import RecordedEvent
from hansard.query import Query
from hansard.subscriptions.catch_up import CatchUp
from hansard.subscriptions.drivers import Callback, Callbacks
from hansard.subscriptions.tail import Tail


class AsyncSubscription:
    """The same for asyncio: an async iterator and an async context manager. `close()` from the loop's thread.

    Callbacks may be async.
    """

    def __init__(self, live: "Live", query: Query, after: int, callbacks: Callbacks) -> None:
        self._live = live
        self._query = query
        self._callbacks = callbacks
        self._catch_up = CatchUp(after)
        self._is_closed = False

    @property
    def is_caught_up(self) -> bool:
        """Whether the last look found no event that was not handed out."""
        return self._catch_up.is_live

    @property
    def position(self) -> int:
        """All matching events up to here were handed out: the checkpoint to go on from."""
        return self._catch_up.handed_out

    async def close(self) -> None:
        self._is_closed = True
        self._live.wake()

    def __aiter__(self) -> AsyncIterator[RecordedEvent]:
        return self

    async def __anext__(self) -> RecordedEvent:
        """May be cancelled, as by a timeout; the next call goes on where this one was."""
        while not self._is_closed:
            if (event := self._catch_up.next()) is not None:
                return event
            await self._look()
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def _look(self) -> None:
        catch_up, callbacks = self._catch_up, self._callbacks
        moved = self._live.moved()
        catch_up.took(*await self._live.page(self._query, catch_up.position))
        if not catch_up.is_caught_up:
            return
        if catch_up.tells_caught_up():
            await _called(callbacks.on_caught_up, catch_up.position)
        try:
            async with asyncio.timeout(callbacks.idle_s):
                await moved
        except TimeoutError:
            await _called(callbacks.on_idle, catch_up.position)


async def _called(callback: Callback | None, position: int) -> None:
    if callback is not None:
        result = callback(position)
        if isinstance(result, Awaitable):
            await result


class Live:
    """The tail of one store object, for the tasks of one event loop: they are woken together, once per commit."""

    def __init__(self, tail: Tail, loop: asyncio.AbstractEventLoop, in_thread: Callable[..., Awaitable[Any]]) -> None:
        self._tail = tail
        self._loop = loop
        self._in_thread = in_thread
        self._moved: asyncio.Future[None] | None = None
        self._stop: Callable[[], None] | None = None

    def moved(self) -> Awaitable[None]:
        """Done when the head moves after this call. One waiter that is cancelled does not cancel the others."""
        if self._moved is None:
            self._moved = self._loop.create_future()
            if self._stop is None:
                self._stop = self._tail.listen(self._told)
        return asyncio.shield(self._moved)

    async def page(self, query: Query, after: int) -> tuple[list[RecordedEvent], int]:
        found = self._tail.recent(query, after)
        if found is None:
            found = await self._in_thread(self._tail.page, query, after)
        return found

    def wake(self) -> None:
        moved, self._moved = self._moved, None
        if moved is not None and not moved.done():
            moved.set_result(None)

    def close(self) -> None:
        if self._stop is not None:
            self._stop()
        self.wake()

    def _told(self) -> None:
        """On the tail's thread."""
        with suppress(RuntimeError):  # the loop was closed: nobody is left to be told
            self._loop.call_soon_threadsafe(self.wake)
