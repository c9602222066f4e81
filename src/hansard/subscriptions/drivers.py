"""What drives a catch-up: a loop in the caller's thread, or in an asyncio task."""

import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import Any, Self

from hansard.events import RecordedEvent
from hansard.limits import PAGE_EVENTS_MAX
from hansard.query import Query
from hansard.storage.port import Storage
from hansard.subscriptions.catch_up import CatchUp

_WAIT_S = 0.1
"""How long one wait for the engine lasts, and so how long a close from another thread may take to be seen."""


class Subscription:
    """Events that match a query, from a position on, for ever: an iterator and a context manager.

    It ends by `close()`, from any thread, or by leaving its `with` block.
    """

    def __init__(self, storage: Storage, query: Query, after: int) -> None:
        self._storage = storage
        self._query = query
        self._catch_up = CatchUp(after)
        self._closed = threading.Event()
        self._page: deque[RecordedEvent] = deque()

    @property
    def is_caught_up(self) -> bool:
        """Whether the last look found no event that was not handed out."""
        return self._catch_up.is_caught_up and not self._page

    def close(self) -> None:
        self._closed.set()

    def __iter__(self) -> Iterator[RecordedEvent]:
        return self

    def __next__(self) -> RecordedEvent:
        """Not a generator: after an error that a later look may not meet, such as StoreBusy, the next call goes on."""
        while not self._closed.is_set():
            if self._page:
                return self._page.popleft()
            self._turn_page()
        raise StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _turn_page(self) -> None:
        """The next page; or, when there is none, a short wait."""
        position = self._catch_up.position
        before = self._catch_up.before(self._storage.head())
        if before is None:
            self._storage.wait(position, _WAIT_S)
            return
        page = _page(self._storage, self._query, position, before)
        self._catch_up.took(page, before)
        self._page.extend(page)


class AsyncSubscription:
    """The same for asyncio: an async iterator and an async context manager. `close()` from the loop's thread."""

    def __init__(self, storage: Storage, query: Query, after: int, in_thread: Callable[..., Awaitable[Any]]) -> None:
        self._storage = storage
        self._query = query
        self._catch_up = CatchUp(after)
        self._in_thread = in_thread
        self._is_closed = False
        self._page: deque[RecordedEvent] = deque()

    @property
    def is_caught_up(self) -> bool:
        """Whether the last look found no event that was not handed out."""
        return self._catch_up.is_caught_up and not self._page

    async def close(self) -> None:
        self._is_closed = True

    def __aiter__(self) -> AsyncIterator[RecordedEvent]:
        return self

    async def __anext__(self) -> RecordedEvent:
        """May be cancelled, as by a timeout; the next call goes on where this one was."""
        while not self._is_closed:
            if self._page:
                return self._page.popleft()
            await self._turn_page()
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def _turn_page(self) -> None:
        position = self._catch_up.position
        before = self._catch_up.before(await self._in_thread(self._storage.head))
        if before is None:
            await self._in_thread(self._storage.wait, position, _WAIT_S)
            return
        page = await self._in_thread(_page, self._storage, self._query, position, before)
        self._catch_up.took(page, before)
        self._page.extend(page)


def _page(storage: Storage, query: Query, after: int, before: int) -> list[RecordedEvent]:
    return storage.read(query, after=after, before=before, backwards=False, limit=PAGE_EVENTS_MAX)
